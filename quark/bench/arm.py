"""One side of a comparison, as a process of its own: takes a measurement for each request on its control socket.

Usage: python arm.py FD KIND ARGS...
  clone ROOT DOMAIN NAME ARGS...   a clone from the request to its first output, a child of this process, with the timeline's steps
  empty                            a sandbox that has nothing to do, from the request to its end: what starting one costs on this machine
  fork FOLDER                      fork of the warmed demo application (app.py in FOLDER), to the child's answer

A request is a line with a number: how many at once. The answer is one line of JSON: seconds, and seconds by step. It runs by its file's
name, so that it can measure another revision's packages (PYTHONPATH) as well as its own.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Measurement = tuple[float, dict[str, float]]

QUERY = 5


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


KINDS: dict[str, Callable[..., Callable[[int], Measurement]]] = {"clone": clones, "empty": empty, "fork": forks}


def serve(control: int, measure: Callable[[int], Measurement]) -> None:
    """Answer requests until the control socket ends."""
    with os.fdopen(control, "r+b", buffering=0) as stream:
        while request := stream.readline():
            seconds, steps = measure(int(request))
            stream.write(json.dumps([seconds, steps]).encode() + b"\n")


if __name__ == "__main__":
    serve(int(sys.argv[1]), KINDS[sys.argv[2]](*sys.argv[3:]))
