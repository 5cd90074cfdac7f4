"""`quark snapshot create`: the program has the command's own streams and signals, with a daemon or without."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from quark.cli.progress import Progress
from quark.cli.run import in_daemon, open_missing_streams, say_unconfined
from quark.errors import UsageError
from quark.session import keep_terminal
from snapshotd import create
from snapshotd.keys import load_key
from snapshotd.trigger import Trigger

if TYPE_CHECKING:
    from quark.cli.context import Context
    from quark.sizes import Limits
    from qvisor.spec import SandboxSpec


TIMEOUT_MAX = 7 * 86400


class Reporter:
    """Progress that appears when the capture begins: before, the terminal belongs to the program."""

    def __init__(self, name: str, *, quiet: bool) -> None:
        self._progress = Progress(f"capturing {name}", quiet=quiet, frames=True)
        self.shown = False

    def __call__(self, done: int, total: int) -> None:
        """So many frames of so many."""
        if not self.shown:
            self.shown = True
            self._progress.__enter__()
        self._progress.step(done, total)

    def close(self) -> None:
        """The capture has ended."""
        if self.shown:
            self._progress.__exit__(None, None, None)


def parse_timeout(text: str) -> float:
    """Seconds of --timeout; 0 for none.

    Raises:
        UsageError: not a number above 0.
    """
    try:
        seconds = float(text or 0)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < TIMEOUT_MAX or (text and not seconds):
        raise UsageError(f"--timeout {text[:80]!r} is not a number of seconds above 0 and below a week")
    return seconds


def create_snapshot(
    context: Context,
    name: str,
    spec: SandboxSpec,
    limits: Limits,
    trigger: str,
    value: str,
    *,
    self_contained: bool,
    timeout: float,
    confine: list[str],
    debug: bool,
) -> int:
    """Run `spec`'s program until the trigger (an option and its value), store it as `name`; returns the exit status."""
    parsed = replace(Trigger.parse(trigger, value), timeout=timeout)
    open_missing_streams()
    reporter = Reporter(name, quiet=context.json)
    if timeout:

        def give_up(_number: int, _frame: object) -> None:
            if not reporter.shown:
                raise parsed.late()

        signal.signal(signal.SIGALRM, give_up)
    try:
        request = ["create", name, parsed.kind, value, "self-contained" if self_contained else "", *spec.to_strings()]
        signal.setitimer(signal.ITIMER_REAL, 0 if debug else timeout)
        alone = say_unconfined(confine) or debug
        outcome = (
            None if alone else in_daemon(context, limits, request, reporter, mode="+".join(["attached", *confine]))
        )
        signal.setitimer(signal.ITIMER_REAL, 0)
        if outcome is not None:
            return outcome.status
        keep_terminal(
            lambda: create.create_snapshot(
                name,
                spec,
                parsed,
                Path(context.root),
                confine=confine,
                debug=debug,
                domain=context.library_domain,
                key=load_key(context.key),
                self_contained=self_contained,
                progress=reporter,
                limits=limits,
            )
        )
        return 0
    finally:
        reporter.close()
