"""Soak: clients create snapshots, run clones of them and delete them, at once and for long; nothing may grow.

Usage: soak.py [--cycles N] [--clients N] [--root DIR]. Prints a table, and ends with 1 if something leaks, 2 if a call fails.

A cycle is: create a snapshot of a program that is ready at once, run one or two clones of it, delete it. Collections run meanwhile. Growth is
measured between two moments at which nothing runs: after a warm-up, in which what has a bound comes to its bound, and at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = """
#include <fcntl.h>
#include <unistd.h>
int main(void)
{
	int fd = open("/dev/quark", O_RDWR);
	if (fd < 0 || write(fd, "ready\\n", 6) != 6)
		return 1;
	return write(1, "on\\n", 3) != 3;
}
"""
CONFIG = "keep_ended = 50\noutput_bytes = 4096\nlog_level = 'warning'\ngc_seconds = 0\n"
GC_SECONDS = 1.0
WARM_CYCLES = 300  # at least: caches, threads and circles of ended sandboxes come to their bounds
SAMPLE_SECONDS = 15.0
SETTLE_SECONDS = 30.0
# Growth between the two moments that is no leak: allocators, and what the rest of the host does with shared memory.
RSS_SLACK = 6 << 20
SHMEM_SLACK = 64 << 20
LOG_BYTES = 4000
Sample = dict[str, int]


class CallError(Exception):
    """A client's call failed."""


def client(root: str, program: str, number: int, cycles: int) -> int:
    """One client's process: so many cycles; one line each time to say how far it is."""
    import quark

    with quark.connect(root=root) as c:
        for i in range(cycles):
            name = f"s{number}-{i}"
            c.create_snapshot(name, [program], timeout=60)
            for _ in range(1 + i % 2):
                done = c.run(snapshot=name, timeout=60)
                if (done.exit_status, done.stdout) != (0, b"on\n"):
                    print(f"a clone of {name} ended with {done}", file=sys.stderr)
                    return 2
            c.delete_snapshot(name)
            os.write(1, b".")
    return 0


class Soak:
    """One daemon and what is watched of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.program = str(root.with_name(root.name + "-program"))
        source = Path(self.program + ".c")
        source.write_text(PROGRAM)
        subprocess.run(["gcc", "-O2", "-static", "-s", "-o", self.program, str(source)], check=True)
        config = root.with_name(root.name + ".toml")
        config.write_text(CONFIG)
        command = [sys.executable, "-P", "-m", "snapshotd.daemon", "--config", str(config), "--root", str(root)]
        self.daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self.collections = 0
        self.done = 0
        while not (root / "run" / "session.sock").exists():  # the last thing that it makes
            if self.daemon.poll() is not None:
                raise SystemExit("the daemon does not start")
            time.sleep(0.05)

    def close(self) -> None:
        """End the daemon and the pager."""
        self.daemon.terminate()
        self.daemon.wait(30)
        for pid in self.find(b"snapshotd.pager"):
            os.kill(pid, signal.SIGTERM)

    def find(self, module: bytes) -> list[int]:
        """Processes of ours that run a module."""
        found = []
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if module in words and (os.fsencode(self.root) in words or parent(int(pid)) in self.mine):
                    found.append(int(pid))
        return found

    def pager_log(self) -> str:
        """What the pager had to say."""
        log = self.root / "run" / "default" / "pager.log"
        return log.read_text(errors="replace")[-LOG_BYTES:] if log.exists() else ""

    @property
    def mine(self) -> set[int]:
        """The daemon and its zygote."""
        children = Path(f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children").read_text().split()
        return {self.daemon.pid, *map(int, children)}

    def sample(self) -> Sample:
        """Everything that could grow."""
        pager = self.find(b"snapshotd.pager")
        workers = self.find(b"snapshotd.zygote") + self.find(b"qvisor")
        zygote = [p for p in workers if p in self.mine]
        out: Sample = {"cycles": self.done, "processes": 1 + len(pager) + len(workers)}
        memfds: dict[tuple[int, int], int] = {}
        for who, pids in (("daemon", [self.daemon.pid]), ("zygote", zygote), ("pager", pager)):
            out[f"{who} fds"] = sum(descriptors(p, memfds) for p in pids)
            out[f"{who} RSS"] = sum(rss(p) for p in pids)
            out[f"{who} threads"] = sum(len(os.listdir(f"/proc/{p}/task")) for p in pids)
        out["memfds"], out["memfd bytes"] = len(memfds), sum(memfds.values())
        out["Shmem"] = shmem()
        files = [p for p in self.root.rglob("*") if p.is_file()]
        out["files"] = len(files)
        out["packs and maps bytes"] = sum(blocks(p) for p in files if p.parent.name in {"packs", "maps"})
        with contextlib.closing(sqlite3.connect(self.catalogue, timeout=30)) as db:
            tables = [
                name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
            ]
            for table in tables:
                (out[f"rows of {table}"],) = db.execute(f'SELECT count(*) FROM "{table}"').fetchone()
        return out

    @property
    def catalogue(self) -> str:
        """The domain's SQLite file."""
        return str(self.root / "domains" / "default" / "catalogue.db")

    def quiet(self) -> Sample:
        """Collect until nothing is held any more, and sample when nothing changes."""
        import quark

        with quark.connect(root=str(self.root)) as c:
            deadline = time.monotonic() + SETTLE_SECONDS
            while (c.collect_garbage().busy or c.statistics().pool_idle < 2) and time.monotonic() < deadline:
                time.sleep(0.2)
            problems = c.check_store()
            if problems:
                raise SystemExit(f"the store is damaged: {problems[0]}")
        last = self.sample()
        while time.monotonic() < deadline:
            time.sleep(0.5)
            now = self.sample()
            if {k: v for k, v in now.items() if is_exact(k)} == {k: v for k, v in last.items() if is_exact(k)}:
                break
            last = now
        return now

    def run(self, cycles: int, clients: int, table: list[Sample]) -> float:
        """So many cycles by so many clients at once; returns the seconds."""
        import quark
        from snapshotd.store.errors import StoreBusyError

        started = time.monotonic()
        shares = [cycles // clients + (i < cycles % clients) for i in range(clients)]
        running = [
            subprocess.Popen(
                [sys.executable, "-P", __file__, "--client", self.root, self.program, f"{self.done}x{i}", str(share)],
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            )
            for i, share in enumerate(shares)
        ]
        sampled = collected = started
        with contextlib.ExitStack() as stack:
            for p in running:
                assert p.stdout is not None
                os.set_blocking(p.stdout.fileno(), False)
                stack.callback(p.stdout.close)
                stack.callback(p.wait)
                stack.callback(p.kill)  # those that still run when one has failed
            c = stack.enter_context(quark.connect(root=str(self.root)))
            while None in (ends := [p.poll() for p in running]) and not any(ends):
                time.sleep(0.1)
                self.done += sum(count(p) for p in running)
                now = time.monotonic()
                if now - collected >= GC_SECONDS:
                    with contextlib.suppress(StoreBusyError):
                        c.collect_garbage()
                        self.collections += 1
                    collected = now
                if now - sampled >= SAMPLE_SECONDS:
                    table.append(self.sample())
                    sampled = now
            if any(ends):
                raise CallError(f"after {self.done} cycles")
            self.done += sum(count(p) for p in running)
        return time.monotonic() - started


def count(p: subprocess.Popen[bytes]) -> int:
    """Cycles that a client has done since the last time."""
    assert p.stdout is not None
    return len(p.stdout.read() or b"")


def parent(pid: int) -> int:
    """PPID of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def descriptors(pid: int, memfds: dict[tuple[int, int], int]) -> int:
    """How many a process has; its memfds are added with what they take."""
    names = os.listdir(f"/proc/{pid}/fd")
    for name in names:
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/fd/{name}").startswith("/memfd:"):
                st = os.stat(f"/proc/{pid}/fd/{name}")
                memfds[st.st_dev, st.st_ino] = st.st_blocks * 512
    return len(names)


def rss(pid: int) -> int:
    """Anonymous memory of a process, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    return 0


def shmem() -> int:
    """Shared memory of the host, in bytes."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Shmem:"))


def is_exact(what: str) -> bool:
    """Whether this must be the same at both moments, not just close."""
    return not (what == "cycles" or "RSS" in what or "bytes" in what or what in {"Shmem", "daemon threads"})


def leaks(first: Sample, last: Sample) -> list[str]:
    """What grew."""
    found = []
    for what, now in last.items():
        growth = now - first.get(what, 0)
        slack = RSS_SLACK if "RSS" in what else SHMEM_SLACK if what == "Shmem" else 0
        if what not in {"cycles", "daemon threads"} and growth > slack:
            found.append(f"{what}: {first.get(what, 0)} -> {now}")
    return found


def show(table: list[Sample]) -> None:
    """One row for everything that is watched, one column a sample: the first, some between, the last."""
    step = max(len(table) // 6, 1)
    columns = [*table[:-1:step], table[-1]]
    for what in table[-1]:
        cells = [s.get(what, 0) for s in columns]
        shown = [f"{c / (1 << 20):.1f}M" if c >= 10 << 20 or "RSS" in what else str(c) for c in cells]
        print(f"{what:22}" + "".join(f"{c:>10}" for c in shown))


def blocks(path: Path) -> int:
    """Bytes of the file system that a file takes; 0 when it has just gone."""
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0


def main() -> int:
    """Run it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=10000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--root", type=Path, help="an empty directory for all files; default: a temporary one")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if args.root:
            args.root.mkdir(parents=True)
        where = args.root or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="quark-soak-")))
        soak = Soak(where / "state")
        stack.callback(soak.close)
        table: list[Sample] = []
        warm = max(min(args.cycles // 5, 1000), WARM_CYCLES)
        try:
            soak.run(warm, args.clients, [])
            table.append(first := soak.quiet())
            seconds = soak.run(max(args.cycles - warm, 1), args.clients, table)
            table.append(last := soak.quiet())
        except CallError as e:
            print(f"FAILED {e}\nthe pager's log:\n{soak.pager_log()}", file=sys.stderr)
            return 2
        show(table)
        cycles = last["cycles"] - first["cycles"]
        print(f"{cycles} cycles in {seconds:.1f} s: {cycles / seconds:.1f} a second; {soak.collections} collections")
        found = leaks(first, last)
        for leak in found:
            print(f"LEAK {leak}")
        return 1 if found else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        sys.exit(client(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5])))
    sys.path.insert(0, str(Path(__file__).parents[2]))
    sys.exit(main())
