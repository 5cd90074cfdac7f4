"""How much memory processes have, and the host has left."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snapshotd.daemon.pool import Process


def _sum(process: Process, *kinds: tuple[bytes, ...]) -> tuple[int, ...]:
    """Bytes of each group of lines of a process's /proc/PID/smaps_rollup; zeros when it has ended."""
    try:
        with open(f"/proc/{process.pid}/smaps_rollup", "rb") as f:
            text = f.read()
        signal.pidfd_send_signal(process.pidfd, 0)  # so it was this process
    except OSError:
        return (0,) * len(kinds)
    sizes = dict(line.split()[:2] for line in text.splitlines()[1:])
    return tuple(sum(int(sizes[name]) << 10 for name in group) for group in kinds)


def memory_of(process: Process) -> tuple[int, ...]:
    """(private, shared) bytes of a process; zeros when it has ended."""
    return _sum(process, (b"Private_Clean:", b"Private_Dirty:"), (b"Shared_Clean:", b"Shared_Dirty:"))


def own_memory(process: Process) -> int:
    """Bytes that no file has: gone with the process. A page of an image that it alone has mapped counts as private, but is the pager's."""
    return _sum(process, (b"Anonymous:",))[0]


def available_memory() -> int:
    """MemAvailable of /proc/meminfo (proc_meminfo(5)), bytes."""
    with open("/proc/meminfo", "rb") as f:
        for line in f:
            if line.startswith(b"MemAvailable:"):
                return int(line.split()[1]) << 10
    return 0
