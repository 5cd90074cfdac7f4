"""The figures of start-up latency regression: each is measured beside a baseline, pair by pair, and is the ratio of the two.

| figure | measured | baseline |
|---|---|---|
| cold start | `quark run -- python3 -c 'print(1)'` | the same plainly |
| restore, hot | a clone of the demo application, image in memory, to its answer | fork of the warmed process, to its answer |
| restore, lazy | the same with an empty image and a pager that has nothing | the same fork |
| burst of 20 | 20 clones asked of a daemon at once, to the last answer | 20 forks at once |
| memory of a clone | growth of the host's memory by 8 clones that have answered | by 2 plain processes that have |
| capture pause | how long a running sandbox stands still for a capture | an empty sandbox, start to end |
| a user's snapshot | a clone to its first output | an empty sandbox, start to end |
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import quark
from quark.bench import measure as m
from quark.bench.arms import Arm, Comparison, Pair
from quark.bench.snapshots import Daemon

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
APP = HERE / "app.py"
ANSWER = "query 5:"
PRINT = "print(1)"
NAME = "regress"
BURST = 20
CLONES, PROCESSES = 8, 2
COLD_PAIRS, LAZY_PAIRS, BURST_PAIRS, MEMORY_PAIRS, PAUSE_PAIRS = 4, 3, 2, 1, 3

Measurement = tuple[float, dict[str, float]]


class Demo:
    """The demo application's snapshot, and a daemon of its own; a context manager."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="quark-regress-")
        self.daemon = Daemon(Path(self._folder.name))
        self.root = self.daemon.root
        with quark.connect(root=str(self.root)) as client:
            client.create_snapshot(NAME, [sys.executable, str(APP)])
            client.warm_snapshot(NAME)
            client.run(snapshot=NAME, args=["5"])  # records the working set
        self.lazy_root = Path(self._folder.name) / "lazy"
        create = m.quark_command(
            self.lazy_root, "snapshot", "create", NAME, "--ready-file", "--", sys.executable, str(APP)
        )
        subprocess.run(
            create, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        m.until_line(
            m.quark_command(self.lazy_root, "run", "--from-snapshot", NAME, "--", "5"), ANSWER
        )  # the working set
        m.stop_pager(self.lazy_root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.daemon.close()
        self._folder.cleanup()

    def figures(self) -> dict[str, Callable[[Comparison], None]]:
        """What adds a block of pairs, by figure."""
        return {
            "cold start": self._cold,
            "restore, hot": lambda c: c.add(self._clone(), self._fork()),
            "restore, lazy": self._lazy,
            "burst of 20": self._burst,
            "memory of a clone": self._memory,
            "capture pause": self._pause,
        }

    def _clone(self) -> Arm:
        return Arm("clone", str(self.root), "default", NAME, "5")

    def _fork(self) -> Arm:
        return Arm("fork", str(HERE))

    def _cold(self, comparison: Comparison) -> None:
        python = "/usr/bin/python3.11" if Path("/usr/bin/python3.11").exists() else sys.executable
        plain = [python, "-c", PRINT]
        cold = m.quark_command(self.root, "run", "--no-daemon", "--", *plain)
        comparison.blocks.append(
            [Pair((m.until_line(cold, "1")[0], {}), (m.until_line(plain, "1")[0], {})) for _ in range(COLD_PAIRS)]
        )

    def _lazy(self, comparison: Comparison) -> None:
        pager = ColdPager(self.lazy_root)
        with pager:
            clone = Arm("clone", str(self.lazy_root), "default", NAME, "5", before=pager.restart, warm_up=1)
            comparison.add(clone, self._fork(), pairs=LAZY_PAIRS)

    def _burst(self, comparison: Comparison) -> None:
        with self._fork() as forks, quark.connect(root=str(self.root)) as client:
            block = [Pair((burst(client), {}), forks.measure(BURST)) for _ in range(BURST_PAIRS)]
        comparison.blocks.append(block)

    def _memory(self, comparison: Comparison) -> None:
        clone = m.quark_command(self.root, "run", "--from-snapshot", NAME, "--", "5")
        comparison.blocks.append(
            [
                Pair((growth(clone, CLONES), {}), (growth([sys.executable, str(APP), "5"], PROCESSES), {}))
                for _ in range(MEMORY_PAIRS)
            ]
        )

    def _pause(self, comparison: Comparison) -> None:
        block = []
        with Arm("empty") as empty, quark.connect(root=str(self.root)) as client:
            sandbox = client.start([sys.executable, str(APP)])
            try:
                for _ in range(PAUSE_PAIRS):
                    snapshot = sandbox.capture("pause")
                    block.append(Pair((snapshot.pause_us / 1e6, {}), empty.measure()))
                    client.delete_snapshot("pause")
            finally:
                sandbox.kill()
        comparison.blocks.append(block)


class ColdPager:
    """A pager whose image is empty again after each `restart`; a context manager, which ends it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._now = contextlib.ExitStack()

    def restart(self) -> None:
        """Let go of everything in memory."""
        self._now.close()
        self._now.enter_context(m.Pager(self._root))

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self._now.close()


def burst(client: quark.Client) -> float:
    """Seconds until the last of BURST clones, asked for at once, has answered and ended."""
    wrong: list[bytes] = []

    def one() -> None:
        out = client.run(snapshot=NAME, args=["5"]).stdout
        if not out.startswith(ANSWER.encode()):
            wrong.append(out)

    threads = [threading.Thread(target=one) for _ in range(BURST)]
    started = time.perf_counter()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if wrong:
        raise m.BenchError(f"a clone answered {wrong[0]!r}")
    return time.perf_counter() - started


def growth(command: list[str], count: int) -> float:
    """Bytes of host memory that each of `count` more that have answered takes, everything counted once; one that is there already does not count."""
    first = m.kept_alive(command, ANSWER)
    before = m.counted_kib()
    processes = [m.kept_alive(command, ANSWER) for _ in range(count)]
    grown = m.counted_kib() - before
    m.end([first, *processes])
    return max(grown, 1) * 1024 / count
