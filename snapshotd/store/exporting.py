"""export: a snapshot and its ancestors as one stream (docs/store-format.md, section 9)."""

from __future__ import annotations

import json
import struct
from collections import OrderedDict
from contextlib import ExitStack
from itertools import chain as joined
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from snapshotd.store import rows
from snapshotd.store.errors import CorruptCatalogueError, StoreBusyError
from snapshotd.store.layout import PAGE, derived_id
from snapshotd.store.overlay import ZERO
from snapshotd.store.pack import CHUNK_PAGES, Encoder
from snapshotd.store.records import END, LAYER, LAYER_END, META, PAGES, WORKING_SET, ZEROS, RecordWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from snapshotd.store.domain import Domain
    from snapshotd.store.overlay import Piece
    from snapshotd.store.reader import SnapshotReader
    from snapshotd.store.rows import SnapshotRow

T = TypeVar("T")
COUNTS = struct.Struct("<QQ")
ZERO_RUN = struct.Struct("<II")
_CACHED_CHUNKS = 64
_ZERO_RUNS = 4096  # in one record


class Appendix(NamedTuple):
    """What an export adds to a snapshot. With it that is another snapshot, with an id of its own.

    Attributes:
        id: hex, of the snapshot that it was made for.
        meta: the document instead of the snapshot's.
        frames: that it covers then.
        pages: runs as for Store.create_snapshot, of frames past its own end.
    """

    id: str
    meta: bytes
    frames: int
    pages: Iterable[tuple[int, memoryview]]


class LayerPages:
    """The frames that a snapshot itself gives, ascending, each chunk decoded as seldom as a small cache allows."""

    def __init__(self, reader: SnapshotReader) -> None:
        self._reader = reader
        self._raw: OrderedDict[int, bytes] = OrderedDict()

    def pieces(self) -> Iterator[Piece]:
        """Its pieces of layer 0; chunk numbers are those of its map."""
        page_map = self._reader.page_map
        return (piece for piece in page_map.pieces(list(range(page_map.chunk_count)), 0) if piece[4] == 0)

    def data(self) -> Iterator[tuple[int, memoryview]]:
        """(gfn, page) of those that are not zero."""
        for gfn, count, chunk, slot, _ in self.pieces():
            if chunk != ZERO:
                raw = memoryview(self.chunk(chunk))
                for i in range(count):
                    yield gfn + i, raw[(slot + i) * PAGE : (slot + i + 1) * PAGE]

    def zeros(self, end: int) -> Iterator[tuple[int, int]]:
        """(gfn, count) of zero frames below `end`."""
        for gfn, count, chunk, _, _ in self.pieces():
            if chunk == ZERO and gfn < end:
                yield gfn, min(count, end - gfn)

    def chunk(self, number: int) -> bytes:
        """The pages of a chunk."""
        raw = self._raw.get(number)
        if raw is None:
            raw = self._raw[number] = self._reader.read_chunk_raw(number)
            if len(self._raw) > _CACHED_CHUNKS:
                self._raw.popitem(last=False)
        else:
            self._raw.move_to_end(number)
        return raw


def chain(domain: Domain, name: str) -> list[SnapshotRow]:
    """A snapshot and its ancestors, the oldest first."""
    catalogue = domain.catalogue
    with catalogue.lock:
        found = [rows.get(catalogue, name)]
        seen = {found[0].id}
        while (parent_id := found[-1].parent) is not None:
            parent = rows.by_id(catalogue, parent_id)
            if parent is None or parent_id in seen:
                raise CorruptCatalogueError.at(
                    catalogue.path,
                    None,
                    f"the parent of snapshot {found[-1].name!a} is not there",
                    "flatten the snapshot",
                )
            found.append(parent)
            seen.add(parent_id)
    return found[::-1]


def export(domain: Domain, name: str, file: BinaryIO, appendix: Appendix | None) -> None:
    """Write snapshot `name` and its chain to `file`."""
    domain.cipher.seal_blob(b"", b"")  # no key: say so before the first byte
    with ExitStack() as stack:
        # All are opened first: what is deleted from now on stays readable.
        layers = [(row, stack.enter_context(domain.open_reader(row))) for row in chain(domain, name)]
        metas = [rows.get_meta(domain.catalogue, domain.cipher, row) for row, _ in layers]
        heads = [row for row, _ in layers]
        added: Iterable[tuple[int, memoryview]] = ()
        if appendix is not None:
            if heads[-1].id.hex() != appendix.id:
                raise StoreBusyError(f"snapshot {name!a} was replaced by another at this moment; try again")
            heads[-1] = heads[-1]._replace(id=derived_id(heads[-1].id + appendix.meta), frames=appendix.frames)
            metas[-1] = appendix.meta
            added = single_pages(appendix.pages)
        writer = RecordWriter(file, domain.key)
        below = 0
        for (row, reader), head, meta in zip(layers, heads, metas, strict=True):
            last = head is heads[-1]
            working_set = rows.get_blob(domain.catalogue, domain.cipher, row, rows.WORKING_SET)
            _export_head(writer, head, meta, working_set, last=last)
            _export_frames(writer, LayerPages(reader), below, added if last else ())
            below = row.frames
        writer.write(END, b"")


def _export_head(writer: RecordWriter, row: SnapshotRow, meta: bytes, working_set: bytes | None, *, last: bool) -> None:
    head = {
        "id": row.id.hex(),
        "name": row.name,
        "parent": None if row.parent is None else row.parent.hex(),
        "frames": row.frames,
        "created_ns": row.created_ns,
        "last": last,
    }
    writer.write(LAYER, json.dumps(head).encode())
    writer.write(META, meta)
    if working_set is not None:
        writer.write(WORKING_SET, working_set)


def single_pages(runs: Iterable[tuple[int, memoryview]]) -> Iterator[tuple[int, memoryview]]:
    """Runs as single pages."""
    for first, data in runs:
        for i in range(len(data) // PAGE):
            yield first + i, data[i * PAGE : (i + 1) * PAGE]


def _export_frames(
    writer: RecordWriter, layer: LayerPages, below: int, added: Iterable[tuple[int, memoryview]]
) -> None:
    data = zero = 0
    encoder = Encoder()
    for runs in batched(layer.zeros(below), _ZERO_RUNS):
        writer.write(ZEROS, b"".join(ZERO_RUN.pack(*run) for run in runs))
        zero += sum(count for _, count in runs)
    for pages in batched(joined(layer.data(), added), CHUNK_PAGES):
        coding, payload = encoder.encode(b"".join(page for _, page in pages))
        head = struct.pack(f"<I{len(pages)}IB", len(pages), *(gfn for gfn, _ in pages), coding)
        writer.write(PAGES, head + payload)
        data += len(pages)
    writer.write(LAYER_END, COUNTS.pack(data, zero))


def batched(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Lists of up to `size` items (itertools.batched comes with Python 3.12)."""
    while part := list(islice(items, size)):
        yield part
