"""A clone in a process that this one starts and waits for, without a daemon: what benchmarks measure."""

from __future__ import annotations

import json
import os

from qvisor.machine import open_kvm
from qvisor.spec import Changes
from snapshotd.start import Wanted, ready_clone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

TIMELINE_MAX = 1 << 16  # bytes


class SpawnedClone:
    """A clone of snapshot `name` on this process's standard streams; `timeline` has (step, seconds) in order when it has run.

    Raises:
        QuarkError: what is wrong with the snapshot, the installation or the host.
    """

    def __init__(self, root: str, name: str, args: Sequence[str], *, domain: str = "default", key: str = "") -> None:
        self.timeline: list[tuple[str, float]] = []
        wanted = Wanted(list(args), {}, "", Changes())
        self._ready = ready_clone(root, name, wanted, prefetch="working-set", domain=domain, key=key)

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
