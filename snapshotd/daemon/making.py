"""From a job, as the manager writes it, to what is sent to a QVisor. On a thread: the store, a pager and the host's files may take their time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qvisor._native import lib
from qvisor.process import Start
from qvisor.spec import Changes, SandboxSpec
from snapshotd.start import Wanted, assign, ready_clone, ready_cold

if TYPE_CHECKING:
    from collections.abc import Callable

    from snapshotd.daemon.prepared import Machine
    from snapshotd.start import Ready
    from snapshotd.trigger import Trigger


def populates(job: dict[str, Any]) -> bool:
    """Whether a prepared machine is what the job wants."""
    return "clone" in job and job["clone"]["prefetch"] != "none"


def make(
    job: dict[str, Any],
    stdio: tuple[int, ...],
    machine: Machine | None,
    is_current: Callable[[Machine], bool],
) -> Ready | None:
    """What a sandbox is sent, on these standard streams; None: `machine` was prepared for what is not there any more.

    Raises:
        QuarkError: what is wrong with the job, the snapshot, the installation or the host.
    """
    ready = _ready(job, stdio, machine, is_current)
    if ready is not None:
        try:
            ready.restrict(job["confine"], job["caller"])
        except BaseException:
            ready.close()
            raise
    return ready


def _ready(
    job: dict[str, Any],
    stdio: tuple[int, ...],
    machine: Machine | None,
    is_current: Callable[[Machine], bool],
) -> Ready | None:
    paths = tuple(job["paths"]) if job["paths"] is not None else None
    if "clone" not in job:
        return ready_cold(SandboxSpec.from_dict(job["spec"]), job["root"], paths=paths, stdio=stdio)
    clone = job["clone"]
    changes = Changes.from_strings(clone["changes"])
    wanted = Wanted(clone["args"], clone["env"], clone["payload"], changes, paths=paths, stdio=stdio)
    if machine is None:
        return ready_clone(
            job["root"], clone["name"], wanted, prefetch=clone["prefetch"], domain=job["domain"], key=job["key"]
        )
    if is_current(machine):
        return assign(machine.prepared, Start(), wanted)
    machine.prepared.close()
    return None


def flags(job: dict[str, Any], trigger: Trigger | None, *, is_command: bool) -> int:
    """QM_* of the request: `is_command` of one that has its caller's streams, and stops when its program does."""
    found: int = lib.QM_TTY if job["tty"] else 0
    found |= lib.QM_STOPS if is_command else 0
    if trigger is not None:
        found |= lib.QM_ONCE | (lib.QM_WANT_READY if trigger.kind == "file" else 0)
    return found
