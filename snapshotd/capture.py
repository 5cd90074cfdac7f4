"""Captures a parked sandbox into the store."""

from __future__ import annotations

import time

from quark.errors import CaptureError
from qvisor import kernel
from qvisor._native import ffi, lib
from qvisor.sandbox import Sandbox, check
from snapshotd.metadata import Metadata, host_cpu_flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from snapshotd.store import SnapshotInfo, Store

PAGE = 4096
RUNS_MAX = 1 << 20
RECIPES_MAX = 1 << 20


def capture(
    sandbox: Sandbox, store: Store, name: str, *, trigger: str, progress: Callable[[int, int], None] | None = None
) -> tuple[SnapshotInfo, Metadata]:
    """Store the sandbox, which has to be parked, as snapshot `name`.

    Raises:
        CaptureError: the machine's state cannot be read.
    """
    started = time.perf_counter()
    vm = sandbox.vm
    state = ffi.new("char[]", lib.qv_state_size())
    _ok(lib.qv_state_save(vm, state, len(state)), "read the vCPU's state")
    recipes = ffi.new("char[]", RECIPES_MAX)
    recipes_len = _ok(lib.qv_recipes_save(vm, recipes, RECIPES_MAX), "list the open files")
    runs = ffi.new("struct qv_page_run[]", RUNS_MAX)
    stats = ffi.new("struct qv_scan_stats *")
    count = _ok(lib.qv_scan(vm, 0, runs, RUNS_MAX, stats), "find the pages in use")
    ram_bytes = lib.qv_ram_bytes(vm)
    meta = Metadata(
        kernel=kernel.build_id(kernel.load()),
        ring=lib.qv_comm(vm).ring,
        cpu_flags=host_cpu_flags(),
        spec=sandbox.spec.to_dict(),
        ram_bytes=ram_bytes,
        cpu_state=bytes(ffi.buffer(state)),
        recipes=bytes(ffi.buffer(recipes, recipes_len)),
        stats={
            "ram_used": lib.qv_comm(vm).ram_used + lib.qv_comm(vm).cache_dropped,
            "cache_dropped": lib.qv_comm(vm).cache_dropped,
            "data_pages": stats.data_pages,
            "zero_pages": stats.zero_pages,
            "free_pages": stats.free_pages,
            "pause_us": int((time.perf_counter() - started) * 1e6),
        },
        trigger=trigger,
    )
    info = store.create_snapshot(
        name, meta.dump(), _pages(vm, runs, count), frames=ram_bytes // PAGE, progress=progress
    )
    return info, meta


def _pages(vm: Any, runs: Any, count: int) -> Iterator[tuple[int, memoryview]]:
    ram = lib.qv_ram(vm)
    for i in range(count):
        run = runs[i]
        yield run.gfn, memoryview(ffi.buffer(ram + run.gfn * PAGE, run.pages * PAGE))


def _ok(result: int, what: str) -> int:
    try:
        return check(result, what)
    except Exception as e:
        raise CaptureError(str(e)) from e
