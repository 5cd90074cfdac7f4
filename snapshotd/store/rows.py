"""Rows of the catalogue that describe snapshots: reading with their checksums verified, and changing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from snapshotd.store.catalogue import checked, row_sum
from snapshotd.store.cipher import UnsealError
from snapshotd.store.errors import CorruptBlobError, NameTakenError, SnapshotUnknownError

if TYPE_CHECKING:
    from snapshotd.store.catalogue import Catalogue
    from snapshotd.store.cipher import Cipher


class SnapshotRow(NamedTuple):
    """A row of `snapshot`; see docs/store-format.md for the columns."""

    key: int
    id: bytes
    name: str
    parent: bytes | None
    state: int
    map: bytes
    map_bytes: int
    frames: int
    pages_total: int
    pages_zero: int
    pages_same: int
    pages_new: int
    bytes_stored: int
    created_ns: int


LIVE, DELETED, INCOMING = 0, 1, 2
NAME_SHOWN = 128  # of a name in a message
META, WORKING_SET = "meta", "working_set"
IMPORTED = "imported"  # empty; that it is there says that the document is not believed (Store.is_imported)
_COLUMNS = ", ".join(SnapshotRow._fields) + ", sum"
_SELECT = f"SELECT {_COLUMNS} FROM snapshot"


def _verified(catalogue: Catalogue, found: tuple[object, ...]) -> SnapshotRow:
    checked(catalogue.path, f"snapshot {found[2]!a}", found[1:-1], found[-1])
    return SnapshotRow(*found[:-1])  # type: ignore[arg-type]


def find(catalogue: Catalogue, name: str) -> SnapshotRow | None:
    """The live snapshot of that name."""
    found = catalogue.row(f"{_SELECT} WHERE name = ? AND state = 0", (name,))
    return None if found is None else _verified(catalogue, found)


def get(catalogue: Catalogue, name: str) -> SnapshotRow:
    """The live snapshot of that name.

    Raises:
        SnapshotUnknownError: there is none.
    """
    row = find(catalogue, name)
    if row is None:
        raise unknown(catalogue, name)
    return row


def unknown(catalogue: Catalogue, name: str) -> SnapshotUnknownError:
    """The error of a name that no snapshot has, with the nearest ones that some have."""
    import difflib

    shown = ascii(name if len(name) <= NAME_SHOWN else name[:NAME_SHOWN] + "...")
    names = [row[0] for row in catalogue.rows("SELECT name FROM snapshot WHERE state = 0 LIMIT 1000")]
    near = difflib.get_close_matches(name[:NAME_SHOWN], names)
    advice = f"did you mean {' or '.join(near)}?" if near else "`quark snapshot list` shows what there is"
    return SnapshotUnknownError(f"snapshot {shown} does not exist; {advice}")


def by_id(catalogue: Catalogue, snapshot_id: bytes) -> SnapshotRow | None:
    """The live snapshot with that id."""
    found = catalogue.row(f"{_SELECT} WHERE id = ? AND state = 0", (snapshot_id,))
    return None if found is None else _verified(catalogue, found)


def by_key(catalogue: Catalogue, key: int) -> SnapshotRow | None:
    """The snapshot with that key, in any state."""
    found = catalogue.row(f"{_SELECT} WHERE key = ?", (key,))
    return None if found is None else _verified(catalogue, found)


def page_of(
    catalogue: Catalogue, prefix: str, after: str | None, limit: int | None, parent: bytes | None = None
) -> list[SnapshotRow]:
    """Live snapshots by name: those that start with `prefix`, come after `after` and are layers on `parent`, at most `limit`."""
    # U+10FFFF sorts after whatever a name may hold, so the range uses the index.
    # One lower bound only: SQLite would look for one of two in the index and step from there to the other.
    start = "name >= ?" if after is None or after < prefix else "name > ?"
    values: list[str | bytes | int] = [max(prefix, after or ""), prefix + "\U0010ffff"]
    under = ""
    if parent is not None:
        under = "AND parent = ? "
        values.append(parent)
    values.append(-1 if limit is None else limit)
    found = catalogue.rows(f"{_SELECT} WHERE state = 0 AND {start} AND name < ? {under}ORDER BY name LIMIT ?", values)
    return [_verified(catalogue, row) for row in found]


def totals(catalogue: Catalogue) -> tuple[int, int, int]:
    """(live snapshots, their pages that are not zero, of these new to the domain when they came)."""
    count, pages, new = catalogue.rows(
        "SELECT count(*), total(pages_total - pages_zero), total(pages_new) FROM snapshot WHERE state = 0"
    )[0]
    return count, int(pages), int(new)


def children(catalogue: Catalogue, snapshot_id: bytes) -> list[SnapshotRow]:
    """Live snapshots that are layers right on top of that one, by name."""
    found = catalogue.rows(f"{_SELECT} WHERE parent = ? AND state = 0 ORDER BY name", (snapshot_id,))
    return [_verified(catalogue, row) for row in found]


def in_state(catalogue: Catalogue, *states: int) -> list[SnapshotRow]:
    """All snapshots in one of `states`, oldest first."""
    marks = ", ".join("?" * len(states))
    found = catalogue.rows(f"{_SELECT} WHERE state IN ({marks}) ORDER BY key", states)
    return [_verified(catalogue, row) for row in found]


def require_free(catalogue: Catalogue, name: str) -> None:
    """Check that no live snapshot has that name.

    Raises:
        NameTakenError: one has.
    """
    if catalogue.row("SELECT 1 FROM snapshot WHERE name = ? AND state = 0", (name,)) is not None:
        raise NameTakenError(f"snapshot {name!a} exists already; delete it or choose another name")


def insert(catalogue: Catalogue, row: SnapshotRow) -> int:
    """Insert a row (its key is ignored); returns the key it got."""
    marks = ", ".join("?" * (len(row) + 1))
    key = catalogue.run(
        f"INSERT INTO snapshot ({_COLUMNS}) VALUES ({marks})", (None, *row[1:], row_sum(row[1:]))
    ).lastrowid
    assert key is not None
    return key


def update(catalogue: Catalogue, row: SnapshotRow) -> None:
    """Write all columns of a row again."""
    columns = ", ".join(f"{field} = ?" for field in SnapshotRow._fields[1:])
    catalogue.run(f"UPDATE snapshot SET {columns}, sum = ? WHERE key = ?", (*row[1:], row_sum(row[1:]), row.key))


def put_blob(catalogue: Catalogue, cipher: Cipher, row: SnapshotRow, kind: str, data: bytes) -> int:
    """Insert or replace a blob; returns how many bytes more the domain uses now."""
    stored = cipher.seal_blob(data, row.id + kind.encode())
    old = catalogue.row("SELECT length(data) FROM blob WHERE snapshot = ? AND kind = ?", (row.key, kind))
    catalogue.run(
        "INSERT OR REPLACE INTO blob VALUES (?, ?, ?, ?)", (row.key, kind, stored, row_sum((row.id, kind, stored)))
    )
    return len(stored) - (old[0] if old else 0)


def get_blob(catalogue: Catalogue, cipher: Cipher, row: SnapshotRow, kind: str) -> bytes | None:
    """A blob of a snapshot, verified; None if it has none.

    Raises:
        CorruptBlobError: it is damaged.
    """
    found = catalogue.row("SELECT data, sum FROM blob WHERE snapshot = ? AND kind = ?", (row.key, kind))
    if found is None:
        return None
    data, checksum = found
    where = f"{catalogue.path}: {kind} of snapshot {row.name!a}"
    if not isinstance(data, bytes) or row_sum((row.id, kind, data)) != checksum:
        raise CorruptBlobError.at(where, None, "the bytes do not match their checksum")
    try:
        return cipher.unseal_blob(data, row.id + kind.encode())
    except UnsealError:
        raise CorruptBlobError.at(where, None, "the bytes do not unseal with the domain's key") from None


def get_meta(catalogue: Catalogue, cipher: Cipher, row: SnapshotRow) -> bytes:
    """The document of a snapshot.

    Raises:
        CorruptBlobError: it is damaged.
        SnapshotUnknownError: the snapshot was deleted and collected since the row was read.
    """
    found = get_blob(catalogue, cipher, row, META)
    if found is None:
        if by_key(catalogue, row.key) is None:
            raise SnapshotUnknownError(f"snapshot {row.name!a} was deleted meanwhile")
        raise CorruptBlobError.at(catalogue.path, None, f"snapshot {row.name!a} has lost its document")
    return found
