"""Runs a program in a sandbox up to its capture point and stores the snapshot."""

from __future__ import annotations

from qvisor._native import lib
from qvisor.cold import boot
from snapshotd.capture import capture
from snapshotd.store import Store
from snapshotd.trigger import CapturePoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qvisor.spec import SandboxSpec
    from snapshotd.metadata import Metadata
    from snapshotd.store import SnapshotInfo
    from snapshotd.trigger import Trigger


def create_snapshot(
    name: str,
    spec: SandboxSpec,
    trigger: Trigger,
    root: Path,
    *,
    debug: bool = False,
    domain: str = "default",
    key: bytes | None = None,
    self_contained: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[SnapshotInfo, Metadata]:
    """Run `spec`'s program until `trigger`, capture it as `name` in `domain`, end it; `progress` gets (frames dealt with, all frames).

    Raises:
        CaptureError: it ended before its capture point.
        QuarkError: the sandbox or the store could not do their part.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with Store.open(root, domain=domain, key=key) as store:
        store.check_name(name)
        with (
            CapturePoint(trigger) as point,
            boot(spec, stdio=point.stdio, signals=lib.qv_signals(), state=str(root), debug=debug) as sandbox,
        ):
            point.arm(sandbox.vm)
            try:
                stop = sandbox.run()
            finally:
                point.disarm()
            if point.late:
                raise trigger.late()
            if stop.reason != "parked":
                raise trigger.missed(stop.status)
            return capture(sandbox, store, name, trigger=trigger.kind, self_contained=self_contained, progress=progress)
