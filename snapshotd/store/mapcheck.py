"""What must hold inside a map file besides its checksum: a map that a faulty writer made is found here."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from snapshotd.store.overlay import ZERO
from snapshotd.store.pagemap import build_map

if TYPE_CHECKING:
    from collections.abc import Iterator

    from snapshotd.store.cipher import Cipher
    from snapshotd.store.pagemap import PageMap
    from snapshotd.store.rows import SnapshotRow


def faults(page_map: PageMap, row: SnapshotRow, cipher: Cipher) -> Iterator[str]:
    """What is wrong with the map of the snapshot in `row`; nothing if all is well."""
    if len(page_map.content) != row.map_bytes:
        yield f"the map has {len(page_map.content)} bytes and the catalogue says {row.map_bytes}"
    if page_map.snapshot_id != row.id:
        yield f"the map is that of snapshot {page_map.snapshot_id.hex()}"
    if page_map.frames != row.frames:
        yield f"the map covers {page_map.frames} frames and the catalogue says {row.frames}"
    layers = page_map.layers
    if layers[:1] != [page_map.snapshot_id]:
        yield "the map's first layer is not its snapshot"
    if row.parent is not None and layers[1:2] != [row.parent]:
        yield "the map's second layer is not the parent"
    try:
        refs = dict(enumerate(page_map.chunk(i) for i in range(page_map.chunk_count)))
        pieces = list(page_map.pieces(list(refs), 0))
        at = 0
        for gfn, count, chunk, slot, layer in pieces:
            if gfn != at or not count or layer >= len(layers) or (chunk != ZERO and slot + count > refs[chunk].pages):
                yield f"the piece of {count} frames at frame {gfn} makes no sense"
                return
            at += count
        if at != page_map.frames:
            yield f"the map's extents end at frame {at}"
            return
        # There is one way only to write a map down, so it is enough to do it again.
        again = build_map(page_map.snapshot_id, page_map.frames, layers, pieces, refs, cipher)
    except (ArithmeticError, LookupError, RuntimeError, struct.error) as error:
        yield f"the map's tables contradict each other ({error!r})"
        return
    if again != page_map.content:
        yield "the map's tables contradict each other"
