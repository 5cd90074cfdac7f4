"""`quark bench snapshots`: what captures cost in time and space, what the daemon adds to a clone, and how the store grows."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import quark
from quark.bench import measure as m
from quark.bench import store_scale
from quark.bench.report import bar, bar_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from quark.client import Attachment

HERE = Path(__file__).parent
APP, SECOND, TICKER = (str(HERE / name) for name in ("app.py", "second_app.py", "ticker.py"))
TICKER_MEGABYTES = 256
TICK_SECONDS = 1.0
PAUSE_SECONDS = 0.05  # between two clones: what one leaves to be torn down is not the next one's latency
CONFIG = """\
root = "{root}"
[[domains]]
name = "alone"
"""


class Daemon:
    """A daemon of our own on an empty state directory."""

    def __init__(self, root: Path) -> None:
        config = root / "snapshotd.toml"
        config.write_text(CONFIG.format(root=root / "state"))
        with (root / "snapshotd.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "snapshotd.daemon", "--config", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
            )
        self.root = root / "state"
        deadline = time.monotonic() + 20
        while not (self.root / "run" / "snapshotd.sock").exists():
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.close()
                raise m.BenchError(f"the daemon did not start: {(root / 'snapshotd.log').read_text()}")
            time.sleep(0.05)

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()
        m.stop_pager(self.root)


class Snapshots:
    """One run of all arms."""

    def __init__(self, runs: int, say: Callable[[str], None]) -> None:
        self.runs = runs
        self.say = say
        self.folder = tempfile.TemporaryDirectory(prefix="quark-bench-")
        self.result: dict[str, Any] = {"runs": runs}

    def run(self) -> dict[str, Any]:
        """All arms, in one go on one machine."""
        daemon = Daemon(Path(self.folder.name))
        try:
            with (
                quark.connect(root=str(daemon.root)) as client,
                quark.connect(root=str(daemon.root), domain="alone") as alone,
            ):
                throughput, ratio, pause = self.captures(client, [sys.executable, APP], "query 1:")
                self.ticker(client)
                second = self.second(client, alone)
                overhead = self.overhead(client, str(daemon.root))
        finally:
            daemon.close()
        self.say("a store of 1000 snapshots")
        self.result["scale"] = scale = store_scale.measure(Path(self.folder.name) / "scale")
        self.result["bars"] = [
            bar("first capture: bytes stored vs memory in use", 100 * ratio, 35, "%"),
            bar("second app on the same Python vs alone", 100 * second, 60, "%"),
            bar("capture, end to end, of memory in use", throughput, 400, "MB/s", more=True),
            bar("the sandbox stands still for a capture", pause, 50, "ms"),
            bar("clone through the daemon vs in-process", overhead, 2, "ms more"),
            *store_scale.bars(scale),
        ]
        return self.result

    def captures(self, client: quark.Client, argv: list[str], ready: str) -> tuple[float, float, float]:
        """Capture the running demo application, each time into an empty domain; medians of MB/s, stored part, and pause in ms."""
        self.say("captures of the demo application")
        speeds, ratios, pauses, milliseconds = [], [], [], []
        for _ in range(self.runs):
            sandbox = client.start(argv)
            attached = iter(sandbox.attach())
            next_line(attached, ready)
            started = time.perf_counter()
            snapshot = sandbox.capture("first")
            seconds = time.perf_counter() - started
            sandbox.kill()
            speeds.append(snapshot.memory_used_bytes / seconds / 1e6)
            ratios.append(snapshot.bytes_stored / snapshot.memory_used_bytes)
            pauses.append(snapshot.pause_us / 1e3)
            milliseconds.append(seconds * 1e3)
            client.delete_snapshot("first")
            client.collect_garbage()
        self.result["capture"] = {
            "memory_mb": snapshot.memory_used_bytes / 1e6,
            "stored_mb": snapshot.bytes_stored / 1e6,
            "ms": m.median(milliseconds),
            "mb_per_s": m.median(speeds),
            "pause_ms": m.median(pauses),
        }
        return m.median(speeds), m.median(ratios), max(pauses)

    def ticker(self, client: quark.Client) -> None:
        """How long a program that ticks sees itself stand still: in a second of nothing, and during a capture."""
        self.say("capture of a program that ticks")
        sandbox = client.start([sys.executable, TICKER, str(TICKER_MEGABYTES)])
        attachment = sandbox.attach()
        lines = iter(attachment)
        next_line(lines, "ready")
        gap(attachment, lines)
        quiet, during, speeds = [], [], []
        for i in range(3):
            time.sleep(TICK_SECONDS)
            quiet.append(gap(attachment, lines))
            started = time.perf_counter()
            snapshot = sandbox.capture(f"ticker-{i}")
            speeds.append(snapshot.memory_used_bytes / (time.perf_counter() - started) / 1e6)
            during.append(gap(attachment, lines))
        sandbox.kill()
        for i in range(3):
            client.delete_snapshot(f"ticker-{i}")
        client.collect_garbage()
        self.result["ticker"] = {
            "memory_mb": snapshot.memory_used_bytes / 1e6,
            "quiet_ms": m.median(quiet),
            "during_ms": m.median(during),
            "pause_ms": snapshot.pause_us / 1e3,
            "mb_per_s": speeds[0],
        }

    def second(self, client: quark.Client, alone: quark.Client) -> float:
        """What a second application adds to a domain that has the first, as a part of what it costs alone."""
        self.say("a second application")
        client.create_snapshot("demo", [sys.executable, APP])
        beside = client.create_snapshot("second", [sys.executable, SECOND]).bytes_stored
        by_itself = alone.create_snapshot("second", [sys.executable, SECOND]).bytes_stored
        self.result["second"] = {"beside_mb": beside / 1e6, "alone_mb": by_itself / 1e6}
        return beside / by_itself

    def overhead(self, client: quark.Client, root: str) -> float:
        """Milliseconds that a call of the daemon takes more than the same clone in a process that has everything loaded."""
        self.say("clones through the daemon and in-process, in turn")
        client.warm_snapshot("demo")
        client.run(snapshot="demo", args=["5"])  # records the working set
        daemon: list[float] = []
        embedded: list[float] = []
        calls: list[float] = []
        rounds = 4
        for _ in range(rounds):
            for _ in range(max(self.runs // rounds, 5)):
                time.sleep(PAUSE_SECONDS)
                started = time.perf_counter()
                list(client.list_sandboxes())
                calls.append(time.perf_counter() - started)
                time.sleep(PAUSE_SECONDS)
                started = time.perf_counter()
                result = client.run(snapshot="demo", args=["5"])
                daemon.append(time.perf_counter() - started)
                if not result.stdout.startswith(b"query 5:"):
                    raise m.BenchError(f"a clone answered {result.stdout!r}")
            command = [sys.executable, "-P", "-m", "quark.bench.embedded", root, "demo", str(max(self.runs // rounds, 5)), "5"]  # fmt: skip
            done = subprocess.run(
                command,
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
            )
            embedded += map(float, done.stderr.split())
        self.result["overhead"] = {
            "daemon_ms": m.median(daemon) * 1e3,
            "in_process_ms": m.median(embedded) * 1e3,
            "empty_call_ms": m.median(calls) * 1e3,
        }
        return (m.median(daemon) - m.median(embedded)) * 1e3


def next_line(output: Iterator[tuple[str, bytes]], prefix: str) -> str:
    """Read attached output up to a line that begins with `prefix`."""
    seen = b""
    for stream, data in output:
        if stream == "stdout":
            seen += data
            for line in seen.decode(errors="replace").splitlines(keepends=True):
                if line.startswith(prefix) and line.endswith("\n"):
                    return line
    raise m.BenchError(f"the program ended and never wrote a line {prefix!r}")


def gap(attachment: Attachment, lines: Iterator[tuple[str, bytes]]) -> float:
    """The longest gap that the ticker saw since it was asked last, in ms."""
    attachment.write(b"\n")
    return float(next_line(lines, "gap").split()[1])


def table(result: dict[str, Any]) -> str:
    """The result as text."""
    c, t, s, o = result["capture"], result["ticker"], result["second"], result["overhead"]
    lines = [
        (
            f"capture of the demo application (medians of {result['runs']}): {c['memory_mb']:.1f} MB in use, {c['stored_mb']:.1f} MB stored, "
            f"{c['ms']:.0f} ms = {c['mb_per_s']:.0f} MB/s, paused {c['pause_ms']:.1f} ms"
        ),
        (
            f"capture of a running program of {t['memory_mb']:.0f} MB: {t['mb_per_s']:.0f} MB/s, paused {t['pause_ms']:.1f} ms; "
            f"the program itself saw gaps of {t['during_ms']:.1f} ms, without a capture {t['quiet_ms']:.1f} ms"
        ),
        f"second application: {s['beside_mb']:.1f} MB beside the first, {s['alone_mb']:.1f} MB alone",
        (
            f"a clone to its end: {o['daemon_ms']:.2f} ms through the daemon, {o['in_process_ms']:.2f} ms in-process; "
            f"a call that does nothing: {o['empty_call_ms']:.2f} ms"
        ),
        "",
        *store_scale.lines(result["scale"]),
        "",
        *bar_lines(result["bars"]),
    ]
    return "\n".join(lines)
