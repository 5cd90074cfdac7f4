"""fork, exec and fresh memory in a sandbox against the same program on the host: the median of interleaved pairs, with room for a busy machine."""

import statistics
import subprocess
import sys
from pathlib import Path

QUARK = Path(sys.executable).parent / "quark"
SOURCE = Path(__file__).parent / "process_speed.c"
PAIRS = 3
# Ratios on an idle machine are about 1, 2 and 2; what these limits catch is a fork that touches every page table again.
LIMITS = {"fork": 6.0, "exec": 6.0, "touch": 8.0}


def figures(*command):
    out = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    return {name: float(value) for name, value in (line.split() for line in out.splitlines())}


def test_processes_and_memory_cost_a_small_multiple(tmp_path):
    program = tmp_path / "process_speed"
    subprocess.run(["gcc", "-O1", "-o", program, SOURCE], check=True)
    ratios = {name: [] for name in LIMITS}
    for _ in range(PAIRS):
        native = figures(program)
        guest = figures(QUARK, "run", "--memory", "512M", "-v", f"{tmp_path}:/bench", "--", "/bench/process_speed")
        for name in LIMITS:
            ratios[name].append(guest[name] / native[name])
    found = {name: statistics.median(values) for name, values in ratios.items()}
    assert {name: ratio for name, ratio in found.items() if ratio > LIMITS[name]} == {}, found
