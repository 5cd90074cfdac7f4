"""Captures a parked machine: reads its state while it stands still, and stores it."""

from __future__ import annotations

from itertools import chain

from quark.errors import CaptureError
from qvisor import kernel
from snapshotd.digests import Digests
from snapshotd.files import FIRST_GFN, contents, end, from_handles, plan, survey
from snapshotd.metadata import Metadata, host_cpu_flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qvisor.spec import SandboxSpec
    from snapshotd.files import File
    from snapshotd.frozen import FrozenMachine
    from snapshotd.store import SnapshotInfo, Store

PAGE = 4096


class Frozen:
    """A parked machine that becomes a snapshot.

    Args:
        machine: the machine.
        spec: what it was asked to be.
        parent: (name, id) of the snapshot that it was cloned from: only pages that the clone has written are kept.
        known: gives the files that this snapshot depends on.
    """

    def __init__(
        self,
        machine: FrozenMachine,
        spec: SandboxSpec,
        parent: tuple[str, str] | None = None,
        known: Callable[[], list[File]] = list,
    ) -> None:
        self.machine = machine
        self.spec = spec
        self.parent = parent
        self.known = known

    def store(
        self,
        store: Store,
        name: str,
        *,
        trigger: str,
        self_contained: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[SnapshotInfo, Metadata]:
        """Write it as snapshot `name`; `self_contained` with the content of the files that it depends on.

        Raises:
            CaptureError: the parent is not there any more, or a file cannot be read.
            StoreError: the store could not do its part.
        """
        if self.parent is not None and store.get(self.parent[0]).id != self.parent[1]:
            raise CaptureError(
                f"snapshot {self.parent[0]!r} that this sandbox was cloned from was replaced by another; capture a new clone"
            )
        machine = self.machine
        data, zero, free = machine.scan(private_only=self.parent is not None)
        frames, first = machine.ram_bytes // PAGE, FIRST_GFN
        if self.parent is not None:
            first = max(first, store.get(self.parent[0]).frames)
        with Digests(store.directory) as digests:
            found = survey(
                machine.handle, machine.recipes, self.known(), digests, lambda: progress and progress(0, frames)
            )
        pages = machine.pages()
        if self_contained:
            new, _ = plan(found, first)
            pages = chain(pages, contents(new, from_handles(machine.handle, machine.recipes)))
        frames = max(frames, end(found))
        meta = Metadata(
            kernel=kernel.build_id(kernel.load()),
            ring=machine.ring,
            cpu_flags=host_cpu_flags(),
            spec=self.spec.to_dict(),
            ram_bytes=machine.ram_bytes,
            cpu_state=machine.state,
            recipes=machine.recipes,
            files=[f.to_json() for f in found],
            stats={
                "ram_used": machine.ram_used,
                "cache_dropped": machine.cache_dropped,
                "data_pages": data,
                "zero_pages": zero,
                "free_pages": free,
                "pause_us": int(machine.pause * 1e6),
            },
            trigger=trigger,
        )
        info = store.create_snapshot(
            name,
            meta.dump(),
            pages,
            frames=frames,
            parent=self.parent[0] if self.parent else None,
            progress=progress and self._in_guest_memory(progress, frames),
        )
        return info, meta

    def _in_guest_memory(self, progress: Callable[[int, int], None], frames: int) -> Callable[[int, int], None]:
        """Between guest memory and the contents of files there are frames that nobody has."""
        gap = max(FIRST_GFN - self.machine.ram_bytes // PAGE, 0) if frames > FIRST_GFN else 0
        return lambda done, total: progress(done if done < FIRST_GFN else done - gap, total - gap)
