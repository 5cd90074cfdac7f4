"""The catalogue of a domain: its SQLite connection, schema, transactions and errors (docs/store-format.md, section 6)."""

from __future__ import annotations

import os
import sqlite3
import struct
import threading
import time
from typing import TYPE_CHECKING

import xxhash

from snapshotd.store.backend import MAP, PACK
from snapshotd.store.cipher import key_check
from snapshotd.store.errors import (
    CorruptCatalogueError,
    DiskFullError,
    StoreAccessError,
    StoreBusyError,
    StoreError,
    StoreVersionError,
)
from snapshotd.store.layout import new_id
from snapshotd.store.locks import FileLock

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType
    from typing import Any, Self

    from snapshotd.store.backend import Backend
    from snapshotd.store.layout import DomainPaths

APPLICATION = 0x514B4353
VERSION = 1
WAIT = 30.0  # seconds for another process's transaction; the longest inserts the pages of one capture
CHUNK_BITS = 24  # of a chunk's id, below the pack's key
SCHEMA = """
CREATE TABLE domain (
    one INTEGER PRIMARY KEY CHECK (one = 1), id BLOB NOT NULL, created_ns INTEGER NOT NULL, salt BLOB, key_check BLOB,
    quota INTEGER, sum BLOB NOT NULL, usage INTEGER NOT NULL
);
CREATE TABLE snapshot (
    key INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL, name TEXT NOT NULL, parent BLOB, state INTEGER NOT NULL,
    map BLOB NOT NULL, map_bytes INTEGER NOT NULL, frames INTEGER NOT NULL, pages_total INTEGER NOT NULL, pages_zero INTEGER NOT NULL,
    pages_same INTEGER NOT NULL, pages_new INTEGER NOT NULL, bytes_stored INTEGER NOT NULL, created_ns INTEGER NOT NULL, sum BLOB NOT NULL
);
CREATE UNIQUE INDEX snapshot_name ON snapshot (name) WHERE state = 0;
CREATE UNIQUE INDEX snapshot_id ON snapshot (id) WHERE state = 0;
CREATE INDEX snapshot_parent ON snapshot (parent) WHERE state = 0;
CREATE TABLE blob (
    snapshot INTEGER NOT NULL, kind TEXT NOT NULL, data BLOB NOT NULL, sum BLOB NOT NULL, PRIMARY KEY (snapshot, kind)
);
CREATE TABLE pack (key INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, bytes INTEGER NOT NULL, punch INTEGER NOT NULL);
CREATE TABLE chunk (
    id INTEGER PRIMARY KEY, offset INTEGER NOT NULL, bytes INTEGER NOT NULL, pages INTEGER NOT NULL, checksum INTEGER NOT NULL,
    refs INTEGER NOT NULL
);
CREATE INDEX chunk_dead ON chunk (id) WHERE refs = 0;
CREATE TABLE page (place INTEGER PRIMARY KEY, digest BLOB NOT NULL);
CREATE UNIQUE INDEX page_digest ON page (digest);
CREATE TABLE ref (
    snapshot INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (snapshot, first)
) WITHOUT ROWID;
"""
_INTEGER = struct.Struct("<q")
_LENGTH = struct.Struct("<I")


def row_sum(values: Iterable[int | str | bytes | None]) -> bytes:
    """Row checksum: xxh3-128 of the values with their types."""
    parts: list[bytes] = []
    for value in values:
        if value is None:
            parts.append(b"\0")
        elif isinstance(value, int):
            parts += (b"\1", _INTEGER.pack(value))
        elif isinstance(value, str):
            # Damage can make TEXT that is no UTF-8; it reads back as surrogates and has to differ, not to fail.
            raw = value.encode(errors="surrogateescape")
            parts += (b"\2", _LENGTH.pack(len(raw)), raw)
        else:
            parts += (b"\3", _LENGTH.pack(len(value)), value)
    return xxhash.xxh3_128_digest(b"".join(parts))


def checked(path: str, what: str, values: Sequence[Any], found: object) -> None:
    """Compare a row with its checksum.

    Raises:
        CorruptCatalogueError: they do not match, or a value has a type that no row has.
    """
    try:
        good = row_sum(values) == found
    except (TypeError, struct.error):
        good = False
    if not good:
        raise CorruptCatalogueError.at(path, None, f"the row of {what} does not match its checksum")


class _Named:
    """Turns SQLite's exceptions into the store's."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, sqlite3.Error):
            raise named(error, self._path) from error
        if isinstance(error, UnicodeDecodeError):
            # SQLite's message quotes a damaged schema, and Python wants to read it.
            raise CorruptCatalogueError.at(
                self._path, None, "the catalogue is damaged (its schema is no text)", "restore it from a backup"
            ) from error


def named(error: sqlite3.Error, path: str) -> StoreError:
    """The store's error for one of SQLite's."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if isinstance(error, sqlite3.ProgrammingError):
        return StoreError(f"{path}: {error}")  # used after close
    if name in ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"):
        return DiskFullError(f"{path}: no room on the file system for the catalogue; free some, or `gc` the store")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreBusyError(f"{path}: another process kept the catalogue locked for {WAIT:.0f} s; try again")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT")) or not name:
        return CorruptCatalogueError.at(path, None, f"the catalogue is damaged ({error})", "restore it from a backup")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return StoreAccessError(f"{path}: {error}; check the owner and mode of the store's files")
    if name.startswith(("SQLITE_ERROR", "SQLITE_CONSTRAINT", "SQLITE_MISMATCH", "SQLITE_SCHEMA")):
        # The statements are fixed: a table or column that is missing or holds other things is damage.
        return CorruptCatalogueError.at(path, None, f"the catalogue is damaged ({error})", "restore it from a backup")
    return StoreError(f"{path}: {error} ({name})")


class Catalogue:
    """One connection, shared by the threads of a process. It must not be used across fork().

    Attributes:
        path: of the file, for messages.
        domain_id, salt, key_check: of the domain.
        lock: held by whoever reads several rows that belong together.
    """

    def __init__(self, paths: DomainPaths, backend: Backend, key: bytes | None, *, exists: bool) -> None:
        self.path = paths.catalogue
        self.lock = threading.RLock()
        self._named = _Named(self.path)
        with self._named:
            # An absent store that may not be made looks like an empty one.
            target = self.path if exists else ":memory:"
            self._db = sqlite3.connect(target, timeout=WAIT, isolation_level=None, check_same_thread=False)
            try:
                self._db.text_factory = _text
                self._db.execute("PRAGMA synchronous = FULL")
                if not exists:
                    self._create(key)
                elif self._version() == 0:
                    self._refuse_lost(backend)
                    os.chmod(self.path, 0o600)
                    with FileLock(
                        paths.lock, exclusive=True, wait=WAIT, busy="another process is creating the domain; try again"
                    ):
                        self._create(key)
                self._check_version()
                self._read_domain()
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        """Close the connection."""
        with self.lock, self._named:
            self._db.close()

    def _version(self) -> int:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        return int(version)

    def _refuse_lost(self, backend: Backend) -> None:
        """Do not start an empty catalogue over packs and maps that a lost one named: gc would take them for leftovers."""
        for kind in (PACK, MAP):
            if found := backend.ids(kind):
                what = f"the catalogue is empty, but there is {backend.name(kind, found[0])}"
                raise CorruptCatalogueError.at(self.path, None, what, "restore it from a backup")

    def _create(self, key: bytes | None) -> None:
        if self._version() != 0:
            return  # somebody else did, while we waited for the lock
        self._db.execute("PRAGMA journal_mode = WAL")
        salt = os.urandom(16) if key is not None else None
        check = key_check(key, salt) if key is not None and salt is not None else None
        row = (new_id(), time.time_ns(), salt, check, None)
        with Transaction(self):
            for statement in SCHEMA.split(";\n"):
                self._db.execute(statement)
            self._db.execute("INSERT INTO domain VALUES (1, ?, ?, ?, ?, ?, ?, 0)", (*row, row_sum(row)))
            self._db.execute(f"PRAGMA application_id = {APPLICATION}")
            self._db.execute(f"PRAGMA user_version = {VERSION}")

    def _check_version(self) -> None:
        version = self._version()
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION:
            raise CorruptCatalogueError.at(self.path, 68, "this is not the catalogue of a snapshot store")
        if version != VERSION:
            age = "newer" if version > VERSION else "older"
            raise StoreVersionError(
                f"{self.path}: the catalogue has version {version}, {age} than version {VERSION} of this program; use the quark that made it"
            )

    def _read_domain(self) -> None:
        row = self._db.execute("SELECT id, created_ns, salt, key_check, quota, sum FROM domain").fetchone()
        if row is None:
            raise CorruptCatalogueError.at(self.path, None, "the row of the domain is missing")
        checked(self.path, "the domain", row[:-1], row[-1])
        self.domain_id: bytes = row[0]
        self.salt: bytes | None = row[2]
        self.key_check: bytes | None = row[3]

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self.lock, self._named:
            return self._db.execute(sql, values).fetchall()

    def row(self, sql: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row of a query, or None."""
        with self.lock, self._named:
            found: tuple[Any, ...] | None = self._db.execute(sql, values).fetchone()
            return found

    def run(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Execute one statement that changes rows, inside a Transaction."""
        with self._named:
            return self._db.execute(sql, values)

    def run_many(self, sql: str, values: Iterable[Sequence[Any]]) -> None:
        """Execute one statement with each of `values`, inside a Transaction."""
        with self._named:
            self._db.executemany(sql, values)

    def quota_and_usage(self) -> tuple[int | None, int]:
        """The domain's limit in bytes, if it has one, and what it uses."""
        row = self.row("SELECT id, created_ns, salt, key_check, quota, sum, usage FROM domain")
        if row is None:
            raise CorruptCatalogueError.at(self.path, None, "the row of the domain is missing")
        checked(self.path, "the domain", row[:5], row[5])
        return row[4], row[6]


class Transaction:
    """BEGIN IMMEDIATE to COMMIT, or ROLLBACK if an exception leaves the block. Durable when the block is left."""

    __slots__ = ("_catalogue",)

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def __enter__(self) -> Self:
        self._catalogue.lock.acquire()
        try:
            self._catalogue.run("BEGIN IMMEDIATE")
        except BaseException:
            self._catalogue.lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        db = self._catalogue._db  # noqa: SLF001 - the two are one thing in two classes
        try:
            if kind is None:
                self._catalogue.run("COMMIT")
        finally:
            try:
                if db.in_transaction:
                    db.execute("ROLLBACK")
            finally:
                self._catalogue.lock.release()


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")
