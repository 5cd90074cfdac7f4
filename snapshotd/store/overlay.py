"""Pieces of guest memory and how the layers of a snapshot lie on each other. Pure: no files, no catalogue.

A piece is a tuple (gfn, count, chunk, slot, layer). With chunk >= 0 frames gfn .. gfn+count-1 have the pages slot .. slot+count-1 of
that chunk; with chunk == ZERO they are zero and slot is 0. What a chunk number means is the caller's business.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Piece = tuple[int, int, int, int, int]

ZERO = -1


def joined(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The same frames in the fewest pieces."""
    current: Piece | None = None
    for piece in pieces:
        if current is None:
            current = piece
            continue
        gfn, count, chunk, slot, layer = current
        next_gfn, next_count, next_chunk, next_slot, next_layer = piece
        if (
            next_gfn == gfn + count
            and next_chunk == chunk
            and next_layer == layer
            and (chunk == ZERO or next_slot == slot + count)
        ):
            current = (gfn, count + next_count, chunk, slot, layer)
        else:
            yield current
            current = piece
    if current is not None:
        yield current


def cut(piece: Piece, first: int, end: int) -> Piece:
    """The part of a piece in frames first .. end-1, which must not be empty."""
    gfn, count, chunk, slot, layer = piece
    start = max(gfn, first)
    stop = min(gfn + count, end)
    return (start, stop - start, chunk, slot if chunk == ZERO else slot + start - gfn, layer)


def overlay(own: list[Piece], below: Iterable[Piece], frames: int) -> Iterator[Piece]:
    """`own` pieces where there are any, else those of `below`, else zero in layer 0; frames 0 .. frames-1, ascending.

    Both must be ascending and must not overlap themselves; `own` ends at `frames` or before.
    """
    below = iter(below)
    lower = next(below, None)
    at = 0
    for piece in [*own, (frames, 0, ZERO, 0, 0)]:
        start = piece[0]
        while at < start:
            while lower is not None and lower[0] + lower[1] <= at:
                lower = next(below, None)
            if lower is None or lower[0] >= start:
                yield (at, start - at, ZERO, 0, 0)
                break
            if lower[0] > at:
                yield (at, lower[0] - at, ZERO, 0, 0)
            part = cut(lower, at, start)
            yield part
            at = part[0] + part[1]
        if piece[1]:
            yield piece
        at = start + piece[1]


def find(pieces: list[Piece], gfn: int) -> Piece | None:
    """The piece that holds frame `gfn`, if any."""
    i = bisect_right(pieces, gfn, key=lambda piece: piece[0]) - 1
    if i >= 0 and gfn < pieces[i][0] + pieces[i][1]:
        return pieces[i]
    return None
