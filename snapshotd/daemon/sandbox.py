"""A sandbox as the daemon sees it: its QVisor, its state, its streams, and the events that QVisor tells (qvisor/program/message.h)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import time
from typing import TYPE_CHECKING, Any

from quark.errors import LimitsError, QuarkError, SandboxStateError, UsageError, VmError, named_error
from quark.sizes import Limits
from qvisor import confinement
from qvisor._native import lib
from qvisor.cgroup import devices_of, memory_limit
from qvisor.process import Start
from qvisor.spec import Changes, SandboxSpec
from snapshotd import wire
from snapshotd.daemon import tracing
from snapshotd.daemon.capture import Capture
from snapshotd.daemon.memory import memory_of
from snapshotd.daemon.waiting import first_of
from snapshotd.start import Wanted, assign, ready_clone, ready_cold
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
ANSWER_SECONDS = 10.0  # that a guest has to stand still, and to go on


class Sandbox:
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
        self.state = STARTING
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
        self.stuck = False  # it was killed, but waits in the host's kernel for its guest, and no signal ends that
        self.state_changed = asyncio.Event()
        self._pausing = asyncio.Lock()  # one command at a time: of two, QVisor would answer the last only
        self.trigger = Trigger.parse(f"--ready-{job['trigger'][0]}", job["trigger"][1]) if "trigger" in job else None
        self.capture: Capture | None = Capture() if self.trigger else None
        self._status: int | None = None  # what QVisor said
        self._left = False  # QVisor has
        self._spec: dict[str, Any] = {}
        self._parent: tuple[str, str] | None = None
        self.limits = Limits.from_string(job["limits"])
        self.memory_limit = 0  # of the host's memory, bytes; 0: none
        self._known = (-1, 0, 0)  # snapshotd.start.Ready.take_known
        self._task: asyncio.Task[None] | None = None
        self.trace = tracing.current()
        self._killed = False
        self.on_gone: Callable[[], object] = lambda: None  # its process is gone
        self.on_end: Callable[[Sandbox], None] = lambda _: None
        self.on_stopped: Callable[[], None] = lambda: None

    @property
    def snapshot(self) -> str:
        """Name of the snapshot that it is a clone of, or the empty string."""
        return str(self.job["clone"]["name"]) if "clone" in self.job else ""

    @property
    def argv(self) -> list[str]:
        """Program and arguments of a cold one, arguments of a clone."""
        return list(self.job["clone"]["args"] if "clone" in self.job else self.job["spec"]["argv"])

    @staticmethod
    def populates(job: dict[str, Any]) -> bool:
        """Whether a prepared machine is what the job wants."""
        return "clone" in job and job["clone"]["prefetch"] != "none"

    @property
    def prepared(self) -> bool:
        """Whether its machine was prepared before it was asked for."""
        return self._machine is not None

    def start(self, stdio: tuple[int, ...]) -> None:
        """Begin, on these standard streams, which stay the caller's."""
        self._stdio = tuple(os.dup(fd) for fd in stdio)
        asyncio.get_running_loop().add_reader(self.worker.sock, self._event)
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
                if self._left:
                    return
                self._spec, self._parent = ready.spec.to_dict(), ready.parent
                self._known = ready.take_known()
                if self.capture is not None:
                    await self._begin_create(self.capture, (watched[0], stdio[1]) if watched else ())
                if not self._left:
                    self._send(ready)
        except QuarkError as e:
            self._fail(e)
        except Exception as e:  # it is this sandbox's end alone
            log.exception("sandbox failed", extra={"sandbox": self.id})
            self._fail(
                QuarkError(f"the sandbox could not be started: {type(e).__name__}; the daemon's log has the reason")
            )
        finally:
            for fd in (*stdio, *watched):
                os.close(fd)

    async def _make_ready(self, stdio: tuple[int, ...]) -> Ready:
        loop = asyncio.get_running_loop()
        ready = await loop.run_in_executor(self._threads, self._ready, self._machine, stdio)
        if ready is None:
            self._machine = None
            loop.remove_reader(self.worker.sock)
            self.worker.close()
            self.worker = await self._pool.take()
            loop.add_reader(self.worker.sock, self._event)
            ready = await loop.run_in_executor(self._threads, self._ready, None, stdio)
        assert ready is not None  # noqa: S101 - for the type checker
        return ready

    def _send(self, ready: Ready) -> None:
        try:
            ready.start.send(self.worker.sock.fileno(), prepared=self._machine is not None)
        except VmError:
            self._event()  # it may have said why it ended
            raise

    def _ready(self, machine: Machine | None, stdio: tuple[int, ...]) -> Ready | None:
        """On a thread of its own. None: the machine was prepared for what is not there any more."""
        job = self.job
        paths = tuple(job["paths"]) if job["paths"] is not None else None
        if "clone" in job:
            clone = job["clone"]
            changes = Changes.from_strings(clone["changes"])
            wanted = Wanted(clone["args"], clone["env"], clone["payload"], changes, paths=paths, stdio=stdio)
            if machine is None:
                ready = ready_clone(
                    job["root"], clone["name"], wanted, prefetch=clone["prefetch"], domain=job["domain"], key=job["key"]
                )
            elif self._shelf.is_current(machine):
                ready = assign(machine.prepared, Start(), wanted)
            else:
                machine.prepared.close()
                return None
        else:
            ready = ready_cold(SandboxSpec.from_dict(job["spec"]), job["root"], paths=paths, stdio=stdio)
        flags = confinement.request_flags(job["confine"]) | (lib.QM_TTY if job["tty"] else 0)
        flags |= lib.QM_STOPS if self.streams is None else 0  # a command stops when the program does
        if self.trigger is not None:
            flags |= lib.QM_ONCE | (lib.QM_WANT_READY if self.trigger.kind == "file" else 0)
        ready.start.assign.fields.flags |= flags
        self._limit(ready)
        return ready

    def _limit(self, ready: Ready) -> None:
        """Before it begins. Its thread is that of `_ready`."""
        group = self.worker.group
        if group is None:
            return
        try:
            group.limit(self.limits, ready.spec.memory, devices_of(ready.roots.fds) if self.limits.io else [])
        except LimitsError:
            ready.close()
            raise
        self.memory_limit = memory_limit(ready.spec.memory) if group.limits_memory else 0

    def _fail(self, error: QuarkError) -> None:
        """It ends before it has begun."""
        if self.state not in {EXITED, FAILED}:
            self.error = self.error or error
            self._set(FAILED)
        if not self._left:
            self.worker.kill()

    def _event(self) -> None:
        data = wire.receive_now(self.worker.sock)
        if data is None:
            return
        if not data:
            self._gone()
            return
        event, *fields = data.decode(errors="replace").split("\0")
        handlers = {
            "started": self._on_started,
            "paused": lambda _: self._set(PAUSED),
            "resumed": lambda _: self._set(RUNNING),
            "stopped": lambda _: self.on_stopped(),
            "parked": lambda _: self._fire(),
            "ended": self._on_ended,
            "failed": self._on_failed,
        }
        handlers[event](fields)

    def _set(self, state: str) -> None:
        self.state = state
        if state in {EXITED, FAILED}:
            self.end_ns = time.time_ns()
            self.finished.set()
        self.state_changed.set()
        self.state_changed = asyncio.Event()

    def _on_started(self, fields: list[str]) -> None:
        self.generation, self.confined_by = fields[0], confinement.parts(int(fields[1]))
        if self._machine is None and self.populates(self.job):
            self._shelf.miss(self.domain, self.snapshot)
        if self.trigger is not None and self.trigger.kind == "after":
            asyncio.get_running_loop().call_later(self.trigger.seconds, self._fire)
        self._set(RUNNING)

    def _on_ended(self, fields: list[str]) -> None:
        self._status, self.end_reason = int(fields[0]), fields[1]
        self.prefetched, self.faults, self.fault_pages = map(int, fields[2:5])
        self.timeline = [(step, int(us)) for step, us in zip(fields[5::2], fields[6::2], strict=True)]
        if self.trigger is None:
            self.exit_status = self._status
            self._set(EXITED)
            return
        assert self.capture is not None  # noqa: S101 - for the type checker
        self.capture.drop()
        self._conclude_create()

    def _on_failed(self, fields: list[str]) -> None:
        self.error = named_error(fields[0], fields[1])
        self._set(FAILED)

    def _conclude_create(self) -> None:
        """A program that was run up to its capture point has ended when its storer has."""
        capture, trigger = self.capture, self.trigger
        assert capture is not None  # noqa: S101 - for the type checker
        assert trigger is not None  # noqa: S101
        if not capture.gone.is_set():
            return
        if self._status is None:
            if capture.error is not None:
                self._fail(capture.error)
            return
        capture.end(trigger.missed(self._status))  # unless it has ended
        self.error = capture.error
        self._set(EXITED if self.error is None else FAILED)
        if self._left:
            self._release()

    def _gone(self) -> None:
        """QVisor has ended (and its streams are at their end)."""
        asyncio.get_running_loop().remove_reader(self.worker.sock)
        if self.stuck:
            self.stuck = False
            self._let_go()
        else:
            self._over()

    def _over(self) -> None:
        self._left = True
        capture = self.capture
        if capture is not None:
            capture.drop()
            if self.trigger is not None and self._status is not None and not capture.gone.is_set():
                return  # _conclude_create goes on
        if self.state not in {EXITED, FAILED}:
            if self.state == STARTING and not self._killed:
                self.error = self.error or VmError("the sandbox's process was killed while it started; try again")
            self.exit_status = 128 + signal.SIGKILL
            self._set(EXITED if self.error is None else FAILED)
        if capture is not None and (not capture.begun or self.trigger is not None):
            capture.end(self.error or SandboxStateError(f"sandbox {self.id} ended before it was captured"))
        self._release()

    def _release(self) -> None:
        if not self.stuck:
            self._let_go()
        if self._known[0] >= 0:
            os.close(self._known[0])
            self._known = (-1, 0, 0)
        self.ended.set()
        self.on_end(self)

    def _let_go(self) -> None:
        self.worker.close()
        self.on_gone()

    def command(self, command: str) -> None:
        """Send QVisor a command; none when it has ended."""
        with contextlib.suppress(OSError):
            self.worker.sock.send(command.encode())

    def kill(self) -> None:
        """End it now."""
        if not self.ended.is_set():
            self._killed = True
            self.worker.kill()
            asyncio.get_running_loop().call_later(KILL_SECONDS, self._not_gone)

    def _not_gone(self) -> None:
        """Some time after it was killed. Nobody has to wait for it, but it counts as one that runs."""
        if not self.ended.is_set():
            log.warning(
                "a killed sandbox waits in the host's kernel", extra={"sandbox": self.id, "pid": self.worker.pid}
            )
            self.stuck = True
            self._over()

    def signal(self, number: int) -> None:
        """Pass a signal to the program.

        Raises:
            SandboxStateError: it does not run.
            UsageError: this signal cannot be passed on.
        """
        if self.state not in {RUNNING, PAUSED}:
            raise SandboxStateError(f"sandbox {self.id} is {self.state}; only a running one gets signals")
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
        if self.state not in {RUNNING, PAUSED}:
            raise SandboxStateError(f"sandbox {self.id} is {self.state}; it cannot be paused or resumed")
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
        if self.state != RUNNING:
            raise SandboxStateError(f"sandbox {self.id} is {self.state}; only a running one can be captured")
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
            await self._store(capture, job, ())
        except QuarkError as e:
            capture.end(e)
        if self._left:
            capture.drop()
        elif not capture.finished:
            capture.hand_over(self.worker.sock)

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
        job = {"name": self.job["name"], "flat": False, "self_contained": self.job["self_contained"]}
        capture.on_gone = self._conclude_create
        capture.on_matched = self._fire
        await self._store(capture, {**job, "trigger": self.trigger.kind, "create": True}, watched)

    async def _store(self, capture: Capture, job: dict[str, Any], watched: tuple[int, ...]) -> None:
        """Begin a capture.

        Raises:
            QuarkError: it cannot be.
        """
        known, *place = self._known
        whole = {
            **job,
            **{field: self.job[field] for field in ("root", "domain", "key")},
            "spec": self._spec,
            "parent": self._parent,
            "known": place if known >= 0 else None,
            "pattern": self.job["trigger"][1] if watched else None,
        }
        own = (os.dup(known),) if known >= 0 else ()  # the sandbox may end meanwhile
        try:
            await capture.begin(self._pool, whole, (*own, *watched))
        finally:
            for fd in own:
                os.close(fd)
        await first_of(capture.ready, capture.ended, capture.gone)
        if capture.error is not None:
            raise capture.error

    def _fire(self) -> None:
        """The capture point of a program that is being captured."""
        if self.capture is not None:
            self.capture.hand_over(self.worker.sock)

    def memory(self) -> tuple[int, ...]:
        """(private, shared) bytes of the process; zeros when it has ended."""
        return memory_of(self.worker)
