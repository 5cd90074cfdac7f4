"""A sandbox as the daemon sees it: its worker, its state, its streams, and the events that the worker sends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

from quark.errors import QuarkError, SandboxStateError, SnapshotFilesError, UsageError, VmError, named_error
from snapshotd import wire
from snapshotd.daemon import tracing
from snapshotd.daemon.waiting import first_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from snapshotd.daemon.output import Terminals
    from snapshotd.daemon.pool import IdleWorker

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


class Capture:
    """A capture under way: progress, and how it ended."""

    def __init__(self) -> None:
        self.done, self.total = 0, 0
        self.changed = asyncio.Event()
        self.finished = False
        self.given_up = False  # nobody waits for it any more
        self.ended = asyncio.Event()
        self.cleaned = asyncio.Event()  # what a given up one has written is gone
        self.error: QuarkError | None = None

    def advance(self, done: int, total: int) -> None:
        """So many frames of so many."""
        self.done, self.total = done, total
        self.changed.set()

    def end(self, error: QuarkError | None = None) -> None:
        """The last news."""
        if not self.finished:
            self.finished, self.error = True, error
            self.changed.set()
            self.ended.set()


class Sandbox:
    """One sandbox, from its job to its end. All on the event loop's thread."""

    def __init__(self, domain: str, job: dict[str, Any], worker: IdleWorker, streams: Terminals | None) -> None:
        self.id = secrets.token_hex(8)
        self.domain = domain
        self.job = {**job, "attached": streams is None}  # to a command, which stops when the program does
        self.worker = worker
        self.streams = streams
        self.state = STARTING
        self.start_ns, self.end_ns = time.time_ns(), 0
        self.exit_status = 0
        self.end_reason = ""  # why the guest killed the program; empty: it did not
        self.error: QuarkError | None = None
        self.timeline: list[tuple[str, int]] = []
        self.prefetched = self.faults = self.fault_pages = 0
        self.generation = ""
        self.finished = asyncio.Event()  # how it ended is known
        self.ended = asyncio.Event()  # and its process is gone
        self.state_changed = asyncio.Event()
        self._pausing = asyncio.Lock()  # one command at a time: of two, the worker would answer the last only
        self.capture: Capture | None = None
        self.trace = tracing.current()
        self._killed = False
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

    def start(self, stdio: tuple[int, ...]) -> None:
        """Give the worker its job.

        Raises:
            QuarkError: it has died.
        """
        data = json.dumps(self.job).encode()
        fd = os.memfd_create("quark-job", os.MFD_CLOEXEC)
        try:
            os.write(fd, data)
            wire.send(self.worker.sock, ["job"], (*stdio, fd))
        except OSError as e:
            raise QuarkError(f"the sandbox's process could not be reached: {e.strerror}; try again") from e
        finally:
            os.close(fd)
        asyncio.get_running_loop().add_reader(self.worker.sock, self._event)

    def _event(self) -> None:
        try:
            data = self.worker.sock.recv(wire.MESSAGE_MAX, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._gone()
            return
        event = json.loads(data)
        handler: Callable[[dict[str, Any]], None] = getattr(self, "_on_" + event["event"].replace("-", "_"))
        handler(event)

    def _set(self, state: str) -> None:
        self.state = state
        if state in {EXITED, FAILED}:
            self.end_ns = time.time_ns()
            self.finished.set()
        self.state_changed.set()
        self.state_changed = asyncio.Event()

    def _on_started(self, event: dict[str, Any]) -> None:
        self.generation = event["generation"]
        self._set(RUNNING)

    def _on_paused(self, _: dict[str, Any]) -> None:
        self._set(PAUSED)

    def _on_resumed(self, _: dict[str, Any]) -> None:
        self._set(RUNNING)

    def _on_stopped(self, _: dict[str, Any]) -> None:
        self.on_stopped()

    def _on_progress(self, event: dict[str, Any]) -> None:
        if self.capture is not None:
            self.capture.advance(event["done"], event["total"])

    def _on_captured(self, _: dict[str, Any]) -> None:
        if self.capture is not None:
            self.capture.end()

    def _on_capture_failed(self, event: dict[str, Any]) -> None:
        if self.capture is not None:
            self.capture.end(named_error(event["kind"], event["message"]))

    def _on_ended(self, event: dict[str, Any]) -> None:
        self.exit_status, self.end_reason = event["status"], event["reason"]
        self.timeline = [(step, us) for step, us in event["timeline"]]
        self.prefetched, self.faults, self.fault_pages = event["prefetched"], event["faults"], event["fault_pages"]
        self._set(EXITED)

    def _on_failed(self, event: dict[str, Any]) -> None:
        self.error = named_error(event["kind"], event["message"])
        if isinstance(self.error, SnapshotFilesError):
            self.error.files = [(path, what) for path, what in event["files"]]
        if "traceback" in event:
            log.error("sandbox failed", extra={"sandbox": self.id, "traceback": event["traceback"]})
        self._set(FAILED)

    def _gone(self) -> None:
        """The worker has ended (and its streams are at their end)."""
        asyncio.get_running_loop().remove_reader(self.worker.sock)
        if self.state not in {EXITED, FAILED}:
            if self.state == STARTING and not self._killed:
                self.error = self.error or VmError("the sandbox's process was killed while it started; try again")
            self.exit_status = 128 + signal.SIGKILL
            self._set(EXITED if self.error is None else FAILED)
        if self.capture is not None:
            self.capture.end(self.error or SandboxStateError(f"sandbox {self.id} ended before it was captured"))
        self.worker.close()
        self.ended.set()
        self.on_end(self)

    def command(self, command: str, **fields: Any) -> None:
        """Send the worker a command; none when it has ended."""
        with contextlib.suppress(OSError):
            self.worker.sock.send(json.dumps({"command": command, **fields}).encode())

    def kill(self) -> None:
        """End it now."""
        if not self.ended.is_set():
            self._killed = True
            self.worker.kill()

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
            while self.state != wanted and self.state in {RUNNING, PAUSED}:
                await self._change()
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
        self.capture = Capture()
        self.command("capture", name=name, flat=flat, self_contained=self_contained, trigger="request")
        return self.capture

    def memory(self) -> tuple[int, int]:
        """(private, shared) bytes of the process; zeros when it has ended."""
        private = shared = 0
        try:
            with open(f"/proc/{self.worker.pid}/smaps_rollup", "rb") as f:
                text = f.read()
            signal.pidfd_send_signal(self.worker.pidfd, 0)  # so it was this process
        except OSError:
            return 0, 0
        for line in text.splitlines()[1:]:
            name, value = line.split()[:2]
            if name in {b"Private_Clean:", b"Private_Dirty:"}:
                private += int(value) << 10
            elif name in {b"Shared_Clean:", b"Shared_Dirty:"}:
                shared += int(value) << 10
        return private, shared
