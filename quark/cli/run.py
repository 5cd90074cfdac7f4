"""`quark run`: a program in a sandbox, cold or from a snapshot. Kept lean: its imports are part of every start."""

from __future__ import annotations

import os
import sys

from quark.cli.sandbox_options import NAMES, build_changes, build_limits, build_spec, confinement_of, mode_of, parse_env
from quark.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from quark.cli.context import Context
    from quark.cli.options import Parsed
    from quark.outcome import Outcome
    from quark.sizes import Limits
    from qvisor.spec import SandboxSpec


def main(context: Context, parsed: Parsed) -> int:
    """Run the command; returns the exit status. Without a daemon this process becomes the sandbox, and does not come back."""
    open_missing_streams()
    name = parsed.one("--from-snapshot")
    timing = parsed.flag("--timing") or parsed.flag("--timing-file")
    if parsed.flag("--from-snapshot"):
        unwanted = sorted(
            set(parsed.options) & (NAMES - {"--env", "--cwd", "--memory", "--disk", "--volume", "--rootfs"})
        )
        if unwanted:
            raise UsageError(f"{unwanted[0]} belongs to the snapshot and cannot be changed for a clone")
        request = clone_request(name, parsed)
        spec = None
    else:
        for option in ("--payload", "--prefetch", "--timing", "--timing-file", "--host-paths"):
            if parsed.flag(option):
                raise UsageError(f"{option} is for a clone; add --from-snapshot NAME, or leave it out")
        spec = build_spec(parsed)
        request = ["cold", *spec.to_strings()]
    limits = build_limits(parsed)
    if parsed.flag("--detach"):
        return detach(context, parsed, limits, request)
    if parsed.flag("--tty"):
        raise UsageError("--tty goes with --detach; without, the sandbox has the command's own streams")
    debug, file = parsed.flag("--debug"), -1
    if path := parsed.one("--timing-file"):
        from quark.cli.timing import open_timing

        file = open_timing(path)
    outcome = (
        None
        if debug or parsed.flag("--unconfined")
        else in_daemon(context, limits, request, mode=mode_of("attached", parsed))
    )
    if outcome is None:
        exec_alone(context, parsed, spec, limits, request, file)
    if timing:
        from quark.cli.timing import report_timing

        report_timing(outcome, as_json=context.json, text=parsed.flag("--timing"), file=file)
    return outcome.status


def exec_alone(
    context: Context, parsed: Parsed, spec: SandboxSpec | None, limits: Limits, request: list[str], timing_file: int
) -> NoReturn:
    """Without a daemon: become the sandbox of `spec`, or the clone that `request` asks for. `timing_file` is a descriptor, or -1."""
    from qvisor._native import lib
    from snapshotd.start import Wanted, become, ready_clone, ready_cold

    lib.qv_signals()  # from now on those that come are the guest's
    debug, confine = parsed.flag("--debug"), confinement_of(parsed)
    say_unconfined(confine)
    if spec is not None:
        become(ready_cold(spec, context.root, debug=debug), limits, json=context.json, confine=confine)
    from quark.clone_request import unpack_clone

    name, prefetch, payload, args, env, changes = unpack_clone(request[1:])
    wanted = Wanted(args, env, payload, changes, debug=debug)
    clone = ready_clone(context.root, name, wanted, prefetch=prefetch, domain=context.library_domain, key=context.key)
    become(clone, limits, json=context.json, confine=confine, timing=parsed.flag("--timing"), timing_file=timing_file)


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
    context: Context,
    limits: Limits,
    request: list[str],
    progress: Callable[[int, int], None] | None = None,
    mode: str = "attached",
) -> Outcome | None:
    """Run it in the daemon, on the standard streams of this process; None if there is no daemon. `progress` is of a capture."""
    sock, _ = context.connect("session.sock")
    if sock is None:
        return None
    from quark.session import Session, keep_terminal, waits_in_background

    if waits_in_background():
        sock.close()
        return None
    session = Session(sock)
    session.request(["run", context.domain, mode, limits.to_string(), *request], (0, 1, 2))
    return keep_terminal(lambda: session.run(progress))


def say_unconfined(confine: list[str]) -> bool:
    """Whether that is what was asked for; nobody is to get it without knowing."""
    if "unconfined" not in confine:
        return False
    print("quark: the sandbox's process is not confined", file=sys.stderr)
    return True


def open_missing_streams() -> None:
    """A standard stream that the caller closed is a place holder, which nothing can be read from or written to (docs/abi.md, QC_FLAGS).

    First of all, so that nothing that is opened later takes its number.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_PATH), True)  # the lowest free number


def detach(context: Context, parsed: Parsed, limits: Limits, request: list[str]) -> int:
    """Leave it running in the daemon; print its id."""
    from quark.session import Session

    for option in ("--debug", "--unconfined", "--timing", "--timing-file"):
        if parsed.flag(option):
            raise UsageError(f"{option} needs the end of the run; leave --detach out")
    sock, _ = context.connect("session.sock")
    if sock is None:
        raise context.no_daemon()
    session = Session(sock)
    mode = mode_of("detached-tty" if parsed.flag("--tty") else "detached", parsed)
    session.request(["run", context.domain, mode, limits.to_string(), *request], ())
    sandbox_id = session.start()
    print(f'{{"id": "{sandbox_id}"}}' if context.json else sandbox_id)
    return 0
