"""What the host has for virtual machines, and the results of C functions."""

from __future__ import annotations

import errno
import os

from quark.errors import KvmMissingError, KvmPermissionError, VmError


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


def check(result: int, what: str) -> int:
    """Pass on a C result that is not negative.

    Raises:
        VmError: naming what failed and the system's reason.
    """
    if result < 0:
        raise VmError(f"could not {what}: {os.strerror(-result)}")
    return result
