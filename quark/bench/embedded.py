"""Runs clones one after the other, each a child of this process, with no daemon, and prints the seconds of each: what the daemon's are compared with.

Usage: python -m quark.bench.embedded ROOT NAME RUNS ARGS... Clones write to standard output, the times go to standard error.
"""

from __future__ import annotations

import sys
import time

from snapshotd.spawned import Spawned

PAUSE_SECONDS = 0.05  # as the other side


def main(root: str, name: str, runs: int, args: list[str]) -> None:
    """One clone before those that count warms everything up."""
    times = []
    for _ in range(runs + 1):
        time.sleep(PAUSE_SECONDS)
        started = time.perf_counter()
        clone = Spawned.clone(root, name, args)
        try:
            clone.run()
        finally:
            clone.close()
        times.append(time.perf_counter() - started)
    print(*times[1:], file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
