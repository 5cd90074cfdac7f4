"""`quark run`: a program in a sandbox, cold or from a snapshot. Kept lean: its imports are part of every start."""

from __future__ import annotations

import sys

from quark.cli.options import parse
from quark.cli.sandbox_options import HELP, VALUES, build_spec, parse_env
from quark.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qvisor.sandbox import Sandbox
    from qvisor.spec import SandboxSpec

USAGE = f"""\
usage: quark run [OPTIONS] [--] PROGRAM [ARGS...]
       quark run --from-snapshot NAME [--env K=V] [--payload TEXT] [--timing] [--] [ARGS...]

{HELP}
  --debug               log system calls and the guest kernel's messages to standard error
  --from-snapshot NAME  start a clone of a snapshot; ARGS, --env and --payload reach it through /dev/quark
  --payload TEXT        text for the clone's /dev/quark document
  --timing              print the restore timeline to standard error
  --prefetch MODE       working-set (default), none: what of the image is mapped before the clone runs

exit status: the program's own; 128+N when signal N ended it; 126, 127 when it could not be started; others: docs/exit-codes.md"""


def main(args: list[str], root: str | None) -> int:
    """Run the command; returns the exit status."""
    flags = {"--debug", "--timing", "--help"}
    parsed = parse(
        args, flags, VALUES | {"--from-snapshot", "--payload", "--prefetch"}, command="run", stop_at_word=True
    )
    if parsed.flag("--help"):
        print(USAGE)
        return 0
    if parsed.flag("--from-snapshot"):
        unwanted = sorted(set(parsed.options) & (VALUES - {"--env"}))
        if unwanted:
            raise UsageError(f"{unwanted[0]} belongs to the snapshot and cannot be changed for a clone")
        from quark.cli.run_clone import run_clone

        return run_clone(
            parsed.one("--from-snapshot"),
            root=root,
            args=parsed.rest,
            env=parse_env(parsed.many("--env")),
            payload=parsed.one("--payload"),
            timing=parsed.flag("--timing"),
            prefetch=parsed.one("--prefetch", "working-set"),
            debug=parsed.flag("--debug"),
        )
    return run_cold(build_spec(parsed), debug=parsed.flag("--debug"))


def run_cold(spec: SandboxSpec, *, debug: bool) -> int:
    """Boot a sandbox, run it to its end."""
    from qvisor import kernel
    from qvisor._native import lib
    from qvisor.document import document, new_generation
    from qvisor.sandbox import Sandbox

    elf = kernel.load()
    generation = new_generation()
    with Sandbox(spec, signals=lib.qv_signals()) as sandbox:
        sandbox.fill_comm(
            clone=False, trace=debug, document=document(generation, clone=False, args=list(spec.argv[1:]), env=spec.env)
        )
        sandbox.set_generation(generation)
        if debug:
            lib.qv_debug_fd(sandbox.vm, 2)
        sandbox.boot(elf)
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
