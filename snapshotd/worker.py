"""A worker: the process of one sandbox that the daemon runs. It waits for its job, becomes the sandbox, and tells the daemon what happens.

Messages are JSON documents on a SOCK_SEQPACKET socket. The daemon sends the three standard streams and the job (a memfd: it may be larger than a message), then commands
(`pause`, `resume`, `capture`, `cancel`); the worker sends events (`started`, `paused`, `resumed`, `progress`, `captured`,
`capture-failed`, `ended`, `failed`). The socket's end of file is the daemon's end: the worker ends with it.
"""

from __future__ import annotations

import _thread
import fcntl
import json
import os
import select
import signal
import sys
import termios
import threading
import time
from typing import TYPE_CHECKING, Any

from quark.errors import CaptureError, PagerLostError, QuarkError, SnapshotFilesError
from quark.sizes import MEMORY_MAX
from qvisor import kernel
from qvisor._native import ffi, lib
from qvisor.cold import boot
from qvisor.machine import Machine
from qvisor.spec import Changes, SandboxSpec
from snapshotd import wire
from snapshotd.capture import Frozen, OwnMachine
from snapshotd.client import LOST
from snapshotd.keys import load_key
from snapshotd.lifeline import die_with_parent
from snapshotd.restore import Clone
from snapshotd.store import Store
from snapshotd.trigger import CapturePoint, Trigger

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from qvisor.sandbox import Sandbox
    from snapshotd.files import File

PROGRESS_SECONDS = 0.05
CANCELLED = "the capture was given up; nothing was stored"


def preload() -> None:
    """Import and read what every worker needs, before the fork."""
    import snapshotd.store.capture  # noqa: F401
    from snapshotd.metadata import host_cpu_flags

    host_cpu_flags()
    kernel.load()
    # cffi makes a function or a type when it is first asked for.
    for name in dir(lib):
        getattr(lib, name)
    for name in ("struct qv_config *", "struct qv_exit *", "struct qv **", "struct qv_page_run[]", "char[]", "int[2]"):
        ffi.typeof(name)
    _ = ffi.typeof("struct qk_comm").fields


class CaptureCancelledError(CaptureError):
    """The daemon gave the capture up."""


class Worker:
    """One job on one sandbox. The main thread runs the virtual machine, a second one listens to the daemon.

    All that every job needs is made here, while there is none.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.job: dict[str, Any] = {}
        self.paths: tuple[str, ...] | None = None
        sys.stdout = sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - for the life of the process
        json.loads(json.dumps({}))  # the first time copies pages that are still the zygote's
        try:
            self.machine: Machine | None = Machine(MEMORY_MAX)
        except QuarkError:
            self.machine = None  # the job that needs it says why
        self.sandbox: Sandbox | None = None
        self.clone: Clone | None = None
        self.condition = threading.Condition()
        self.paused = False
        self.request: dict[str, Any] | None = None  # a capture that waits for the sandbox to park
        self.child = 0  # the process that writes a capture
        self.writing = self.cancelled = False
        self.trigger: Trigger | None = None
        self.stopped = os.eventfd(0)  # the first program stops
        self.runs = threading.Lock()  # held until the machine runs and there is something to listen for
        self.runs.acquire()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # the other thread inherits it
        # Not a Thread: that would wait until the new one runs, which on a busy host takes milliseconds.
        _thread.start_new_thread(self.listen, ())
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def tell(self, event: str, **fields: Any) -> None:
        """Send one event. Nobody to hear it means that this process is about to end."""
        try:
            self.sock.send(json.dumps({"event": event, **fields}).encode())
        except OSError:
            os._exit(1)

    def run(self, job: dict[str, Any]) -> None:
        """Do the job; every way out sends `ended` or `failed`."""
        self.job = job
        self.paths = tuple(job["paths"]) if job["paths"] is not None else None
        try:
            status = self.run_clone() if "clone" in self.job else self.run_cold()
        except QuarkError as e:
            files = e.files if isinstance(e, SnapshotFilesError) else []
            self.tell("failed", kind=type(e).__name__, message=str(e), exit_code=e.exit_code, files=files)
        except Exception as e:  # noqa: BLE001 - the daemon logs it
            import traceback

            message = f"the sandbox's process failed: {type(e).__name__}; the daemon's log has the reason"
            self.tell("failed", kind="QuarkError", message=message, exit_code=70, traceback=traceback.format_exc())
        else:
            self.wait_for_child()
            close_streams()
            timeline = self.clone.timeline if self.clone else []
            faults, pages = (
                self.clone.attachment.stats() if self.clone and not self.clone.attachment.complete else (0, 0)
            )
            self.tell(
                "ended",
                status=status,
                reason=self.sandbox.end_reason(status) if self.sandbox else "",
                timeline=[[step, int(seconds * 1e6)] for step, seconds in timeline],
                prefetched=self.clone.prefetched_pages if self.clone else 0,
                faults=faults,
                fault_pages=pages,
            )

    def run_clone(self) -> int:
        """Restore a clone and run it to its end."""
        job, wanted = self.job, self.job["clone"]
        self.clone = clone = Clone(
            job["root"],
            wanted["name"],
            args=wanted["args"],
            env=wanted["env"],
            payload=wanted["payload"],
            prefetch=wanted["prefetch"],
            changes=Changes.from_strings(wanted["changes"]),
            signals=lib.qv_signals(),
            domain=job["domain"],
            key=job["key"],
            paths=self.paths,
            machine=self.machine,
        )
        self.sandbox = clone.sandbox
        started = time.monotonic()
        self.started(clone.sandbox.generation)
        status = self.loop()
        clone.finish(started)
        return status

    def run_cold(self) -> int:
        """Boot a sandbox and run it to its end, or to the capture that was asked for."""
        job = self.job
        trigger = self.trigger = (
            Trigger.parse(f"--ready-{job['trigger'][0]}", job["trigger"][1]) if job.get("trigger") else None
        )
        if trigger is not None:
            with self.open_store() as store:
                store.check_name(job["name"])
        with CapturePoint(trigger) as point:
            self.sandbox = sandbox = boot(
                SandboxSpec.from_dict(job["spec"]),
                stdio=point.stdio,
                signals=lib.qv_signals(),
                paths=self.paths,
                machine=self.machine,
                state=job["root"],
            )
            point.arm(sandbox.vm)
            self.started(sandbox.generation)
            return self.loop()

    def started(self, generation: bytes) -> None:
        """The machine is about to run."""
        assert self.sandbox is not None  # noqa: S101 - for the type checker
        lib.qv_on_stop(self.sandbox.vm, self.stopped if self.job["attached"] else lib.QV_STOP_NEVER)
        self.tell("started", generation=generation.hex())
        self.runs.release()

    def loop(self) -> int:
        """Run the machine to its end; returns its exit status.

        Raises:
            CaptureError: it ended before the capture point that was asked for.
        """
        assert self.sandbox is not None  # noqa: S101 - for the type checker
        while True:
            stop = self.sandbox.run()
            if stop.reason == "parked":
                if self.trigger is not None:
                    self.capture(
                        {
                            "name": self.job["name"],
                            "flat": False,
                            "self_contained": self.job["self_contained"],
                            "trigger": self.trigger.kind,
                        },
                        keep=False,
                    )
                    return 0
                with self.condition:
                    request, self.request = self.request, None
                if request is not None:
                    self.capture(request, keep=True)
            elif stop.reason == "stopped":
                self.stand_still()
            elif self.trigger is not None:
                raise self.trigger.missed(stop.status)
            else:
                if self.request is not None:
                    self.capture_failed(CaptureError("the program ended before it could be captured"))
                return stop.status

    def stand_still(self) -> None:
        """Paused: until `resume` comes."""
        assert self.sandbox is not None  # noqa: S101 - for the type checker
        with self.condition:
            lib.qv_resume(self.sandbox.vm)
            if self.paused:
                self.tell("paused")
                self.condition.wait_for(lambda: not self.paused)
                self.tell("resumed")

    def listen(self) -> None:
        """The second thread: commands of the daemon, and its end."""
        self.runs.acquire()
        assert self.sandbox is not None  # noqa: S101 - for the type checker
        vm = self.sandbox.vm
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        poll.register(self.stopped, select.POLLIN)
        if self.clone and not self.clone.attachment.complete:
            # In place of the machine's own watch, which would end this process before the daemon hears why.
            lib.qv_watch_pager(vm, self.clone.attachment.sock, 0, ffi.NULL)
            poll.register(self.clone.attachment.sock, select.POLLRDHUP)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self.stopped in ready:
                os.eventfd_read(self.stopped)
                self.tell("stopped")
                continue
            if ready != {self.sock.fileno()}:
                self.tell("failed", kind="PagerLostError", message=LOST, exit_code=PagerLostError.exit_code)
                os._exit(PagerLostError.exit_code)
            try:
                data = self.sock.recv(wire.MESSAGE_MAX)
            except OSError:
                data = b""
            if not data:
                os._exit(1)
            command = json.loads(data)
            name = command["command"]
            with self.condition:
                if name == "capture":
                    self.request, self.cancelled = command, False
                    lib.qv_post(vm, lib.QK_EV_CAPTURE, 0)
                elif name == "cancel":
                    self.cancel()
                elif name == "pause":
                    self.paused = True
                    lib.qv_stop(vm)
                elif name == "resume":
                    self.paused = False
                    self.condition.notify_all()

    def cancel(self) -> None:
        """Give up the capture that is asked for, or under way. Its writer notices between two pieces of work, and leaves nothing behind."""
        self.cancelled = True
        if self.trigger is not None and not self.writing:
            self.tell("failed", kind="CaptureCancelledError", message=CANCELLED, exit_code=CaptureError.exit_code)
            os._exit(1)
        if self.request is not None:
            self.capture_failed(CaptureCancelledError(CANCELLED))
        elif self.child:
            os.kill(self.child, signal.SIGTERM)  # it is still this process: nobody has waited for it

    def capture(self, request: dict[str, Any], *, keep: bool) -> None:
        """Store the parked sandbox. With `keep` a fork of this process does it, so that the sandbox can go on at once."""
        assert self.sandbox is not None  # noqa: S101 - for the type checker
        parent = (self.clone.name, self.clone.attachment.snapshot_id) if self.clone else None
        known: Callable[[], list[File]] = (lambda: clone.files) if (clone := self.clone) else list
        try:
            frozen = Frozen(OwnMachine(self.sandbox), self.sandbox.spec, parent, known)
            if not keep:
                with self.condition:
                    self.writing = True
                self.write(frozen, request)
                return
            self.wait_for_child()
            worker = os.getpid()
            pid = os.fork()
        except QuarkError as e:
            if not keep:
                raise
            self.capture_failed(e)
            return
        if pid:
            with self.condition:
                self.child = pid
                if self.cancelled:
                    os.kill(pid, signal.SIGTERM)
            return
        try:
            die_with_parent(worker)
            self.condition = threading.Condition()  # the other thread, which may have held it, is not in this process
            signal.signal(signal.SIGTERM, self.give_up)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            self.write(frozen, request)
        except QuarkError as e:
            self.capture_failed(e)
        except BaseException as e:  # noqa: BLE001 - this process must end here, whatever it was
            self.capture_failed(CaptureError(f"the capture failed: {e!r}"))
        finally:
            os._exit(0)

    def capture_failed(self, e: QuarkError) -> None:
        """Say why there is no snapshot; the sandbox goes on."""
        self.request = None
        self.tell("capture-failed", kind=type(e).__name__, message=str(e), exit_code=e.exit_code)

    def give_up(self, *_: object) -> None:
        """SIGTERM in the process that writes."""
        self.cancelled = True

    def write(self, frozen: Frozen, request: dict[str, Any]) -> None:
        """Write a capture into the store."""
        last = 0.0

        def progress(done: int, total: int) -> None:
            nonlocal last
            if self.cancelled:
                raise CaptureCancelledError(CANCELLED)
            if (now := time.monotonic()) - last >= PROGRESS_SECONDS:
                last = now
                self.tell("progress", done=done, total=total)

        with self.open_store() as store:
            info, _meta = frozen.store(
                store,
                request["name"],
                trigger=request["trigger"],
                self_contained=request["self_contained"],
                progress=progress,
            )
            if request["flat"] and info.parent is not None:
                store.flatten(info.name)
        self.tell("captured", name=request["name"])

    def open_store(self) -> Store:
        """The caller's domain."""
        return Store.open(self.job["root"], domain=self.job["domain"], key=load_key(self.job["key"]))

    def wait_for_child(self) -> None:
        """Let a capture that is being written come to its end: one at a time, and none outlives the sandbox's process."""
        with self.condition:
            child, self.child = self.child, 0
        if child:
            os.waitpid(child, 0)


def close_streams() -> None:
    """Let go of the sandbox's standard streams, so that whoever reads them need not wait for the end of this process."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in range(3):
        os.dup2(null, fd)
    os.close(null)


def main(sock: socket.socket) -> None:
    """Wait for a job, do it. Ends with the process."""
    worker = Worker(sock)
    fields, fds = wire.receive(sock)
    if not fields or len(fds) != 4:
        return
    for fd, stream in enumerate(fds[:3]):
        os.dup2(stream, fd)
        os.close(stream)
    job = json.loads(os.pread(fds[3], os.fstat(fds[3]).st_size, 0))
    os.close(fds[3])
    if job.get("tty"):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    worker.run(job)
