"""`quark bench native`: ordinary work in a sandbox against the same work on this host, in turn."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from quark.bench import measure as m
from quark.bench.report import bar, bar_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

SOURCE = Path(__file__).with_name("native.c")
PYTHON = "/usr/bin/python3.11"
FILES, FOLDERS = 5000, 50
GIGABYTE = 1 << 30
# Times a command inside, so that the sandbox's start is not in it; the first run, with nothing read before.
TIMED = "import subprocess, sys, time; t = time.perf_counter(); subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); print(time.perf_counter() - t)"


class Native:
    """One run of all arms. Each is measured natively and in a sandbox in turn; the ratio is that of the medians."""

    def __init__(self, runs: int, say: Callable[[str], None]) -> None:
        self.runs = min(runs, 5)
        self.say = say
        self.folder = tempfile.TemporaryDirectory(prefix="quark-bench-")
        self.place = Path(self.folder.name)
        self.result: dict[str, Any] = {"runs": self.runs, "arms": {}, "bars": []}

    def quark(self, *args: str) -> list[str]:
        """A sandbox without a daemon."""
        return m.quark_command(self.place / "state", "run", "--no-daemon", *args)

    def arm(self, name: str, limit: float, measure: Callable[[bool], float], unit: str, *, more: bool = False) -> None:
        """Measure both sides in turn; `measure` gets whether it is in a sandbox."""
        self.say(name)
        native, guest = [], []
        for _ in range(self.runs):
            native.append(measure(False))
            guest.append(measure(True))
        a, b = m.median(native), m.median(guest)
        self.result["arms"][name] = {"native": a, "guest": b, "unit": unit}
        self.result["bars"].append(bar(name, a / b if more else b / a, limit, "x native"))

    def run(self) -> dict[str, Any]:
        """All arms."""
        self.scheduling()
        self.files()
        self.streams()
        return self.result

    def scheduling(self) -> None:
        """Processes, sleeps and fresh memory, timed by a C program."""
        program = self.place / "native"
        subprocess.run(["cc", "-O2", "-static", "-o", program, SOURCE], check=True)

        def timed(*args: str, pin: bool = False) -> Callable[[bool], float]:
            def measure(guest: bool) -> float:
                plain = [*(["taskset", "-c", "0"] if pin else []), str(program), *args]
                command = self.quark("-v", f"{program}:/native:ro", "--", "/native", *args) if guest else plain
                return float(output(command))

            return measure

        self.arm(
            "ping-pong beside a hog, native on one CPU", 5, timed("pingpong", "1", pin=True), "rounds/s", more=True
        )
        self.say("sleep(1 ms) beside four hogs")
        p99 = m.median([timed("sleep", "300")(True) for _ in range(self.runs)]) / 1e3
        self.result["arms"]["sleep(1 ms) beside four hogs, p99"] = {
            "native": timed("sleep", "300", pin=True)(False) / 1e3,
            "guest": p99,
            "unit": "ms",
        }
        self.result["bars"].append(bar("sleep(1 ms) beside four hogs, p99", p99, 5, "ms"))
        self.arm("fork, exec /bin/true, wait", 4, timed("fork", "200"), "us")
        self.arm("vfork, exec /bin/true, wait", 2, timed("vfork", "200"), "us")
        self.arm("first touch of fresh memory, a page", 2, timed("touch", "64"), "ns")

    def files(self) -> None:
        """A repository of 5,000 files on a volume, and a part of the rootfs."""
        tree = self.place / "tree"
        for i in range(FILES):
            path = tree / f"folder{i % FOLDERS}" / f"file{i}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"file {i}\n" * 20)
        git = ["git", "-C", str(tree), "-c", "user.name=bench", "-c", "user.email=bench@localhost"]
        for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
            subprocess.run([*git, *command], check=True)

        def timed(*command: str) -> Callable[[bool], float]:
            def measure(guest: bool) -> float:
                place = "/tree" if guest else str(tree)
                copy = self.place / f"copy-{time.monotonic_ns()}"
                words = [w.replace("TREE", place).replace("COPY", "/tmp/copy" if guest else str(copy)) for w in command]  # noqa: S108
                inside = [PYTHON, "-c", TIMED, *words]
                seconds = float(
                    output(self.quark("-v", f"{tree}:/tree", "--memory", "2G", "--", *inside) if guest else inside)
                )
                subprocess.run(["rm", "-rf", copy], check=True)
                return seconds * 1e3

            return measure

        safe = ("git", "-c", "safe.directory=*")
        self.arm("git status, 5,000 files on a volume", 5, timed(*safe, "-C", "TREE", "status", "--porcelain"), "ms")
        self.arm("du -s /usr/lib", 5, timed("du", "-s", "/usr/lib"), "ms")
        self.arm(
            "git clone, local, from a volume", 5, timed(*safe, "clone", "-q", "--no-hardlinks", "TREE", "COPY"), "ms"
        )

    def streams(self) -> None:
        """A gigabyte through standard input, standard output and from a file, the sandbox's start included."""
        big, out = self.place / "big", self.place / "out"
        with big.open("wb") as f:
            for _ in range(GIGABYTE >> 20):
                f.write(os.urandom(1 << 10) * (1 << 10))

        def shell(text: str) -> Callable[[bool], float]:
            def measure(guest: bool) -> float:
                run = " ".join(self.quark("--memory", "512M", "--")) if guest else ""
                started = time.perf_counter()
                subprocess.run(
                    ["sh", "-c", text.format(run=run, big=big, out=out)],
                    check=True,
                    stderr=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                )
                return (time.perf_counter() - started) * 1e3

            return measure

        self.arm("1 GB into wc -c", 3, shell("cat {big} | {run} wc -c"), "ms")
        self.arm("1 GB out of dd bs=1M to a file", 3, shell("{run} dd if=/dev/zero bs=1M count=1024 >{out}"), "ms")
        self.arm(
            "1 GB out of head in 8 KB pieces to a pipe", 3, shell("{run} head -c 1G /dev/zero | cat >/dev/null"), "ms"
        )
        self.arm("md5sum of a 1 GB host file, 512 MB guest", 2, shell("{run} md5sum {big}"), "ms")


def output(command: Sequence[str]) -> str:
    """What a command says.

    Raises:
        BenchError: it failed.
    """
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise m.BenchError(f"{' '.join(command[:6])} ...: status {done.returncode}, {done.stderr.strip()[-200:]}")
    return done.stdout


def table(result: dict[str, Any]) -> str:
    """The result as text."""
    lines = [f"{'medians of ' + str(result['runs']):<52} {'native':>12} {'sandbox':>12}"]
    lines += [f"{name:<52} {a['native']:>12.2f} {a['guest']:>12.2f} {a['unit']}" for name, a in result["arms"].items()]
    return "\n".join([*lines, "", *bar_lines(result["bars"])])
