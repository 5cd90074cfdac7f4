"""The zygote: a process without gRPC that has everything imported, and forks the workers that become sandboxes.

Usage: python -m snapshotd.zygote FD DAEMON, a SOCK_SEQPACKET socket to the daemon and its PID. `fork` is answered with `worker PID` and two
descriptors: the worker's socket and its pidfd; or with `failed REASON`. When the daemon ends, however it ends, the kernel kills the zygote, and
then its workers (PR_SET_PDEATHSIG): no sandbox outlives its daemon, and nobody has to remember a PID for that.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import signal
import socket
import sys
import traceback
from typing import NoReturn

from snapshotd import wire, worker
from snapshotd.lifeline import die_with_parent


def fork_worker(daemon: socket.socket, reaper: tuple[int, int]) -> None:
    """Fork one worker and hand its socket to the daemon."""
    with contextlib.ExitStack() as stack:
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stack.enter_context(ours)
            stack.enter_context(theirs)
            zygote = os.getpid()
            pid = os.fork()
        except OSError as e:
            # Out of descriptors or processes. This process must not end of it: every sandbox would, too.
            wire.send(daemon, ["failed", e.strerror or str(e)])
            return
        if pid == 0:
            become_worker(zygote, theirs, (daemon.fileno(), ours.fileno(), *reaper))
        try:
            pidfd = os.pidfd_open(pid)
        except OSError as e:
            os.kill(pid, signal.SIGKILL)  # it is still this one: only `reap` lets go of a PID
            wire.send(daemon, ["failed", e.strerror or str(e)])
            return
        try:
            wire.send(daemon, ["worker", str(pid)], (ours.fileno(), pidfd))
        finally:
            os.close(pidfd)


def become_worker(zygote: int, sock: socket.socket, others: tuple[int, ...]) -> NoReturn:
    """The child's side: close what is the zygote's, wait for a job, do it, end."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for fd in others:
            os.close(fd)
        die_with_parent(zygote)
        os.setsid()
        worker.main(sock)
    except BaseException:  # noqa: BLE001 - this process must end here, whatever it was
        traceback.print_exc()
    finally:
        os._exit(0)


def reap() -> None:
    """Collect workers that ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def main(fd: int, parent: int) -> int:
    """Serve the daemon until it goes."""
    die_with_parent(parent)
    daemon = socket.socket(fileno=fd)
    daemon.set_inheritable(False)
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writer)
    worker.preload()
    gc.collect()
    gc.freeze()  # workers share these pages as long as the collector leaves them alone
    selector = selectors.DefaultSelector()
    selector.register(daemon, selectors.EVENT_READ)
    selector.register(reader, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fd == reader:
                os.read(reader, 4096)
                reap()
                continue
            fields, _fds = wire.receive(daemon)
            if not fields:
                return 0
            try:
                fork_worker(daemon, (reader, writer))
            except ConnectionError:
                return 0  # it goes at this moment


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
