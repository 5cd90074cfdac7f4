"""`quark bench startup`: how long programs and clones take to their first answer, and what a clone costs in memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from quark.bench import measure as m
from quark.bench.arms import Arm
from quark.bench.report import bar, bar_lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

APP = Path(__file__).with_name("app.py")
ANSWER = "query 5:"
NAME = "bench"
CLONES = 10
GETPID = """
import os, time
N = 200_000
def loop(f):
    best = 1e9
    for _ in range(5):
        t = time.perf_counter()
        for _ in range(N):
            f()
        best = min(best, (time.perf_counter() - t) / N)
    return best
print("getpid", (loop(os.getpid) - loop(int)) * 1e6, flush=True)
"""


class Startup:
    """One run of all arms."""

    def __init__(self, runs: int, say: Callable[[str], None]) -> None:
        self.runs = runs
        self.say = say
        self.folder = tempfile.TemporaryDirectory(prefix="quark-bench-")
        self.root = Path(self.folder.name)
        self.result: dict[str, Any] = {"runs": runs, "arms": {}, "steps": {}, "lazy": {}, "memory": {}}

    def arm(self, name: str, command: list[str], prefix: str, runs: int | None = None) -> float:
        """Measure one command to its answer; the median in seconds."""
        self.say(name)
        times = m.repeat(runs or self.runs, command, prefix)
        return self.record(name, times)

    def record(self, name: str, times: list[float]) -> float:
        """Keep an arm's times."""
        self.result["arms"][name] = {
            "median_ms": m.median(times) * 1e3,
            "min_ms": min(times) * 1e3,
            "max_ms": max(times) * 1e3,
            "p90_ms": statistics.quantiles(times, n=10)[8] * 1e3 if len(times) > 1 else times[0] * 1e3,
        }
        return m.median(times)

    def clone_command(self, *options: str) -> list[str]:
        """A clone that answers one query."""
        return m.quark_command(self.root, "run", "--from-snapshot", NAME, *options, "--", "5")

    def run(self) -> dict[str, Any]:
        """All arms, in one go on one machine."""
        python = sys.executable
        plain = self.arm("plain: python app.py on the host", [python, str(APP), "5"], ANSWER)
        cold_command = m.quark_command(self.root, "run", "--", python, str(APP), "5")
        cold = self.arm("cold: quark run -- python app.py", cold_command, ANSWER)
        system = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else python
        plain_1 = self.arm("plain: python3 -c 'print(1)'", [system, "-c", "print(1)"], "1")
        cold_1 = self.arm(
            "cold: quark run -- python3 -c 'print(1)'",
            m.quark_command(self.root, "run", "--", system, "-c", "print(1)"),
            "1",
        )
        self.say("snapshot create")
        subprocess.run(
            m.quark_command(self.root, "snapshot", "create", NAME, "--ready-file", "--", python, str(APP)),
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        m.until_line(self.clone_command(), ANSWER)  # records the working set
        m.stop_pager(self.root)
        self.lazy("lazy, nothing ahead", "--prefetch", "none")
        self.lazy("lazy, working set ahead")
        clone = self.arm("clone: quark run --from-snapshot", self.clone_command(), ANSWER)
        mapped = self.arm("clone, MAP_PRIVATE of the whole image", self.clone_command("--prefetch", "none"), ANSWER)
        inside = self.steps()
        fork = self.fork()
        getpid = self.getpid()
        memory = self.memory([python, str(APP), "5"])
        m.stop_pager(self.root)
        self.result["bars"] = [
            bar("clone vs cold", cold / clone, 10, "x faster", more=True),
            bar("clone vs plain python app.py", plain / clone, 4, "x faster", more=True),
            bar("inside QVisor: VM ready to first answer, image hot", inside * 1e3, 10, "ms"),
            bar("getpid in the guest", getpid, 2.5, "us"),
            bar("cold python3 -c 'print(1)' vs plain", cold_1 / plain_1, 6, "x"),
            bar("memory of the 10th clone vs the plain process", 100 * memory, 20, "%"),
        ]
        self.result["fork_ms"] = fork * 1e3
        self.result["map_private_ms"] = mapped * 1e3
        return self.result

    def lazy(self, name: str, *options: str) -> None:
        """Restore from an image that holds nothing yet, over userfaultfd, each time with a new pager."""
        self.say(name)
        times, steps, counts = [], [], []
        for _ in range(self.runs):
            with m.Pager(self.root):
                seconds, errors = m.until_line(self.clone_command(*options, "--timing"), ANSWER)
            step, count = m.timeline(errors)
            times.append(seconds)
            steps.append(step)
            counts.append(count)
        self.record(name, times)
        self.result["lazy"][name] = {
            "pages_ahead": m.median([c[0] for c in counts]),
            "faults": m.median([c[1] for c in counts]),
            "kib_read": m.median([c[2] for c in counts]),
            "run_ms": m.median([s.get("run to the first output", 0) for s in steps]) * 1e3,
        }

    def steps(self) -> float:
        """The restore timeline of a hot image by steps; seconds from the ready machine to the first answer."""
        self.say("restore timeline")
        runs = [m.timeline(m.until_line(self.clone_command("--timing"), ANSWER)[1])[0] for _ in range(self.runs)]
        names = list(runs[0])
        for name in names:
            self.result["steps"][name] = m.median([r.get(name, 0.0) for r in runs]) * 1e3
        # The whole is the last one; the machine is ready when its process has been confined.
        ready = names[names.index("confine") + 1 : -1]
        return m.median([sum(r.get(n, 0.0) for n in ready) for r in runs])

    def fork(self) -> float:
        """Fork of a warmed process on the host, to its first answer."""
        self.say("fork of a warmed process")
        with Arm("fork", str(APP.parent)) as warmed:
            times = [warmed.measure()[0] for _ in range(self.runs)]
        return self.record("fork of the warmed process, on the host", times)

    def getpid(self) -> float:
        """Microseconds of one getpid in the guest, the interpreter's loop taken off."""
        self.say("getpid")
        out = subprocess.run(
            m.quark_command(self.root, "run", "--", sys.executable, "-c", GETPID),
            check=True,
            capture_output=True,
            text=True,
        )
        self.result["getpid_us"] = float(out.stdout.split()[1])
        return float(out.stdout.split()[1])

    def memory(self, plain: list[str]) -> float:
        """Private memory of the 10th clone as a part of the plain process's."""
        self.say("memory of ten clones")
        process = [m.kept_alive(plain, ANSWER)]
        plain_kib = m.private_kib(process[0].pid)
        m.end(process)
        clones = [m.kept_alive(self.clone_command(), ANSWER) for _ in range(CLONES - 1)]
        before = m.available_kib()
        clones.append(m.kept_alive(self.clone_command(), ANSWER))
        difference = before - m.available_kib()
        kib = [m.private_kib(p.pid) for p in clones]
        m.end(clones)
        self.result["memory"] = {
            "plain_kib": plain_kib,
            "tenth_clone_kib": kib[-1],
            "clones_kib": kib,
            "meminfo_difference_kib": difference,
        }
        return kib[-1] / plain_kib


def table(result: dict[str, Any]) -> str:
    """The result as text."""
    lines = [
        f"{'to the first answer, ms (medians of ' + str(result['runs']) + ')':<58} {'median':>9} {'min':>9} {'p90':>9}"
    ]
    lines += [
        f"{name:<58} {a['median_ms']:>9.2f} {a['min_ms']:>9.2f} {a['p90_ms']:>9.2f}"
        for name, a in result["arms"].items()
    ]
    lines += ["", f"{'lazy restore over userfaultfd':<32} {'ahead':>8} {'faults':>8} {'KiB read':>9} {'run, ms':>9}"]
    lines += [
        f"{name:<32} {a['pages_ahead']:>8.0f} {a['faults']:>8.0f} {a['kib_read']:>9.0f} {a['run_ms']:>9.2f}"
        for name, a in result["lazy"].items()
    ]
    lines += ["", "restore timeline, hot image, ms"]
    lines += [f"  {name:<48} {ms:>9.3f}" for name, ms in result["steps"].items()]
    memory = result["memory"]
    lines += [
        "",
        (
            f"private memory: plain process {memory['plain_kib']} KiB, 10th clone {memory['tenth_clone_kib']} KiB "
            f"(host's MemAvailable fell by {memory['meminfo_difference_kib']} KiB)"
        ),
        "",
        *bar_lines(result["bars"]),
    ]
    return "\n".join(lines)


def host() -> dict[str, Any]:
    """What the figures were measured on."""
    return {"cpus": os.cpu_count(), "kernel": os.uname().release, "python": sys.version.split()[0]}
