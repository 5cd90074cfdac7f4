"""The recorded history of start-up figures: ratios to baselines of their own run, by kind of machine, in a JSON file.

Absolute times differ from machine to machine and from day to day; the ratio of a clone to a fork measured beside it differs much less. How
much it does is in the history itself: a figure is slower when all of its interval is above what the record and its spread allow.
"""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, Any, NamedTuple

from quark.bench import verdict as v
from quark.errors import FileAccessError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1
MARGIN = 1.2  # a change of less is not looked for against a record; two builds in one run (`--against`) are compared more finely
KEPT = 30  # runs of a kind of machine


class Record(NamedTuple):
    """What the history says of a figure: the median of its ratios, how far they are spread (largest by median, at least 1), how many."""

    ratio: float
    spread: float
    runs: int


class History:
    """The runs of a file; a file that is not there is an empty history, until something is added."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            data = json.loads(file.read_text())
            self.runs: list[dict[str, Any]] = data["runs"] if data["format"] == FORMAT else []
            if data["format"] != FORMAT:
                raise UsageError(f"{file}: format {data['format']}, this quark reads {FORMAT}; record it anew")
        except FileNotFoundError:
            self.runs = []
        except OSError as e:
            raise FileAccessError(f"{file}: {e.strerror}; name a file that `quark bench regress --record` wrote") from e
        except (ValueError, KeyError, TypeError):
            raise UsageError(f"{file}: not a history; name a file that `quark bench regress --record` wrote") from None

    def record(self, machine: str, figure: str, step: str = "") -> Record | None:
        """Of a figure, or of a step of it, on such a machine; None: nothing is known."""
        found = [run["figures"].get(figure) for run in self.runs if run["machine"] == machine]
        ratios = [f["steps"].get(step) if step else f["ratio"] for f in found if f]
        ratios = [r for r in ratios if r]
        if not ratios:
            return None
        middle = statistics.median(ratios)
        return Record(middle, max(ratios) / middle, len(ratios))

    def add(self, run: dict[str, Any]) -> None:
        """Append a run and write the file.

        Raises:
            FileAccessError: it cannot be written.
        """
        mine = [r for r in self.runs if r["machine"] == run["machine"]]
        for old in mine[: max(0, len(mine) + 1 - KEPT)]:
            self.runs.remove(old)
        self.runs.append(run)
        lines = ",\n".join(f"  {json.dumps(r, sort_keys=True)}" for r in self.runs)
        try:
            self.file.write_text(f'{{"format": {FORMAT}, "runs": [\n{lines}\n]}}\n')
        except OSError as e:
            raise FileAccessError(f"{self.file}: {e.strerror}; give a file that can be written with --record") from e


def judge(found: v.Interval, record: Record | None) -> str:
    """The verdict of a figure against its record."""
    if record is None:
        return v.UNCLEAR
    relative = v.Interval(*(x / record.ratio for x in found))
    allowed = MARGIN * record.spread
    return v.verdict(relative, noise=allowed, limit=allowed)
