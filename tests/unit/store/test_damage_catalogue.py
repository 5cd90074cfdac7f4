"""Damage of the catalogue: values of every column of every table, its structure, its documents, its versions, a lost file."""

import random
import sqlite3

import pytest
from contents import FRAMES, pages
from damaged import domain, kinds, read_all

from snapshotd.store import Store
from snapshotd.store.errors import (
    CorruptBlobError,
    CorruptCatalogueError,
    CorruptStoreError,
    KeyWrongError,
    SnapshotUnknownError,
    StoreError,
    StoreVersionError,
)

# Table: column to the kinds of problems one of which fsck must name when a value of it is another one.
SNAPSHOT = (
    *(
        "id",
        "name",
        "parent",
        "state",
        "map",
        "map_bytes",
        "frames",
        "pages_total",
        "pages_zero",
        "pages_same",
        "pages_new",
    ),
    *("bytes_stored", "created_ns", "sum"),
)
DOMAIN = ("id", "created_ns", "salt", "key_check", "quota", "sum")
TABLES = {
    "domain": {column: {"CorruptCatalogueError"} for column in DOMAIN} | {"usage": {"usage"}},
    "snapshot": {column: {"snapshot"} for column in SNAPSHOT},
    "blob": {"snapshot": {"catalogue", "blob"}, "kind": {"blob"}, "data": {"blob"}, "sum": {"blob"}},
    "pack": {"key": {"chunk"}, "id": {"pack"}, "bytes": {"pack"}, "punch": {"leftover"}},
    "chunk": {"id": {"chunk"}, "offset": {"chunk"}, "bytes": {"chunk"}, "pages": {"chunk"}, "checksum": {"chunk"}, "refs": {"refs"}},
    "page": {"place": {"page"}, "digest": {"page"}},
    "ref": {"snapshot": {"catalogue", "refs"}, "first": {"refs"}, "last": {"refs"}},
}  # fmt: skip
COLUMNS = [(table, column) for table, columns in TABLES.items() for column in columns]
# What a row's checksum covers. A lookup by such a value does not find the row, and then the snapshot is unknown.
CHECKED = {"snapshot": CorruptCatalogueError, "domain": CorruptCatalogueError, "blob": CorruptBlobError}


def changed(value):
    """Other values for one, of its type and of others."""
    if isinstance(value, int):
        return [value ^ 1, value + (1 << 40), -value - 1, "text", b"bytes", 1.5]
    if isinstance(value, bytes):
        flipped = bytes([value[0] ^ 1]) + value[1:]
        return [flipped, value[:-1], value + b"\0", b"", 7, "text"]
    if isinstance(value, str):
        return [value + "x", value[:-1], "", 7, b"bytes"]
    return [0, b"\0" * 16, ""]


def put(root, table, column, new):
    """Put another value in the place of the highest in the column; False if SQLite's own constraints do not let it."""
    db = sqlite3.connect(domain(root) / "catalogue.db")
    row = "ROWID" if table != "ref" else "snapshot, first"
    try:
        with db:
            db.execute(
                f"UPDATE {table} SET {column} = ? WHERE ({row}) = (SELECT {row} FROM {table} ORDER BY {column} DESC LIMIT 1)",
                (new,),
            )
    except sqlite3.IntegrityError:
        return False
    finally:
        db.close()
    return True


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=[f"{table}.{column}" for table, column in COLUMNS])
def test_a_changed_value(root, key, expected, table, column):
    path = domain(root) / "catalogue.db"
    sound = path.read_bytes()
    db = sqlite3.connect(path)
    (old,) = db.execute(f"SELECT {column} FROM {table} ORDER BY 1 DESC LIMIT 1").fetchone()
    db.close()
    tried = 0
    for new in changed(old):
        if not put(root, table, column, new):
            continue
        tried += 1
        errors = read_all(root, key, expected, lost=table == "blob")
        found = kinds(root, key)
        if table in CHECKED and column != "usage":
            allowed = {CHECKED[table], SnapshotUnknownError, CorruptCatalogueError, KeyWrongError}
            assert {type(error) for error in errors} <= allowed, new
            assert errors or table == "blob", new
        else:
            assert errors == [], "readers need none of these"
        assert found & (TABLES[table][column] | ({"KeyWrongError"} if table == "domain" else set())), (new, found)
        path.write_bytes(sound)
        assert read_all(root, key, expected) == []
    assert tried


@pytest.mark.parametrize("table", TABLES)
def test_a_missing_table(root, key, expected, table):
    db = sqlite3.connect(domain(root) / "catalogue.db")
    with db:
        db.execute(f"DROP TABLE {table}")
    db.close()
    errors = read_all(root, key, expected)
    assert all(isinstance(error, CorruptCatalogueError) for error in errors)
    assert kinds(root, key) <= {"catalogue", "CorruptCatalogueError"}
    assert kinds(root, key)


@pytest.mark.parametrize("table", TABLES)
def test_no_rows(root, key, expected, table):
    db = sqlite3.connect(domain(root) / "catalogue.db")
    with db:
        db.execute(f"DELETE FROM {table}")
    db.close()
    read_all(root, key, expected)
    found = kinds(root, key)
    # A snapshot without a row is a deleted one; what it had is not.
    assert found - {"leftover"} or table == "page", "lost pages are found again, and stored twice"


@pytest.mark.parametrize("size", [0, 1, 99, 100, 4095, 4096, 4097, 8192, -4096, -1])
def test_the_file_is_cut(root, key, expected, size):
    path = domain(root) / "catalogue.db"
    with path.open("r+b") as file:
        file.truncate(size if size >= 0 else path.stat().st_size + size)
    errors = read_all(root, key, expected)
    assert {type(error) for error in errors} <= {CorruptCatalogueError}
    assert errors or size < 0, "the last page may be one that only captures need"
    # SQLite takes a page that ends early for one with zeros at its end: one byte less is another value.
    assert kinds(root, key) & ({"catalogue", "CorruptCatalogueError"} | ({"refs"} if size == -1 else set()))


def test_the_file_is_lost(root, key, expected):
    """An empty catalogue over packs and maps is not made: gc would take them for leftovers."""
    for name in ("catalogue.db", "catalogue.db-wal", "catalogue.db-shm"):
        (domain(root) / name).unlink(missing_ok=True)
    errors = read_all(root, key, expected)
    assert [type(error) for error in errors] == [CorruptCatalogueError]
    assert list((domain(root) / "packs").iterdir())


def test_the_file_is_another(root, key, expected):
    path = domain(root) / "catalogue.db"
    path.write_bytes(random.Random(1).randbytes(20_000))
    assert [type(error) for error in read_all(root, key, expected)] == [CorruptCatalogueError]
    path.unlink()
    sqlite3.connect(path).execute("PRAGMA user_version = 1").connection.close()
    assert [type(error) for error in read_all(root, key, expected)] == [CorruptCatalogueError]


@pytest.mark.parametrize("version", [2, 7, -1])
def test_another_version(root, key, version):
    db = sqlite3.connect(domain(root) / "catalogue.db")
    db.execute(f"PRAGMA user_version = {version}")
    db.close()
    with pytest.raises(StoreVersionError, match="version"):
        Store.open(root, key=key)


@pytest.mark.parametrize("seed", range(60))
def test_random_bytes(root, key, expected, seed):
    """Structure or values, wherever it hits: an error by name, or nothing that matters. Never wrong bytes, never another exception."""
    path = domain(root) / "catalogue.db"
    generator = random.Random(seed)
    data = bytearray(path.read_bytes())
    # Most pages are half empty: look for bytes in use.
    used = [at for at, byte in enumerate(data) if byte]
    for _ in range(generator.choice((1, 1, 8))):
        at = generator.choice(used if generator.random() < 0.9 else range(len(data)))
        data[at] ^= 1 << generator.randrange(8)
    path.write_bytes(data)
    errors = read_all(root, key, expected)
    for error in errors:
        assert isinstance(error, (CorruptStoreError, SnapshotUnknownError, StoreVersionError, KeyWrongError)), repr(
            error
        )
    found = kinds(root, key)
    assert found or not errors, "fsck did not notice"
    try:
        store = Store.open(root, key=key)
    except StoreError:
        return
    with store:
        try:
            store.gc()
        except StoreError:
            return
    # gc of a damaged store may not delete what is still named.
    for error in read_all(root, key, expected):
        assert isinstance(error, StoreError)


@pytest.mark.parametrize(("table", "column"), [("pack", "id"), ("snapshot", "map")])
def test_gc_keeps_what_a_damaged_row_named(root, key, expected, table, column):
    """The files of a row with another id look as if nobody needed them."""
    path = domain(root) / "catalogue.db"
    sound = path.read_bytes()
    assert put(root, table, column, b"\0" * 16)
    files = sorted((domain(root) / f"{table if table == 'pack' else 'map'}s").iterdir())
    with Store.open(root, key=key) as store, pytest.raises(CorruptCatalogueError):
        store.gc()
    assert sorted(files[0].parent.iterdir()) == files
    path.write_bytes(sound)
    assert read_all(root, key, expected) == []


def test_gc_takes_nothing_from_others_by_a_damaged_row(root, key, expected):
    with Store.open(root, key=key) as store:
        store.create_snapshot("other", b"meta", pages({gfn: 5000 + gfn for gfn in range(40)}), frames=FRAMES)
        for name in ("layer", "other"):
            store.delete(name)
        db = sqlite3.connect(domain(root) / "catalogue.db")
        with db:
            names = "(SELECT key FROM snapshot WHERE name = ?)"
            ranges = db.execute(f"SELECT first, last FROM ref WHERE snapshot = {names}", ("base",)).fetchall()
            assert len(ranges) == 1
            db.execute(f"UPDATE ref SET first = ?, last = ? WHERE snapshot = {names}", (*ranges[0], "other"))
        db.close()
        store.gc()
        assert store.fsck() == []
    assert read_all(root, key, {"base": expected["base"]}) == []


def test_gc_without_the_key_keeps_packs_that_it_cannot_tell_from_needed_ones(root, key):
    stray = domain(root) / "packs" / f"{'12' * 16}.pack"
    stray.touch()
    with Store.open(root) as store:
        assert store.gc().leftovers == (1 if key is None else 0)
    assert stray.exists() == (key is not None)
    with Store.open(root, key=key) as store:
        store.gc()
        assert store.fsck() == []


def test_a_damaged_document(root, key, expected):
    for kind, use in (
        ("meta", lambda store: store.get("base").meta),
        ("working_set", lambda store: store.working_set("base")),
    ):
        db = sqlite3.connect(domain(root) / "catalogue.db")
        with db:
            (data,) = db.execute("SELECT data FROM blob WHERE kind = ? ORDER BY snapshot LIMIT 1", (kind,)).fetchone()
            for bad in (data[:-1], b"", data[:3] + bytes([data[3] ^ 4]) + data[4:]):
                db.execute("UPDATE blob SET data = ? WHERE kind = ?", (bad, kind))
                db.commit()
                with Store.open(root, key=key) as store, pytest.raises(CorruptBlobError, match=kind):
                    use(store)
                assert "blob" in kinds(root, key)
            db.execute("UPDATE blob SET data = ? WHERE kind = ?", (data, kind))
        db.close()
    assert read_all(root, key, {"base": expected["base"]}) == [] if key is None else True


def test_documents_swapped(root, key):
    """Each is sound, but of another snapshot."""
    db = sqlite3.connect(domain(root) / "catalogue.db")
    with db:
        db.execute("UPDATE blob SET snapshot = -snapshot WHERE kind = 'meta'")
        db.execute("UPDATE blob SET snapshot = 3 + snapshot WHERE snapshot < 0")
    db.close()
    with Store.open(root, key=key) as store:
        for name in ("base", "layer"):
            with pytest.raises(CorruptBlobError):
                store.get(name).meta  # noqa: B018 - reading it is the test
    assert "blob" in kinds(root, key)
