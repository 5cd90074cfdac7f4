"""A sandbox in a process that this one starts and waits for, without a daemon: what benchmarks measure."""

from __future__ import annotations

import json
import os

from qvisor.machine import open_kvm
from qvisor.spec import Changes
from snapshotd.start import Wanted, ready_clone, ready_cold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from qvisor.spec import SandboxSpec
    from snapshotd.start import Ready

TIMELINE_MAX = 1 << 16  # bytes


class Spawned:
    """A sandbox on this process's standard streams; `timeline` has a clone's (step, seconds) in order when it has run."""

    def __init__(self, ready: Ready) -> None:
        self.timeline: list[tuple[str, float]] = []
        self._ready = ready

    @classmethod
    def cold(cls, spec: SandboxSpec) -> Self:
        """One that boots.

        Raises:
            QuarkError: what is wrong with the request, the installation or the host.
        """
        return cls(ready_cold(spec, ""))

    @classmethod
    def clone(cls, root: str, name: str, args: Sequence[str], *, domain: str = "default", key: str = "") -> Self:
        """A clone of snapshot `name`.

        Raises:
            QuarkError: what is wrong with the snapshot, the installation or the host.
        """
        wanted = Wanted(list(args), {}, "", Changes())
        return cls(ready_clone(root, name, wanted, prefetch="working-set", domain=domain, key=key))

    def run(self) -> int:
        """Run it to its end; its exit status."""
        ready = self._ready
        timing, kvm = os.memfd_create("quark-timing", os.MFD_CLOEXEC), open_kvm()
        try:
            ready.start.assign.fields.timing_file = ready.start.assign.place(timing)
            pid = ready.start.spawn(ready.spec.memory, kvm)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            report = os.pread(timing, TIMELINE_MAX, 0)
        finally:
            os.close(timing)
            os.close(kvm)
        if report:
            self.timeline = [(step["name"], step["us"] / 1e6) for step in json.loads(report)["steps"]]
        return status

    def close(self) -> None:
        """Let go of what it was made of."""
        self._ready.close()
