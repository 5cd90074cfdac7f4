"""The transaction that makes a captured snapshot visible (docs/store-format.md, section 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from snapshotd.store import rows
from snapshotd.store.catalogue import CHUNK_BITS, Transaction
from snapshotd.store.errors import QuotaExceededError, SnapshotUnknownError
from snapshotd.store.index import signed
from snapshotd.store.pack import CHUNK_PAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from snapshotd.store.catalogue import Catalogue
    from snapshotd.store.cipher import Cipher
    from snapshotd.store.pack import ChunkRef
    from snapshotd.store.rows import SnapshotRow


class NewPack(NamedTuple):
    """What a capture wrote; `pages` and `healed` are of `named_pages` and Cipher.mask."""

    id: bytes
    size: int
    chunks: list[ChunkRef]
    pages: list[tuple[int, bytes]]
    healed: list[bytes]


_ROWS = 400  # rows in one INSERT: a statement gives the GIL away once, however many rows it has


def named_pages(cipher: Cipher, digests: list[bytes | None]) -> list[tuple[int, bytes]]:
    """(chunk * 16 + slot, masked digest) of each page that the catalogue will name; the others have None in `digests`."""
    masked = iter(cipher.mask([digest for digest in digests if digest is not None]))
    return [(number, next(masked)) for number, digest in enumerate(digests) if digest is not None]


def commit(
    catalogue: Catalogue,
    cipher: Cipher,
    row: SnapshotRow,
    pack: NewPack,
    chunk_keys: Iterable[int],
    meta: bytes,
    parent: SnapshotRow | None,
) -> SnapshotRow:
    """Insert a snapshot whose files are durable.

    Args:
        catalogue: of the domain.
        cipher: of the domain.
        row: the new row; its key and bytes_stored are filled in.
        pack: the new pack; with no chunks there is no file.
        chunk_keys: ids of the old chunks that the snapshot uses, and numbers of the new ones.
        meta: the document.
        parent: the parent's row when the capture began.

    Raises:
        NameTakenError, QuotaExceededError: as they say.
        SnapshotUnknownError: the parent was deleted meanwhile.
    """
    with Transaction(catalogue):
        if row.state == rows.LIVE:
            rows.require_free(catalogue, row.name)
        _require_parent(catalogue, parent)
        pack_key = _insert_pack(catalogue, pack) if pack.chunks else 0
        base = pack_key << CHUNK_BITS
        catalogue.run_many("DELETE FROM page WHERE digest = ?", [(digest,) for digest in pack.healed])
        first = base * CHUNK_PAGES
        _insert_pages(catalogue, [(first + number, digest) for number, digest in pack.pages])
        keys = sorted(key if key >> CHUNK_BITS else base | key for key in set(chunk_keys))
        row = row._replace(
            bytes_stored=sum(ref.bytes for ref in pack.chunks) + row.map_bytes + len(meta) + cipher.overhead
        )
        row = row._replace(key=rows.insert(catalogue, row))
        rows.put_blob(catalogue, cipher, row, rows.META, meta)
        _add_refs(catalogue, row.key, keys, pack_key)
        use(catalogue, row.bytes_stored)
    return row


def _require_parent(catalogue: Catalogue, parent: SnapshotRow | None) -> None:
    if parent is None:
        return
    # By id: a flattened parent lives on in another row. An import's parents are not live yet.
    found = catalogue.row(
        # The states are written out: an index on live rows is of no use to a query that could be about others.
        f"SELECT 1 FROM snapshot WHERE (id = ? AND state = {rows.LIVE}) OR (key = ? AND state = {rows.INCOMING})",
        (parent.id, parent.key),
    )
    if found is None:
        raise SnapshotUnknownError(f"snapshot {parent.name!a} was deleted while the snapshot was taken; take it again")


def _insert_pack(catalogue: Catalogue, pack: NewPack) -> int:
    key = catalogue.run("INSERT INTO pack VALUES (NULL, ?, ?, 0)", (pack.id, pack.size)).lastrowid
    assert key is not None
    base = key << CHUNK_BITS
    catalogue.run_many(
        "INSERT INTO chunk VALUES (?, ?, ?, ?, ?, 1)",
        [(base | ref.number, ref.offset, ref.bytes, ref.pages, signed(ref.checksum)) for ref in pack.chunks],
    )
    return key


def _insert_pages(catalogue: Catalogue, places: list[tuple[int, bytes]]) -> None:
    # A capture at the same moment may have stored the same page: the first row stays.
    for start in range(0, len(places), _ROWS):
        part = places[start : start + _ROWS]
        marks = ", ".join(["(?, ?)"] * len(part))
        catalogue.run(f"INSERT OR IGNORE INTO page VALUES {marks}", [value for place in part for value in place])


def _add_refs(catalogue: Catalogue, snapshot_key: int, keys: list[int], new_pack: int) -> None:
    """Record that a snapshot uses the chunks with these ids (sorted, each once); those of its own pack have its reference already."""
    found = list(ranges(keys))
    catalogue.run_many("INSERT INTO ref VALUES (?, ?, ?)", [(snapshot_key, first, last) for first, last in found])
    catalogue.run_many(
        "UPDATE chunk SET refs = refs + 1 WHERE id BETWEEN ? AND ?",
        [(first, last) for first, last in found if first >> CHUNK_BITS != new_pack],
    )


def ranges(keys: list[int]) -> Iterator[tuple[int, int]]:
    """(first, last) of each stretch of consecutive chunk ids in a sorted list. None spans packs: a pack never has 2^24 chunks."""
    start = previous = -1
    for key in keys:
        if key != previous + 1:
            if previous >= 0:
                yield (start, previous)
            start = key
        previous = key
    if previous >= 0:
        yield (start, previous)


def use(catalogue: Catalogue, more: int) -> None:
    """Count `more` bytes against the quota.

    Raises:
        QuotaExceededError: it does not hold them.
    """
    quota, usage = catalogue.quota_and_usage()
    if quota is not None and more > 0 and usage + more > quota:
        raise QuotaExceededError(
            f"{more} bytes more on top of {usage} exceed the domain's quota of {quota}; delete snapshots and `gc`, or raise the quota"
        )
    catalogue.run("UPDATE domain SET usage = ?", (usage + more,))
