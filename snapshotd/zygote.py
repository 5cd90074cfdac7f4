"""The zygote: a process without gRPC that has everything imported, and forks the workers that become sandboxes.

Usage: python -m snapshotd.zygote FD, a SOCK_SEQPACKET socket to the daemon. `fork` is answered with `worker PID` and two descriptors: the
worker's socket and its pidfd. When the daemon ends, however it ends, the zygote reads end of file and ends too, and the kernel then kills
its workers (PR_SET_PDEATHSIG): no sandbox outlives its daemon, and nobody has to remember a PID for that.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import sys

from snapshotd import wire, worker
from snapshotd.lifeline import die_with_parent


def fork_worker(daemon: socket.socket, reaper: tuple[int, int]) -> None:
    """Fork one worker and hand its socket to the daemon."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    zygote = os.getpid()
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        daemon.close()
        ours.close()
        for fd in reaper:
            os.close(fd)
        die_with_parent(zygote)
        os.setsid()
        worker.main(theirs)
        os._exit(0)
    theirs.close()
    pidfd = os.pidfd_open(pid)
    try:
        wire.send(daemon, ["worker", str(pid)], (ours.fileno(), pidfd))
    finally:
        os.close(pidfd)
        ours.close()


def reap() -> None:
    """Collect workers that ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def main(fd: int) -> int:
    """Serve the daemon until it goes."""
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
            fork_worker(daemon, (reader, writer))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
