"""Every error that a user can see: a class with its exit status and its gRPC status. docs/exit-codes.md lists them."""

from __future__ import annotations


class QuarkError(Exception):
    """Base of all errors; the message is one line: what is wrong, where, what to do."""

    exit_code = 70
    grpc_code = "INTERNAL"
    field = ""  # of an API request, when one is to blame


class UsageError(QuarkError):
    """The command line is wrong."""

    exit_code = 2
    grpc_code = "INVALID_ARGUMENT"


class FieldError(UsageError):
    """A field of a request to the daemon is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class KvmMissingError(QuarkError):
    """There is no /dev/kvm."""

    exit_code = 60
    grpc_code = "FAILED_PRECONDITION"


class KvmPermissionError(QuarkError):
    """/dev/kvm may not be opened."""

    exit_code = 61
    grpc_code = "PERMISSION_DENIED"


class RootfsError(QuarkError):
    """The root file system directory cannot be used."""

    exit_code = 62
    grpc_code = "NOT_FOUND"


class VolumeError(QuarkError):
    """A -v volume cannot be used."""

    exit_code = 63
    grpc_code = "NOT_FOUND"


class MemorySizeError(QuarkError):
    """The memory size is not one that a sandbox can have."""

    field = "spec.memory_bytes"
    exit_code = 64
    grpc_code = "INVALID_ARGUMENT"


class GuestPanicError(QuarkError):
    """The guest kernel found one of its own invariants broken."""

    exit_code = 65
    grpc_code = "INTERNAL"


class VmError(QuarkError):
    """KVM could not run the guest."""

    exit_code = 66
    grpc_code = "INTERNAL"


class PagerLostError(QuarkError):
    """The process that fills the sandbox's memory image ended."""

    exit_code = 67
    grpc_code = "UNAVAILABLE"


class KernelMismatchError(QuarkError):
    """A snapshot was made by another build of the guest kernel."""

    exit_code = 68
    grpc_code = "FAILED_PRECONDITION"


class HostMismatchError(QuarkError):
    """A snapshot needs a processor feature or KVM kind that this host lacks."""

    exit_code = 69
    grpc_code = "FAILED_PRECONDITION"


class SnapshotFilesError(QuarkError):
    """Files that a snapshot depends on are missing or have other content, and it does not contain them. `files` has (path, what)."""

    exit_code = 59
    grpc_code = "FAILED_PRECONDITION"
    files: list[tuple[str, str]] = []  # noqa: RUF012 - replaced, never changed


class CaptureError(QuarkError):
    """The sandbox could not be captured."""

    exit_code = 71
    grpc_code = "ABORTED"


class KernelImageError(QuarkError):
    """The guest kernel, or the program QVisor, that belongs to this installation is missing or damaged."""

    exit_code = 72
    grpc_code = "INTERNAL"


class UserfaultfdError(QuarkError):
    """userfaultfd is missing or may not be used."""

    exit_code = 73
    grpc_code = "FAILED_PRECONDITION"


class PathDeniedError(QuarkError):
    """A host path was named that the sandbox may not have."""

    exit_code = 75
    grpc_code = "PERMISSION_DENIED"


class AccessError(QuarkError):
    """The daemon does not know this caller, or the caller may not do this."""

    exit_code = 76
    grpc_code = "PERMISSION_DENIED"


class DaemonLostError(QuarkError):
    """The daemon cannot be reached, or ended during the call."""

    exit_code = 77
    grpc_code = "UNAVAILABLE"


class SandboxUnknownError(QuarkError):
    """The domain has no sandbox of this id."""

    exit_code = 78
    grpc_code = "NOT_FOUND"


class SandboxStateError(QuarkError):
    """The sandbox is not in the state that this needs."""

    exit_code = 79
    grpc_code = "FAILED_PRECONDITION"


class BusyError(QuarkError):
    """The daemon is at its limit."""

    exit_code = 80
    grpc_code = "RESOURCE_EXHAUSTED"


class ConfigError(QuarkError):
    """The daemon's configuration is wrong."""

    exit_code = 81
    grpc_code = "FAILED_PRECONDITION"


class KeySourceError(QuarkError):
    """The key of an encrypted domain cannot be read."""

    exit_code = 82
    grpc_code = "FAILED_PRECONDITION"


class LimitsError(QuarkError):
    """A limit on what a sandbox takes of the host cannot be had there."""

    exit_code = 57
    grpc_code = "FAILED_PRECONDITION"


class FileAccessError(QuarkError):
    """A file that the command line names cannot be read or written."""

    exit_code = 85
    grpc_code = "FAILED_PRECONDITION"


class ConfinementError(QuarkError):
    """This host cannot confine a sandbox's process as --require-confinement wants it."""

    exit_code = 58
    grpc_code = "FAILED_PRECONDITION"


def named_error(kind: str, message: str) -> QuarkError:
    """The error class called `kind`, with the message; QuarkError itself for a class that this version does not have."""
    found = globals().get(kind)
    if found is None:
        from quark import store_errors

        found = getattr(store_errors, kind, None)
    if not (isinstance(found, type) and issubclass(found, QuarkError)):
        found = QuarkError
    error = found.__new__(found)  # some take other arguments than the message
    error.args = (message,)
    return error
