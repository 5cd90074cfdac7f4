"""What the guest kernel is told of its sandbox: struct qk_boot, and the strings that belong to it."""

from __future__ import annotations

import os

from quark.errors import UsageError
from qvisor._native import lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from qvisor.spec import SandboxSpec

RINGS = {"auto": lib.QK_RING_AUTO, "ring0": lib.QK_RING_0, "ring3": lib.QK_RING_3}


def fill_boot(
    boot: Any, spec: SandboxSpec, mount_flags: list[int], document: bytes, *, trace: bool, tty: bool
) -> bytes:
    """Fill a struct qk_boot, all but the RAM; returns the boot blob. `tty`: standard input is a terminal.

    Raises:
        UsageError: the arguments and environment, or the /dev/quark document, are too large, or contain a NUL byte.
    """
    boot.ring = RINGS[spec.ring]
    boot.flags = (lib.QK_BOOT_TRACE if trace else 0) | (lib.QK_BOOT_TTY if tty else 0)
    boot.ram_limit = spec.memory
    boot.disk_mib = spec.disk >> 20
    boot.uid, boot.gid = spec.uid, spec.gid
    boot.ignored_signals = spec.ignored_signals
    env = [f"{k}={v}" for k, v in spec.environment().items()]
    targets = [v.target for v in spec.volumes]
    boot.argc, boot.envc, boot.nmounts = len(spec.argv), len(env), len(targets)
    for i, flags in enumerate(mount_flags):
        boot.mount_flags[i] = flags
    texts = [spec.cwd, spec.hostname, *spec.argv, *env, *targets]
    blob = b"".join(os.fsencode(t) + b"\0" for t in texts)
    if len(blob) > lib.QK_BOOT_SIZE:
        raise UsageError(f"arguments and environment are {len(blob)} bytes: the limit is {lib.QK_BOOT_SIZE}")
    if any("\0" in t for t in texts):
        raise UsageError("an argument contains a NUL byte")
    if len(document) > lib.QK_DOC_SIZE:
        raise UsageError(f"the /dev/quark document is {len(document)} bytes: the limit is {lib.QK_DOC_SIZE}")
    boot.blob_len = len(blob)
    return blob
