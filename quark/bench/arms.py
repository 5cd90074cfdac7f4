"""Comparisons: two arms measured in turn, in blocks of pairs, until there is a verdict or no more patience."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from quark.bench import verdict as v
from quark.bench.measure import BenchError, median

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

ARM = Path(__file__).with_name("arm.py")
PACKAGES = Path(__file__).parents[2]
PAUSE_SECONDS = 0.01  # what one measurement leaves to be torn down is not the next one's latency
WARM_UP = 2
PAIRS = 8  # in a block
BLOCKS_MIN, BLOCKS_MAX = 4, 16


class Arm:
    """A process that measures on request (arm.py). Use it as a context manager: it ends with the block."""

    def __init__(
        self,
        *args: str,
        program: Path = ARM,
        packages: Path = PACKAGES,
        before: Callable[[], None] | None = None,
        warm_up: int = WARM_UP,
    ) -> None:
        self._before = before  # each measurement, and not part of it
        self._warm_up = warm_up
        self._socket, theirs = socket.socketpair()
        self._file = self._socket.makefile("rwb", buffering=0)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(program), str(theirs.fileno()), *args],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": str(packages)},
            )

    def measure(self, count: int = 1) -> tuple[float, dict[str, float]]:
        """Seconds of `count` at once, and seconds by step.

        Raises:
            BenchError: the process could not measure; its last line says why.
        """
        if self._before:
            self._before()
        time.sleep(PAUSE_SECONDS)
        line = b""
        with contextlib.suppress(OSError):
            self._file.write(b"%d\n" % count)
            line = self._file.readline()
        if not line:
            _, errors = self._process.communicate()
            raise BenchError(f"a measurement ended: {errors.decode(errors='replace').strip().rpartition(chr(10))[2]}")
        seconds, steps = json.loads(line)
        return seconds, steps

    def __enter__(self) -> Self:
        for _ in range(self._warm_up):
            self.measure()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()
        try:
            self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


class Pair(NamedTuple):
    """One measurement of each side: seconds, and seconds by step."""

    measured: tuple[float, dict[str, float]]
    baseline: tuple[float, dict[str, float]]


class Comparison:
    """What pairs say of the whole and of every step that both sides have, and of the steps against the whole baseline where it has none."""

    def __init__(self) -> None:
        self.blocks: list[list[Pair]] = []

    def add(
        self,
        measured: AbstractContextManager[Arm],
        baseline: AbstractContextManager[Arm],
        *,
        pairs: int = PAIRS,
        count: int = 1,
    ) -> None:
        """One more block: both sides in turn, first the one, then the other."""
        block = []
        with measured as a, baseline as b:
            for i in range(pairs):
                if i % 2:
                    second = b.measure(count)
                    block.append(Pair(a.measure(count), second))
                else:
                    first = a.measure(count)
                    block.append(Pair(first, b.measure(count)))
        self.blocks.append(block)

    def ratio(self, step: str = "") -> v.Interval:
        """Of the whole, or of a step to the same step of the baseline; where the baseline has no such step, to the whole of it."""

        def pair(p: Pair) -> tuple[float, float]:
            if not step:
                return p.measured[0], p.baseline[0]
            return p.measured[1].get(step, 0.0), p.baseline[1].get(step, p.baseline[0])

        return v.ratio([[pair(p) for p in block] for block in self.blocks])

    def steps(self) -> list[str]:
        """The steps that every measurement had, in order; of the baseline too, where it has any."""
        pairs = [p for block in self.blocks for p in block]
        sides = [p.measured[1] for p in pairs] + [p.baseline[1] for p in pairs if p.baseline[1]]
        return [s for s in pairs[0].measured[1] if all(s in side for side in sides)]

    def median(self, step: str = "") -> float:
        """Of the measured side."""
        return median([p.measured[1].get(step, 0.0) if step else p.measured[0] for block in self.blocks for p in block])


def until_clear(
    add: Callable[[Comparison], None],
    judge: Callable[[Comparison], Sequence[str]],
    *,
    least: int = BLOCKS_MIN,
    most: int = BLOCKS_MAX,
) -> Comparison:
    """Add blocks until no verdict of `judge` is unclear, `least` of them at least, `most` at most."""
    comparison = Comparison()
    while len(comparison.blocks) < most:
        add(comparison)
        if len(comparison.blocks) >= least and v.UNCLEAR not in judge(comparison):
            break
    return comparison
