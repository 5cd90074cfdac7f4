"""The zygote and the idle workers that it forked: taking one costs no fork and no import."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import deque

from quark.errors import QuarkError, VmError
from snapshotd import wire
from snapshotd.lifeline import die_with_parent

FORK_SECONDS = 30.0
REFILL_SECONDS = 0.02


class IdleWorker:
    """A worker without a job: its socket and its pidfd. `pid` is for /proc; whether it is still this process, the pidfd tells."""

    def __init__(self, pid: int, sock: socket.socket, pidfd: int) -> None:
        self.pid = pid
        self.sock = sock
        self.pidfd = pidfd

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, to this process and no other."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def close(self) -> None:
        """Let go; a worker that still lives reads end of file and ends."""
        self.sock.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


class Pool:
    """Keeps `size` workers ready. All on the event loop's thread."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.idle: deque[IdleWorker] = deque()
        self._waiting: deque[asyncio.Future[IdleWorker]] = deque()
        self._asked = 0
        self._sock: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the zygote. From the main thread only: the kernel ties the zygote's life to the thread that forked it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        package_parent = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        me = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "snapshotd.zygote", str(theirs.fileno())],
            env={**os.environ, "PYTHONPATH": package_parent},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            preexec_fn=lambda: die_with_parent(me),  # noqa: PLW1509 - before any thread
        )
        theirs.close()
        ours.setblocking(False)
        self._sock = ours
        asyncio.get_running_loop().add_reader(ours, self._arrived)
        self._refill()

    def _refill(self) -> None:
        while self._sock is not None and len(self.idle) + self._asked < self.size + len(self._waiting):
            try:
                wire.send(self._sock, ["fork"])
            except OSError:
                return  # it is gone: _arrived says so
            self._asked += 1

    def _arrived(self) -> None:
        if self._sock is None:
            return
        fields, fds = wire.receive(self._sock)
        if not fields:
            self._lost()
            return
        self._asked -= 1
        worker = IdleWorker(int(fields[1]), socket.socket(fileno=fds[0]), fds[1])
        worker.sock.setblocking(False)
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(worker)
                return
        self.idle.append(worker)

    def _lost(self) -> None:
        """The zygote died, and its workers with it: start another."""
        self._close()
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(VmError("the process that makes sandboxes ended; try again"))
        self.start()

    async def take(self) -> IdleWorker:
        """A worker.

        Raises:
            QuarkError: none could be made.
        """
        if self.idle:
            worker = self.idle.popleft()
            # After the caller has put it to work; and while there is another one, not beside a restore that takes a few milliseconds.
            asyncio.get_running_loop().call_later(REFILL_SECONDS if self.idle else 0, self._refill)
            return worker
        future: asyncio.Future[IdleWorker] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._refill()
        try:
            return await asyncio.wait_for(future, FORK_SECONDS)
        except TimeoutError:
            raise QuarkError(
                f"no process for the sandbox within {FORK_SECONDS:.0f} s; the host is overloaded"
            ) from None

    def _close(self) -> None:
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
            self._sock = None
        for worker in self.idle:
            worker.close()
        self.idle.clear()
        self._asked = 0
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End the zygote, and with it every worker."""
        self._close()
