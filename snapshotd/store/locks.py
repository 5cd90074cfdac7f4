"""Locks of the store (docs/store-format.md, section 8), all on files of the host. The kernel drops them when their process ends."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time
from typing import TYPE_CHECKING

from snapshotd.store import durable
from snapshotd.store.errors import StoreBusyError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_FLOCK = struct.Struct("@hhqqi4x")  # struct flock: type, whence, start, length, PID (fcntl(2))
_POLL = 0.005  # seconds between two tries; flock(2) itself has no time limit


class FileLock:
    """A lock on a file, held until close. Each has its own file description, so threads of a process exclude one another too.

    Args:
        path: the file; made if it is missing.
        exclusive: or shared.
        wait: seconds to try.
        busy: message of the StoreBusyError when that time is over.
    """

    __slots__ = ("_fd",)

    def __init__(self, path: str, *, exclusive: bool, wait: float, busy: str) -> None:
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise durable.named(error, path) from error
        end = time.monotonic() + wait
        try:
            while not try_lock(self._fd, exclusive=exclusive):
                if time.monotonic() >= end:
                    raise StoreBusyError(f"{path}: {busy}")
                time.sleep(_POLL)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the lock back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def try_lock(fd: int, *, exclusive: bool) -> bool:
    """Lock an open file without waiting; whether it worked."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Hold:
    """What keeps a snapshot from gc while it is read (shared), or its readers away while gc removes it (exclusive).

    A lock on one byte of one file, whatever number of snapshots there are: the byte is the key of the snapshot's row. It belongs to
    the open file and not to the process (F_OFD_SETLK), so threads exclude one another too.

    Args:
        path: the domain's file for this; made if it is missing.
        key: of the row.
        exclusive: or shared.

    Raises:
        HeldError: somebody has it, and not in a way that lets us have it too.
    """

    __slots__ = ("_fd",)

    def __init__(self, path: str, key: int, *, exclusive: bool) -> None:
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise durable.named(error, path) from error
        kind = fcntl.F_WRLCK if exclusive else fcntl.F_RDLCK
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, key, 1, 0))
        except OSError as error:
            self.close()
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise HeldError from None
            raise durable.named(error, path) from error

    @property
    def closed(self) -> bool:
        """Whether it was given back."""
        return self._fd < 0

    def close(self) -> None:
        """Give it back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class HeldError(Exception):
    """A snapshot is being read, or collected, by somebody else."""


class DaemonLock(FileLock):
    """Ownership of a whole store by the one daemon that serves it."""

    __slots__ = ()

    def __init__(self, root: str) -> None:
        path = os.path.join(root, "daemon.lock")
        try:
            super().__init__(path, exclusive=True, wait=0, busy="")
        except StoreBusyError:
            raise StoreBusyError(
                f"{root}: the daemon with PID {_owner(path)} owns this store; stop it or use another --root"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)


def _owner(path: str) -> str:
    with open(path, "rb") as file:
        return file.read(20).decode("ascii", "replace").strip() or "unknown"
