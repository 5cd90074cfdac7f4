"""Reading a snapshot back: what the restore path uses. Needs the map and the packs, never the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snapshotd.store.backend import MAP
from snapshotd.store.errors import CorruptMapError, ObjectMissingError
from snapshotd.store.layout import PAGE
from snapshotd.store.pack import PackSet
from snapshotd.store.pagemap import KIND_DATA, KIND_ZERO, PageMap

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from snapshotd.store.backend import Backend
    from snapshotd.store.cipher import Cipher
    from snapshotd.store.locks import Hold
    from snapshotd.store.pack import ChunkRef

ZERO = KIND_ZERO
DATA = KIND_DATA
ZERO_PAGE = bytes(PAGE)


def load_map(backend: Backend, map_id: bytes, cipher: Cipher) -> PageMap:
    """Read and verify a map. The caller keeps gc away, by the domain's lock or a hold on the snapshot.

    Raises:
        CorruptMapError: it is missing or damaged.
    """
    try:
        stored = backend.open(MAP, map_id)
    except ObjectMissingError:
        raise CorruptMapError.at(backend.name(MAP, map_id), None, "the map is missing") from None
    try:
        return PageMap.load(stored, cipher)
    finally:
        stored.close()


class SnapshotReader:
    """An open snapshot. It stays readable after the store is closed and after the snapshot is deleted, until it is closed itself.

    Threads may share it. It owns descriptors: use it as a context manager, or close it.

    Attributes:
        frames: guest frames that the snapshot covers, 0 .. frames-1.
        data_frames: how many of them are not zero.
        chunk_count: distinct chunks; their numbers are 0 .. chunk_count-1, by the lowest frame that each serves.
    """

    def __init__(self, backend: Backend, domain_id: bytes, cipher: Cipher, hold: Hold, page_map: PageMap) -> None:
        self._packs = PackSet(backend, domain_id, cipher)
        self._hold = hold
        self._map = page_map
        self.frames: int = page_map.frames
        self.data_frames: int = page_map.data_frames
        self.chunk_count: int = page_map.chunk_count

    def close(self) -> None:
        """Close the files, which lets gc collect the snapshot if it is deleted."""
        self._packs.close()
        self._hold.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def page_map(self) -> PageMap:
        """The verified map file, for those who walk its tables themselves."""
        return self._map

    @property
    def layers(self) -> list[str]:
        """Ids (hex) of the snapshots that gave the frames: this one, its parent, and so on."""
        return [layer.hex() for layer in self._map.layers]

    def runs(self) -> list[tuple[int, int, int]]:
        """(first gfn, frames, ZERO or DATA), ascending, covering all frames, neighbours of different kind."""
        merged: list[tuple[int, int, int]] = []
        for gfn, count, kind, _, _ in self._map.extents():
            if merged and merged[-1][2] == kind:
                merged[-1] = (merged[-1][0], merged[-1][1] + count, kind)
            else:
                merged.append((gfn, count, kind))
        return merged

    def data_runs(self) -> list[tuple[int, int]]:
        """(first gfn, frames) of the DATA runs."""
        return [(gfn, count) for gfn, count, kind in self.runs() if kind == DATA]

    def extents(self) -> list[tuple[int, int, int, int]]:
        """(first gfn, frames, ZERO or DATA, layer): as runs(), cut also where the layer (index into `layers`) changes."""
        return [(gfn, count, kind, layer) for gfn, count, kind, _, layer in self._map.extents()]

    def chunks(self) -> list[ChunkRef]:
        """The chunk table: pack id, number, file offset, bytes, pages, checksum of each chunk."""
        return [self._map.chunk(index) for index in range(self.chunk_count)]

    def chunk_of(self, gfn: int) -> int:
        """Number of the chunk that holds frame `gfn`; -1 if the frame is zero or past the end."""
        segment = self._map.segment_at(gfn)
        return -1 if segment is None else segment[1]

    def chunks_of(self, gfn: int, pages: int) -> list[int]:
        """Numbers of the chunks that hold any of `pages` frames from `gfn`, each once, by first use. Cheaper than a chunk_of for each frame."""
        found: dict[int, None] = {}
        for first, chunk, _, count, _ in self._map.segments_from(max(self._map.segment_before(gfn), 0)):
            if first >= gfn + pages:
                break
            if first + count > gfn:
                found[chunk] = None
        return list(found)

    def frames_of(self, chunk: int) -> list[tuple[int, int, int]]:
        """(first gfn, first slot, frames) of this snapshot that chunk number `chunk` serves, ascending."""
        return [(gfn, slot, count) for gfn, _, slot, count, _ in self._map.segments_of(chunk)]

    def read_chunk_raw(self, chunk: int) -> bytes:
        """All pages of a chunk one after the other, verified; page `slot` is at slot * 4096.

        Raises:
            CorruptChunkError: it is damaged.
            CorruptPackError: its pack is missing or damaged.
        """
        if self._hold.closed:
            raise ValueError("the reader is closed")
        return self._packs.read(self._map.chunk(chunk))

    def read_chunk(self, chunk: int) -> list[tuple[int, memoryview]]:
        """(gfn, page) of every frame that chunk number `chunk` serves, ascending; a page in several frames comes for each.

        Raises:
            CorruptChunkError: it is damaged.
            CorruptPackError: its pack is missing or damaged.
        """
        raw = memoryview(self.read_chunk_raw(chunk))
        return [
            (gfn + i, raw[(slot + i) * PAGE : (slot + i + 1) * PAGE])
            for gfn, slot, count in self.frames_of(chunk)
            for i in range(count)
        ]

    def page(self, gfn: int) -> bytes:
        """Frame `gfn`: 4096 bytes. Decodes a whole chunk each time.

        Raises:
            IndexError: the snapshot has no such frame.
        """
        if not 0 <= gfn < self.frames:
            raise IndexError(f"the snapshot has {self.frames} frames and no number {gfn}")
        segment = self._map.segment_at(gfn)
        if segment is None:
            return ZERO_PAGE
        first, chunk, slot, _, _ = segment
        start = (slot + gfn - first) * PAGE
        return self.read_chunk_raw(chunk)[start : start + PAGE]
