"""What two sets of measurements, taken in turn, say: how much slower the one is, how sure that is, and a verdict.

Measurements come in blocks of pairs: pairs follow each other closely in time, so that what disturbs the machine disturbs both; each block has
processes of its own, because a process can be a few percent slower than its twin for its whole life (where its memory happens to lie). The
interval is a bootstrap over blocks, then over pairs within (Davison and Hinkley, Bootstrap Methods and their Application, 3.8).
"""

from __future__ import annotations

import random
import statistics
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

OK, SLOWER, UNCLEAR = "ok", "slower", "cannot tell"
RESAMPLES = 1000
CONFIDENCE = 0.99
SEED = 20260101  # the same measurements always give the same verdict


class Interval(NamedTuple):
    """A ratio (1: as fast, 1.2: a fifth slower) with the bounds that hold it in 99 of 100 cases."""

    ratio: float
    low: float
    high: float


def ratio(blocks: Sequence[Sequence[tuple[float, float]]]) -> Interval:
    """Of pairs (measured, its baseline), the median of what the first takes for each unit of the second.

    Raises:
        ValueError: there is no pair, or a baseline that is not above 0.
    """
    if not any(blocks) or any(b <= 0 for block in blocks for _, b in block):
        raise ValueError("a ratio needs pairs with a baseline above 0")
    kept = [[a / b for a, b in block] for block in blocks if block]
    # S311: not a secret.
    chance = random.Random(SEED)  # noqa: S311
    medians = sorted(
        statistics.median(
            [r for block in chance.choices(kept, k=len(kept)) for r in chance.choices(block, k=len(block))]
        )
        for _ in range(RESAMPLES)
    )
    cut = round(RESAMPLES * (1 - CONFIDENCE) / 2)
    return Interval(statistics.median([r for block in kept for r in block]), medians[cut], medians[-1 - cut])


def verdict(found: Interval, *, noise: float, limit: float) -> str:
    """Whether something became slower.

    Args:
        found: ratio to what it is compared with.
        noise: a ratio that says nothing: `slower` needs the whole interval above it.
        limit: the ratio that must not be overlooked: `ok` needs the whole interval below it.
    """
    if found.low > noise:
        return SLOWER
    return OK if found.high < limit else UNCLEAR


def worst(verdicts: Sequence[str]) -> str:
    """The one that decides the exit status: slower, then cannot tell."""
    return next((v for v in (SLOWER, UNCLEAR) if v in verdicts), OK)
