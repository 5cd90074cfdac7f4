"""Digests of host files: SHA-256 of the content, kept by what identifies a file's state, so that a file is read once only.

A state is (device, inode, size, mtime, ctime): nobody changes content without changing ctime. Two changes within one tick of the file system's
clock could share theirs, so a file that changed just now is read when that tick is over.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

TICK_NS = 20_000_000  # two ticks of a kernel with HZ=100
PIECE = 1 << 20
ROWS_MAX = 200_000
WAIT_SECONDS = 5.0
TRIES = 3


class FileChangedError(Exception):
    """A file changes while it is read."""


class Digests:
    """The cache of one domain: a database that may be lost at any time. Without a directory for it, nothing is kept.

    Args:
        directory: the domain's, in the state directory.
    """

    def __init__(self, directory: str) -> None:
        self._db: sqlite3.Connection | None = None
        self._new = 0
        path = os.path.join(directory, "digests.db")
        try:
            self._db = self._open(path)
        except sqlite3.DatabaseError:
            # Damaged, or no place for it: made anew the next time.
            with contextlib.suppress(OSError):
                os.unlink(path)

    @staticmethod
    def _open(path: str) -> sqlite3.Connection:
        db = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(
            "CREATE TABLE IF NOT EXISTS digest (dev INTEGER, ino INTEGER, size INTEGER, mtime INTEGER, ctime INTEGER, sha256 BLOB, "
            "PRIMARY KEY (dev, ino)) WITHOUT ROWID"
        )
        os.chmod(path, 0o600)
        return db

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                if self._new:
                    self._db.execute(
                        "DELETE FROM digest WHERE (SELECT count(*) FROM digest) > ?", (ROWS_MAX,)
                    )  # files come and go
            self._db.close()
            self._db = None

    def of(self, fd: int, step: Callable[[], None] = lambda: None) -> tuple[bytes, os.stat_result]:
        """Digest of a regular file, and the state that it belongs to; `step` is called now and then, and may raise.

        Raises:
            FileChangedError: it changes all the time.
            OSError: it cannot be read.
        """
        for _ in range(TRIES):
            st = os.fstat(fd)
            known = self._find(st)
            if known is not None:
                return known, st
            age = time.time_ns() - max(st.st_mtime_ns, st.st_ctime_ns)
            if 0 <= age < TICK_NS:
                time.sleep((TICK_NS - age) / 1e9)
            hasher = hashlib.sha256()
            at = 0
            while data := os.pread(fd, PIECE, at):
                hasher.update(data)
                at += len(data)
                step()
            if state(os.fstat(fd)) == state(st) and at == st.st_size:
                self._keep(st, hasher.digest())
                return hasher.digest(), st
        raise FileChangedError

    def _find(self, st: os.stat_result) -> bytes | None:
        if self._db is None:
            return None
        with contextlib.suppress(sqlite3.Error):
            row = self._db.execute(
                "SELECT size, mtime, ctime, sha256 FROM digest WHERE dev = ? AND ino = ?",
                (signed(st.st_dev), signed(st.st_ino)),
            ).fetchone()
            if row is not None and row[:3] == (st.st_size, st.st_mtime_ns, st.st_ctime_ns):
                return bytes(row[3])
        return None

    def _keep(self, st: os.stat_result, digest: bytes) -> None:
        if self._db is not None:
            self._new += 1
            with contextlib.suppress(sqlite3.Error):
                self._db.execute(
                    "INSERT OR REPLACE INTO digest VALUES (?, ?, ?, ?, ?, ?)",
                    (signed(st.st_dev), signed(st.st_ino), st.st_size, st.st_mtime_ns, st.st_ctime_ns, digest),
                )


def state(st: os.stat_result) -> tuple[int, int, int, int, int]:
    """What a digest is kept by."""
    return st.st_dev, st.st_ino, st.st_size, st.st_mtime_ns, st.st_ctime_ns


def signed(value: int) -> int:
    """As SQLite keeps integers: of 64 bits with a sign."""
    return value - (1 << 64) if value >= 1 << 63 else value
