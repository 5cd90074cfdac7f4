"""From a stream of guest pages to places in chunks: zero pages out, known pages found, new ones packed sixteen by sixteen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import xxhash

from snapshotd.store.layout import PAGE
from snapshotd.store.overlay import ZERO
from snapshotd.store.pack import CHUNK_PAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from snapshotd.store.index import PageIndex
    from snapshotd.store.overlay import Piece
    from snapshotd.store.packwriter import PackWriter


class Ingested(NamedTuple):
    """What came of a stream of pages.

    New chunks have the numbers 0, 1, 2 ... of their pack here, old ones their ids, which are all larger than that.
    """

    pieces: list[Piece]
    digests: list[bytes | None]
    healed: list[bytes]
    total: int
    zero: int
    same: int
    new: int


BATCH = 1024  # pages: 4 MiB
ZERO_PAGE = bytes(PAGE)
_ZERO_DIGEST = xxhash.xxh3_128_digest(ZERO_PAGE)
_SLOT_MASK = CHUNK_PAGES - 1
_LOADERS = 2


class Ingest:
    """Takes one capture's pages, in ascending order.

    Args:
        index: of the domain.
        writer: of the new pack.
        below: pieces of the parent, all frames, with chunk ids that `index` adopted; None without a parent.
        frames: of the snapshot.
        progress: called with (frames dealt with, frames).
    """

    def __init__(
        self,
        index: PageIndex,
        writer: PackWriter,
        below: list[Piece] | None,
        frames: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._index = index
        self._writer = writer
        self._below = Below(below) if below is not None else None
        self._frames = frames
        self._progress = progress
        self._gfns: list[int] = []
        self._pages: list[memoryview] = []
        # digest -> chunk * 16 + slot of the page that later ones are compared with
        self._known: dict[bytes, int] = {}
        self._pending: list[memoryview] = []
        self._digests: list[bytes | None] = []
        self._healed: list[bytes] = []
        # Pieces as [gfn, count, place]; place is ZERO or chunk * 16 + slot.
        self._runs: list[list[int]] = []
        self._total = self._zero = self._same = 0

    def run(self, pages: Iterable[tuple[int, memoryview]]) -> Ingested:
        """Take all pages.

        Raises:
            ValueError: runs overlap, go down, end past `frames`, or are no whole pages.
        """
        with ThreadPoolExecutor(_LOADERS, "quark-load") as self._loaders:
            self._take_all(pages)
        if self._pending:
            self._writer.add(b"".join(self._pending))
        if self._progress is not None:
            self._progress(self._frames, self._frames)
        pieces = [
            (gfn, count, ZERO, 0, 0) if place == ZERO else (gfn, count, place // CHUNK_PAGES, place & _SLOT_MASK, 0)
            for gfn, count, place in self._runs
        ]
        return Ingested(pieces, self._digests, self._healed, self._total, self._zero, self._same, len(self._digests))

    def _take_all(self, pages: Iterable[tuple[int, memoryview]]) -> None:
        end = 0
        for first, data in pages:
            view = memoryview(data).cast("B")
            count, rest = divmod(len(view), PAGE)
            if rest or not count:
                raise ValueError(f"the run at frame {first} has {len(view)} bytes: not one or more pages of {PAGE}")
            if first < end:
                raise ValueError(f"the run at frame {first} comes after frame {end - 1}: runs have to ascend")
            end = first + count
            if end > self._frames:
                raise ValueError(
                    f"the run at frame {first} ends at frame {end}, past the {self._frames} of the snapshot"
                )
            done = 0
            while done < count:
                part = min(count - done, BATCH - len(self._gfns))
                self._gfns += range(first + done, first + done + part)
                self._pages += [view[at : at + PAGE] for at in range(done * PAGE, (done + part) * PAGE, PAGE)]
                done += part
                if len(self._gfns) == BATCH:
                    self._batch()
        if self._gfns:
            self._batch()

    def _batch(self) -> None:
        pages = self._pages
        digests = [xxhash.xxh3_128_digest(page) for page in pages]
        self._look_up(digests)
        for gfn, page, digest in zip(self._gfns, pages, digests, strict=True):
            if digest == _ZERO_DIGEST and bytes(page) == ZERO_PAGE:
                self._zero += 1
                place = ZERO
            else:
                place = self._place(page, digest)
            if self._below is not None and self._is_below(gfn, place):
                self._same += 1
                continue
            runs = self._runs
            if runs:
                last = runs[-1]
                if gfn == last[0] + last[1] and (
                    (place == last[2] == ZERO)
                    or (last[2] != ZERO and place == last[2] + last[1] and place & _SLOT_MASK)
                ):
                    last[1] += 1
                    continue
            runs.append([gfn, 1, place])
        self._total += len(pages)
        last_gfn = self._gfns[-1]
        self._gfns.clear()
        self._pages.clear()
        if self._progress is not None:
            self._progress(last_gfn + 1, self._frames)

    def _look_up(self, digests: list[bytes]) -> None:
        """Add the catalogue's candidates to the known pages and load their chunks, several at a time."""
        known = self._known
        unknown = [digest for digest in dict.fromkeys(digests) if digest not in known and digest != _ZERO_DIGEST]
        found = self._index.candidates(unknown)
        for digest, (chunk, slot) in found.items():
            known[digest] = chunk * CHUNK_PAGES + slot
        chunks = dict.fromkeys(chunk for chunk, _ in found.values())
        for _ in self._loaders.map(self._index.pages, chunks):
            pass

    def _place(self, page: memoryview, digest: bytes) -> int:
        """Where the bytes of a page are, after adding them if they are nowhere yet."""
        place = self._known.get(digest)
        if place is None:
            self._known[digest] = place = self._add(page, digest)
            return place
        chunk, slot = divmod(place, CHUNK_PAGES)
        stored = self._stored(chunk)
        if stored is None:
            # The domain's copy is damaged. From now on the catalogue names the new one.
            self._healed.append(digest)
            self._known[digest] = place = self._add(page, digest)
            return place
        if stored[slot * PAGE : (slot + 1) * PAGE] == bytes(page):
            return place
        return self._add(page, None)

    def _add(self, page: memoryview, digest: bytes | None) -> int:
        place = self._writer.chunks * CHUNK_PAGES + len(self._pending)
        self._digests.append(digest)
        self._pending.append(page)
        if len(self._pending) == CHUNK_PAGES:
            self._writer.add(b"".join(self._pending))
            self._pending = []
        return place

    def _stored(self, chunk: int) -> bytes | None:
        if chunk == self._writer.chunks:
            return b"".join(self._pending)
        if chunk < self._writer.chunks:
            return self._writer.raw(chunk)
        return self._index.pages(chunk)

    def _is_below(self, gfn: int, place: int) -> bool:
        """Whether the parent's frame has the same bytes as the page that was just placed."""
        assert self._below is not None
        piece = self._below.at(gfn)
        if piece is None or piece[2] == ZERO or place == ZERO:
            # Past the parent's end frames are zero.
            return place == ZERO and (piece is None or piece[2] == ZERO)
        chunk, slot = divmod(place, CHUNK_PAGES)
        below_slot = piece[3] + gfn - piece[0]
        if (piece[2], below_slot) == (chunk, slot):
            return True
        if chunk <= self._writer.chunks:
            return False  # new to the domain, so not the parent's
        # The domain can hold a page twice; then the parent may use the other one.
        mine, theirs = self._index.pages(chunk), self._index.pages(piece[2])
        return (
            mine is not None
            and theirs is not None
            and mine[slot * PAGE : (slot + 1) * PAGE] == theirs[below_slot * PAGE : (below_slot + 1) * PAGE]
        )


class Below:
    """The parent's pieces, asked for ascending frames."""

    __slots__ = ("_at", "_pieces")

    def __init__(self, pieces: list[Piece]) -> None:
        self._pieces = pieces
        self._at = 0

    def at(self, gfn: int) -> Piece | None:
        """The piece that holds frame `gfn`; None past the end."""
        pieces = self._pieces
        while self._at < len(pieces) and pieces[self._at][0] + pieces[self._at][1] <= gfn:
            self._at += 1
        return pieces[self._at] if self._at < len(pieces) else None
