"""Snapshots at random moments of running programs: the programs, the moments, and the rule for what must come out.

For each of PROGRAMS, whoever captures and restores does this:

    native = running.run_native(case, ...)                  # what Linux says
    for moment in moments(seed, count):
        start the case in a sandbox, its scratch directory fresh
        capture it when moment.delay(seconds a run takes in the sandbox) has passed; let the original run on to its end
        restore a clone and let it run to its end
        verify(case, native, original, before, clone)       # raises running.CaseFailed

All the programs are deterministic: their whole output depends on nothing but themselves, however long they were stopped, since
CLOCK_MONOTONIC continues after a restore. They cover pure computation, threads, files, pipes and sockets, timers and signals,
floating-point state, memory mappings, and a Python service; several lines of progress tell how far one had come.
"""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING

from guest_harness import cases, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guest_harness.running import Outcome

PROGRAMS = cases.LONG


@dataclasses.dataclass(frozen=True)
class Moment:
    """A point of a program's run. case: which program. fraction: 0 at its start, 1 at its usual end."""

    case: cases.Case
    fraction: float

    def delay(self, seconds: float) -> float:
        """Seconds to wait after the start, when a whole run takes `seconds`."""
        return self.fraction * seconds


def moments(seed: int, count: int) -> Iterator[Moment]:
    """`count` moments: the programs in turn, each one's moments spread over its whole run, the same for the same seed."""
    generator = random.Random(seed)
    rounds = -(-count // len(PROGRAMS))
    strata = {case: generator.sample(range(rounds), rounds) for case in PROGRAMS}
    for number in range(count):
        case = PROGRAMS[number % len(PROGRAMS)]
        stratum = strata[case][number // len(PROGRAMS)]
        yield Moment(case, (stratum + generator.random()) / rounds)


def verify(case: cases.Case, native: Outcome, original: Outcome, before: tuple[bytes, bytes], clone: Outcome) -> None:
    """Checks one capture: the original must not notice it, and the clone must go on exactly where it was taken.

    before: what the original had written to standard output and standard error when it was captured. The clone's output
    is what comes after that: nothing lost, nothing twice.
    """
    if difference := running.differences(case, native, original):
        raise running.CaseFailed(f"{case.name}: the captured original differs\n{difference}")
    whole = dataclasses.replace(clone, stdout=before[0] + clone.stdout, stderr=before[1] + clone.stderr)
    if difference := running.differences(case, native, whole):
        raise running.CaseFailed(
            f"{case.name}: the clone differs, captured after {len(before[0])} bytes of output\n{difference}"
        )
