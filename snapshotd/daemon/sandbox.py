"""A sandbox as the daemon sees it: its QVisor, its streams, and the events that QVisor tells (qvisor/program/message.h); lifecycles.py has its states."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import time
from typing import TYPE_CHECKING, Any

from quark.errors import LimitsError, QuarkError, SandboxStateError, UsageError, VmError
from quark.sizes import Limits
from qvisor.cgroup import devices_of, memory_limit
from snapshotd import wire
from snapshotd.daemon import making, news, tracing
from snapshotd.daemon.capture import Capture, Origin
from snapshotd.daemon.lifecycles import SANDBOX, IllegalEventError, Lived
from snapshotd.daemon.lifecycles import Sandbox as Life
from snapshotd.daemon.lifecycles import SandboxEvent as Event
from snapshotd.daemon.memory import memory_of
from snapshotd.daemon.waiting import first_of
from snapshotd.trigger import Trigger

if TYPE_CHECKING:
    from collections.abc import Callable

    from snapshotd.daemon.output import Terminals
    from snapshotd.daemon.pool import Pool, Process
    from snapshotd.daemon.prepared import Machine, Shelf
    from snapshotd.daemon.threads import Threads
    from snapshotd.start import Ready

log = logging.getLogger("snapshotd")
STARTING, RUNNING, PAUSED, EXITED, FAILED = "starting", "running", "paused", "exited", "failed"
# What callers are told; in all other states it is EXITED or FAILED.
TOLD = {
    Life.MAKING: STARTING,
    Life.BEGINNING: STARTING,
    Life.RUNNING: RUNNING,
    Life.PAUSED: PAUSED,
    Life.STORING: RUNNING,
    Life.STORING_ALONE: RUNNING,
}
# What QVisor may say; `ended` may be two of them.
NEWS = {
    "started": Event.STARTED,
    "paused": Event.PAUSED,
    "resumed": Event.RESUMED,
    "stopped": Event.STOPPED,
    "parked": Event.PARKED,
    "ended": Event.ENDED,
    "failed": Event.FAILED,
}
FORWARDED = {
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGWINCH,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTSTP,
    signal.SIGCONT,
}
SHRINK_SECONDS = 0.2
KILL_SECONDS = 5.0  # that a process has to end after it was killed
LEAVE_SECONDS = 10.0  # that a process has to end after its last word
KILLED = 128 + signal.SIGKILL
ANSWER_SECONDS = 10.0  # that a guest has to stand still, and to go on


class Sandbox(Lived[Life, Event]):
    """One sandbox, from its job to its end. All on the event loop's thread."""

    def __init__(
        self,
        domain: str,
        job: dict[str, Any],
        worker: Process,
        pool: Pool,
        streams: Terminals | None,
        machine: Machine | None,
        shelf: Shelf,
        threads: Threads,
    ) -> None:
        super().__init__(SANDBOX, Life.MAKING)
        self.id = secrets.token_hex(8)
        self.domain = domain
        self.job = job
        self.worker = worker
        self._pool = pool
        self._machine = machine  # whose process it is, prepared for this snapshot
        self._shelf = shelf
        self._threads = threads
        self._stdio: tuple[int, ...] = ()
        self.streams = streams
        self.start_ns, self.end_ns = time.time_ns(), 0
        self.exit_status = 0
        self.end_reason = ""  # why the guest killed the program; empty: it did not
        self.error: QuarkError | None = None
        self.timeline: list[tuple[str, int]] = []
        self.prefetched = self.faults = self.fault_pages = 0
        self.generation = ""
        self.confined_by: list[str] = []
        self.finished = asyncio.Event()  # how it ended is known
        self.ended = asyncio.Event()  # and its process is gone, or was killed
        self.state_changed = asyncio.Event()
        self._pausing = asyncio.Lock()  # one command at a time: of two, QVisor would answer the last only
        self.trigger = Trigger.parse(f"--ready-{job['trigger'][0]}", job["trigger"][1]) if "trigger" in job else None
        self.capture: Capture | None = Capture() if self.trigger else None
        self.limits = Limits.from_string(job["limits"])
        self.memory_limit = 0  # of the host's memory, bytes; 0: none
        self._status = 0  # of its program
        self._origin: Origin | None = None
        self._task: asyncio.Task[None] | None = None
        self.trace = tracing.current()
        self._killed = False
        self.on_gone: Callable[[], object] = lambda: None  # its process is gone
        self.on_end: Callable[[Sandbox], None] = lambda _: None
        self.on_stopped: Callable[[], None] = lambda: None

    @property
    def state(self) -> str:
        """As callers are told."""
        return TOLD.get(self.life, EXITED if self.error is None else FAILED)

    @property
    def snapshot(self) -> str:
        """Name of the snapshot that it is a clone of, or the empty string."""
        return str(self.job["clone"]["name"]) if "clone" in self.job else ""

    @property
    def argv(self) -> list[str]:
        """Program and arguments of a cold one, arguments of a clone."""
        return list(self.job["clone"]["args"] if "clone" in self.job else self.job["spec"]["argv"])

    @property
    def prepared(self) -> bool:
        """Whether its machine was prepared before it was asked for."""
        return self._machine is not None

    def happens(self, event: Event, *what: Any) -> None:
        """Go on, and tell who waits for that."""
        before = self.life
        super().happens(event, *what)
        if self.life is before:
            return
        if self.life not in TOLD and not self.finished.is_set():
            self.end_ns = time.time_ns()
            self.finished.set()
            asyncio.get_running_loop().call_later(LEAVE_SECONDS, self._overdue)
        self.state_changed.set()
        self.state_changed = asyncio.Event()

    # ---- its beginning

    def start(self, stdio: tuple[int, ...]) -> None:
        """Begin, on these standard streams, which stay the caller's."""
        self._stdio = tuple(os.dup(fd) for fd in stdio)
        asyncio.get_running_loop().add_reader(self.worker.sock, self._hear)
        self._task = asyncio.create_task(self._begin())

    async def _begin(self) -> None:
        """Get it ready, and send it to QVisor; what goes wrong is its error."""
        watched: tuple[int, ...] = ()
        stdio, self._stdio = self._stdio, ()
        try:
            streams = stdio
            if self.trigger is not None and self.trigger.kind == "log":
                watched = os.pipe2(os.O_CLOEXEC)
                streams = (stdio[0], watched[1], watched[1])
            with await self._make_ready(streams) as ready:
                if self.life is not Life.MAKING:
                    return
                self._origin = Origin(ready)
                if self.capture is not None:
                    await self._begin_create(self.capture, (watched[0], stdio[1]) if watched else ())
                if self.life is Life.MAKING:
                    self._send(ready)
        except QuarkError as e:
            self.happens(Event.BROKEN, e)
        except Exception as e:  # it is this sandbox's end alone
            log.exception("sandbox failed", extra={"sandbox": self.id})
            text = f"the sandbox could not be started: {type(e).__name__}; the daemon's log has the reason"
            self.happens(Event.BROKEN, QuarkError(text))
        finally:
            for fd in (*stdio, *watched):
                os.close(fd)

    async def _make_ready(self, stdio: tuple[int, ...]) -> Ready:
        ready = await self._make(self._machine, stdio)
        if ready is None:
            await self._change_worker()
            ready = await self._make(None, stdio)
        assert ready is not None  # noqa: S101 - for the type checker
        ready.start.assign.fields.flags |= making.flags(self.job, self.trigger, is_command=self.streams is None)
        return ready

    async def _make(self, machine: Machine | None, stdio: tuple[int, ...]) -> Ready | None:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._make_now, machine, stdio)

    def _make_now(self, machine: Machine | None, stdio: tuple[int, ...]) -> Ready | None:
        """On a thread."""
        ready = making.make(self.job, stdio, machine, self._shelf.is_current)
        group = self.worker.group
        if ready is None or group is None:
            return ready
        try:
            group.limit(self.limits, ready.spec.memory, devices_of(ready.roots.fds) if self.limits.io else [])
        except LimitsError:
            ready.close()
            raise
        self.memory_limit = memory_limit(ready.spec.memory) if group.limits_memory else 0
        return ready

    async def _change_worker(self) -> None:
        """Its machine was prepared for what is not there any more: go on with one that was not prepared."""
        self._machine = None
        worker, loop = await self._pool.take(), asyncio.get_running_loop()
        if self.life is not Life.MAKING:
            worker.close()
            return
        loop.remove_reader(self.worker.sock)
        self.worker.close()
        self.worker = worker
        loop.add_reader(worker.sock, self._hear)
        if self._killed:
            worker.kill()

    def _send(self, ready: Ready) -> None:
        try:
            ready.start.send(self.worker.sock.fileno(), prepared=self._machine is not None)
        except VmError:
            self._hear()  # it may have said why it ended
            raise
        self.happens(Event.SENT)

    # ---- what QVisor says

    def _hear(self) -> None:
        data = wire.receive_now(self.worker.sock)
        if data is None:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(self.worker.sock)
            self.happens(Event.GONE)
            return
        said, *fields = data.decode(errors="replace").split("\0")
        try:
            event = NEWS[said]
            if event is Event.ENDED and self.trigger is not None and self.capture is not None:
                event = Event.ENDED_AFTER_STORER if self.capture.gone.is_set() else Event.ENDED_BEFORE_STORER
            self.happens(event, *fields)
        except (IllegalEventError, LookupError, TypeError, ValueError) as e:
            # The guest may have taken it over.
            log.exception("QVisor said what it cannot say", extra={"sandbox": self.id, "said": said[:40]})
            error = VmError(f"the sandbox's process is out of order: {e}; it was ended")
            if not self.finished.is_set():  # nor is it known now: what it said of its end was nonsense
                self.error = self.error or error
            self.happens(Event.BROKEN, error)

    def _note_start(self, generation: str, confined_by: str) -> None:
        self.generation, self.confined_by = news.start(generation, confined_by)
        if self._machine is None and making.populates(self.job):
            self._shelf.miss(self.domain, self.snapshot)
        if self.trigger is not None and self.trigger.kind == "after":
            asyncio.get_running_loop().call_later(self.trigger.seconds, self._fire)

    def _tell_stopped(self) -> None:
        self.on_stopped()

    def _note_end(self, status: str, reason: str, *rest: str) -> None:
        timeline = news.timeline(rest[3:])
        self._status, self.end_reason, counts = news.end(status, reason, rest[:3])
        self.timeline, (self.prefetched, self.faults, self.fault_pages) = timeline, counts
        if self.trigger is None:
            self.exit_status = self._status
        elif self.capture is not None:
            self.capture.drop()

    def _note_failure(self, kind: str, message: str) -> None:
        self.error = news.failure(kind, message)

    # ---- its end

    def _break(self, error: QuarkError) -> None:
        self.error = self.error or error
        self.worker.kill()

    def _end_process(self, _error: QuarkError) -> None:
        """How it ended is known already."""
        self.worker.kill()

    def _lose_early(self) -> None:
        if not self._killed:
            self.error = self.error or VmError("the sandbox's process was killed while it started; try again")
        self._lose()

    def _lose(self) -> None:
        """QVisor has ended without a word, or was killed and does not end."""
        self.exit_status = KILLED
        self._leave()

    def _conclude(self) -> None:
        """A program that was run up to its capture point has ended, and so has its storer: the capture's end is its own."""
        assert self.capture is not None  # noqa: S101 - for the type checker
        assert self.trigger is not None  # noqa: S101
        self.capture.end(self.trigger.missed(self._status))  # unless it has ended
        self.error = self.capture.error

    def _note_end_and_conclude(self, *said: str) -> None:
        self._note_end(*said)
        self._conclude()

    def _conclude_and_leave(self) -> None:
        self._conclude()
        self._leave()

    def _leave(self) -> None:
        """Nobody has to wait for it any more."""
        capture = self.capture
        if capture is not None:
            capture.drop()
            if not capture.begun or self.trigger is not None:
                capture.end(self.error or SandboxStateError(f"sandbox {self.id} ended before it was captured"))
        if self.life is Life.GONE:
            self._let_go()
        if self._origin is not None:
            self._origin.close()
        self.ended.set()
        self.on_end(self)

    def _let_go(self) -> None:
        self.worker.close()
        self.on_gone()

    def kill(self) -> None:
        """End it now."""
        self.happens(Event.KILL)

    def _kill(self) -> None:
        self._killed = True
        self.worker.kill()
        asyncio.get_running_loop().call_later(KILL_SECONDS, self._not_gone)

    def _overdue(self) -> None:
        """Some time after its end is known. A process that said so and goes on has nobody who looks at it."""
        if self.life is Life.OVER:
            log.warning("QVisor said its end and goes on", extra={"sandbox": self.id, "pid": self.worker.pid})
            self.kill()

    def _not_gone(self) -> None:
        """Some time after it was killed. Nobody has to wait for it, but it counts as one that runs."""
        self.happens(Event.NOT_GONE)
        if self.life is Life.STUCK:
            log.warning(
                "a killed sandbox waits in the host's kernel", extra={"sandbox": self.id, "pid": self.worker.pid}
            )

    # ---- what callers want

    def _asked(self, event: Event, refusal: str, *what: Any) -> None:
        """A caller's wish, which is refused where the table has it not.

        Raises:
            SandboxStateError: it is.
        """
        try:
            self.happens(event, *what)
        except IllegalEventError:
            raise SandboxStateError(f"sandbox {self.id} is {self.state}; {refusal}") from None

    def command(self, command: str) -> None:
        """Send QVisor a command; none when it has ended."""
        with contextlib.suppress(OSError):
            self.worker.sock.send(command.encode())

    def signal(self, number: int) -> None:
        """Pass a signal to the program.

        Raises:
            SandboxStateError: it does not run.
            UsageError: this signal cannot be passed on.
        """
        self._asked(Event.SIGNAL, "only a running one gets signals", number)

    def _signal(self, number: int) -> None:
        if number == signal.SIGKILL:
            self.kill()
        elif number in FORWARDED:
            self.worker.kill(number)
        else:
            names = " ".join(sorted(s.name for s in FORWARDED))
            raise UsageError(f"signal {number} cannot be passed to a sandbox; use one of {names} SIGKILL")

    async def pause(self, *, on: bool) -> None:
        """Stop or go on, and wait until it has.

        Raises:
            SandboxStateError: it does neither run nor stand still.
        """
        wanted = PAUSED if on else RUNNING
        while self.state == STARTING:
            await self._change()
        self._asked(Event.PAUSE, "it cannot be paused or resumed")
        async with self._pausing:
            self.command("pause" if on else "resume")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_SECONDS):
                    while self.state != wanted and self.state in {RUNNING, PAUSED}:
                        await self._change()
            if on and self.state == RUNNING:
                self.command("resume")  # what it did not do in time it shall not do later
        if self.state in {RUNNING, PAUSED} and self.state != wanted:
            raise SandboxStateError(
                f"sandbox {self.id} did not answer within {ANSWER_SECONDS:.0f} s: it may wait for files of the host; try again"
            )
        if self.state != wanted:
            raise SandboxStateError(f"sandbox {self.id} ended meanwhile")

    async def _change(self) -> None:
        await first_of(self.state_changed, self.ended)

    def begin_capture(self, name: str, *, flat: bool, self_contained: bool) -> Capture:
        """Ask for a capture.

        Raises:
            SandboxStateError: it does not run, or is being captured.
        """
        self._asked(Event.CAPTURE, "only a running one can be captured")
        if self.capture is not None and not self.capture.finished:
            raise SandboxStateError(f"sandbox {self.id} is being captured already; wait for that")
        capture = self.capture = Capture()
        job = {"name": name, "flat": flat, "self_contained": self_contained, "trigger": "request", "create": False}
        self._task = asyncio.create_task(self._capture(capture, job))
        return capture

    async def _capture(self, capture: Capture, job: dict[str, Any]) -> None:
        """Have a storer read it while it goes on."""
        capture.on_gone = lambda: self._captured(capture)
        if self.worker.group is not None:
            self.worker.group.limit_memory(2 * self.memory_limit)  # it has each page twice that it changes meanwhile
        try:
            await capture.order(self._pool, {**self.job, **job}, self._origin, ())
        except QuarkError as e:
            capture.end(e)
        if self.life in {Life.RUNNING, Life.PAUSED}:
            capture.hand_over(self.worker.sock)
        else:
            capture.drop()

    def _captured(self, capture: Capture) -> None:
        capture.end(capture.missed)
        self._task = asyncio.create_task(self._shrink())

    async def _shrink(self) -> None:
        """Limit its memory again, as soon as that takes nothing away."""
        group = self.worker.group
        while group is not None and not self.ended.is_set() and self.capture is not None and self.capture.finished:
            if group.memory() <= self.memory_limit:
                group.limit_memory(self.memory_limit)
                return
            await asyncio.sleep(SHRINK_SECONDS)

    async def _begin_create(self, capture: Capture, watched: tuple[int, ...]) -> None:
        """Have a storer wait for the capture point; the store may refuse such a snapshot at once."""
        assert self.trigger is not None  # noqa: S101 - for the type checker
        capture.on_gone = self._storer_gone
        capture.on_matched = self._fire
        job = {**self.job, "flat": False, "trigger": self.trigger.kind, "create": True}
        pattern = self.job["trigger"][1] if watched else None
        await capture.order(self._pool, job, self._origin, watched, pattern)

    def _storer_gone(self) -> None:
        """Of a program that is run up to its capture point."""
        assert self.capture is not None  # noqa: S101 - for the type checker
        if self.capture.error is not None and self.life not in {Life.STORING, Life.STORING_ALONE}:
            self.happens(Event.BROKEN, self.capture.error)
        else:
            self.happens(Event.STORED)

    def _fire(self) -> None:
        """The capture point of a program that is being captured."""
        if self.capture is not None:
            self.capture.hand_over(self.worker.sock)

    def memory(self) -> tuple[int, ...]:
        """(private, shared) bytes of the process; zeros when it has ended."""
        return memory_of(self.worker)
