"""The zygote: a process without gRPC that starts the sandboxes' processes, and has everything imported that those who store captures need.

Usage: python -m snapshotd.zygote FD DAEMON FLAGS TREES, a SOCK_SEQPACKET socket to the daemon, its PID, QM_USERS or 0, and where a QVisor gets a control
group of its own, as JSON (qvisor.cgroup.Tree). `qvisor` asks for the program QVisor with a virtual machine that waits for its request, `storer` for a
process that stores a capture; each is answered with `process PID GROUP` (the group's name, or nothing) and two descriptors, its socket and its pidfd; or with `failed CLASS MESSAGE`. Answers come in the order of the requests. When the daemon ends, however it ends, the kernel kills the
zygote, and then its children (PR_SET_PDEATHSIG): no sandbox outlives its daemon, and nobody has to remember a PID for that.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from typing import NoReturn

from quark.errors import QuarkError, VmError
from quark.sizes import MEMORY_MAX
from qvisor import cgroup, process
from qvisor.machine import open_kvm
from snapshotd import namespaces, storer, wire
from snapshotd.lifeline import adopt_orphans, children, die_with_parent

END_SECONDS = 1.0
QVISOR = b"qvisor\n"  # what the kernel calls the program, and its forks: it cannot change that (seccomp.c)


class Zygote:
    """Serves the daemon at the other end of `daemon`."""

    def __init__(self, daemon: socket.socket, reaper: tuple[int, int], flags: int, trees: list[cgroup.Tree]) -> None:
        self.daemon = daemon
        self.flags = flags
        self.reaper = reaper
        self.trees = trees
        self.groups: dict[int, cgroup.Group] = {}  # by PID
        self.qvisors: set[int] = set()
        self.kvm = -1
        self.namespaces = namespaces.make()

    def serve(self, request: str) -> None:
        """Start one process and hand its socket to the daemon."""
        with contextlib.ExitStack() as stack:
            try:
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                stack.enter_context(ours)
                stack.enter_context(theirs)
                pid = self.start_qvisor(ours, theirs) if request == "qvisor" else self.fork_storer(ours, theirs)
                pidfd = os.pidfd_open(pid)  # it is still this one: only `reap` lets go of a PID
            except (OSError, QuarkError) as e:
                # Out of descriptors or processes. This process must not end of it: every sandbox would, too.
                error = e if isinstance(e, QuarkError) else full(e)
                wire.send(self.daemon, ["failed", type(error).__name__, str(error)])
                return
            stack.callback(os.close, pidfd)
            group = self.groups[pid].name if pid in self.groups else ""
            wire.send(self.daemon, ["process", str(pid), group], (ours.fileno(), pidfd))

    def start_qvisor(self, ours: socket.socket, theirs: socket.socket) -> int:
        """One that makes its machine and waits."""
        if self.kvm < 0:
            self.kvm = open_kvm()
        message = process.machine(
            MEMORY_MAX, self.kvm, parent=os.getpid(), flags=self.flags, namespaces=self.namespaces
        )
        message.send(ours.fileno())
        pid = process.spawn(theirs.fileno())
        self.qvisors.add(pid)
        if self.trees:
            # Now, while nobody waits: to join a group may take a while (the kernel waits for all processors).
            self.groups[pid] = cgroup.join(self.trees, pid)
        return pid

    def end(self) -> None:
        """The daemon goes: end the QVisors and remove their groups. One that waits in the host's kernel keeps nobody for long."""
        for pid in self.qvisors:
            os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + END_SECONDS
        while self.qvisors and time.monotonic() < deadline:
            self.reap()
            time.sleep(0.002)

    def reap(self) -> None:
        """Collect children that ended, and their groups."""
        with contextlib.suppress(ChildProcessError):
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                if pid in self.qvisors:
                    self.qvisors.discard(pid)
                    self.end_orphans()
                if pid in self.groups:
                    self.groups.pop(pid).remove()

    def end_orphans(self) -> None:
        """What a QVisor leaves behind, whose guest took it over: its forks end with it when they are captures, and there are no others."""
        for pid in children():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", "rb") as f:
                if pid not in self.qvisors and f.read() == QVISOR:
                    os.kill(pid, signal.SIGKILL)

    def fork_storer(self, ours: socket.socket, theirs: socket.socket) -> int:
        """A fork of this process."""
        zygote, pid = os.getpid(), os.fork()
        if pid == 0:
            become_storer(zygote, theirs, (self.daemon.fileno(), ours.fileno(), *self.reaper))
        return pid


def full(e: OSError) -> QuarkError:
    """What a system call says when there is no room."""
    return VmError(f"no process for the sandbox: {e.strerror or e}; the host is at a limit")


def become_storer(zygote: int, sock: socket.socket, others: tuple[int, ...]) -> NoReturn:
    """The child's side: close what is the zygote's, wait for a job, do it, end."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for fd in others:
            os.close(fd)
        die_with_parent(zygote)
        os.setsid()
        storer.main(sock)
    except BaseException:  # noqa: BLE001 - this process must end here, whatever it was
        traceback.print_exc()
    finally:
        os._exit(0)


def main(fd: int, parent: int, flags: int, trees: str) -> int:
    """Serve the daemon until it goes."""
    die_with_parent(parent)
    adopt_orphans()
    daemon = socket.socket(fileno=fd)
    daemon.set_inheritable(False)
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writer)
    zygote = Zygote(daemon, (reader, writer), flags, [cgroup.Tree(*tree) for tree in json.loads(trees)])
    storer.preload()
    gc.collect()
    gc.freeze()  # storers share these pages as long as the collector leaves them alone
    selector = selectors.DefaultSelector()
    selector.register(daemon, selectors.EVENT_READ)
    selector.register(reader, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fd == reader:
                os.read(reader, 4096)
                zygote.reap()
                continue
            fields, _fds = wire.receive(daemon)
            try:
                if fields:
                    zygote.serve(fields[0])
            except ConnectionError:
                fields = []  # it goes at this moment
            if not fields:
                zygote.end()
                return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
