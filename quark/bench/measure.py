"""Starting programs and clones, and taking the time and memory of them. All times are wall-clock seconds."""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from quark.errors import QuarkError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

QUARK = (sys.executable, "-P", "-m", "quark.cli")
STEP = re.compile(r"^quark:\s+([0-9.]+) ms  (.+)$", re.MULTILINE)
COUNTS = re.compile(r"(\d+) pages mapped ahead, (\d+) faults answered by the pager, (\d+) KiB")


class BenchError(QuarkError):
    """A measured program did not do what it should."""

    exit_code = 74


def quark_command(root: Path, *args: str) -> list[str]:
    """The `quark` of this installation, with its state in `root`."""
    entry = Path(sys.executable).with_name("quark")
    head = [str(entry)] if entry.exists() else list(QUARK)
    return [*head, "--root", str(root), *args]


def until_line(command: Sequence[str], prefix: str) -> tuple[float, str]:
    """Start `command`, wait for a line of output that begins with `prefix`, let it end. Seconds from the start to that line, and its stderr.

    Raises:
        BenchError: the line never came, or the status was not 0.
    """
    started = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
        seconds = -1.0
        if p.stdout is None or p.stderr is None:
            raise BenchError("no pipes")
        for line in p.stdout:
            if seconds < 0 and line.decode(errors="replace").startswith(prefix):
                seconds = time.perf_counter() - started
        errors = p.stderr.read().decode(errors="replace")
    if seconds < 0 or p.returncode:
        raise BenchError(f"{' '.join(command)}: status {p.returncode}, {errors.strip() or 'no answer'}")
    return seconds, errors


def repeat(runs: int, command: Sequence[str], prefix: str) -> list[float]:
    """Seconds of `runs` starts; one start before them warms the host's caches."""
    until_line(command, prefix)
    return [until_line(command, prefix)[0] for _ in range(runs)]


def timeline(errors: str) -> tuple[dict[str, float], tuple[int, int, int]]:
    """What --timing printed: seconds by step; pages mapped ahead, faults, KiB."""
    steps = {name: float(ms) / 1e3 for ms, name in STEP.findall(errors)}
    found = COUNTS.search(errors)
    return steps, tuple(map(int, found.groups())) if found else (0, 0, 0)  # type: ignore[return-value]


def median(values: Sequence[float]) -> float:
    """The median; 0 of nothing."""
    return statistics.median(values) if values else 0.0


def private_kib(pid: int) -> int:
    """Memory that would come back if the process ended: private pages and its page tables (man 5 proc, smaps_rollup)."""
    total = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(("Private_Clean:", "Private_Dirty:", "Private_Hugetlb:")):
            total += int(line.split()[1])
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmPTE:"):
            total += int(line.split()[1])
    return total


COUNTED = ("AnonPages:", "Shmem:", "PageTables:", "SecPageTables:", "SUnreclaim:", "KernelStack:", "Percpu:")


def counted_kib() -> int:
    """Memory of the host that is in use for processes and for the kernel's own tables, each page counted once.

    The sum of these counters of /proc/meminfo stands still on an idle machine, which MemAvailable does not.
    """
    lines = Path("/proc/meminfo").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(COUNTED))


def available_kib() -> int:
    """MemAvailable of the host."""
    return next(
        int(line.split()[1])
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemAvailable:")
    )


def kept_alive(command: Sequence[str], prefix: str) -> subprocess.Popen[bytes]:
    """Start `command` and wait for its answer; it goes on waiting at its standard input."""
    p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    for line in p.stdout or ():
        if line.decode(errors="replace").startswith(prefix):
            return p
    p.wait()
    raise BenchError(f"{' '.join(command)}: status {p.returncode}, no answer")


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Close their standard input, which ends them; wait."""
    for p in processes:
        if p.stdin:
            p.stdin.close()
    for p in processes:
        try:
            p.wait(10)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()
        if p.stdout:
            p.stdout.close()


class Pager:
    """A pager of our own for `root`, which brings in nothing that no clone asks for: every use starts with a cold image."""

    def __init__(self, root: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "snapshotd.pager", str(root), "--no-fill"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        socket = root / "run" / "default" / "pager.sock"
        deadline = time.monotonic() + 10
        while not socket.exists():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise BenchError(f"the pager of {root} did not start")
            time.sleep(0.005)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()


def stop_pager(root: Path) -> None:
    """End the pager that a clone started, and wait until its socket is gone."""
    for pid in pagers(root):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 10
    while any(True for _ in pagers(root)) and time.monotonic() < deadline:
        time.sleep(0.01)


def pagers(root: Path) -> Iterator[int]:
    """Processes that serve `root`."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if b"snapshotd.pager" in command and os.fsencode(root) in command and state != "Z":
            yield int(entry.name)
