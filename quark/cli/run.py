"""`quark run`: a program in a sandbox, cold or from a snapshot. Kept lean: its imports are part of every start."""

from __future__ import annotations

import os
import sys

from quark.cli.sandbox_options import NAMES, build_changes, build_spec, parse_env
from quark.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from quark.cli.context import Context
    from quark.cli.options import Parsed
    from quark.outcome import Outcome
    from qvisor.sandbox import Sandbox
    from qvisor.spec import SandboxSpec


def main(context: Context, parsed: Parsed) -> int:
    """Run the command; returns the exit status. The terminal is as it was afterwards, however the program left it."""
    open_missing_streams()
    fd = next((fd for fd in range(3) if os.isatty(fd)), None)
    if fd is None:
        return run(context, parsed)
    import termios

    from quark.session import waits_in_background

    before = termios.tcgetattr(fd)
    try:
        return run(context, parsed)
    finally:
        try:
            # Not from the background: whoever is in the foreground has set the terminal as it likes.
            if termios.tcgetattr(fd) != before and not waits_in_background(fd):
                termios.tcsetattr(fd, termios.TCSADRAIN, before)
        except termios.error:
            pass  # it has hung up


def run(context: Context, parsed: Parsed) -> int:
    """As the options say; returns the exit status."""
    name = parsed.one("--from-snapshot")
    timing = parsed.flag("--timing") or parsed.flag("--timing-file")
    if parsed.flag("--from-snapshot"):
        unwanted = sorted(set(parsed.options) & (NAMES - {"--env", "--cwd", "--memory", "--disk", "--volume"}))
        if unwanted:
            raise UsageError(f"{unwanted[0]} belongs to the snapshot and cannot be changed for a clone")
        request = clone_request(name, parsed)
        spec = None
    else:
        for option in ("--payload", "--prefetch", "--timing", "--timing-file"):
            if parsed.flag(option):
                raise UsageError(f"{option} is for a clone; add --from-snapshot NAME, or leave it out")
        spec = build_spec(parsed)
        request = ["cold", *spec.to_strings()]
    if parsed.flag("--detach"):
        return detach(context, parsed, request)
    if parsed.flag("--tty"):
        raise UsageError("--tty goes with --detach; without, the sandbox has the command's own streams")
    debug = parsed.flag("--debug")
    outcome = None if debug else in_daemon(context, request)
    if outcome is None:
        if spec is not None:
            return run_cold(spec, context.root, debug=debug)
        from quark.cli.run_clone import run_clone

        outcome = run_clone(context, request, debug=debug)
    if timing:
        from quark.cli.timing import report_timing

        report_timing(outcome, as_json=context.json, text=parsed.flag("--timing"), file=parsed.one("--timing-file"))
    return outcome.status


def clone_request(name: str, parsed: Parsed) -> list[str]:
    """The request for a clone (docs/abi.md, "Session")."""
    prefetch = parsed.one("--prefetch", "working-set")
    if prefetch not in {"working-set", "none"}:
        raise UsageError(f"--prefetch {prefetch!r} is not one of working-set, none")
    from quark.clone_request import clone_fields

    return clone_fields(
        name, prefetch, parsed.one("--payload"), parsed.rest, parse_env(parsed.many("--env")), build_changes(parsed)
    )


def in_daemon(
    context: Context, request: list[str], progress: Callable[[int, int], None] | None = None
) -> Outcome | None:
    """Run it in the daemon, on the standard streams of this process; None if there is no daemon. `progress` is of a capture."""
    sock, _ = context.connect("session.sock")
    if sock is None:
        return None
    from quark.session import Session, waits_in_background

    if waits_in_background():
        sock.close()
        return None
    session = Session(sock)
    session.request(["run", context.domain, "attached", *request], (0, 1, 2))
    return session.run(progress)


def open_missing_streams() -> None:
    """A standard stream that the caller closed is a place holder, which nothing can be read from or written to (docs/abi.md, QC_FLAGS).

    First of all, so that nothing that is opened later takes its number.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_PATH)  # the lowest free number


def detach(context: Context, parsed: Parsed, request: list[str]) -> int:
    """Leave it running in the daemon; print its id."""
    from quark.session import Session

    for option in ("--debug", "--timing", "--timing-file"):
        if parsed.flag(option):
            raise UsageError(f"{option} needs the end of the run; leave --detach out")
    sock, _ = context.connect("session.sock")
    if sock is None:
        raise context.no_daemon()
    session = Session(sock)
    mode = "detached-tty" if parsed.flag("--tty") else "detached"
    session.request(["run", context.domain, mode, *request], ())
    sandbox_id = session.start()
    print(f'{{"id": "{sandbox_id}"}}' if context.json else sandbox_id)
    return 0


def run_cold(spec: SandboxSpec, state: str, *, debug: bool) -> int:
    """Boot a sandbox in this process, run it to its end."""
    from qvisor._native import lib
    from qvisor.cold import boot

    with boot(spec, signals=lib.qv_signals(), state=state, debug=debug) as sandbox:
        try:
            while (stop := sandbox.run()).reason == "parked":
                pass
        finally:
            if debug:
                report(sandbox)
    return stop.status


def report(sandbox: Sandbox) -> None:
    """Print the guest kernel's log and counters."""
    from qvisor._native import lib

    comm = lib.qv_comm(sandbox.vm)
    print(sandbox.trace_text(), end="", file=sys.stderr)
    print(
        f"quark: {comm.stat_syscalls} system calls, {comm.stat_faults} page faults, {comm.stat_qcalls} host requests, "
        f"{comm.stat_switches} context switches, {comm.ram_used >> 10} KiB of guest memory in use",
        file=sys.stderr,
    )
    missing = [f"{n} ({comm.enosys_count[n]}x)" for n in range(512) if comm.enosys_count[n]]
    if missing:
        print(f"quark: system calls that QKernel lacks, by number: {', '.join(missing)}", file=sys.stderr)
