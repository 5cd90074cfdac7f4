"""Flattening: a snapshot that needs no parent any more. No page moves: its map names all its chunks already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snapshotd.store import rows
from snapshotd.store.backend import MAP
from snapshotd.store.catalogue import Transaction
from snapshotd.store.commit import use
from snapshotd.store.errors import CorruptMapError, SnapshotUnknownError
from snapshotd.store.layout import new_id
from snapshotd.store.pagemap import build_map, publish_map
from snapshotd.store.reader import load_map

if TYPE_CHECKING:
    from snapshotd.store.domain import Domain
    from snapshotd.store.rows import SnapshotRow


def flatten(domain: Domain, name: str) -> SnapshotRow:
    """Cut the tie of snapshot `name` to its parent. The caller holds the domain's lock shared.

    The old row and map stay behind as deleted: readers may have them open.
    """
    row = rows.get(domain.catalogue, name)
    if row.parent is None:
        return row
    old = load_map(domain.backend, row.map, domain.cipher)
    if old.snapshot_id != row.id:
        raise CorruptMapError.at(old.path, 32, "this is the map of another snapshot")
    refs = dict(enumerate(old.chunk(index) for index in range(old.chunk_count)))
    pieces = ((gfn, count, chunk, slot, 0) for gfn, count, chunk, slot, _ in old.pieces(list(refs), 0))
    content = build_map(row.id, row.frames, [row.id], pieces, refs, domain.cipher)
    map_id = new_id()
    try:
        publish_map(domain.backend, map_id, content)
        return _commit(domain, row, map_id, len(content))
    except BaseException:
        if domain.catalogue.row("SELECT 1 FROM snapshot WHERE map = ?", (map_id,)) is None:
            domain.backend.remove(MAP, map_id)
        raise


def _commit(domain: Domain, row: SnapshotRow, map_id: bytes, map_bytes: int) -> SnapshotRow:
    catalogue = domain.catalogue
    with Transaction(catalogue):
        now = rows.by_key(catalogue, row.key)
        if now is None or now.state != rows.LIVE:
            raise SnapshotUnknownError(f"snapshot {row.name!a} was deleted while it was flattened")
        rows.update(catalogue, now._replace(state=rows.DELETED))
        flat = now._replace(key=0, parent=None, map=map_id, map_bytes=map_bytes)
        flat = flat._replace(key=rows.insert(catalogue, flat))
        catalogue.run("INSERT INTO blob SELECT ?, kind, data, sum FROM blob WHERE snapshot = ?", (flat.key, now.key))
        catalogue.run("INSERT INTO ref SELECT ?, first, last FROM ref WHERE snapshot = ?", (flat.key, now.key))
        catalogue.run_many(
            "UPDATE chunk SET refs = refs + 1 WHERE id BETWEEN ? AND ?",
            catalogue.rows("SELECT first, last FROM ref WHERE snapshot = ?", (flat.key,)),
        )
        (blobs,) = catalogue.rows("SELECT coalesce(sum(length(data)), 0) FROM blob WHERE snapshot = ?", (flat.key,))[0]
        use(catalogue, map_bytes + blobs)
    return flat
