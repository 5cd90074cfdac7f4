"""gc: the only code that deletes (docs/store-format.md, section 8). Each step can be cut at any place and done again."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from snapshotd.store import rows
from snapshotd.store.backend import MAP, PACK
from snapshotd.store.catalogue import CHUNK_BITS, Transaction
from snapshotd.store.commit import ranges, use
from snapshotd.store.errors import CorruptCatalogueError, CorruptMapError, KeyMissingError
from snapshotd.store.index import PageIndex
from snapshotd.store.locks import HeldError, Hold
from snapshotd.store.pack import CHUNK_PAGES, HEADER
from snapshotd.store.reader import load_map

if TYPE_CHECKING:
    from collections.abc import Iterator

    from snapshotd.store.backend import Kind
    from snapshotd.store.catalogue import Catalogue
    from snapshotd.store.domain import Domain
    from snapshotd.store.rows import SnapshotRow

_TOGETHER = 64  # snapshots in one transaction: each holds a descriptor until it is done


class GcReport(NamedTuple):
    """What gc did."""

    snapshots: int
    busy: int
    chunks: int
    bytes_freed: int
    leftovers: int


def collect(domain: Domain) -> GcReport:
    """Remove what no live snapshot needs. The caller holds the domain's lock exclusively."""
    doomed = rows.in_state(domain.catalogue, rows.DELETED, rows.INCOMING)
    removed = sum(_remove_snapshots(domain, doomed[i : i + _TOGETHER]) for i in range(0, len(doomed), _TOGETHER))
    chunks, freed = _remove_chunks(domain)
    _give_back(domain)
    return GcReport(removed, len(doomed) - removed, chunks, freed, _remove_strays(domain))


def _remove_snapshots(domain: Domain, doomed: list[SnapshotRow]) -> int:
    """Remove those that nobody reads, in one transaction; returns how many."""
    with ExitStack() as holds:
        free = []
        for row in doomed:
            try:
                holds.enter_context(Hold(domain.paths.readers, row.key, exclusive=True))
            except HeldError:
                continue
            free.append(row)
        used = [_chunks_of(domain, row) for row in free]
        if free:
            with Transaction(domain.catalogue):
                for row, chunks in zip(free, used, strict=True):
                    _remove_rows(domain.catalogue, row, chunks)
        for row in free:
            domain.backend.remove(MAP, row.map)
    return len(free)


def _chunks_of(domain: Domain, row: SnapshotRow) -> list[tuple[int, int]]:
    """(first, last) of the chunks that a snapshot uses: by its map, which has a checksum, or by its ref rows, if that cannot be read.

    A damaged ref row would take chunks away from other snapshots.
    """
    index = PageIndex(domain.catalogue, domain.backend, domain.cipher)
    try:
        page_map = load_map(domain.backend, row.map, domain.cipher)
        return list(ranges(sorted(index.adopt(page_map.chunk(i) for i in range(page_map.chunk_count)))))
    except (CorruptMapError, KeyMissingError, KeyError):
        return domain.catalogue.rows("SELECT first, last FROM ref WHERE snapshot = ?", (row.key,))
    finally:
        index.close()


def _remove_rows(catalogue: Catalogue, row: SnapshotRow, chunks: list[tuple[int, int]]) -> None:
    catalogue.run_many("UPDATE chunk SET refs = refs - 1 WHERE id BETWEEN ? AND ?", chunks)
    catalogue.run("DELETE FROM ref WHERE snapshot = ?", (row.key,))
    (blobs,) = catalogue.rows("SELECT coalesce(sum(length(data)), 0) FROM blob WHERE snapshot = ?", (row.key,))[0]
    catalogue.run("DELETE FROM blob WHERE snapshot = ?", (row.key,))
    catalogue.run("DELETE FROM snapshot WHERE key = ?", (row.key,))
    use(catalogue, -row.map_bytes - blobs)


def _remove_chunks(domain: Domain) -> tuple[int, int]:
    catalogue = domain.catalogue
    dead = catalogue.rows("SELECT id, bytes FROM chunk WHERE refs = 0 ORDER BY id")
    if not dead:
        return 0, 0
    freed = sum(size for _, size in dead)
    stretches = list(ranges([chunk for chunk, _ in dead]))
    with Transaction(catalogue):
        catalogue.run_many(
            "DELETE FROM page WHERE place BETWEEN ? AND ?",
            [(first * CHUNK_PAGES, last * CHUNK_PAGES + CHUNK_PAGES - 1) for first, last in stretches],
        )
        catalogue.run_many("DELETE FROM chunk WHERE id BETWEEN ? AND ?", stretches)
        packs = {(first >> CHUNK_BITS,) for first, _ in stretches}
        catalogue.run_many("UPDATE pack SET punch = 1 WHERE key = ?", sorted(packs))
        use(catalogue, -freed)
    return len(dead), freed


def _give_back(domain: Domain) -> None:
    """Give the space of removed chunks back to the place that holds them."""
    catalogue, backend = domain.catalogue, domain.backend
    dead: list[tuple[int]] = []
    punched: list[tuple[int]] = []
    for key, pack_id, size in catalogue.rows("SELECT key, id, bytes FROM pack WHERE punch = 1"):
        first = key << CHUNK_BITS
        live = catalogue.rows(
            "SELECT offset, bytes FROM chunk WHERE id BETWEEN ? AND ? ORDER BY id",
            (first, first + (1 << CHUNK_BITS) - 1),
        )
        if live:
            backend.punch(PACK, pack_id, list(_holes(live, size)))
            punched.append((key,))
        else:
            backend.remove(PACK, pack_id)
            dead.append((key,))
    if dead or punched:
        with Transaction(catalogue):
            catalogue.run_many("DELETE FROM pack WHERE key = ?", dead)
            catalogue.run_many("UPDATE pack SET punch = 0 WHERE key = ?", punched)


def _holes(live: list[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    """(offset, bytes) of whatever is between the chunks of a pack of `size` bytes."""
    at = HEADER.size
    for offset, length in [*live, (size, 0)]:
        if offset > at:
            yield at, offset - at
        at = offset + length


class Stray(NamedTuple):
    """What no row of the catalogue names: an object, or (kind None) a backend's leftover of an interrupted write."""

    name: str
    kind: Kind | None
    object_id: bytes


def strays(domain: Domain) -> list[Stray]:
    """All of them. Right only while the domain's lock is held exclusively: then nobody is about to name one."""
    catalogue, backend = domain.catalogue, domain.backend
    named: dict[Kind, set[bytes]] = {
        PACK: {pack_id for (pack_id,) in catalogue.rows("SELECT id FROM pack")},
        MAP: {map_id for (map_id,) in catalogue.rows("SELECT map FROM snapshot")},
    }
    found = [Stray(name, None, b"") for name in backend.leftovers()]
    for kind, ids in named.items():
        found += [Stray(backend.name(kind, stray), kind, stray) for stray in backend.ids(kind) if stray not in ids]
    return found


def _remove_strays(domain: Domain) -> int:
    found = strays(domain)
    if any(stray.kind is not None for stray in found):
        found = _surely_strays(domain, found)
    for stray in found:
        if stray.kind is None:
            domain.backend.discard(stray.name)
        else:
            domain.backend.remove(stray.kind, stray.object_id)
    return len(found)


def _surely_strays(domain: Domain, found: list[Stray]) -> list[Stray]:
    """Whole objects that no row names are rare. Before they go: is it that a row was damaged? Then what they hold may still be needed.

    Raises:
        CorruptCatalogueError: so it is.
    """
    catalogue = domain.catalogue
    packs: dict[bytes, str] = {}
    try:
        for row in rows.in_state(catalogue, rows.LIVE, rows.DELETED, rows.INCOMING):
            packs |= dict.fromkeys(load_map(domain.backend, row.map, domain.cipher).packs, row.name)
    except (CorruptMapError, KeyMissingError):
        # What the map names cannot be known: the packs stay for a gc that can.
        return [stray for stray in found if stray.kind != PACK]
    for stray in found:
        if stray.kind == PACK and stray.object_id in packs:
            what = f"snapshot {packs[stray.object_id]!a} needs {stray.name}, and no row names it"
            raise CorruptCatalogueError.at(catalogue.path, None, what, "restore it from a backup")
    return found
