"""`quark snapshot create`: the program has the command's own streams and signals, in the daemon as in this process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from quark.cli.progress import Progress
from quark.cli.run import in_daemon, open_missing_streams
from snapshotd import create
from snapshotd.keys import load_key
from snapshotd.trigger import Trigger

if TYPE_CHECKING:
    from collections.abc import Callable

    from quark.cli.context import Context
    from qvisor.spec import SandboxSpec


class Reporter:
    """Progress that appears when the capture begins: before, the terminal belongs to the program."""

    def __init__(self, name: str, *, quiet: bool) -> None:
        self._progress = Progress(f"capturing {name}", quiet=quiet, frames=True)
        self._shown = False

    def __call__(self, done: int, total: int) -> None:
        """So many frames of so many."""
        if not self._shown:
            self._shown = True
            self._progress.__enter__()
        self._progress.step(done, total)

    def close(self) -> None:
        """The capture has ended."""
        if self._shown:
            self._progress.__exit__(None, None, None)


def create_snapshot(context: Context, name: str, spec: SandboxSpec, trigger: str, value: str, *, debug: bool) -> int:
    """Run `spec`'s program until the trigger (an option and its value), store it as `name`; returns the exit status."""
    parsed = Trigger.parse(trigger, value)
    reporter = Reporter(name, quiet=context.json)
    try:
        request = ["create", name, parsed.kind, value, *spec.to_strings()]
        outcome = None if debug else in_daemon(context, request, reporter)
        if outcome is not None:
            return outcome.status
        return _embedded(context, name, spec, parsed, reporter, debug=debug)
    finally:
        reporter.close()


def _embedded(
    context: Context,
    name: str,
    spec: SandboxSpec,
    trigger: Trigger,
    progress: Callable[[int, int], None],
    *,
    debug: bool,
) -> int:
    open_missing_streams()
    create.create_snapshot(
        name,
        spec,
        trigger,
        Path(context.root),
        debug=debug,
        domain=context.library_domain,
        key=load_key(context.key),
        progress=progress,
    )
    return 0
