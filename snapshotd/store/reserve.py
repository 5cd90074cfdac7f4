"""Room that is kept for a full disk: a file that is given up when deleting, collecting or reading would fail for want of a few pages.

SQLite needs some for its write-ahead log and the index of it even to read (https://www.sqlite.org/wal.html, section 3), a deletion some for its
transaction. The file is made again as soon as there is room.
"""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar, cast

from snapshotd.store.errors import DiskFullError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class HasReserve(Protocol):
        """What `spare` decorates the methods of."""

        _reserve: Reserve

    S = TypeVar("S", bound=HasReserve)

P = ParamSpec("P")
R = TypeVar("R")

BYTES = 1 << 20  # log, its index, and the transaction of a deletion, several times over
PLENTY = 8  # times as much has to be free before it is made


class Reserve:
    """The reserve of one domain."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, "reserve")

    def keep(self) -> None:
        """Make it, where it is missing and there is room. Nothing depends on it, so no error matters."""
        with contextlib.suppress(OSError):
            if os.path.exists(self._path):
                return
            free = os.statvfs(os.path.dirname(self._path))
            if free.f_bavail * free.f_frsize < PLENTY * BYTES:
                return
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, BYTES)
            finally:
                os.close(fd)

    def release(self) -> bool:
        """Give its room back; False: it was given back before."""
        try:
            os.unlink(self._path)
        except OSError:
            return False
        return True


def spare(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Let a method of the store that has to work on a full disk use the reserve: it is tried once more with that room."""

    def tried(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except DiskFullError:
            if not self._reserve.release():
                raise
            return method(self, *args, **kwargs)

    return cast("Callable[Concatenate[S, P], R]", functools.wraps(method)(tried))
