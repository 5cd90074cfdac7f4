"""An arm (quark/bench/arm.py) whose clones take a share more time in one step of the restore: what the regression tests must find.

Usage: planted.py FD STEP SHARE ROOT DOMAIN NAME ARGS... The time is spent in the step itself, on the same processor, before its end is taken.
"""

import sys
import time

from quark.bench.arm import clones, serve
from quark.bench.measure import median
from snapshotd.restore import Clone

RUN = "run to the first output"
KNOWN = 5  # runs after which the length of a run is known


def spin(seconds):
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


class Planted(Clone):
    """A clone with the slow step."""

    step, share = "", 0.0
    lengths: list[float] = []  # noqa: RUF012

    def _mark(self, step):
        if step == self.step:
            spin(self.share * (time.perf_counter() - self._last))
        super()._mark(step)

    def finish(self, started):
        # Before the guest's first output nobody on this side can act: the time goes between the start of the run and the start of the guest.
        super().finish(started)
        if self.step == RUN:
            name, seconds = self.timeline[-1]
            assert name == RUN
            if len(self.lengths) < KNOWN:
                self.lengths.append(seconds)

    def run(self):
        if self.step != RUN or len(self.lengths) < KNOWN:
            return super().run()
        started = time.monotonic()
        spin(self.share * median(self.lengths))
        while self.sandbox.run().reason == "parked":
            pass
        self.finish(started)
        return 0


if __name__ == "__main__":
    Planted.step, Planted.share = sys.argv[2], float(sys.argv[3])
    measure = clones(*sys.argv[4:], kind=Planted)
    if Planted.step == RUN:
        for _ in range(KNOWN):
            measure(1)
    serve(int(sys.argv[1]), measure)
