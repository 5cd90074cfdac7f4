"""Turns a virtual machine into a clone of a snapshot, step by step, each step timed."""

from __future__ import annotations

import os
import time

from quark.errors import PagerLostError, UserfaultfdError
from qvisor._native import ffi, lib
from qvisor.document import document, new_generation
from qvisor.machine import check
from qvisor.sandbox import Sandbox
from qvisor.spec import Changes, SandboxSpec
from snapshotd.accept import Dependencies
from snapshotd.client import LOST, Attachment, attach
from snapshotd.layout import RUN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qvisor.machine import Machine
    from snapshotd.files import File

WORKING_SET_RUNS_MAX = 1 << 16


class Clone:
    """A restored sandbox, ready to run; `timeline` has (step, seconds) in order."""

    def __init__(
        self,
        root: str,
        name: str,
        *,
        args: list[str],
        env: dict[str, str],
        payload: str,
        prefetch: str = "working-set",
        changes: Changes | None = None,
        signals: int = -1,
        domain: str = "default",
        key: str = "",
        paths: tuple[str, ...] | None = None,
        machine: Machine | None = None,
    ) -> None:
        self.name = name
        self._paths = paths
        self._machine = machine
        self.timeline: list[tuple[str, float]] = []
        self._last = time.perf_counter()
        self.attachment = attach(root, name, domain, key)
        self._uffd = -1
        self._dependencies = Dependencies(name, self.attachment, os.path.join(root, "domains", domain))
        self._sandbox: Sandbox | None = None
        self.prefetched_pages = 0
        try:
            self._restore(root, self.attachment, args, env, payload, prefetch, changes or Changes(), signals)
        except BaseException:
            self.close()
            raise

    def _mark(self, step: str) -> None:
        now = time.perf_counter()
        self.timeline.append((step, now - self._last))
        self._last = now

    def _restore(
        self,
        root: str,
        attachment: Attachment,
        args: list[str],
        env: dict[str, str],
        payload: str,
        prefetch: str,
        changes: Changes,
        signals: int,
    ) -> None:
        layout = attachment.layout
        prefetch = prefetch if layout.working_set else "none"
        ahead = not attachment.complete and prefetch == "working-set"
        if ahead:
            attachment.start_prefetch()
        self._mark("attach to the image")
        ring, *spec = layout.spec.decode("utf-8", "surrogateescape").split("\0")
        own = SandboxSpec.from_strings(spec)
        changes.apply(own, self.name, layout.ram_bytes)
        self._sandbox = sandbox = Sandbox(
            own,
            signals=signals,
            paths=self._paths,
            machine=self._machine,
            state=root,
            no_rootfs=not os.path.isdir(own.rootfs) and self._dependencies.contains_all(),
        )
        vm = sandbox.vm
        self._mark("create the machine")
        runs = ffi.from_buffer("struct qv_page_run[]", layout.runs)
        check(lib.qv_map_image(vm, layout.ram_bytes, attachment.image_fd, runs, len(runs)), "map the image")
        self._mark("map the image")
        if not attachment.complete:
            self._uffd = lib.qv_uffd(vm, runs, len(runs))
            if self._uffd < 0:
                raise UserfaultfdError(
                    f"userfaultfd: {os.strerror(-self._uffd)}; allow access to /dev/userfaultfd or set vm.unprivileged_userfaultfd=1"
                )
            attachment.send_uffd(self._uffd, int(ffi.cast("uintptr_t", lib.qv_ram(vm))))
            check(
                lib.qv_watch_pager(vm, attachment.sock, PagerLostError.exit_code, f"quark: {LOST}\n".encode()),
                "watch the pager",
            )
            self._mark("register userfaultfd")
        generation = new_generation()
        about = document(generation, clone=True, args=args, env=env, payload=payload, cwd=changes.cwd)
        sandbox.fill_comm(clone=True, trace=False, document=about)
        sandbox.set_generation(generation)
        lib.qv_comm(vm).ring = int(ring)
        self._dependencies.accept(vm, own, sandbox.roots)
        self._dependencies.close()
        self._mark("check the files")
        check(lib.qv_state_load(vm, layout.cpu_state, len(layout.cpu_state)), "set the vCPU's state")
        self._mark("set the machine's state")
        if ahead:
            attachment.finish_prefetch()
            self._mark("wait for the working set")
        if prefetch == "working-set":
            ws = ffi.from_buffer("struct qv_page_run[]", layout.working_set)
            self.prefetched_pages = check(lib.qv_populate(vm, ws, len(ws)), "map the working set")
            self._mark("map the working set")
        self._record = not layout.working_set
        if self._record:
            lib.qv_record_touched(vm, WORKING_SET_RUNS_MAX)

    @property
    def files(self) -> list[File]:
        """What it depends on, for a capture of it."""
        return self._dependencies.files

    @property
    def sandbox(self) -> Sandbox:
        """The machine."""
        if self._sandbox is None:
            raise ValueError("the clone is closed")
        return self._sandbox

    def run(self) -> int:
        """Run the clone to its end; returns its exit status."""
        started = time.monotonic()
        while (stop := self.sandbox.run()).reason == "parked":
            pass
        self.finish(started)
        return stop.status

    def finish(self, started: float) -> None:
        """Complete the timeline of a run that began at `started` (time.monotonic) and hand in the working set, if it was recorded."""
        first = lib.qv_first_output_ns(self.sandbox.vm)
        if first:
            self.timeline.append(("run to the first output", first / 1e9 - started))
        if self._record:
            out = ffi.new("struct qv_page_run[]", WORKING_SET_RUNS_MAX)
            n = lib.qv_recorded(self.sandbox.vm, out, WORKING_SET_RUNS_MAX)
            if n > 0:
                self.attachment.send_working_set(bytes(ffi.buffer(out, n * RUN.size)))

    def close(self) -> None:
        """Destroy the machine and let go of the image."""
        if self._sandbox is not None:
            self._sandbox.close()
            self._sandbox = None
        if self._uffd >= 0:
            os.close(self._uffd)
            self._uffd = -1
        self._dependencies.close()
        self.attachment.close()
