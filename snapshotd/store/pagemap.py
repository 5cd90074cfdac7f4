"""Map files: which frame of a snapshot is where (docs/store-format.md, section 5)."""

from __future__ import annotations

import struct
from bisect import bisect_right
from typing import TYPE_CHECKING

from snapshotd.store.backend import MAP
from snapshotd.store.errors import CorruptMapError, StoreError
from snapshotd.store.overlay import ZERO, joined
from snapshotd.store.pack import ChunkRef

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from snapshotd.store.backend import Backend, StoredObject
    from snapshotd.store.cipher import Cipher
    from snapshotd.store.overlay import Piece

VERSION = 1
MAGIC = b"QKMAP\0\x1a\n"
HEADER = struct.Struct("<8sII16s16sQ6I6Q")
TAGGED = 32  # the tag covers the file from here
CHUNK = struct.Struct("<IIQIIQ")
SEGMENT = struct.Struct("<IIBBH")
EXTENT = struct.Struct("<IIBBH")
KIND_ZERO, KIND_DATA = 0, 1
FRAMES_LIMIT = (1 << 32) - 1
LAYERS_LIMIT = (1 << 16) - 1


def build_map(
    snapshot_id: bytes,
    frames: int,
    layers: list[bytes],
    pieces: Iterable[Piece],
    refs: Mapping[int, ChunkRef],
    cipher: Cipher,
) -> bytes:
    """The content of a map file.

    Args:
        snapshot_id: whose map it is; equals layers[0].
        frames: how many the map covers.
        layers: ids, nearest first.
        pieces: all frames, ascending; their chunk numbers are keys of `refs`.
        refs: the chunks.
        cipher: makes the tag.
    """
    if len(layers) > LAYERS_LIMIT:
        raise StoreError(f"a snapshot can have {LAYERS_LIMIT} layers and this would be one more; `flatten` its parent")
    chunks: dict[int, int] = {}
    packs: dict[bytes, int] = {}
    segments: list[tuple[int, int, int, int, int]] = []
    extents: list[tuple[int, int, int, int]] = []
    for gfn, count, chunk, slot, layer in joined(pieces):
        kind = KIND_ZERO if chunk == ZERO else KIND_DATA
        if kind == KIND_DATA:
            segments.append((gfn, chunks.setdefault(chunk, len(chunks)), slot, count, layer))
        if extents and extents[-1][2:] == (kind, layer):
            extents[-1] = (extents[-1][0], extents[-1][1] + count, kind, layer)
        else:
            extents.append((gfn, count, kind, layer))
    entries = [
        CHUNK.pack(packs.setdefault(ref.pack, len(packs)), ref.number, ref.offset, ref.bytes, ref.pages, ref.checksum)
        for ref in map(refs.__getitem__, chunks)
    ]
    sections = (
        b"".join(layers),
        b"".join(packs),
        b"".join(entries),
        b"".join(SEGMENT.pack(*segment) for segment in segments),
        _by_chunk([segment[1] for segment in segments], len(chunks)),
        b"".join(EXTENT.pack(gfn, count, kind, 0, layer) for gfn, count, kind, layer in extents),
    )
    counts = (
        len(layers),
        len(packs),
        len(chunks),
        len(segments),
        len(extents),
        sum(segment[3] for segment in segments),
    )
    body = bytearray()
    offsets = []
    for section in sections:
        body += bytes(-len(body) % 8)
        offsets.append(HEADER.size + len(body))
        body += section
    header = HEADER.pack(MAGIC, VERSION, HEADER.size, bytes(16), snapshot_id, frames, *counts, *offsets)
    content = header[TAGGED:] + body
    return header[: TAGGED - 16] + cipher.map_tag(content) + content


def _by_chunk(chunk_of: list[int], chunks: int) -> bytes:
    """Section 5: for each chunk where its segments start in the list that follows, and that list."""
    order = sorted(range(len(chunk_of)), key=chunk_of.__getitem__)
    start = [0] * (chunks + 1)
    for chunk in chunk_of:
        start[chunk + 1] += 1
    for i in range(chunks):
        start[i + 1] += start[i]
    return struct.pack(f"<{chunks + 1}I{len(order)}I", *start, *order)


def publish_map(backend: Backend, map_id: bytes, content: bytes) -> None:
    """Store what build_map() made, durably."""
    upload = backend.begin(MAP, map_id)
    try:
        upload.append([content])
        upload.publish()
    except BaseException:
        upload.abandon()
        raise


class PageMap:
    """A verified map file. Kept as bytes: a file that changes under a mapping could change after its tag was checked.

    Attributes:
        path: name of the file, for messages.
        snapshot_id, frames, data_frames: as in the header.
        content: the whole file.
        offsets: of the six sections.
    """

    def __init__(self, content: bytes, path: str, cipher: Cipher) -> None:
        self.path = path
        self.content = content
        if len(content) < HEADER.size:
            raise CorruptMapError.at(path, 0, "the map is cut short")
        magic, version, size, tag, self.snapshot_id, self.frames, *rest = HEADER.unpack_from(content)
        if magic != MAGIC or size != HEADER.size:
            raise CorruptMapError.at(path, 0, "the map's header is damaged")
        if version != VERSION:
            raise CorruptMapError.at(path, 8, f"the map has version {version}, not {VERSION}")
        if cipher.map_tag(memoryview(content)[TAGGED:]) != tag:
            raise CorruptMapError.at(path, None, "the map does not match its checksum")
        layers, packs, self.chunk_count, self.segment_count, self.extent_count, self.data_frames = rest[:6]
        self.offsets: tuple[int, ...] = tuple(rest[6:])
        sizes = (
            16 * layers,
            16 * packs,
            CHUNK.size * self.chunk_count,
            SEGMENT.size * self.segment_count,
            4 * (self.chunk_count + 1 + self.segment_count),
            EXTENT.size * self.extent_count,
        )
        end = HEADER.size
        views = []
        for offset, length in zip(self.offsets, sizes, strict=True):
            if offset != end + -end % 8 or offset + length > len(content):
                raise CorruptMapError.at(path, 80, "the map's sections are not where they belong")
            end = offset + length
            views.append(memoryview(content)[offset:end])
        if end != len(content):
            raise CorruptMapError.at(path, end, "the map has bytes after its end")
        self._layers, self._packs, self._chunks, self._segments, by_chunk, self._extents = views
        # Columns of the segment table: 12 bytes are three u32.
        self._segment_words = self._segments.cast("I")
        self._starts = by_chunk[: 4 * (self.chunk_count + 1)].cast("I")
        self._order = by_chunk[4 * (self.chunk_count + 1) :].cast("I")

    @classmethod
    def load(cls, stored: StoredObject, cipher: Cipher) -> PageMap:
        """Read and verify a map.

        Raises:
            CorruptMapError: it is damaged.
        """
        return cls(stored.read(0, stored.size()), stored.name, cipher)

    @property
    def layers(self) -> list[bytes]:
        """Ids of the snapshots that gave the frames, nearest first."""
        return [bytes(self._layers[i : i + 16]) for i in range(0, len(self._layers), 16)]

    @property
    def packs(self) -> list[bytes]:
        """Ids of the packs that hold the chunks."""
        return [bytes(self._packs[i : i + 16]) for i in range(0, len(self._packs), 16)]

    def chunk(self, index: int) -> ChunkRef:
        """Entry `index` of the chunk table."""
        if not 0 <= index < self.chunk_count:
            raise IndexError(f"{self.path}: the map has {self.chunk_count} chunks and no number {index}")
        pack, number, offset, size, pages, checksum = CHUNK.unpack_from(self._chunks, index * CHUNK.size)
        return ChunkRef(bytes(self._packs[16 * pack : 16 * pack + 16]), number, offset, size, pages, checksum)

    def segments(self) -> Iterator[tuple[int, int, int, int, int]]:
        """(gfn, chunk, slot, count, layer), ascending."""
        return SEGMENT.iter_unpack(self._segments)

    def extents(self) -> Iterator[tuple[int, int, int, int, int]]:
        """(gfn, count, kind, reserved, layer), ascending, covering all frames."""
        return EXTENT.iter_unpack(self._extents)

    def segment_at(self, gfn: int) -> tuple[int, int, int, int, int] | None:
        """The segment that holds frame `gfn`; None if the frame is zero."""
        index = self.segment_before(gfn)
        if index < 0:
            return None
        segment: tuple[int, int, int, int, int] = SEGMENT.unpack_from(self._segments, index * SEGMENT.size)
        return segment if gfn < segment[0] + segment[3] else None

    def segment_before(self, gfn: int) -> int:
        """Index of the last segment that starts at `gfn` or before; -1 if none does."""
        words = self._segment_words
        return bisect_right(range(self.segment_count), gfn, key=lambda i: words[3 * i]) - 1

    def segments_from(self, index: int) -> Iterator[tuple[int, int, int, int, int]]:
        """As segments(), starting with number `index`."""
        return SEGMENT.iter_unpack(self._segments[index * SEGMENT.size :])

    def segments_of(self, chunk: int) -> list[tuple[int, int, int, int, int]]:
        """The segments that use chunk number `chunk`, ascending by gfn."""
        start, end = self._starts[chunk], self._starts[chunk + 1]
        return [SEGMENT.unpack_from(self._segments, i * SEGMENT.size) for i in self._order[start:end]]

    def pieces(self, chunk_keys: list[int], deeper: int) -> Iterator[Piece]:
        """All frames as pieces of overlay.py.

        Args:
            chunk_keys: what the caller calls each chunk of the table.
            deeper: added to each layer.
        """
        segments = self.segments()
        for gfn, count, kind, _, layer in self.extents():
            if kind == KIND_ZERO:
                yield (gfn, count, ZERO, 0, layer + deeper)
                continue
            at = gfn
            while at < gfn + count:
                first, chunk, slot, pages, _ = next(segments)
                yield (first, pages, chunk_keys[chunk], slot, layer + deeper)
                at = first + pages
