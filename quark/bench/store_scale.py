"""How the store's costs grow with the number of snapshots in it: listing, looking up, creating, deleting with gc."""

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING, NamedTuple

from quark.bench.measure import median
from quark.bench.report import bar
from snapshotd.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import Any

PAGE = 4096
FRAMES = 1024
STEPS = (125, 250, 500, 1000)
SAMPLES = 25
LISTED = 50  # snapshots in a page of a listing
FAMILY = 8  # one in so many stands alone, the others are layers on the one before them that does
COMMON = 512  # pages that come up again and again: those of an interpreter and its libraries
ALONE, LAYER = 96, 24  # pages of a snapshot
SHARED = 0.6  # of them, from the common ones
ALLOWED = 2.0  # times linear growth: what noise and caches may add; n log n would be 1.4 in these steps, and n^2 8


class Operation(NamedTuple):
    """What is measured."""

    what: str
    touches: str
    once: Callable[[], None]


class Scale:
    """A store that grows, and the measuring of it.

    Args:
        root: directory of the store, which must not exist.
        steps: numbers of snapshots to measure at, ascending.
        samples: measurements of each operation at each step.
    """

    def __init__(self, root: Path, steps: Sequence[int] = STEPS, samples: int = SAMPLES) -> None:
        self._store = Store.open(root)
        self._random = random.Random(125)  # noqa: S311 - the same pages in every run
        self._common = [self._page() for _ in range(COMMON)]
        self._steps = steps
        self._samples = samples
        self._names: list[str] = []
        self._extra = 0

    def run(self) -> dict[str, Any]:
        """Median seconds of every operation at every step."""
        result: dict[str, Any] = {"steps": list(self._steps), "samples": self._samples, "seconds": {}, "touches": {}}
        with self._store:
            for step in self._steps:
                while len(self._names) < step:
                    self._grow()
                for operation in self._operations():
                    result["seconds"].setdefault(operation.what, []).append(self._time(operation))
                    result["touches"][operation.what] = operation.touches
        return result

    def _time(self, operation: Operation) -> float:
        taken = []
        for _ in range(self._samples):
            started = time.perf_counter()
            operation.once()
            taken.append(time.perf_counter() - started)
        return median(taken)

    def _operations(self) -> list[Operation]:
        store, names = self._store, sorted(self._names)
        # gc looks for leftovers, so it compares the name of every file with the catalogue whatever it deletes.
        # A page out of the middle: finding the place must not cost what comes before it.
        after = names[len(names) // 2]
        return [
            Operation("list one page", "one", lambda: _check(len(store.list(limit=LISTED, after=after)), LISTED)),
            Operation("list all", "all", lambda: _check(len(store.list()), len(names))),
            Operation("get", "one", lambda: _check(store.get(self._random.choice(names)).frames, FRAMES)),
            Operation("create", "one", self._create_extra),
            Operation("delete and gc", "all", self._delete_extra),
            Operation("create a layer", "one", lambda: self._create_extra(self._names[0])),
            Operation("delete a layer and gc", "all", self._delete_extra),
            Operation("gc of nothing", "all", lambda: _check(store.gc().snapshots, 0)),
        ]

    def _grow(self) -> None:
        number = len(self._names)
        parent = None if number % FAMILY == 0 else self._names[number - number % FAMILY]
        # Names do not come in order, but a family's are alike, as people give them.
        family = self._random.getrandbits(32) if parent is None else int(parent[:8], 16)
        name = f"{family:08x}-{number}"
        self._create(name, parent)
        self._names.append(name)

    def _create(self, name: str, parent: str | None) -> None:
        self._store.create_snapshot(
            name, b"{}", self._pages(ALONE if parent is None else LAYER), frames=FRAMES, parent=parent
        )

    def _create_extra(self, parent: str | None = None) -> None:
        self._extra += 1
        self._create(f"extra-{self._extra}", parent)

    def _delete_extra(self) -> None:
        """One of those that were created to measure that."""
        self._store.delete(f"extra-{self._extra}")
        self._extra -= 1
        _check(self._store.gc().snapshots, 1)

    def _pages(self, count: int) -> Iterator[tuple[int, memoryview]]:
        for gfn in sorted(self._random.sample(range(FRAMES), count)):
            shared = self._random.random() < SHARED
            yield gfn, memoryview(self._random.choice(self._common) if shared else self._page())

    def _page(self) -> bytes:
        # Half of it compresses, as guest memory does.
        return self._random.randbytes(PAGE // 2) + bytes(PAGE // 2)


def _check(found: int, expected: int) -> None:
    if found != expected:
        raise RuntimeError(f"the store says {found} where there are {expected}")


def measure(root: Path, steps: Sequence[int] = STEPS, samples: int = SAMPLES) -> dict[str, Any]:
    """Make snapshots in a new store at `root` and measure at each of `steps` numbers of them.

    Returns:
        `seconds`: operation to its median at each step; `touches`: whether it touches one snapshot (or page of them) or all of them.
    """
    return Scale(root, steps, samples).run()


def growth(scale: dict[str, Any], what: str) -> float:
    """Cost at the last step by cost at the first, for each snapshot touched: 1 is linear."""
    first, last = scale["seconds"][what][0], scale["seconds"][what][-1]
    touched = scale["steps"][-1] / scale["steps"][0] if scale["touches"][what] == "all" else 1.0
    return float(last / first / touched)


def bars(scale: dict[str, Any]) -> list[dict[str, Any]]:
    """That nothing grows faster than what it touches."""
    first, last = scale["steps"][0], scale["steps"][-1]
    return [
        bar(f"{what}: {last} snapshots vs {first}, by what it touches", growth(scale, what), ALLOWED, "x")
        for what in scale["seconds"]
    ]


def lines(scale: dict[str, Any]) -> list[str]:
    """The curves as a table, in milliseconds. The exponent is that of the number of snapshots: 0 constant, 1 linear."""
    steps = scale["steps"]
    found = [
        f"{'snapshots in the store (median ms)':<36}" + "".join(f"{step:>9}" for step in steps) + f"{'exponent':>10}"
    ]
    for what, seconds in scale["seconds"].items():
        exponent = math.log(seconds[-1] / seconds[0]) / math.log(steps[-1] / steps[0]) if len(steps) > 1 else 0.0
        found.append(f"{what:<36}" + "".join(f"{1e3 * s:>9.3f}" for s in seconds) + f"{exponent:>10.2f}")
    return found
