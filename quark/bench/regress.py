"""`quark bench regress`: has starting become slower? Against a record, another snapshot, or another revision of Quark."""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from quark.bench import verdict as v
from quark.bench.arms import BLOCKS_MIN, Arm, Comparison, until_clear
from quark.bench.history import History, judge
from quark.errors import FileAccessError, QuarkError

if TYPE_CHECKING:
    from collections.abc import Callable

    from quark.bench.history import Record

NOISE, LIMIT = 1.06, 1.19  # two sides in one run: what says nothing, and what must not be overlooked
RECORD_BLOCKS = 3  # of a figure against a record, and as many again while it cannot be told or seems slower
RECORD_BLOCKS_MAX = 9


class SlowerError(QuarkError):
    """A start-up figure is slower than what it was compared with."""

    exit_code = 86


class UnclearError(QuarkError):
    """The measurements were too uneven to tell whether a start-up figure is slower, or there is no record of such a machine."""

    exit_code = 87


class Line(NamedTuple):
    """A figure's row of the table. `ratio` is to what it is compared with: 1 is the same; None: there is nothing to compare with."""

    figure: str
    value: float  # in `unit`
    unit: str
    ratio: v.Interval | None
    verdict: str
    moved: str  # the step of the timeline that moved most, with its ratio


class Report(NamedTuple):
    """All rows, with what a history keeps of them."""

    lines: list[Line]
    figures: dict[str, Any]

    def error(self) -> QuarkError | None:
        """What the exit status says: None when every figure is ok."""
        for kind, cls in ((v.SLOWER, SlowerError), (v.UNCLEAR, UnclearError)):
            found = [line for line in self.lines if line.verdict == kind]
            if found:
                return cls("; ".join(says(line) for line in found))
        return None

    def table(self) -> str:
        """As text."""
        rows = [f"{'figure':<40} {'median':>12} {'ratio':>7} {'99 % of':>15}  verdict"]
        for line in self.lines:
            r = line.ratio
            numbers = f"{r.ratio:>7.2f} {f'{r.low:.2f} to {r.high:.2f}':>15}" if r else f"{'-':>7} {'-':>15}"
            rows.append(
                f"{line.figure:<40} {line.value:>8.3f} {line.unit:<3} {numbers}  {line.verdict}{line.moved and '  ' + line.moved}"
            )
        return "\n".join(rows)

    def document(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "machine": machine(),
            "verdict": v.worst([line.verdict for line in self.lines]),
            "lines": [line._asdict() | {"ratio": line.ratio and line.ratio._asdict()} for line in self.lines],
            "figures": self.figures,
        }


def says(line: Line) -> str:
    """A row in words."""
    if line.ratio is None:
        return f"{line.figure}: no record of such a machine ({machine()}); --record makes one"
    return f"{line.figure}: {line.ratio.ratio:.2f} times what it was ({line.ratio.low:.2f} to {line.ratio.high:.2f}), {line.verdict}{line.moved and ', ' + line.moved}"


def machine() -> str:
    """The kind of machine that ratios can be compared between."""
    from qvisor.host import hardware_kvm

    return f"{'hardware' if hardware_kvm() else 'software'} KVM, {os.cpu_count()} CPUs"


def side_by_side(
    measured: Callable[[], Arm],
    baseline: Callable[[], Arm],
    *,
    figure: str = "request to first output",
    unit: tuple[str, float] = ("ms", 1e3),
    most: int = 16,
) -> Report:
    """Two arms in turn; every step of the timeline gets a verdict of its own. `unit`: its name, and how many of it the arms' unit is."""

    def add(comparison: Comparison) -> None:
        comparison.add(measured(), baseline())

    def judge_all(comparison: Comparison) -> list[str]:
        said = [v.verdict(comparison.ratio(s), noise=NOISE, limit=LIMIT) for s in ("", *comparison.steps())]
        # Many steps are judged, each time after each block: what seems slower is measured as long again before it is said.
        early = len(comparison.blocks) < 2 * BLOCKS_MIN
        return [v.UNCLEAR if early and s == v.SLOWER else s for s in said]

    comparison = until_clear(add, judge_all, most=most)
    lines = []
    for step in ("", *comparison.steps()):
        found = comparison.ratio(step)
        lines.append(
            Line(
                step or figure,
                unit[1] * comparison.median(step),
                unit[0],
                found,
                v.verdict(found, noise=NOISE, limit=LIMIT),
                "",
            )
        )
    return Report(lines, {})


def against_record(
    figures: dict[str, Callable[[Comparison], None]], history: History, say: Callable[[str], None]
) -> Report:
    """Each figure against what the history says of it on such a machine. One that seems slower is measured longer before it is said."""
    lines, kept = [], {}
    for figure, add in figures.items():
        say(figure)
        record = history.record(machine(), figure)

        def seems(comparison: Comparison, record: Record | None = record) -> list[str]:
            return [v.UNCLEAR if record and judge(comparison.ratio(), record) != v.OK else v.OK]

        comparison = until_clear(add, seems, least=RECORD_BLOCKS, most=RECORD_BLOCKS_MAX)
        found = comparison.ratio()
        unit, scale = ("MiB", 2**-20) if figure.startswith("memory") else ("ms", 1e3)
        value = scale * comparison.median()
        steps = {s: comparison.ratio(s).ratio for s in comparison.steps()}
        kept[figure] = {
            "ratio": found.ratio,
            "low": found.low,
            "high": found.high,
            "value": value,
            "unit": unit,
            "steps": steps,
        }
        said = judge(found, record)
        relative = v.Interval(*(x / record.ratio for x in found)) if record else None
        lines.append(Line(figure, value, unit, relative, said, moved(figure, steps, history) if said != v.OK else ""))
    return Report(lines, kept)


def moved(figure: str, steps: dict[str, float], history: History) -> str:
    """The step whose share of the baseline grew most over the record."""
    grown = {}
    for step, now in steps.items():
        record = history.record(machine(), figure, step)
        if record:
            grown[step] = (now - record.ratio, now / record.ratio)
    if not grown:
        return ""
    step = max(grown, key=lambda s: grown[s][0])
    return f"moved: {step}, {grown[step][1]:.2f}x"


def run_record(report: Report) -> dict[str, Any]:
    """A run as a history keeps it."""
    from quark.bench.startup import host

    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    return {"at": now, "machine": machine(), "host": host(), "figures": report.figures}


def finish(report: Report, *, json_file: str, record: str) -> int:
    """Print the table and write what was asked for.

    Raises:
        SlowerError, UnclearError: what the exit status says.
    """
    print(report.table(), flush=True)
    if record:
        History(Path(record)).add(run_record(report))
    if json_file:
        try:
            Path(json_file).write_text(json.dumps(report.document(), indent=2) + "\n")
        except OSError as e:
            raise FileAccessError(f"{json_file}: {e.strerror}; give a file that can be written with --json") from e
    error = report.error()
    if error is not None and not (record and isinstance(error, UnclearError)):
        raise error
    return 0


def say(text: str) -> None:
    """A line of progress."""
    print(f"quark: measuring: {text}", file=sys.stderr, flush=True)
