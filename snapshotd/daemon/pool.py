"""The zygote, and the processes that it starts: idle QVisors, which taking one costs no start and no machine, and storers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque

from quark.errors import CaptureError, QuarkError, VmError, named_error
from qvisor.cgroup import Group, Tree
from snapshotd import wire

log = logging.getLogger("snapshotd")
FORK_SECONDS = 30.0
END_SECONDS = 3.0  # for the zygote to end what it started
REFILL_SECONDS = 0.02
AGAIN_SECONDS = 1.0  # between attempts, when the zygote or a fork fails


class Process:
    """A process that the zygote started: its socket and its pidfd. `pid` is for /proc; whether it is still this process, the pidfd tells."""

    def __init__(self, pid: int, sock: socket.socket, pidfd: int, group: Group | None = None) -> None:
        self.group = group  # of its own
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
            if self.pidfd >= 0:
                signal.pidfd_send_signal(self.pidfd, number)

    def close(self) -> None:
        """Let go; one that still lives reads end of file and ends."""
        self.sock.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


class Pool:
    """Keeps `size` QVisors ready, with the QM_* `flags` of struct qm_machine. All on the event loop's thread."""

    def __init__(self, size: int, flags: int, trees: list[Tree]) -> None:
        self.size = size
        self._flags = flags
        self._trees = trees  # where each has a control group of its own
        self.idle: deque[Process] = deque()
        self._waiting: deque[asyncio.Future[Process]] = deque()
        self._asked: deque[asyncio.Future[Process] | None] = (
            deque()
        )  # of the zygote; the future of a storer, None: a QVisor
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
        trees = json.dumps([tree.to_list() for tree in self._trees])
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "snapshotd.zygote",
                    str(theirs.fileno()),
                    str(os.getpid()),
                    str(self._flags),
                    trees,
                ],
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
        while len(self.idle) + self._asked.count(None) < self.size + len(self._waiting):
            if not self._ask("qvisor", None):
                return  # it is gone: _arrived says so

    def _ask(self, what: str, future: asyncio.Future[Process] | None) -> bool:
        if self._sock is None:
            return False
        try:
            wire.send(self._sock, [what])
        except OSError:
            return False
        self._asked.append(future)
        return True

    def _arrived(self) -> None:
        if self._sock is None:
            return
        fields, fds = wire.receive(self._sock)
        if not fields:
            self._lost()
            return
        storer = self._asked.popleft()
        if fields[0] != "process":
            log.error("no process for a sandbox", extra={"error": fields[2]})
            error = named_error(fields[1], fields[2])
            if storer is not None:
                if not storer.done():
                    storer.set_exception(error)
                return
            self._fail(error)
            asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._refill)
            return
        group = Group(self._trees, fields[2]) if fields[2] else None
        process = Process(int(fields[1]), socket.socket(fileno=fds[0]), fds[1], group)
        process.sock.setblocking(False)
        if storer is not None:
            if storer.done():
                process.close()  # nobody waits for it any more
            else:
                storer.set_result(process)
            return
        if self._waiting:
            self._waiting.popleft().set_result(process)
            return
        self.idle.append(process)
        asyncio.get_running_loop().add_reader(process.sock, self._died, process)

    def _died(self, process: Process) -> None:
        """An idle one has nothing to say: this is its end."""
        self._forget(process)
        self.idle.remove(process)
        asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._refill)

    @staticmethod
    def _forget(process: Process) -> None:
        asyncio.get_running_loop().remove_reader(process.sock)
        process.close()

    def _fail(self, error: QuarkError) -> None:
        """Whoever waits for a QVisor gets none."""
        while self._waiting:
            self._waiting.popleft().set_exception(error)

    def _lost(self) -> None:
        """The zygote died, and what it started with it: start another. Not in a hurry, if this one has just been started."""
        storers = [future for future in self._asked if future is not None and not future.done()]
        self._close()
        for future in storers:
            future.set_exception(CaptureError("the process that makes sandboxes ended; try again"))
        status = self._process.returncode if self._process is not None else None
        log.error("the zygote ended, and the sandboxes with it", extra={"status": status})
        self._fail(VmError("the process that makes sandboxes ended; try again"))
        lived = time.monotonic() - self._started
        asyncio.get_running_loop().call_later(max(AGAIN_SECONDS - lived, 0), self.start)

    async def take(self) -> Process:
        """A QVisor with a machine, for one sandbox.

        Raises:
            QuarkError: none could be made.
        """
        loop = asyncio.get_running_loop()
        while self.idle:
            process = self.idle.popleft()
            if process.ended:
                self._forget(process)
                continue
            loop.remove_reader(process.sock)
            # After the caller has put it to work; and while there is another one, not beside a restore that takes a few milliseconds.
            loop.call_later(REFILL_SECONDS if self.idle else 0, self._refill)
            return process
        future: asyncio.Future[Process] = loop.create_future()
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

    async def storer(self) -> Process:
        """A process that stores a capture.

        Raises:
            QuarkError: none could be made.
        """
        future: asyncio.Future[Process] = asyncio.get_running_loop().create_future()
        if not self._ask("storer", future):
            raise VmError("the process that makes sandboxes ended; try again")
        async with asyncio.timeout(FORK_SECONDS):
            return await future

    def _close(self) -> None:
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
            self._sock = None
        for process in self.idle:
            self._forget(process)
        self.idle.clear()
        self._asked.clear()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """End the zygote, and with it all that it started."""
        self._closed = True
        self._close()
