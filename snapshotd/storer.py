"""A storer: the process that writes one capture into the store, of a machine that another process holds still (snapshotd/frozen.py).

The daemon sends it one job, a JSON document in a memfd, with descriptors: the machine's socket and, of a clone, the table of the files that its snapshot
depends on; of a program whose output is watched for its capture point, the end of the pipe that it writes to, and where the output goes. Then it may send
`cancel`. The storer tells, as JSON documents: `ready` (the store takes such a snapshot), `matched` (the output has the line that was waited for), `still` (the
machine stands still), `progress`, `captured`, or `failed`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from quark.errors import CaptureError, QuarkError
from qvisor import kernel
from qvisor._native import ffi, lib
from qvisor.spec import SandboxSpec
from snapshotd import files, wire
from snapshotd.capture import Frozen
from snapshotd.frozen import FrozenMachine, NotFrozenError
from snapshotd.keys import load_key
from snapshotd.store import Store
from snapshotd.trigger import compile_pattern, watch_lines

if TYPE_CHECKING:
    from snapshotd.files import File

PROGRESS_SECONDS = 0.05
CANCELLED = "the capture was given up; nothing was stored"


def preload() -> None:
    """Import and read what every storer needs, before the fork."""
    import snapshotd.store.capture  # noqa: F401
    from snapshotd.metadata import host_cpu_flags

    host_cpu_flags()
    kernel.load()
    # cffi makes a function or a type when it is first asked for.
    for name in dir(lib):
        getattr(lib, name)
    for name in ("struct qm_frozen *", "struct qm_ask *", "struct qv_scan_stats *"):
        ffi.typeof(name)


class CaptureCancelledError(CaptureError):
    """The daemon gave the capture up."""


class Storer:
    """One capture."""

    def __init__(self, sock: socket.socket, job: dict[str, Any], fds: list[int]) -> None:
        self.sock = sock
        self.job = job
        self.machine = socket.socket(fileno=fds[0])
        self.known_fd = fds[1] if job["known"] else -1
        self.watched = fds[-2:] if job["pattern"] is not None else []
        self.told = 0.0

    def tell(self, event: str, **fields: Any) -> None:
        """Send one event. Nobody to hear it means that this process is about to end."""
        try:
            self.sock.send(json.dumps({"event": event, **fields}).encode())
        except OSError:
            os._exit(1)

    def run(self) -> None:
        """Do the job; every way out tells `captured` or `failed`."""
        watcher = None
        try:
            with self.open_store() as store:
                if self.job["create"]:
                    store.check_name(self.job["name"])
                self.tell("ready")
                watcher = self.watch()
                self.await_machine()
                self.store(store)
        except NotFrozenError as e:
            self.tell("failed", kind="CaptureError", message=str(e), missed=True)
        except QuarkError as e:
            self.tell("failed", kind=type(e).__name__, message=str(e))
        except Exception as e:  # noqa: BLE001 - the daemon logs it
            import traceback

            self.tell(
                "failed",
                kind="CaptureError",
                message=f"the capture failed: {type(e).__name__}; the daemon's log has the reason",
                traceback=traceback.format_exc(),
            )
        else:
            self.tell("captured")
        self.machine.close()  # the machine's process may end
        if watcher is not None:
            watcher.join()

    def open_store(self) -> Store:
        """The caller's domain."""
        return Store.open(self.job["root"], domain=self.job["domain"], key=load_key(self.job["key"]))

    def watch(self) -> threading.Thread | None:
        """Pass the program's output on, until it is at its end."""
        if not self.watched:
            return None
        source, target = self.watched
        search = compile_pattern(self.job["pattern"]).search
        thread = threading.Thread(target=watch_lines, args=(source, target, search, lambda: self.tell("matched")))
        thread.start()
        return thread

    def await_machine(self) -> None:
        """Wait until it stands still, or has ended.

        Raises:
            CaptureCancelledError: the daemon does not want it any more.
        """
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        poll.register(self.machine, select.POLLIN)
        if any(fd == self.sock.fileno() for fd, _ in poll.poll()):
            raise CaptureCancelledError(CANCELLED)

    def progress(self, done: int, total: int) -> None:
        """Say how far it is, now and then.

        Raises:
            CaptureCancelledError: the daemon does not want it any more.
        """
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        if poll.poll(0):
            raise CaptureCancelledError(CANCELLED)
        if (now := time.monotonic()) - self.told >= PROGRESS_SECONDS:
            self.told = now
            self.tell("progress", done=done, total=total)

    def store(self, store: Store) -> None:
        """Write it."""
        job = self.job
        parent = (job["parent"][0], job["parent"][1]) if job["parent"] else None
        spec = SandboxSpec.from_dict(job["spec"])
        machine = FrozenMachine(self.machine, spec)
        self.tell("still")
        frozen = Frozen(machine, spec, parent, self.known)
        info, _ = frozen.store(
            store,
            job["name"],
            trigger=job["trigger"],
            self_contained=job["self_contained"],
            progress=self.progress,
        )
        if job["flat"] and info.parent is not None:
            store.flatten(info.name)

    def known(self) -> list[File]:
        """The files that the snapshot of which this is a clone depends on."""
        if self.known_fd < 0:
            return []
        at, size = self.job["known"]
        return files.unpack(os.pread(self.known_fd, size, at))


def main(sock: socket.socket) -> None:
    """Wait for a job, do it. Ends with the process."""
    sys.stdout = sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - for the life of the process
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    fields, fds = wire.receive(sock)
    if not fields:
        return
    job = json.loads(os.pread(fds[0], os.fstat(fds[0]).st_size, 0))
    os.close(fds[0])
    Storer(sock, job, fds[1:]).run()
