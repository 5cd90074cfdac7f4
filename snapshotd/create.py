"""Runs a program in a sandbox up to its capture point and stores the snapshot, without a daemon: this process is the storer."""

from __future__ import annotations

from snapshotd.attended import Attended
from snapshotd.capture import Frozen
from snapshotd.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from quark.sizes import Limits
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
    confine: list[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    limits: Limits | None = None,
) -> tuple[SnapshotInfo, Metadata]:
    """Run `spec`'s program until `trigger`, capture it as `name` in `domain`, end it; `progress` gets (frames dealt with, all frames).

    Raises:
        CaptureError: it ended before its capture point, or a signal asked this process to end meanwhile.
        QuarkError: the sandbox or the store could not do their part.
    """
    with Store.open(root, domain=domain, key=key) as store:
        store.check_name(name)
        with Attended(spec, trigger, str(root), debug=debug, confine=confine, limits=limits) as program:

            def step(done: int, total: int) -> None:
                program.check_given_up()
                if progress is not None:
                    progress(done, total)

            return Frozen(program.machine(), spec).store(
                store, name, trigger=trigger.kind, self_contained=self_contained, progress=step
            )
