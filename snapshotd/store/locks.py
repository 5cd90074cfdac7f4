"""flock(2) locks of the store (docs/store-format.md, section 8). The kernel drops them when their process ends."""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING

from snapshotd.store import durable
from snapshotd.store.errors import StoreBusyError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

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
