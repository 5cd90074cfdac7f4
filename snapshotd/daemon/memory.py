"""How much memory and processor time processes have, and how much memory the host has left."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snapshotd.daemon.pool import Process


def _sum(process: Process, *kinds: tuple[bytes, ...]) -> tuple[int, ...]:
    """Bytes of each group of lines of a process's /proc/PID/status; zeros when it has ended.

    Not of its mappings (smaps_rollup): whoever reads that waits as long as the process waits for a file of the host with its mappings locked.
    """
    try:
        with open(f"/proc/{process.pid}/status", "rb") as f:
            text = f.read()
        signal.pidfd_send_signal(process.pidfd, 0)  # so it was this process
    except OSError:
        return (0,) * len(kinds)
    sizes = dict(line.split()[:2] for line in text.splitlines() if line.startswith(b"Rss"))
    return tuple(
        sum(int(sizes.get(name, 0)) << 10 for name in group) for group in kinds
    )  # of one that has just ended it has none


def memory_of(process: Process) -> tuple[int, ...]:
    """(private, shared) bytes of a process; zeros when it has ended."""
    return _sum(process, (b"RssAnon:",), (b"RssFile:", b"RssShmem:"))


def own_memory(process: Process) -> int:
    """Bytes that no file has: gone with the process."""
    return _sum(process, (b"RssAnon:",))[0]


def processor_time(process: Process) -> int:
    """Microseconds that all threads of a process have run (proc_pid_stat(5)); 0 when it has ended."""
    try:
        with open(f"/proc/{process.pid}/stat", "rb") as f:
            fields = f.read().rpartition(b")")[2].split()
        signal.pidfd_send_signal(process.pidfd, 0)  # so it was this process
    except OSError:
        return 0
    return (int(fields[11]) + int(fields[12])) * 1_000_000 // os.sysconf("SC_CLK_TCK")


def available_memory() -> int:
    """MemAvailable of /proc/meminfo (proc_meminfo(5)), bytes."""
    with open("/proc/meminfo", "rb") as f:
        for line in f:
            if line.startswith(b"MemAvailable:"):
                return int(line.split()[1]) << 10
    return 0
