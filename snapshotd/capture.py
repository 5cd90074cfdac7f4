"""Captures a parked machine: reads its state while it stands still, and stores it."""

from __future__ import annotations

import mmap
import os
import time
from itertools import chain
from typing import Protocol

from quark.errors import CaptureError
from quark.sizes import MEMORY_MAX
from qvisor import kernel
from qvisor._native import ffi, lib
from qvisor.machine import check
from snapshotd.digests import Digests
from snapshotd.files import FIRST_GFN, contents, end, from_handles, plan, survey
from snapshotd.layout import RUN
from snapshotd.metadata import Metadata, host_cpu_flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from qvisor.sandbox import Sandbox
    from qvisor.spec import SandboxSpec
    from snapshotd.files import File
    from snapshotd.store import SnapshotInfo, Store

PAGE = 4096
RUNS_MAX = MEMORY_MAX // PAGE // 2  # every second page of the largest sandbox
RECIPES_MAX = 64 << 20


class Machine(Protocol):
    """A parked machine, as it has to be read while it stands still. `pause` in seconds, sizes in bytes.

    Its pages are found and read later, in memory that nobody changes until then: that of a process forked meanwhile (snapshotd/frozen.py), or
    of a machine that goes on standing still.
    """

    state: bytes
    recipes: bytes
    ring: int
    ram_bytes: int
    ram_used: int
    cache_dropped: int
    pause: float

    def scan(self, *, private_only: bool) -> tuple[int, int, int]:
        """Find the pages to keep; how many (there are, read zero, the guest has no use for).

        Raises:
            CaptureError: they cannot be found.
        """

    def pages(self) -> Iterator[tuple[int, memoryview]]:
        """(frame, whole pages) of what `scan` found, ascending."""

    def handle(self, index: int) -> int:
        """Descriptor of a file that it has open, for the caller to close; negative if it cannot be had."""


class OwnMachine:
    """A machine of this process.

    Raises:
        CaptureError: its state cannot be read.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        started = time.perf_counter()
        self._vm = vm = sandbox.vm
        state = ffi.new("char[]", lib.qv_state_size())
        _ok(lib.qv_state_save(vm, state, len(state)), "read the vCPU's state")
        self.state = bytes(ffi.buffer(state))
        recipes = ffi.from_buffer("char[]", _fresh(RECIPES_MAX))
        recipes_len = _ok(lib.qv_recipes_save(vm, recipes, RECIPES_MAX), "list the open files")
        self.recipes = bytes(ffi.buffer(recipes, recipes_len))
        comm = lib.qv_comm(vm)
        self.ram_bytes = lib.qv_ram_bytes(vm)
        self.ring = comm.ring
        # The guest's word: no more than can be.
        self.cache_dropped = min(comm.cache_dropped, self.ram_bytes)
        self.ram_used = min(comm.ram_used + self.cache_dropped, self.ram_bytes)
        self._runs: Any = None
        self._count = 0
        self.pause = time.perf_counter() - started

    def scan(self, *, private_only: bool) -> tuple[int, int, int]:
        """Find the pages to keep."""
        self._runs = ffi.from_buffer("struct qv_page_run[]", _fresh(RUNS_MAX * RUN.size))
        found = ffi.new("struct qv_scan_stats *")
        self._count = _ok(lib.qv_scan(self._vm, private_only, self._runs, RUNS_MAX, found), "find the pages in use")
        return found.data_pages, found.zero_pages, found.free_pages

    def pages(self) -> Iterator[tuple[int, memoryview]]:
        """What `scan` found."""
        ram: Any = lib.qv_ram(self._vm)
        for i in range(self._count):
            run = self._runs[i]
            yield run.gfn, memoryview(ffi.buffer(ram + run.gfn * PAGE, run.pages * PAGE))

    def handle(self, index: int) -> int:
        """Descriptor of an open file."""
        fd = int(lib.qv_handle_fd(self._vm, index))
        return os.dup(fd) if fd >= 0 else fd


class Frozen:
    """A parked machine that becomes a snapshot.

    Args:
        machine: the machine.
        spec: what it was asked to be.
        parent: (name, id) of the snapshot that it was cloned from: only pages that the clone has written are kept.
        known: gives the files that this snapshot depends on.
    """

    def __init__(
        self,
        machine: Machine,
        spec: SandboxSpec,
        parent: tuple[str, str] | None = None,
        known: Callable[[], list[File]] = list,
    ) -> None:
        self.machine = machine
        self.spec = spec
        self.parent = parent
        self.known = known

    def store(
        self,
        store: Store,
        name: str,
        *,
        trigger: str,
        self_contained: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[SnapshotInfo, Metadata]:
        """Write it as snapshot `name`; `self_contained` with the content of the files that it depends on.

        Raises:
            CaptureError: the parent is not there any more, or a file cannot be read.
            StoreError: the store could not do its part.
        """
        if self.parent is not None and store.get(self.parent[0]).id != self.parent[1]:
            raise CaptureError(
                f"snapshot {self.parent[0]!r} that this sandbox was cloned from was replaced by another; capture a new clone"
            )
        machine = self.machine
        data, zero, free = machine.scan(private_only=self.parent is not None)
        frames, first = machine.ram_bytes // PAGE, FIRST_GFN
        if self.parent is not None:
            first = max(first, store.get(self.parent[0]).frames)
        with Digests(store.directory) as digests:
            found = survey(
                machine.handle, machine.recipes, self.known(), digests, lambda: progress and progress(0, frames)
            )
        pages = machine.pages()
        if self_contained:
            new, _ = plan(found, first)
            pages = chain(pages, contents(new, from_handles(machine.handle, machine.recipes)))
        frames = max(frames, end(found))
        meta = Metadata(
            kernel=kernel.build_id(kernel.load()),
            ring=machine.ring,
            cpu_flags=host_cpu_flags(),
            spec=self.spec.to_dict(),
            ram_bytes=machine.ram_bytes,
            cpu_state=machine.state,
            recipes=machine.recipes,
            files=[f.to_json() for f in found],
            stats={
                "ram_used": machine.ram_used,
                "cache_dropped": machine.cache_dropped,
                "data_pages": data,
                "zero_pages": zero,
                "free_pages": free,
                "pause_us": int(machine.pause * 1e6),
            },
            trigger=trigger,
        )
        info = store.create_snapshot(
            name,
            meta.dump(),
            pages,
            frames=frames,
            parent=self.parent[0] if self.parent else None,
            progress=progress and self._in_guest_memory(progress, frames),
        )
        return info, meta

    def _in_guest_memory(self, progress: Callable[[int, int], None], frames: int) -> Callable[[int, int], None]:
        """Between guest memory and the contents of files there are frames that nobody has."""
        gap = max(FIRST_GFN - self.machine.ram_bytes // PAGE, 0) if frames > FIRST_GFN else 0
        return lambda done, total: progress(done if done < FIRST_GFN else done - gap, total - gap)


def capture(
    sandbox: Sandbox,
    store: Store,
    name: str,
    *,
    trigger: str,
    self_contained: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[SnapshotInfo, Metadata]:
    """Store a parked sandbox as snapshot `name` while it stands still.

    Raises:
        CaptureError: the machine's state cannot be read.
    """
    return Frozen(OwnMachine(sandbox), sandbox.spec).store(
        store, name, trigger=trigger, self_contained=self_contained, progress=progress
    )


def _ok(result: int, what: str) -> int:
    try:
        return check(result, what)
    except Exception as e:
        raise CaptureError(str(e)) from e


def _fresh(size: int) -> mmap.mmap:
    """So many bytes of zeros that cost only what is used of them."""
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
