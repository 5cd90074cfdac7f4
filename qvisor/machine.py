"""A virtual machine before it is anybody's sandbox: what can be made ahead of a request."""

from __future__ import annotations

import errno
import os

from quark.errors import KvmMissingError, KvmPermissionError, VmError
from qvisor._native import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def open_kvm() -> int:
    """Descriptor of /dev/kvm.

    Raises:
        KvmMissingError, KvmPermissionError: with what to do.
    """
    try:
        return os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError as e:
        if e.errno in {errno.EACCES, errno.EPERM}:
            raise KvmPermissionError(
                "/dev/kvm: permission denied; join the group kvm (usermod -aG kvm $USER) or run as root"
            ) from e
        raise KvmMissingError(
            f"/dev/kvm: {e.strerror}; enable virtualisation in the firmware and load kvm_intel or kvm_amd"
        ) from e


class Machine:
    """A KVM machine with a vCPU and its first RAM slot, for a sandbox of at most `memory` bytes. Usable in the process that made it only."""

    def __init__(self, memory: int) -> None:
        self._kvm = open_kvm()
        out = ffi.new("struct qv **")
        try:
            check(lib.qv_create(self._kvm, memory, out), "create the virtual machine")
        except BaseException:
            os.close(self._kvm)
            raise
        self.vm: Any = out[0]

    def close(self) -> None:
        """Destroy it; harmless when done before."""
        if self.vm is not None:
            lib.qv_destroy(self.vm)
            self.vm = None
            os.close(self._kvm)


def check(result: int, what: str) -> int:
    """Pass on a C result that is not negative.

    Raises:
        VmError: naming what failed and the system's reason.
    """
    if result < 0:
        raise VmError(f"could not {what}: {os.strerror(-result)}")
    return result
