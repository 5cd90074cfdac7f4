"""gc: the only code that deletes (docs/store-format.md, section 8). Each step can be cut at any place and done again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from snapshotd.store import durable, rows
from snapshotd.store.catalogue import CHUNK_BITS, Transaction
from snapshotd.store.commit import ranges, use
from snapshotd.store.locks import try_lock
from snapshotd.store.pack import CHUNK_PAGES, HEADER

if TYPE_CHECKING:
    from snapshotd.store.domain import Domain
    from snapshotd.store.rows import SnapshotRow


class GcReport(NamedTuple):
    """What gc did."""

    snapshots: int
    busy: int
    chunks: int
    bytes_freed: int
    leftovers: int


def collect(domain: Domain) -> GcReport:
    """Remove what no live snapshot needs. The caller holds the domain's lock exclusively."""
    removed = busy = 0
    for row in rows.in_state(domain.catalogue, rows.DELETED, rows.INCOMING):
        if _remove_snapshot(domain, row):
            removed += 1
        else:
            busy += 1
    chunks, freed = _remove_chunks(domain)
    _give_back(domain)
    return GcReport(removed, busy, chunks, freed, _remove_leftovers(domain))


def _remove_snapshot(domain: Domain, row: SnapshotRow) -> bool:
    path = domain.paths.map(row.map)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        fd = -1
    except OSError as error:
        raise durable.named(error, path) from error
    try:
        if fd >= 0 and not try_lock(fd, exclusive=True):
            return False
        catalogue = domain.catalogue
        with Transaction(catalogue):
            found = catalogue.rows("SELECT first, last FROM ref WHERE snapshot = ?", (row.key,))
            catalogue.run_many("UPDATE chunk SET refs = refs - 1 WHERE id BETWEEN ? AND ?", found)
            catalogue.run("DELETE FROM ref WHERE snapshot = ?", (row.key,))
            (blobs,) = catalogue.rows("SELECT coalesce(sum(length(data)), 0) FROM blob WHERE snapshot = ?", (row.key,))[
                0
            ]
            catalogue.run("DELETE FROM blob WHERE snapshot = ?", (row.key,))
            catalogue.run("DELETE FROM snapshot WHERE key = ?", (row.key,))
            use(catalogue, -row.map_bytes - blobs)
        durable.unlink(path)
    finally:
        if fd >= 0:
            os.close(fd)
    return True


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
    """Give the space of removed chunks back to the file system."""
    catalogue = domain.catalogue
    for key, pack_id, size in catalogue.rows("SELECT key, id, bytes FROM pack WHERE punch = 1"):
        path = domain.paths.pack(pack_id)
        first = key << CHUNK_BITS
        live = catalogue.rows(
            "SELECT offset, bytes FROM chunk WHERE id BETWEEN ? AND ? ORDER BY id",
            (first, first + (1 << CHUNK_BITS) - 1),
        )
        if live:
            _punch(path, live, size)
            with Transaction(catalogue):
                catalogue.run("UPDATE pack SET punch = 0 WHERE key = ?", (key,))
        else:
            durable.unlink(path)
            durable.sync_directory(domain.paths.packs)
            with Transaction(catalogue):
                catalogue.run("DELETE FROM pack WHERE key = ?", (key,))


def _punch(path: str, live: list[tuple[int, int]], size: int) -> None:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise durable.named(error, path) from error
    try:
        at = HEADER.size
        for offset, length in [*live, (size, 0)]:
            if offset > at and not durable.punch(fd, at, offset - at, path):
                return  # this file system keeps the space until the whole pack is dead
            at = offset + length
        durable.sync(fd, path)
    finally:
        os.close(fd)


def _remove_leftovers(domain: Domain) -> int:
    """Unlink files that no row names: with the lock held nobody is about to name them."""
    leftovers = stray_files(domain)
    for path in leftovers:
        durable.unlink(path)
    return len(leftovers)


def stray_files(domain: Domain) -> list[str]:
    """Paths of files that no row of the catalogue names. Right only while the domain's lock is held exclusively."""
    paths = domain.paths
    named = {paths.pack(pack_id) for (pack_id,) in domain.catalogue.rows("SELECT id FROM pack")}
    named |= {paths.map(map_id) for (map_id,) in domain.catalogue.rows("SELECT map FROM snapshot")}
    found = []
    for directory in (paths.maps, paths.packs):
        try:
            entries = os.listdir(directory)
        except OSError as error:
            raise durable.named(error, directory) from error
        found += [path for path in (f"{directory}/{entry}" for entry in sorted(entries)) if path not in named]
    return found
