"""Runs a program in a sandbox up to its capture point and stores the snapshot."""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass

from quark.errors import CaptureError, UsageError
from qvisor import kernel
from qvisor._native import lib
from qvisor.document import document, new_generation
from qvisor.sandbox import Sandbox
from snapshotd.capture import capture
from snapshotd.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from qvisor.spec import SandboxSpec
    from snapshotd.metadata import Metadata
    from snapshotd.store import SnapshotInfo


@dataclass(frozen=True)
class Trigger:
    """When to capture: `file` (/dev/quark), `log` (a regular expression on lines of output), `after` (seconds)."""

    kind: str
    pattern: re.Pattern[bytes] | None = None
    seconds: float = 0.0

    @staticmethod
    def parse(option: str, value: str) -> Trigger:
        """From the command line's option.

        Raises:
            UsageError: the value does not fit.
        """
        kind = option.removeprefix("--ready-")
        try:
            if kind == "log":
                return Trigger(kind, pattern=re.compile(os.fsencode(value)))
            if kind == "after":
                seconds = float(value)
                if not 0 <= seconds < 86400:
                    raise ValueError
                return Trigger(kind, seconds=seconds)
        except (re.error, ValueError) as e:
            raise UsageError(
                f"{option} {value!r} is not {'a regular expression' if kind == 'log' else 'a number of seconds below a day'}"
            ) from e
        return Trigger(kind)


class LogWatcher:
    """Passes the guest's output on and requests a capture at the first line that matches."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self.pattern = pattern
        self.read_fd, self.write_fd = os.pipe2(os.O_CLOEXEC)
        self.matched = threading.Event()
        self._vm: Any = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self, vm: Any) -> None:
        """Begin, for the machine that is to be captured."""
        self._vm = vm
        self._thread.start()

    def _run(self) -> None:
        pending = b""
        while data := os.read(self.read_fd, 65536):
            os.write(1, data)
            *lines, pending = (pending + data).split(b"\n")
            if not self.matched.is_set() and any(self.pattern.search(line) for line in lines):
                self.matched.set()
                lib.qv_post(self._vm, lib.QK_EV_CAPTURE, 0)

    def close(self) -> None:
        """Pass the rest on and end."""
        os.close(self.write_fd)
        if self._vm is not None:
            self._thread.join()
        os.close(self.read_fd)


def create_snapshot(
    name: str,
    spec: SandboxSpec,
    trigger: Trigger,
    root: Path,
    *,
    debug: bool = False,
    domain: str = "default",
    key: bytes | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[SnapshotInfo, Metadata]:
    """Run `spec`'s program until `trigger`, capture it as `name` in `domain`, end it; `progress` gets (frames dealt with, all frames).

    Raises:
        CaptureError: it ended before its capture point.
        QuarkError: the sandbox or the store could not do their part.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    elf = kernel.load()
    generation = new_generation()
    with Store.open(root, domain=domain, key=key) as store:
        store.check_name(name)
        watcher = LogWatcher(trigger.pattern) if trigger.pattern else None
        timer: threading.Timer | None = None
        try:
            stdio = (0, watcher.write_fd, watcher.write_fd) if watcher else (0, 1, 2)
            with Sandbox(spec, stdio=stdio, signals=lib.qv_signals()) as sandbox:
                sandbox.fill_comm(
                    clone=False,
                    trace=debug,
                    document=document(generation, clone=False, args=list(spec.argv[1:]), env=spec.env),
                )
                sandbox.set_generation(generation)
                if debug:
                    lib.qv_debug_fd(sandbox.vm, 2)
                lib.qv_want_ready(sandbox.vm, trigger.kind == "file")
                sandbox.boot(elf)
                if watcher:
                    watcher.start(sandbox.vm)
                if trigger.kind == "after":
                    timer = threading.Timer(trigger.seconds, lib.qv_post, (sandbox.vm, lib.QK_EV_CAPTURE, 0))
                    timer.start()
                stop = sandbox.run()
                if timer:
                    timer.cancel()
                    timer.join()
                if stop.reason != "parked":
                    raise CaptureError(
                        f"the program ended with status {stop.status} before its capture point (--ready-{trigger.kind}); nothing was stored"
                    )
                return capture(sandbox, store, name, trigger=trigger.kind, progress=progress)
        finally:
            if watcher:
                watcher.close()
