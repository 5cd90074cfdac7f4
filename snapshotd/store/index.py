"""Finding pages that the domain has already: digests to chunks, chunks to bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from snapshotd.store.catalogue import CHUNK_BITS
from snapshotd.store.errors import CorruptStoreError
from snapshotd.store.pack import CHUNK_PAGES, ChunkRef, PackSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from snapshotd.store.backend import Backend
    from snapshotd.store.catalogue import Catalogue
    from snapshotd.store.cipher import Cipher

_U64 = 1 << 64
_BATCH = 1000  # values in one statement


def signed(checksum: int) -> int:
    """A u64 as the signed integer of the same bits, which is what SQLite holds."""
    return checksum - _U64 if checksum >> 63 else checksum


class PageIndex:
    """What a capture asks of the domain. One capture has one, and holds the domain's lock shared while it does.

    Chunks go by their id in the catalogue here.
    """

    def __init__(self, catalogue: Catalogue, backend: Backend, cipher: Cipher, *, cached_chunks: int = 256) -> None:
        self._catalogue = catalogue
        self._packs = PackSet(backend, catalogue.domain_id, cipher)
        self._cipher = cipher
        self._refs: dict[int, ChunkRef] = {}
        self._pack_ids: dict[int, bytes] = {}
        self._pack_keys: dict[bytes, int] = {}
        self._raw: OrderedDict[int, bytes | None] = OrderedDict()
        self._cached_chunks = cached_chunks
        self._lock = threading.Lock()
        self._empty = catalogue.row("SELECT 1 FROM page LIMIT 1") is None

    def close(self) -> None:
        """Close the pack files."""
        self._packs.close()

    def candidates(self, digests: Sequence[bytes]) -> dict[bytes, tuple[int, int]]:
        """Digest -> (chunk id, slot) for those digests that the catalogue knows. Whether the bytes are equal is for the caller to see."""
        if (
            self._empty
        ):  # the first capture of a domain; one that runs beside it would not be seen anyway (section 1 of the format)
            return {}
        masked = self._cipher.mask(digests)
        plain = dict(zip(masked, digests, strict=True))
        found: dict[bytes, tuple[int, int]] = {}
        for start in range(0, len(masked), _BATCH):
            part = masked[start : start + _BATCH]
            marks = ", ".join("?" * len(part))
            for digest, place in self._catalogue.rows(
                f"SELECT digest, place FROM page WHERE digest IN ({marks})", part
            ):
                found[plain[digest]] = divmod(place, CHUNK_PAGES)
        self._load_refs({chunk for chunk, _ in found.values()})
        return {
            digest: place
            for digest, place in found.items()
            if place[0] in self._refs and place[1] < self._refs[place[0]].pages
        }

    def _load_refs(self, chunks: Iterable[int]) -> None:
        missing = [chunk for chunk in chunks if chunk not in self._refs]
        for start in range(0, len(missing), _BATCH):
            part = missing[start : start + _BATCH]
            marks = ", ".join("?" * len(part))
            rows = self._catalogue.rows(
                f"SELECT id, offset, bytes, pages, checksum FROM chunk WHERE id IN ({marks})", part
            )
            for chunk, offset, size, pages, checksum in rows:
                pack = self._pack_id(chunk >> CHUNK_BITS)
                # Values of other types are damage, and a damaged row is no candidate.
                if pack is not None and all(isinstance(value, int) for value in (offset, size, pages, checksum)):
                    self._refs[chunk] = ChunkRef(
                        pack, chunk & ((1 << CHUNK_BITS) - 1), offset, size, pages, checksum % _U64
                    )

    def _pack_id(self, key: int) -> bytes | None:
        if key not in self._pack_ids:
            row = self._catalogue.row("SELECT id FROM pack WHERE key = ?", (key,))
            if row is None or not isinstance(row[0], bytes):
                return None
            self._pack_ids[key] = row[0]
            self._pack_keys[row[0]] = key
        return self._pack_ids[key]

    def adopt(self, refs: Iterable[ChunkRef]) -> list[int]:
        """Ids of chunks that a parent's map names.

        Raises:
            KeyError: the catalogue does not know a pack.
        """
        ids = []
        for ref in refs:
            key = self._pack_keys.get(ref.pack)
            if key is None:
                row = self._catalogue.row("SELECT key FROM pack WHERE id = ?", (ref.pack,))
                if row is None:
                    raise KeyError(ref.pack.hex())
                key = self._pack_keys[ref.pack] = row[0]
                self._pack_ids[key] = ref.pack
            chunk = key << CHUNK_BITS | ref.number
            self._refs[chunk] = ref
            ids.append(chunk)
        return ids

    def ref(self, chunk: int) -> ChunkRef:
        """Where a chunk is that candidates() or adopt() named."""
        return self._refs[chunk]

    def pages(self, chunk: int) -> bytes | None:
        """The pages of such a chunk; None if it is damaged (then nothing more should refer to it)."""
        with self._lock:
            if chunk in self._raw:
                self._raw.move_to_end(chunk)
                return self._raw[chunk]
        raw: bytes | None
        try:
            raw = self._packs.read(self._refs[chunk])
        except CorruptStoreError:
            raw = None
        with self._lock:
            self._raw[chunk] = raw
            if len(self._raw) > self._cached_chunks:
                self._raw.popitem(last=False)
        return raw
