"""Records of the export stream (docs/store-format.md, section 9): writing, and reading with everything verified."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import xxhash

from snapshotd.store import durable
from snapshotd.store.cipher import UnsealError, derive, seal, unseal
from snapshotd.store.errors import CorruptStreamError, KeyMissingError, KeyWrongError

if TYPE_CHECKING:
    from typing import BinaryIO

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = 1
MAGIC = b"QKEXP\0\x1a\n"
HEADER = struct.Struct("<8sII16sQ")
RECORD = struct.Struct("<IIQ")
_ABOUT = struct.Struct("<QII")
_ASSOCIATED = struct.Struct("<16sQI")
LIMIT = 1 << 28
LAYER, META, WORKING_SET, PAGES, ZEROS, LAYER_END, END = range(1, 8)
_ADVICE = "export it again"


class RecordWriter:
    """Writes the header, then records."""

    def __init__(self, file: BinaryIO, key: bytes | None) -> None:
        self._file = file
        self._number = 0
        self._salt = os.urandom(16) if key is not None else bytes(16)
        self._aead = None if key is None else stream_cipher(key, self._salt)
        head = HEADER.pack(MAGIC, VERSION, key is not None, self._salt, 0)[:-8]
        self._put(head + struct.pack("<Q", xxhash.xxh3_64_intdigest(head)))

    def write(self, kind: int, payload: bytes) -> None:
        """Append a record."""
        if self._aead is not None:
            payload = seal(self._aead, payload, _ASSOCIATED.pack(self._salt, self._number, kind))
        self._put(RECORD.pack(kind, len(payload), _checksum(self._number, kind, payload)) + payload)
        self._number += 1

    def _put(self, data: bytes) -> None:
        try:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]  # an unbuffered file may take a part
        except OSError as error:
            raise durable.named(error, "the export stream") from error


class RecordReader:
    """Reads the header, then records.

    Raises:
        CorruptStreamError: the bytes are not a stream of version 1.
        KeyMissingError, KeyWrongError: it is sealed and there is no key, or not the right one.
    """

    def __init__(self, file: BinaryIO, key: bytes | None) -> None:
        self._file = file
        self._number = 0
        self._offset = 0
        head = self._take(HEADER.size, "its header")
        magic, version, sealed, self._salt, checksum = HEADER.unpack(head)
        if magic != MAGIC:
            raise CorruptStreamError.at(
                "the stream", 0, "this is not an exported snapshot", "give a file that `export` wrote"
            )
        if checksum != xxhash.xxh3_64_intdigest(head[:-8]):
            raise CorruptStreamError.at("the stream", 0, "its header is damaged", _ADVICE)
        if version != VERSION:
            raise CorruptStreamError.at(
                "the stream", 8, f"it has version {version}, not {VERSION}", "use the quark that wrote it"
            )
        if sealed and key is None:
            raise KeyMissingError(
                "the stream is sealed with the key of its domain; import it into a domain that was created with that key"
            )
        self._aead = stream_cipher(key, self._salt) if sealed and key is not None else None

    def fail(self, what: str) -> CorruptStreamError:
        """The error that tells what is wrong at this place."""
        return CorruptStreamError.at("the stream", self._offset, what, _ADVICE)

    def read(self) -> tuple[int, bytes]:
        """The next record: its type and its payload, verified."""
        kind, size, checksum = RECORD.unpack(self._take(RECORD.size, "a record's header"))
        if size > LIMIT:
            raise self.fail(f"record {self._number} claims {size} bytes")
        payload = self._take(size, "a record")
        if checksum != _checksum(self._number, kind, payload):
            raise self.fail(f"record {self._number} does not match its checksum")
        if self._aead is not None:
            try:
                payload = unseal(self._aead, payload, _ASSOCIATED.pack(self._salt, self._number, kind))
            except UnsealError:
                if self._number == 0:
                    raise KeyWrongError(
                        "the stream is sealed with another key than this domain's; import it into a domain with its key"
                    ) from None
                raise self.fail(f"record {self._number} does not unseal") from None
        self._number += 1
        return kind, payload

    def end(self) -> None:
        """Nothing may follow."""
        if self._some(1):
            raise self.fail("something follows its end")

    def _take(self, size: int, what: str) -> bytes:
        parts = []
        missing = size
        while missing:
            part = self._some(missing)
            if not part:
                raise self.fail(f"the stream ends in the middle of {what}")
            parts.append(part)
            missing -= len(part)
        self._offset += size
        return b"".join(parts)

    def _some(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            raise durable.named(error, "the stream") from error


def stream_cipher(key: bytes, salt: bytes) -> AESGCM:
    """What seals the records of one stream."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(derive(key, salt, b"quark export"))


def _checksum(number: int, kind: int, payload: bytes) -> int:
    hasher = xxhash.xxh3_64(_ABOUT.pack(number, kind, len(payload)))
    hasher.update(payload)
    return hasher.intdigest()
