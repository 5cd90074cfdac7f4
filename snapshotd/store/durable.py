"""Every write, fsync, rename, unlink and hole of the store's own files goes through here, so that crash tests can stop at each."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import TYPE_CHECKING

from snapshotd.store.errors import DiskFullError, StoreAccessError, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_IOV_MAX = 1024
_FALLOC_FL_KEEP_SIZE = 1
_FALLOC_FL_PUNCH_HOLE = 2
_SYNC_FILE_RANGE_WRITE = 2
_libc = ctypes.CDLL(None, use_errno=True)


def named(error: OSError, path: str) -> StoreError:
    """The store's error for what the operating system said about `path`."""
    if error.errno in _FULL:
        return DiskFullError(f"{path}: no room on the file system ({error.strerror}); free some, or `gc` the store")
    if error.errno in _REFUSED:
        return StoreAccessError(f"{path}: {error.strerror}; check the owner and mode of the store's files")
    return StoreError(f"{path}: {error.strerror}")


def make_directory(path: str) -> None:
    """Make `path` with mode 0700, durably, unless it is there."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    except OSError as error:
        raise named(error, path) from error
    sync_directory(os.path.dirname(path))


def create(path: str) -> int:
    """Create the file `path`, which must not exist, mode 0600; returns its descriptor."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise named(error, path) from error


def write(fd: int, buffers: Sequence[bytes], path: str) -> None:
    """Append all of `buffers` to `fd`."""
    pending: list[bytes | memoryview] = list(buffers)
    try:
        while pending:
            done = os.writev(fd, pending[:_IOV_MAX])
            while pending and done >= len(pending[0]):
                done -= len(pending.pop(0))
            if done:
                pending[0] = memoryview(pending[0])[done:]
    except OSError as error:
        raise named(error, path) from error


def begin_sync(fd: int) -> None:
    """Let the kernel start to write what was written to `fd`, so that `sync` has less to wait for (sync_file_range(2)). Only a hint: it cannot fail."""
    _libc.sync_file_range(fd, ctypes.c_int64(0), ctypes.c_int64(0), _SYNC_FILE_RANGE_WRITE)


def sync(fd: int, path: str) -> None:
    """Make what was written to `fd` durable."""
    try:
        os.fsync(fd)
    except OSError as error:
        raise named(error, path) from error


def sync_directory(path: str) -> None:
    """Make the names in the directory `path` durable."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise named(error, path) from error


def rename(source: str, target: str) -> None:
    """Give a file its final name. The caller syncs the directory."""
    try:
        os.rename(source, target)
    except OSError as error:
        raise named(error, target) from error


def publish(path: str, temporary: str, content: bytes) -> None:
    """Make the file `path` with `content`: temporary name, fsync, rename, fsync of the directory."""
    fd = create(temporary)
    try:
        write(fd, [content], temporary)
        sync(fd, temporary)
        rename(temporary, path)
    except BaseException:
        unlink(temporary)
        raise
    finally:
        os.close(fd)
    sync_directory(os.path.dirname(path))


def unlink(path: str) -> None:
    """Remove the file `path`; none there is fine (gc may do its work twice)."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise named(error, path) from error


def punch(fd: int, offset: int, length: int, path: str) -> bool:
    """Give the space of bytes offset .. offset+length-1 back, keeping the file's size. False if the file system cannot."""
    mode = _FALLOC_FL_KEEP_SIZE | _FALLOC_FL_PUNCH_HOLE
    while _libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)) != 0:
        number = ctypes.get_errno()
        if number in (errno.EOPNOTSUPP, errno.ENOSYS):
            return False
        if number != errno.EINTR:
            raise named(OSError(number, os.strerror(number)), path)
    return True
