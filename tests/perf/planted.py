"""An arm (quark/bench/arm.py) whose clones take a share more time in one step of the restore: what the regression tests must find.

Usage: planted.py FD STEP SHARE ROOT DOMAIN NAME ARGS... The time is spent in the step itself, on the same processor, before its end is taken: in this process
for the steps before QVisor is started, else in a QVisor that is linked with planted.c.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from quark.bench.arm import clones, serve
from quark.bench.measure import median
from qvisor import process

REPOSITORY = Path(__file__).parents[2]
HERE = ("attach to the image", "check the files")
RUN = "run to the first output"
KNOWN = 5  # runs after which the length of a run is known


def spin(seconds):
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def plant_here(step, share):
    mark = process.Start.mark

    def slower(start, name):
        if name == step:
            spin(share * (time.monotonic() - start.started))
        mark(start, name)

    process.Start.mark = slower


def build(folder, step, share, run_ns):
    """A QVisor with the slow step; whoever runs it has what the build needs, as for the other tests that compile."""
    target = Path(folder, "qvisor")
    includes = [f"-iquote{REPOSITORY / place}" for place in ("qvisor/native", "qvisor/program", "qkernel/include")]
    sources = [
        *REPOSITORY.glob("qvisor/native/*.c"),
        *REPOSITORY.glob("qvisor/program/*.c"),
        Path(__file__).with_suffix(".c"),
    ]
    defines = ["-D_GNU_SOURCE", f'-DSTEP="{step}"', f"-DSHARE={share}", f"-DRUN_NS={run_ns}ull"]
    wraps = ["-Wl,--wrap=timeline_mark", "-Wl,--wrap=timeline_start", "-Wl,--wrap=qv_run"]
    options = ["-std=gnu17", "-O2", "-pthread", "-fPIE", "-pie"]
    subprocess.run(["gcc", *options, *includes, *defines, *wraps, "-o", target, *sources], check=True)
    return str(target)


def plant_there(folder, step, share, measure):
    run_ns = 0
    if step == RUN:
        run_ns = int(share * median([measure(1)[1][RUN] for _ in range(KNOWN)]) * 1e9)
    process.PATH = build(folder, step, share, run_ns)


if __name__ == "__main__":
    control, step, share = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    measure = clones(*sys.argv[4:])
    with tempfile.TemporaryDirectory(prefix="quark-planted-") as folder:
        if step in HERE:
            plant_here(step, share)
        else:
            plant_there(folder, step, share, measure)
        serve(control, measure)
