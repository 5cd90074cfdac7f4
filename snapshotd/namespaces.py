"""Namespaces in which there is nothing, made once for all the QVisors of a daemon: making a network namespace for each takes 0.5 ms of a processor."""

from __future__ import annotations

import ctypes
import os
import signal

KINDS = {
    "net": 0x40000000,
    "ipc": 0x08000000,
    "uts": 0x04000000,
    "cgroup": 0x02000000,
}  # CLONE_NEW*: as of struct qm_machine


def make() -> tuple[int, ...]:
    """A descriptor of each of KINDS; -1: not without more rights."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            unshare = ctypes.CDLL(None).unshare
            os.write(theirs, bytes(unshare(flag) == 0 for flag in KINDS.values()))
            signal.pause()  # they live as long as somebody has them open
        finally:
            os._exit(0)
    os.close(theirs)
    made = os.read(ours, len(KINDS)).ljust(len(KINDS), b"\0")
    os.close(ours)
    fds = tuple(
        os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) if done else -1
        for kind, done in zip(KINDS, made, strict=True)
    )
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return fds
