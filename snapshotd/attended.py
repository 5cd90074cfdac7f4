"""A program in a QVisor that this process starts and follows, up to its capture point: what creates a snapshot without a daemon."""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import threading
import time

from quark.errors import CaptureError, VmError, named_error
from qvisor import confinement, process
from qvisor._native import lib
from qvisor.cgroup import limit_process
from qvisor.machine import check, open_kvm
from snapshotd import wire
from snapshotd.frozen import FrozenMachine, NotFrozenError
from snapshotd.start import ready_cold
from snapshotd.trigger import watch_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from quark.sizes import Limits
    from qvisor.cgroup import Group
    from qvisor.spec import SandboxSpec
    from snapshotd.trigger import Trigger

SIGNAL_INFO = struct.Struct("=IiiI112x")  # struct signalfd_siginfo, man 2 signalfd: number, errno, code, PID
GIVE_UP = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}


class Attended:
    """Runs `spec`'s program until `trigger`. Use it in a `with`: nothing of it is left behind.

    QVisor is a child of this process and part of its job: what the terminal sends is sent to both, and what only this one gets is passed on. With
    `signals` unset none are, and they are this process's alone; else they are taken over from the calling thread. The guest sees nothing of `state`,
    quark's state directory. `confine` are words of qvisor/confinement.py and owner.py; `confined_by` says how it is when `machine` has been had.
    """

    def __init__(
        self,
        spec: SandboxSpec,
        trigger: Trigger,
        state: str,
        *,
        stdio: tuple[int, int, int] = (0, 1, 2),
        signals: bool = True,
        debug: bool = False,
        confine: list[str] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._trigger = trigger
        self._limits = limits
        self._group: Group | None = None
        self._confine = confine or []
        self.confined_by: list[str] = []
        self._spec = spec
        self._pid = 0
        self._thread: threading.Thread | None = None
        self._watched: tuple[int, ...] = ()
        self._fire_at = self._late_at = float("inf")
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._signals = check(lib.qv_signals(), "take the signals") if signals else -1
        self._sock, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._machine, self._offer = socket.socketpair()
        try:
            self._start(spec, state, stdio, debug=debug)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, spec: SandboxSpec, state: str, stdio: tuple[int, int, int], *, debug: bool) -> None:
        flags = lib.QM_ONCE | lib.QM_STOPS | (lib.QM_WANT_READY if self._trigger.kind == "file" else 0)
        streams = stdio
        if self._trigger.pattern is not None:
            self._watched = os.pipe2(os.O_CLOEXEC)
            streams = (stdio[0], self._watched[1], self._watched[1])
        with ready_cold(spec, state, stdio=streams, debug=debug) as ready:
            ready.start.assign.fields.flags |= flags
            ready.restrict(self._confine, (os.geteuid(), os.getegid()))
            kvm = open_kvm()
            try:
                process.machine(spec.memory, kvm, flags=confinement.machine_flags(self._confine)).send(
                    self._sock.fileno()
                )
            finally:
                os.close(kvm)
            self._pid = process.spawn(self._theirs.fileno())
            self._theirs.close()  # its end is to be seen here
            if self._limits:
                self._group = limit_process(self._pid, self._limits, spec.memory, ready.roots.fds)
            ready.start.send(self._sock.fileno())
        if self._trigger.pattern is not None:
            os.close(self._watched[1])
            search = self._trigger.pattern.search
            self._thread = threading.Thread(target=watch_lines, args=(self._watched[0], stdio[1], search, self._fire))
            self._thread.start()
        if self._trigger.timeout:
            self._late_at = time.monotonic() + self._trigger.timeout

    def machine(self) -> FrozenMachine:
        """Wait for the capture point; the machine stands still then, until it is closed.

        Raises:
            CaptureError: the program ended before, or took too long.
            QuarkError: what QVisor says went wrong.
        """
        poll = select.poll()
        for fd in (self._sock.fileno(), self._machine.fileno(), self._signals):
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        while True:
            left = min(self._fire_at, self._late_at) - time.monotonic()
            news = {fd for fd, _ in poll.poll(max(left, 0) * 1000 if left < float("inf") else None)}
            if self._signals in news:
                self._pass_on()
            if self._machine.fileno() in news:
                try:
                    return FrozenMachine(self._machine, self._spec)
                except NotFrozenError:
                    poll.unregister(self._machine)  # QVisor says how it ended
            if self._sock.fileno() in news:
                self._hear()
            now = time.monotonic()
            if now >= self._late_at:
                raise self._trigger.late()
            if now >= self._fire_at:
                self._fire_at = float("inf")
                self._fire()

    def check_given_up(self) -> None:
        """To be called while the machine is stored.

        Raises:
            CaptureError: a signal came that asks this process to end.
        """
        if GIVE_UP & {number for number, _ in self._taken()}:
            raise CaptureError("the capture was given up; nothing was stored")

    def _fire(self) -> None:
        """The capture point has come: have QVisor stand still for who is at `_machine`. Once, from the one thread that waits for it."""
        wire.send(self._sock, ["capture"], (self._offer.fileno(),))
        self._offer.close()

    def _hear(self) -> None:
        """An event of QVisor's (qvisor/program/message.h)."""
        data = wire.receive_now(self._sock)
        if data is None:
            return
        event, *fields = data.decode(errors="replace").split("\0")
        if event == "started":
            self.confined_by = confinement.parts(int(fields[1]))
            if self._trigger.kind == "after":
                self._fire_at = time.monotonic() + self._trigger.seconds
        elif event == "parked":
            self._fire()
        elif event == "stopped":
            self._suspend()
        elif event == "ended":
            raise self._trigger.missed(int(fields[0]))
        elif event == "failed":
            raise named_error(fields[0], fields[1])
        else:
            raise VmError("the sandbox's process was killed; try again")

    def _taken(self) -> list[tuple[int, int]]:
        """(number, si_code) of the signals that have come."""
        found = []
        while self._signals >= 0:
            try:
                number, _, code, _ = SIGNAL_INFO.unpack(os.read(self._signals, SIGNAL_INFO.size))
            except BlockingIOError:
                break
            found.append((number, code))
        return found

    def _pass_on(self) -> None:
        for number, code in self._taken():
            if code <= 0:  # else the kernel's, from the terminal: QVisor has it as well
                os.kill(self._pid, number)

    def _suspend(self) -> None:
        """The program has stopped: so does this process, until it is continued."""
        stop = {signal.SIGTSTP}
        before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stop)
        signal.pthread_sigmask(signal.SIG_BLOCK, stop)
        signal.signal(signal.SIGTSTP, before)
        # An orphaned process group is not stopped, so nobody continues it.
        for number in (signal.SIGCONT, signal.SIGWINCH):
            os.kill(self._pid, number)

    def close(self) -> None:
        """End QVisor, and pass on what is left of its output; harmless when done before."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0
        if self._group is not None:
            self._group.remove()
            self._group = None
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self._watched = self._watched[:1]
        for fd in self._watched:
            os.close(fd)
        self._watched = ()
        for sock in (self._sock, self._theirs, self._machine, self._offer):
            sock.close()
        if self._signals >= 0:
            self._taken()
            os.close(self._signals)
            self._signals = -1
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
