"""`quark ps`, `kill`, `pause`, `resume`, `capture`: sandboxes that a daemon runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from quark.cli.options import exactly, none, some
from quark.cli.output import age, megabytes, print_json, print_table
from quark.cli.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from quark.api import SandboxState
    from quark.cli.context import Context
    from quark.cli.options import Parsed
    from quark.client import Sandbox

COLUMNS = ("ID", "SNAPSHOT", "STATE", "AGE", "CPU", "PRIVATE", "SHARED", "LIMITS", "ARGS")
RIGHT = "AGE CPU PRIVATE SHARED"
ARGS_WIDTH = 60
SECURITY = ("ID", "STATE", "CONFINED BY", "NOT BY")


def fields(s: SandboxState) -> dict[str, Any]:
    """For JSON. `exit_status` is null while it runs."""
    ended = s.state in {"exited", "failed"}
    return {
        "id": s.id,
        "snapshot": s.snapshot or None,
        "argv": list(s.argv),
        "state": s.state,
        "started_ns": s.started_ns,
        "ended_ns": s.ended_ns or None,
        "exit_status": s.exit_status if ended else None,
        "error": s.error or None,
        "end_reason": s.end_reason or None,
        "private_bytes": s.private_bytes,
        "shared_bytes": s.shared_bytes,
        "cpu_us": s.cpu_us,
        "cpus": s.cpus or None,
        "pids": s.pids or None,
        "io_bytes": s.io_bytes or None,
        "host_memory_bytes": s.host_memory_bytes,
        "host_memory_limit_bytes": s.host_memory_limit_bytes or None,
        "tty": s.tty,
        "confined_by": list(s.confined_by),
    }


def limits(s: SandboxState) -> str:
    """What it may take of the host: processors, processes, input and output."""
    found = [f"{s.cpus:g}cpu"] if s.cpus else []
    found += [f"{s.pids}pids"] if s.pids else []
    found += [f"{megabytes(s.io_bytes)}/s"] if s.io_bytes else []
    return " ".join(found) or "-"


def row(s: SandboxState, now_ns: int) -> tuple[str, ...]:
    """For people."""
    state = f"exited {s.exit_status}" if s.state == "exited" else s.state
    if s.end_reason:
        state += f": {s.end_reason}"
    args = " ".join(" ".join(s.argv).split())
    return (
        s.id,
        s.snapshot or "-",
        state,
        age(((s.ended_ns or now_ns) - s.started_ns) / 1e9),
        f"{s.cpu_us / 1e6:.1f}s",
        megabytes(s.private_bytes),
        megabytes(s.shared_bytes),
        limits(s),
        args if len(args) <= ARGS_WIDTH else args[: ARGS_WIDTH - 3] + "...",
    )


def security_row(s: SandboxState) -> tuple[str, ...]:
    """What its process is confined by, and what not."""
    from qvisor.confinement import PARTS

    missing = [part for part in PARTS if part not in s.confined_by]
    return (s.id, s.state, " ".join(s.confined_by) or "-", " ".join(missing) or "-")


def ps(context: Context, parsed: Parsed) -> int:
    """List them."""
    none(parsed, context.command)
    with context.need_client() as client:
        found = list(client.list_sandboxes(ended=parsed.flag("--all"), snapshot=parsed.one("--snapshot")))
    if context.json:
        print_json([fields(s) for s in found])
        return 0
    if parsed.flag("--security"):
        print_table(SECURITY, [security_row(s) for s in found])
        return 0
    now = time.time_ns()
    print_table(COLUMNS, [row(s, now) for s in found], RIGHT)
    return 0


def _each(context: Context, parsed: Parsed, do: Callable[[Sandbox], SandboxState]) -> int:
    """The same for all of the IDs; the first error ends it."""
    ids = some(parsed, context.command)
    with context.need_client() as client:
        done = [do(client.sandbox(i)) for i in ids]
    if context.json:
        print_json([fields(s) for s in done])
    return 0


def kill(context: Context, parsed: Parsed) -> int:
    """End them at once."""
    return _each(context, parsed, lambda sandbox: sandbox.kill())


def pause(context: Context, parsed: Parsed) -> int:
    """Stop their processors."""
    return _each(context, parsed, lambda sandbox: sandbox.pause())


def resume(context: Context, parsed: Parsed) -> int:
    """Let them go on."""
    return _each(context, parsed, lambda sandbox: sandbox.resume())


def capture(context: Context, parsed: Parsed) -> int:
    """Store a running one; it goes on."""
    from quark.cli.service import Service
    from quark.cli.snapshot import report

    sandbox_id, name = exactly(parsed, context.command)
    client = context.need_client()
    with Service(client) as backend:
        with Progress(f"capturing {name}", quiet=context.json, frames=True) as progress:
            client.sandbox(sandbox_id).capture(
                name,
                flat=parsed.flag("--flat"),
                self_contained=parsed.flag("--self-contained"),
                on_progress=progress.step,
            )
        report(context, backend.show(name))
    return 0
