"""The zygote and the idle workers that it forked: taking one costs no fork and no import."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque

from quark.errors import QuarkError, VmError
from snapshotd import wire

log = logging.getLogger("snapshotd")
FORK_SECONDS = 30.0
REFILL_SECONDS = 0.02
AGAIN_SECONDS = 1.0  # between attempts, when the zygote or a fork fails


class IdleWorker:
    """A worker without a job: its socket and its pidfd. `pid` is for /proc; whether it is still this process, the pidfd tells."""

    def __init__(self, pid: int, sock: socket.socket, pidfd: int) -> None:
        self.pid = pid
        self.sock = sock
        self.pidfd = pidfd

    @property
    def ended(self) -> bool:
        """Whether it has died."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(0))

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
        self._started = 0.0
        self._closed = False

    def start(self) -> None:
        """Start the zygote. From the main thread only: the kernel ties the zygote's life to the thread that forked it."""
        if self._closed:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        package_parent = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "snapshotd.zygote", str(theirs.fileno()), str(os.getpid())],
                env={**os.environ, "PYTHONPATH": package_parent},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # Ctrl-C on the daemon's terminal is for the daemon, which ends the sandboxes in order.
                start_new_session=True,
            )
        ours.setblocking(False)
        self._sock = ours
        self._started = time.monotonic()
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
        if fields[0] != "worker":
            log.error("no process for a sandbox", extra={"error": fields[1]})
            self._fail(VmError(f"no process for the sandbox: {fields[1]}; the host is at a limit"))
            asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._refill)
            return
        worker = IdleWorker(int(fields[1]), socket.socket(fileno=fds[0]), fds[1])
        worker.sock.setblocking(False)
        if self._waiting:
            self._waiting.popleft().set_result(worker)
            return
        self.idle.append(worker)
        asyncio.get_running_loop().add_reader(worker.sock, self._died, worker)

    def _died(self, worker: IdleWorker) -> None:
        """An idle worker has nothing to say: this is its end."""
        self._forget(worker)
        self.idle.remove(worker)
        asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._refill)

    @staticmethod
    def _forget(worker: IdleWorker) -> None:
        asyncio.get_running_loop().remove_reader(worker.sock)
        worker.close()

    def _fail(self, error: QuarkError) -> None:
        """Whoever waits for a worker gets none."""
        while self._waiting:
            self._waiting.popleft().set_exception(error)

    def _lost(self) -> None:
        """The zygote died, and its workers with it: start another. Not in a hurry, if this one has just been started."""
        self._close()
        status = self._process.returncode if self._process is not None else None
        log.error("the zygote ended, and the sandboxes with it", extra={"status": status})
        self._fail(VmError("the process that makes sandboxes ended; try again"))
        lived = time.monotonic() - self._started
        asyncio.get_running_loop().call_later(max(AGAIN_SECONDS - lived, 0), self.start)

    async def take(self) -> IdleWorker:
        """A worker.

        Raises:
            QuarkError: none could be made.
        """
        loop = asyncio.get_running_loop()
        while self.idle:
            worker = self.idle.popleft()
            if worker.ended:
                self._forget(worker)
                continue
            loop.remove_reader(worker.sock)
            # After the caller has put it to work; and while there is another one, not beside a restore that takes a few milliseconds.
            loop.call_later(REFILL_SECONDS if self.idle else 0, self._refill)
            return worker
        future: asyncio.Future[IdleWorker] = loop.create_future()
        self._waiting.append(future)
        self._refill()
        try:
            async with asyncio.timeout(FORK_SECONDS):
                return await asyncio.shield(future)
        except BaseException as e:
            if not future.done():
                self._waiting.remove(future)
                future.cancel()
            elif future.exception() is None:
                self._forget(future.result())  # it came together with the end of the call
            if isinstance(e, TimeoutError):
                raise QuarkError(
                    f"no process for the sandbox within {FORK_SECONDS:.0f} s; the host is overloaded"
                ) from None
            raise

    def _close(self) -> None:
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
            self._sock = None
        for worker in self.idle:
            self._forget(worker)
        self.idle.clear()
        self._asked = 0
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """End the zygote, and with it every worker."""
        self._closed = True
        self._close()
