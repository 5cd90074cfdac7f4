"""Pack files and the chunks in them: encoding, and reading that never gives unverified bytes (docs/store-format.md, sections 3 and 4)."""

from __future__ import annotations

import struct
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

import lz4.block
import xxhash

from snapshotd.store.backend import PACK
from snapshotd.store.cipher import UnsealError
from snapshotd.store.errors import CorruptChunkError, CorruptPackError, ObjectMissingError, StoreError
from snapshotd.store.layout import PAGE

if TYPE_CHECKING:
    from snapshotd.store.backend import Backend, Readable
    from snapshotd.store.cipher import Cipher

VERSION = 1
MAGIC = b"QKPACK\x1a\n"
HEADER = struct.Struct("<8sII16s16sQQ")
CHUNK_MAGIC = b"QKCH"
CHUNK_HEADER = struct.Struct("<4sIIBBBB")
CHECKSUM = struct.Struct("<Q")
CHUNK_OVERHEAD = CHUNK_HEADER.size + CHECKSUM.size
CHUNK_PAGES = 16
CHUNK_LIMIT = 1 << 24  # chunks a pack
RAW, LZ4 = 0, 1
# LZ4's slow coder takes four times as long and saves an eighth. Where the fast one leaves this part it saves most for its time.
HARDER = 0.4, 0.5
HARDER_LEVEL = 2
HARDER_SHARE = 8  # one chunk in so many: the speed of a capture must not depend on how well its pages compress
OPEN_PACKS = 64  # kept open by one reader


class ChunkRef(NamedTuple):
    """Where a chunk is and what it must look like."""

    pack: bytes
    number: int
    offset: int
    bytes: int
    pages: int
    checksum: int


def pack_header(pack_id: bytes, domain_id: bytes) -> bytes:
    """The first 64 bytes of a new pack."""
    body = HEADER.pack(MAGIC, VERSION, HEADER.size, pack_id, domain_id, time.time_ns(), 0)[:-8]
    return body + CHECKSUM.pack(xxhash.xxh3_64_intdigest(body))


class Encoder:
    """Compresses pages, and spends more time on a share of those that are worth it (docs/adr/0009). Any thread: the counts may be off by a few."""

    __slots__ = ("_chunks", "_harder")

    def __init__(self) -> None:
        self._chunks = self._harder = 0

    def encode(self, raw: bytes) -> tuple[int, bytes]:
        """(coding, payload) of 1 to 16 pages."""
        self._chunks += 1
        packed: bytes = lz4.block.compress(raw, store_size=False)
        worth = HARDER[0] * len(raw) <= len(packed) < HARDER[1] * len(raw)
        if worth and self._harder * HARDER_SHARE < self._chunks:
            self._harder += 1
            packed = lz4.block.compress(raw, mode="high_compression", compression=HARDER_LEVEL, store_size=False)
        return (LZ4, packed) if len(packed) < len(raw) else (RAW, raw)


def decode_pages(coding: int, payload: bytes | memoryview, pages: int) -> bytes | None:
    """Undo Encoder.encode; None if it cannot be done."""
    size = pages * PAGE
    if coding == RAW:
        return bytes(payload) if len(payload) == size else None
    if coding != LZ4:
        return None
    try:
        raw: bytes = lz4.block.decompress(payload, uncompressed_size=size)
    except lz4.block.LZ4BlockError:
        return None
    return raw if len(raw) == size else None


def encode_chunk(raw: bytes, index: int, pack_id: bytes, cipher: Cipher, encoder: Encoder) -> tuple[bytes, bytes, int]:
    """Header, payload and checksum of chunk `index` of a pack. Threads can do it."""
    coding, payload = encoder.encode(raw)
    header = CHUNK_HEADER.pack(
        CHUNK_MAGIC, index, len(payload) + cipher.overhead, len(raw) // PAGE, coding, cipher.sealed, 0
    )
    payload = cipher.seal_chunk(payload, pack_id + header)
    checksum = chunk_checksum(header, payload)
    return header + CHECKSUM.pack(checksum), payload, checksum


def chunk_checksum(header: bytes | memoryview, payload: bytes | memoryview) -> int:
    """xxh3-64 of the chunk header without its checksum, then the payload."""
    hasher = xxhash.xxh3_64(header)
    hasher.update(payload)
    return hasher.intdigest()


class PackFile:
    """A pack that is read, stored already or still being written; any thread may read. Whoever opened `source` closes it.

    Raises:
        CorruptPackError: the header is not that of this pack.
    """

    __slots__ = ("_cipher", "_id", "_longest", "_source", "path")

    def __init__(self, source: Readable, pack_id: bytes, domain_id: bytes, cipher: Cipher) -> None:
        self.path = source.name
        self._id = pack_id
        self._cipher = cipher
        self._source = source
        self._longest = CHUNK_OVERHEAD + CHUNK_PAGES * PAGE + cipher.overhead
        check_pack_header(source.read(0, HEADER.size), source.name, pack_id, domain_id)

    def read(self, ref: ChunkRef) -> bytes:
        """The pages of a chunk, verified, one after the other.

        Raises:
            CorruptChunkError: the chunk is not what `ref` says or not what was written.
        """
        if not CHUNK_OVERHEAD < ref.bytes <= self._longest or ref.offset < HEADER.size:
            # From a damaged row: it must not make us ask for the memory that it claims.
            raise CorruptChunkError.at(self.path, ref.offset, f"chunk {ref.number} cannot have {ref.bytes} bytes there")
        try:
            stored = memoryview(self._source.read(ref.offset, ref.bytes))
        except StoreError as error:
            raise CorruptChunkError.at(self.path, ref.offset, f"chunk {ref.number} cannot be read ({error})") from error
        if len(stored) != ref.bytes:
            raise CorruptChunkError.at(self.path, ref.offset, f"chunk {ref.number} is cut short")
        header, payload = stored[: CHUNK_HEADER.size], stored[CHUNK_OVERHEAD:]
        (claimed,) = CHECKSUM.unpack_from(stored, CHUNK_HEADER.size)
        checksum = chunk_checksum(header, payload)
        if checksum != ref.checksum:
            what = "does not match its checksum" if checksum != claimed else "is not the chunk that was stored here"
            raise CorruptChunkError.at(self.path, ref.offset, f"chunk {ref.number} {what}")
        return self._decode(ref, claimed, bytes(header), payload)

    def _decode(self, ref: ChunkRef, claimed: int, header: bytes, payload: memoryview) -> bytes:
        magic, index, size, pages, coding, sealed, reserved = CHUNK_HEADER.unpack(header)
        if (
            claimed != ref.checksum
            or (magic, index, size, pages) != (CHUNK_MAGIC, ref.number, len(payload), ref.pages)
            or sealed != self._cipher.sealed
            or reserved
        ):
            raise CorruptChunkError.at(self.path, ref.offset, f"the header of chunk {ref.number} is damaged")
        plain: bytes | memoryview = payload
        if sealed:
            try:
                plain = self._cipher.unseal_chunk(bytes(payload), self._id + header)
            except UnsealError:
                raise CorruptChunkError.at(
                    self.path, ref.offset, f"chunk {ref.number} does not unseal with the domain's key"
                ) from None
        raw = decode_pages(coding, plain, pages)
        if raw is None:
            raise CorruptChunkError.at(self.path, ref.offset, f"chunk {ref.number} does not decode to {pages} pages")
        return raw


class StoredPack(PackFile):
    """A pack of the domain, open for reading. Close it.

    Raises:
        CorruptPackError: it is missing, or its header is not that of this pack.
    """

    __slots__ = ("_stored",)

    def __init__(self, backend: Backend, pack_id: bytes, domain_id: bytes, cipher: Cipher) -> None:
        try:
            self._stored = backend.open(PACK, pack_id)
        except ObjectMissingError:
            raise CorruptPackError.at(backend.name(PACK, pack_id), None, "the pack is missing") from None
        try:
            super().__init__(self._stored, pack_id, domain_id, cipher)
        except BaseException:
            self._stored.close()
            raise

    def size(self) -> int:
        """Of the pack, in bytes, holes included."""
        return self._stored.size()

    def close(self) -> None:
        """Let go of it."""
        self._stored.close()


class PackSet:
    """The packs that one user of a domain reads; threads may share it.

    A bounded number stays open: a snapshot can have pages in as many packs as there are snapshots, and descriptors are few.
    """

    __slots__ = ("_backend", "_cipher", "_closed", "_domain_id", "_files", "_lock")

    def __init__(self, backend: Backend, domain_id: bytes, cipher: Cipher) -> None:
        self._backend = backend
        self._domain_id = domain_id
        self._cipher = cipher
        self._files: dict[bytes, StoredPack] = {}
        self._lock = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            self._closed = True
            for file in self._files.values():
                file.close()
            self._files.clear()

    def read(self, ref: ChunkRef) -> bytes:
        """The pages of a chunk, verified, one after the other.

        Raises:
            CorruptChunkError: the chunk is not what `ref` says or not what was written.
            CorruptPackError: the file is missing, or its header is not that of this pack.
        """
        file = self._files.get(ref.pack)
        if file is not None:
            return file.read(ref)
        file = StoredPack(self._backend, ref.pack, self._domain_id, self._cipher)
        try:
            return file.read(ref)
        finally:
            with self._lock:
                keep = (
                    not self._closed
                    and len(self._files) < OPEN_PACKS
                    and self._files.setdefault(ref.pack, file) is file
                )
            if not keep:
                file.close()


def check_pack_header(header: bytes, path: str, pack_id: bytes, domain_id: bytes) -> None:
    """Compare the first bytes of a pack file with what they have to be.

    Raises:
        CorruptPackError: they differ.
    """
    if len(header) != HEADER.size:
        raise CorruptPackError.at(path, 0, "the pack's header is cut short")
    magic, version, size, found, domain, _, checksum = HEADER.unpack(header)
    if checksum != xxhash.xxh3_64_intdigest(header[:-8]) or magic != MAGIC or size != HEADER.size:
        raise CorruptPackError.at(path, 0, "the pack's header is damaged")
    if version != VERSION:
        raise CorruptPackError.at(path, 8, f"the pack has version {version}, not {VERSION}")
    if found != pack_id or domain != domain_id:
        raise CorruptPackError.at(path, 16, "this is the file of another pack or domain")
