"""`quark run --from-snapshot` without a daemon: a clone in this process, from attach to exit."""

from __future__ import annotations

from quark.cli.run import report
from quark.clone_request import unpack_clone
from quark.outcome import Outcome
from qvisor._native import lib
from snapshotd.restore import Clone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from quark.cli.context import Context


def run_clone(context: Context, request: list[str], *, debug: bool) -> Outcome:
    """Restore what `request` (quark.cli.run.clone_request) asks for and run it to its end."""
    name, prefetch, payload, args, env, changes = unpack_clone(request[1:])
    clone = Clone(
        context.root,
        name,
        args=args,
        env=env,
        payload=payload,
        prefetch=prefetch,
        changes=changes,
        signals=lib.qv_signals(),
        domain=context.library_domain,
        key=context.key,
    )
    try:
        if debug:
            lib.qv_debug_fd(clone.sandbox.vm, 2)
        status = clone.run()
        steps = [(step, int(seconds * 1e6)) for step, seconds in clone.timeline]
        outcome = Outcome(status, steps, clone.prefetched_pages, *clone.attachment.stats())
        if debug:
            report(clone.sandbox)
    finally:
        clone.close()
    return outcome
