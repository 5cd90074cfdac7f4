"""One side of a comparison, as a process of its own: takes a measurement for each request on its control socket.

Usage: python arm.py FD KIND ARGS...
  clone ROOT DOMAIN NAME ARGS...   a clone from the request to its first output, a child of this process, with the timeline's steps
  daemon ROOT DOMAIN NAME ARGS...  a clone of a daemon of this arm's, from the request to its first output; none is prepared ahead
  prepared ROOT DOMAIN NAME ARGS... the same, after a pause in which a daemon that prepares clones has done so
  outside ROOT DOMAIN NAME ARGS... private memory outside its guest's, bytes, of the process that faces the guest, of such a clone that waits
  empty                            a sandbox that has nothing to do, from the request to its end: what starting one costs on this machine
  fork FOLDER                      fork of the warmed demo application (app.py in FOLDER), to the child's answer

A request is a line with a number: how many at once. The answer is one line of JSON: seconds, and seconds by step. It runs by its file's
name, so that it can measure another revision's packages (PYTHONPATH) as well as its own.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Measurement = tuple[float, dict[str, float]]

QUERY = 5
DAEMON_SECONDS = 20  # for its start
PREPARE_SECONDS = 0.3


def maker() -> Callable[..., Any]:
    """What makes a clone. Revisions before QVisor was a program ran it in the process that asked for it."""
    try:
        spawned = importlib.import_module("snapshotd.spawned")
    except ModuleNotFoundError:
        before = importlib.import_module("snapshotd.restore").Clone
        return lambda root, name, args, domain: before(root, name, args=list(args), env={}, payload="", domain=domain)
    found: Callable[..., Any] = spawned.Spawned.clone if hasattr(spawned, "Spawned") else spawned.SpawnedClone
    return found


def clones(root: str, domain: str, name: str, *args: str) -> Callable[[int], Measurement]:
    """Clones of a snapshot."""
    make = maker()

    def one(_: int) -> Measurement:
        started = time.perf_counter()
        clone = make(root, name, args, domain=domain)
        try:
            clone.run()
        finally:
            clone.close()
        steps = dict(clone.timeline)
        silent = "run to the first output" not in steps
        return time.perf_counter() - started if silent else sum(steps.values()), steps

    return one


class Daemon:
    """A daemon of this revision's on ROOT, and its client; both end with this process."""

    def __init__(self, root: str, domain: str, *, prepared: bool) -> None:
        quark = importlib.import_module("quark")
        folder = Path(tempfile.mkdtemp(prefix="daemon-", dir=root))
        # Revisions before clones were prepared do not know the setting.
        knows = importlib.util.find_spec("snapshotd.daemon.prepared") is not None
        (folder / "config").write_text(
            f"root = {json.dumps(root)}\n" + ("prepared = 0\n" if knows and not prepared else "")
        )
        with (folder / "log").open("w") as log:
            command = [sys.executable, "-P", "-m", "snapshotd.daemon", "--config", str(folder / "config")]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        atexit.register(self.close)
        until = time.monotonic() + DAEMON_SECONDS
        while not (Path(root) / "run" / "snapshotd.sock").exists():
            if time.monotonic() > until or self._process.poll() is not None:
                sys.exit(f"the daemon did not start: {(folder / 'log').read_text()}")
            time.sleep(0.05)
        self.client = quark.connect(root=root, domain=domain)

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()

    def answered(self, name: str, args: Sequence[str]) -> tuple[float, Any]:
        """Seconds to the first output of a clone, and its sandbox, which goes on."""
        started = time.perf_counter()
        sandbox = self.client.start(snapshot=name, args=list(args))
        attachment = sandbox.attach()
        if not any(stream == "stdout" for stream, _ in attachment):
            sys.exit("a clone ended without an answer")
        seconds = time.perf_counter() - started
        attachment.close()
        return seconds, sandbox

    def machines(self) -> list[int]:
        """Those of its processes that hold a virtual machine."""
        parents = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):
                    parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        found = {self._process.pid}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return [pid for pid in found if any(link.endswith("kvm-vm") for link in links(pid))]


def first_output(root: str, domain: str, name: str, *args: str, prepared: bool = False) -> Callable[[int], Measurement]:
    """Clones through a daemon."""
    daemon = Daemon(root, domain, prepared=prepared)
    daemon.client.warm_snapshot(name)

    def one(_: int) -> Measurement:
        time.sleep(PREPARE_SECONDS if prepared else 0)
        seconds, sandbox = daemon.answered(name, args)
        sandbox.kill()
        return seconds, {}

    return one


def links(pid: int) -> list[str]:
    """What the descriptors of a process are, of a process that may end."""
    found = []
    with contextlib.suppress(OSError):
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.append(str(fd.readlink()))
    return found


def spans(pid: int) -> list[tuple[int, int, int]]:
    """Bytes of address space, resident and private (man 5 proc, smaps) of each stretch of adjacent mappings."""
    found: list[tuple[int, int, int]] = []
    end = 0
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head, _, rest = line.partition(":")
        if head in {"Rss", "Private_Clean", "Private_Dirty"}:
            size, resident, private = found.pop()
            kib = int(rest.split()[0]) << 10
            found.append((size, resident + kib * (head == "Rss"), private + kib * (head != "Rss")))
        elif "-" in line.split()[0]:
            first, last = (int(x, 16) for x in line.split()[0].split("-"))
            size, resident, private = found.pop() if first == end else (0, 0, 0)
            found.append((size + last - first, resident, private))
            end = last
    return found


def outside(root: str, domain: str, name: str, *args: str) -> Callable[[int], Measurement]:
    """Private memory outside guest RAM: of the process whose largest stretch of mappings, which is the guest's, has most in memory."""
    daemon = Daemon(root, domain, prepared=False)
    daemon.client.warm_snapshot(name)

    def one(_: int) -> Measurement:
        sandbox = daemon.answered(name, args)[1]
        faces = max((spans(pid) for pid in daemon.machines()), key=lambda s: max(s)[1])
        sandbox.kill()
        return sum(private for _, _, private in faces) - max(faces)[2], {}

    return one


def empty() -> Callable[[int], Measurement]:
    """Cold sandboxes that run /bin/true."""
    from qvisor.spec import SandboxSpec

    spec = SandboxSpec(argv=("/bin/true",))
    try:
        from snapshotd.spawned import Spawned

        def run() -> None:
            sandbox = Spawned.cold(spec)
            sandbox.run()
            sandbox.close()
    except ImportError:
        # Revisions before QVisor was a program.
        boot = importlib.import_module("qvisor.cold").boot

        def run() -> None:
            with boot(spec) as sandbox:
                sandbox.run()

    def one(_: int) -> Measurement:
        started = time.perf_counter()
        run()
        return time.perf_counter() - started, {}

    return one


def forks(folder: str) -> Callable[[int], Measurement]:
    """Forks of the demo application; with a number above 1, until the last of so many has answered."""
    sys.path.insert(0, folder)
    import numpy as np

    app = importlib.import_module("app")

    codes, _ = app.learn()

    def answer(query: int, out: int) -> None:
        point = np.random.default_rng(query).standard_normal((1, app.DIMENSIONS), dtype=np.float32)
        os.write(out, b"code %d\n" % int(app.assign(point, codes)[0]))

    answer(1, os.open(os.devnull, os.O_WRONLY))

    def many(count: int) -> Measurement:
        reading, writing = os.pipe()
        started = time.perf_counter()
        for _ in range(count):
            if os.fork() == 0:
                answer(QUERY, writing)
                os._exit(0)
        answers = 0
        while answers < count:
            answers += os.read(reading, 4096).count(b"\n")
        seconds = time.perf_counter() - started
        for _ in range(count):
            os.wait()
        os.close(reading)
        os.close(writing)
        return seconds, {}

    return many


KINDS: dict[str, Callable[..., Callable[[int], Measurement]]] = {
    "clone": clones,
    "daemon": first_output,
    "prepared": functools.partial(first_output, prepared=True),
    "outside": outside,
    "empty": empty,
    "fork": forks,
}


def serve(control: int, measure: Callable[[int], Measurement]) -> None:
    """Answer requests until the control socket ends."""
    with os.fdopen(control, "r+b", buffering=0) as stream:
        while request := stream.readline():
            seconds, steps = measure(int(request))
            stream.write(json.dumps([seconds, steps]).encode() + b"\n")


if __name__ == "__main__":
    serve(int(sys.argv[1]), KINDS[sys.argv[2]](*sys.argv[3:]))
