"""Captures a parked sandbox: freezes its state while it stands still, and stores it, from the same memory or from a fork of the process."""

from __future__ import annotations

import mmap
import time
from itertools import chain

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
    from snapshotd.files import File
    from snapshotd.store import SnapshotInfo, Store

PAGE = 4096
RUNS_MAX = MEMORY_MAX // PAGE // 2  # every second page of the largest sandbox
RECIPES_MAX = 64 << 20


class Frozen:
    """What has to be read while the sandbox stands still.

    Its pages are found and read later, in memory that nobody changes until then: that of a process forked meanwhile, or of a sandbox that
    goes on standing still.

    Args:
        sandbox: has to be parked.
        parent: (name, id) of the snapshot that it was cloned from: only pages that the clone has written are kept.
        known: gives the files that this snapshot depends on.

    Raises:
        CaptureError: the machine's state cannot be read.
    """

    def __init__(
        self, sandbox: Sandbox, parent: tuple[str, str] | None = None, known: Callable[[], list[File]] = list
    ) -> None:
        self.started = time.perf_counter()
        self.sandbox = sandbox
        self.parent = parent
        self.known = known
        vm = sandbox.vm
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
        self.pause = time.perf_counter() - self.started

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
        runs = ffi.from_buffer("struct qv_page_run[]", _fresh(RUNS_MAX * RUN.size))
        scanned = ffi.new("struct qv_scan_stats *")
        count = _ok(
            lib.qv_scan(self.sandbox.vm, self.parent is not None, runs, RUNS_MAX, scanned), "find the pages in use"
        )
        frames, first = self.ram_bytes // PAGE, FIRST_GFN
        if self.parent is not None:
            first = max(first, store.get(self.parent[0]).frames)
        with Digests(store.directory) as digests:
            found = survey(
                self.sandbox.vm, self.recipes, self.known(), digests, lambda: progress and progress(0, frames)
            )
        pages = self._pages(runs, count)
        if self_contained:
            new, _ = plan(found, first)
            pages = chain(pages, contents(new, from_handles(self.sandbox.vm, self.recipes)))
        frames = max(frames, end(found))
        meta = Metadata(
            kernel=kernel.build_id(kernel.load()),
            ring=self.ring,
            cpu_flags=host_cpu_flags(),
            spec=self.sandbox.spec.to_dict(),
            ram_bytes=self.ram_bytes,
            cpu_state=self.state,
            recipes=self.recipes,
            files=[f.to_json() for f in found],
            stats={
                "ram_used": self.ram_used,
                "cache_dropped": self.cache_dropped,
                "data_pages": scanned.data_pages,
                "zero_pages": scanned.zero_pages,
                "free_pages": scanned.free_pages,
                "pause_us": int(self.pause * 1e6),
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
        gap = max(FIRST_GFN - self.ram_bytes // PAGE, 0) if frames > FIRST_GFN else 0
        return lambda done, total: progress(done if done < FIRST_GFN else done - gap, total - gap)

    def _pages(self, runs: Any, count: int) -> Iterator[tuple[int, memoryview]]:
        ram: Any = lib.qv_ram(self.sandbox.vm)
        for i in range(count):
            run = runs[i]
            yield run.gfn, memoryview(ffi.buffer(ram + run.gfn * PAGE, run.pages * PAGE))


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
    return Frozen(sandbox).store(store, name, trigger=trigger, self_contained=self_contained, progress=progress)


def _ok(result: int, what: str) -> int:
    try:
        return check(result, what)
    except Exception as e:
        raise CaptureError(str(e)) from e


def _fresh(size: int) -> mmap.mmap:
    """So many bytes of zeros that cost only what is used of them."""
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
