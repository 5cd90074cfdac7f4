"""Errors of the snapshot store: exit statuses 40 to 51, each with its gRPC status. Here, because clients raise them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quark.errors import QuarkError

if TYPE_CHECKING:
    from typing import Self

ADVICE = "restore it from a backup, or delete the snapshots that `fsck` names"


class StoreError(QuarkError):
    """Base of all errors of the store; itself: one of its limits is reached."""

    exit_code = 51
    grpc_code = "FAILED_PRECONDITION"


class ObjectMissingError(StoreError):
    """A backend has no such pack or map. Whoever was told that there is one turns this into the corruption error of its kind."""

    exit_code = 42
    grpc_code = "DATA_LOSS"


class SnapshotUnknownError(StoreError):
    """No snapshot of the domain has this name."""

    exit_code = 40
    grpc_code = "NOT_FOUND"


class NameTakenError(StoreError):
    """The domain has a snapshot of this name already."""

    exit_code = 41
    grpc_code = "ALREADY_EXISTS"


class CorruptStoreError(StoreError):
    """Bytes of the store are not what was written.

    Attributes:
        path: the damaged file.
        offset: byte offset of the damaged structure in it, or None if it concerns the whole file.
    """

    exit_code = 42
    grpc_code = "DATA_LOSS"

    path: str = ""
    offset: int | None = None

    @classmethod
    def at(cls, path: str, offset: int | None, what: str, advice: str = ADVICE) -> Self:
        """The error for `what` is wrong at `offset` of `path`."""
        where = path if offset is None else f"{path} at byte {offset}"
        error = cls(f"{where}: {what}; {advice}")
        error.path = path
        error.offset = offset
        return error


class CorruptPackError(CorruptStoreError):
    """A pack file is missing or its header is damaged."""


class CorruptChunkError(CorruptStoreError):
    """A chunk of a pack is damaged."""


class CorruptMapError(CorruptStoreError):
    """The page map of a snapshot is missing or damaged."""


class CorruptCatalogueError(CorruptStoreError):
    """The SQLite catalogue is damaged."""


class CorruptBlobError(CorruptStoreError):
    """A snapshot's document or working set is damaged."""


class CorruptStreamError(CorruptStoreError):
    """An export stream is truncated, damaged or contradicts itself or the store."""


class StoreVersionError(StoreError):
    """The directory is a store of another version, or no store."""

    exit_code = 43
    grpc_code = "FAILED_PRECONDITION"


class DiskFullError(StoreError):
    """The file system under the store (or a disk quota) has no room."""

    exit_code = 44
    grpc_code = "RESOURCE_EXHAUSTED"


class StoreBusyError(StoreError):
    """Another process holds the lock that is needed."""

    exit_code = 45
    grpc_code = "UNAVAILABLE"


class StoreAccessError(StoreError):
    """The operating system refused an access to a file of the store."""

    exit_code = 50
    grpc_code = "PERMISSION_DENIED"


class QuotaExceededError(StoreError):
    """The domain's quota does not hold what should be stored."""

    exit_code = 46
    grpc_code = "RESOURCE_EXHAUSTED"


class StoreKeyError(StoreError):
    """Base: the key of an encrypted domain."""

    exit_code = 47
    grpc_code = "PERMISSION_DENIED"


class KeyMissingError(StoreKeyError):
    """The domain is encrypted and no key was given."""

    grpc_code = "FAILED_PRECONDITION"


class KeyWrongError(StoreKeyError):
    """The key given is not the domain's."""


class HasChildrenError(StoreError):
    """Other snapshots are layers on top of this one."""

    exit_code = 48
    grpc_code = "FAILED_PRECONDITION"


class BadNameError(StoreError):
    """A snapshot or domain name has characters that it may not have."""

    field = "name"
    exit_code = 49
    grpc_code = "INVALID_ARGUMENT"
