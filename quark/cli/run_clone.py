"""`quark run --from-snapshot`: a clone, from attach to exit."""

from __future__ import annotations

import sys

from quark.errors import UsageError
from quark.paths import state_root
from qvisor._native import lib
from snapshotd.restore import Clone


def run_clone(
    name: str,
    *,
    root: str | None,
    args: list[str],
    env: dict[str, str],
    payload: str,
    timing: bool,
    prefetch: str,
    debug: bool,
) -> int:
    """Restore, run to the end, return the clone's exit status."""
    if prefetch not in {"working-set", "none"}:
        raise UsageError(f"--prefetch {prefetch!r} is not one of working-set, none")
    clone = Clone(
        state_root(root), name, args=args, env=env, payload=payload, prefetch=prefetch, signals=lib.qv_signals()
    )
    try:
        if debug:
            lib.qv_debug_fd(clone.sandbox.vm, 2)
        status = clone.run()
        if timing:
            print_timeline(clone)
        if debug:
            from quark.cli.run import report

            report(clone.sandbox)
    finally:
        clone.close()
    return status


def print_timeline(clone: Clone) -> None:
    """Steps in milliseconds, the sum, and what was brought in."""
    total = 0.0
    for step, seconds in clone.timeline:
        total += seconds
        print(f"quark: {seconds * 1e3:9.3f} ms  {step}", file=sys.stderr)
    print(f"quark: {total * 1e3:9.3f} ms  from the request to the first output", file=sys.stderr)
    faults, pages = clone.attachment.stats()
    print(
        f"quark: {clone.prefetched_pages} pages mapped ahead, {faults} faults answered by the pager, "
        f"{pages * 4} KiB read for them",
        file=sys.stderr,
    )
