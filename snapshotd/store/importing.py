"""import: a snapshot and its ancestors from a stream; all become visible together (docs/store-format.md, section 9)."""

from __future__ import annotations

import heapq
import json
import struct
from typing import TYPE_CHECKING

from snapshotd.store import rows
from snapshotd.store.capture import Capture
from snapshotd.store.catalogue import Transaction
from snapshotd.store.commit import use
from snapshotd.store.errors import BadNameError
from snapshotd.store.exporting import COUNTS, ZERO_RUN, LayerPages
from snapshotd.store.layout import PAGE, check_name
from snapshotd.store.pack import CHUNK_PAGES, decode_pages
from snapshotd.store.pagemap import FRAMES_LIMIT
from snapshotd.store.records import END, LAYER, LAYER_END, META, PAGES, WORKING_SET, ZEROS, RecordReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

    from snapshotd.store.domain import Domain
    from snapshotd.store.rows import SnapshotRow

_ZERO_RUN = 256
_ZERO_PAGES = memoryview(bytes(_ZERO_RUN * PAGE))
_NS_LIMIT = 1 << 63


class Import:
    """One import. The caller holds the domain's lock shared. `believed`: as Store.import_ says."""

    def __init__(self, domain: Domain, *, believed: bool = False) -> None:
        self._domain = domain
        self._believed = believed
        self._incoming: list[SnapshotRow] = []

    def run(self, file: BinaryIO, name: str | None, check: Callable[[bytes], object] | None = None) -> SnapshotRow:
        """Read the whole stream and publish it, if `check` lets the documents of what is new pass; if that fails nothing is visible, and gc removes what was written."""
        reader = RecordReader(file, self._domain.key)
        self._domain.cipher.seal_blob(b"", b"")
        parent: SnapshotRow | None = None
        head: Head | None = None
        while True:
            kind, payload = reader.read()
            if kind == END:
                break
            if kind != LAYER or (head is not None and head.last):
                raise reader.fail(f"a record of type {kind} is out of place")
            head = Head(reader, payload, None if parent is None else parent.id)
            parent = self._layer(reader, head, parent)
        if head is None or not head.last:
            raise reader.fail("the stream holds no snapshot")
        reader.end()
        if check is not None:
            for row in self._incoming:
                check(rows.get_meta(self._domain.catalogue, self._domain.cipher, row))
        return self._publish(name)

    def _layer(self, reader: RecordReader, head: Head, parent: SnapshotRow | None) -> SnapshotRow:
        here = rows.by_id(self._domain.catalogue, head.id)
        layer = LayerReader(reader, head.frames)
        if here is not None and not head.last:
            self._compare(reader, head, here, layer, parent)
            return here
        capture = Capture(
            self._domain,
            head.name,
            head.frames,
            parent=parent,
            state=rows.INCOMING,
            snapshot_id=None if here is not None else head.id,
            created_ns=head.created_ns,
        )
        row = capture.run(layer.meta, layer.runs(), None)
        self._incoming.append(row)
        blobs = {} if layer.working_set is None else {rows.WORKING_SET: layer.working_set}
        if not self._believed:
            blobs[rows.IMPORTED] = b""
        catalogue = self._domain.catalogue
        with Transaction(catalogue):
            for kind, data in blobs.items():
                use(catalogue, rows.put_blob(catalogue, self._domain.cipher, row, kind, data))
        return row

    def _compare(
        self, reader: RecordReader, head: Head, here: SnapshotRow, layer: LayerReader, parent: SnapshotRow | None
    ) -> None:
        """Check that the stream's ancestor is the snapshot with its id that is here. Ids name images in memory, so no two may differ."""
        meta = rows.get_meta(self._domain.catalogue, self._domain.cipher, here)
        same = (here.frames, here.parent, meta) == (head.frames, head.parent, layer.meta)
        with self._domain.open_reader(here) as stored:
            pages = LayerPages(stored)
            # Zero frames past the parent's end are not in the stream.
            below = min(parent.frames, here.frames) if parent is not None else 0
            mine = heapq.merge(single_frames(zero_runs(pages.zeros(below))), single_frames(pages.data()), key=_gfn)
            for item in single_frames(layer.runs()):
                same = same and next(mine, None) == item
            same = same and next(mine, None) is None
        if not same:
            raise reader.fail(
                f"its ancestor {head.name!r} has the id of snapshot {here.name!r} here, and they differ; use another domain"
            )

    def _publish(self, name: str | None) -> SnapshotRow:
        catalogue = self._domain.catalogue
        with Transaction(catalogue):
            for row in self._incoming[:-1]:
                free = rows.find(catalogue, row.name) is None
                rows.update(
                    catalogue,
                    row._replace(state=rows.LIVE, name=row.name if free else f"{row.name[:119]}-{row.id.hex()[:8]}"),
                )
            last = self._incoming[-1]._replace(state=rows.LIVE)
            last = last._replace(name=last.name if name is None else name)
            rows.require_free(catalogue, last.name)
            rows.update(catalogue, last)
        return last


class Head:
    """The JSON object of a layer record, checked."""

    def __init__(self, reader: RecordReader, payload: bytes, parent: bytes | None) -> None:
        try:
            values = json.loads(payload)
            self.id = _id(values["id"])
            self.parent = None if values["parent"] is None else _id(values["parent"])
            self.name: str = values["name"]
            self.frames: int = values["frames"]
            self.created_ns: int = values["created_ns"]
            self.last: bool = values["last"]
            check_name(self.name, "snapshot")
        except (ValueError, LookupError, TypeError, RecursionError, BadNameError) as error:
            raise reader.fail(f"a layer is not described as it should be ({error})") from None
        numbers = ((self.frames, FRAMES_LIMIT), (self.created_ns, _NS_LIMIT - 1))
        if type(self.last) is not bool or any(
            type(value) is not int or not 0 <= value <= limit for value, limit in numbers
        ):
            raise reader.fail("a layer is not described as it should be")
        if self.parent != parent:
            raise reader.fail("a layer is not on top of the one before it")


def _id(text: str) -> bytes:
    raw = bytes.fromhex(text)
    if len(raw) != 16:
        raise ValueError(f"{text!r} is no id")
    return raw


class LayerReader:
    """The records of one layer after its head.

    Attributes:
        meta: the document.
        working_set: if there is one.
    """

    def __init__(self, reader: RecordReader, frames: int) -> None:
        self._reader = reader
        self._frames = frames
        kind, self.meta = reader.read()
        if kind != META:
            raise reader.fail("a layer has no document")
        self.working_set: bytes | None = None
        self._next = reader.read()
        if self._next[0] == WORKING_SET:
            self.working_set = self._next[1]
            self._next = reader.read()

    def runs(self) -> Iterator[tuple[int, memoryview]]:
        """What create_snapshot() wants: the frames that the layer gives, ascending. Reads up to the layer's end."""
        zeros: list[tuple[int, int]] = []
        while self._next[0] == ZEROS:
            try:
                zeros += ZERO_RUN.iter_unpack(self._next[1])
            except struct.error:
                raise self._reader.fail("a record of zero frames is damaged") from None
            self._next = self._reader.read()
        if not all(count for _, count in zeros):
            raise self._reader.fail("a record of zero frames is damaged")
        at = 0
        for first, data in heapq.merge(zero_runs(zeros), self._pages(), key=_gfn):
            end = first + len(data) // PAGE
            if first < at or end > self._frames:
                raise self._reader.fail(f"frame {first} is out of place")
            at = end
            yield first, data
        if self._next[0] != LAYER_END or self._next[1] != COUNTS.pack(self._data, sum(count for _, count in zeros)):
            raise self._reader.fail("a layer does not end as it should")

    def _pages(self) -> Iterator[tuple[int, memoryview]]:
        self._data = 0
        while self._next[0] == PAGES:
            gfns, raw = self._decode(self._next[1])
            for i, gfn in enumerate(gfns):
                yield gfn, raw[i * PAGE : (i + 1) * PAGE]
            self._data += len(gfns)
            self._next = self._reader.read()

    def _decode(self, payload: bytes) -> tuple[list[int], memoryview]:
        try:
            (count,) = struct.unpack_from("<I", payload)
            if not 1 <= count <= CHUNK_PAGES:
                raise self._reader.fail(f"a record claims {count} pages")
            *gfns, coding = struct.unpack_from(f"<{count}IB", payload, 4)
        except struct.error:
            raise self._reader.fail("a record of pages is cut short") from None
        raw = decode_pages(coding, memoryview(payload)[5 + 4 * count :], count)
        if raw is None:
            raise self._reader.fail("the pages of a record do not decode")
        return gfns, memoryview(raw)


def zero_runs(runs: Iterable[tuple[int, int]]) -> Iterator[tuple[int, memoryview]]:
    """(gfn, count) as runs of real zero pages."""
    for first, count in runs:
        for gfn in range(first, first + count, _ZERO_RUN):
            yield gfn, _ZERO_PAGES[: min(first + count - gfn, _ZERO_RUN) * PAGE]


def single_frames(runs: Iterable[tuple[int, memoryview]]) -> Iterator[tuple[int, bytes]]:
    """Runs as single pages."""
    for first, data in runs:
        for i in range(len(data) // PAGE):
            yield first + i, bytes(data[i * PAGE : (i + 1) * PAGE])


def _gfn(item: tuple[int, object]) -> int:
    return item[0]
