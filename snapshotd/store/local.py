"""The backend that is a directory of the host: packs/ID.pack and maps/ID.map, and tmp-ID beside them while they are written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from snapshotd.store import durable
from snapshotd.store.errors import ObjectMissingError
from snapshotd.store.layout import temporary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snapshotd.store.backend import Kind

_ID_BYTES = 16


class LocalBackend:
    """The objects of a domain as files under its directory."""

    __slots__ = ("_directories",)

    def __init__(self, directory: str) -> None:
        # Plain strings: importing pathlib costs the restore path more than it gives.
        self._directories: dict[Kind, str] = {"pack": f"{directory}/packs", "map": f"{directory}/maps"}

    def make(self) -> None:
        """Make the directories, durably, unless they are there."""
        for directory in self._directories.values():
            durable.make_directory(directory)

    def name(self, kind: Kind, object_id: bytes) -> str:
        """Path of the file."""
        return f"{self._directories[kind]}/{object_id.hex()}.{kind}"

    def begin(self, kind: Kind, object_id: bytes) -> LocalUpload:
        """Create the file under a temporary name."""
        return LocalUpload(temporary(self._directories[kind]), self.name(kind, object_id))

    def open(self, kind: Kind, object_id: bytes) -> LocalObject:
        """Open the file. It stays readable after it is removed."""
        return LocalObject(self.name(kind, object_id), os.O_RDONLY)

    def ids(self, kind: Kind) -> list[bytes]:
        """Ids in the names of the files."""
        found = [_id_of(entry, kind) for entry in self._entries(kind)]
        return [object_id for object_id in found if object_id is not None]

    def remove(self, kind: Kind, object_id: bytes) -> None:
        """Unlink the file."""
        durable.unlink(self.name(kind, object_id))

    def punch(self, kind: Kind, object_id: bytes, holes: Sequence[tuple[int, int]]) -> bool:
        """fallocate(2) with FALLOC_FL_PUNCH_HOLE."""
        file = LocalObject(self.name(kind, object_id), os.O_RDWR)
        try:
            for offset, size in holes:
                if not durable.punch(file.fd, offset, size, file.name):
                    return False
            durable.sync(file.fd, file.name)
        finally:
            file.close()
        return True

    def leftovers(self) -> list[str]:
        """Paths of all files in the two directories that are not named as an object."""
        return [
            f"{directory}/{entry}"
            for kind, directory in self._directories.items()
            for entry in self._entries(kind)
            if _id_of(entry, kind) is None
        ]

    def discard(self, leftover: str) -> None:
        """Unlink the file."""
        durable.unlink(leftover)

    def _entries(self, kind: Kind) -> list[str]:
        directory = self._directories[kind]
        try:
            return sorted(os.listdir(directory))
        except OSError as error:
            raise durable.named(error, directory) from error


def _id_of(entry: str, kind: Kind) -> bytes | None:
    """The id in a file's name; None if the name is not spelt as an object's."""
    try:
        object_id = bytes.fromhex(entry.removesuffix(f".{kind}"))
    except ValueError:
        return None
    return object_id if len(object_id) == _ID_BYTES and entry == f"{object_id.hex()}.{kind}" else None


class LocalObject:
    """An open file.

    Attributes:
        name: its path.
        fd: its descriptor, -1 when closed.
    """

    __slots__ = ("fd", "name")

    def __init__(self, path: str, flags: int) -> None:
        self.name = path
        try:
            self.fd = os.open(path, flags | os.O_CLOEXEC)
        except FileNotFoundError:
            raise ObjectMissingError(f"{path}: there is no such file") from None
        except OSError as error:
            raise durable.named(error, path) from error

    def read(self, offset: int, size: int) -> bytes:
        """pread(2)."""
        return _read(self.fd, offset, size, self.name)

    def size(self) -> int:
        """Of the file, holes included."""
        try:
            return os.fstat(self.fd).st_size
        except OSError as error:
            raise durable.named(error, self.name) from error

    def close(self) -> None:
        """Close the file."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class LocalUpload:
    """A file under its temporary name: fsync, rename and fsync of the directory publish it (docs/store-format.md, section 8).

    Attributes:
        name: the temporary path.
    """

    __slots__ = ("_fd", "_target", "name")

    def __init__(self, path: str, target: str) -> None:
        self.name = path
        self._target = target
        self._fd = durable.create(path)

    def append(self, buffers: Sequence[bytes]) -> None:
        """writev(2)."""
        durable.write(self._fd, buffers, self.name)
        durable.begin_sync(self._fd)

    def read(self, offset: int, size: int) -> bytes:
        """pread(2)."""
        return _read(self._fd, offset, size, self.name)

    def publish(self) -> None:
        """The bytes first, then the name, then the directory that holds the name."""
        durable.sync(self._fd, self.name)
        durable.rename(self.name, self._target)
        try:
            durable.sync_directory(os.path.dirname(self._target))
        except BaseException:
            durable.unlink(self._target)
            raise
        self._close()

    def abandon(self) -> None:
        """Unlink the file, if it still has its temporary name."""
        if self._fd >= 0:
            self._close()
            durable.unlink(self.name)

    def _close(self) -> None:
        os.close(self._fd)
        self._fd = -1


def _read(fd: int, offset: int, size: int, path: str) -> bytes:
    try:
        found = os.pread(fd, size, offset)
        while len(found) < size and (more := os.pread(fd, size - len(found), offset + len(found))):
            found += more  # one call gives at most 2 GiB (read(2))
    except OverflowError:
        return b""  # no file is that long
    except OSError as error:
        raise durable.named(error, path) from error
    return found
