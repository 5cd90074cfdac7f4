"""What the commands on snapshots ask for. The daemon (service.py) and this process (library.py) can both do it, with the same answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import BinaryIO, Self

LISTED = (
    "name", "id", "parent", "created_ns", "pages_total", "pages_zero", "pages_same", "pages_new", "bytes_stored",
)  # fmt: skip
"""Fields of a snapshot in a listing. Sizes in bytes, times in nanoseconds since 1970 UTC, no parent is None."""
SHOWN = (
    *LISTED, "memory_used_bytes", "cache_dropped_bytes", "ram_bytes", "pause_us", "argv", "rootfs", "volume_slots", "trigger", "kernel", "ring", "working_set",
    "self_contained",
)  # fmt: skip
"""All fields."""
STATS = (
    "version", "domain", "daemon", "sandboxes_running", "pool_idle", "pool_prepared", "pool_prepared_bytes", "prepared_taken",
    "prepared_missed", "snapshots", "store_bytes", "quota_bytes", "pages_total", "pages_stored",
    "images", "image_pages", "faults",
)  # fmt: skip
"""Fields of the statistics. `daemon` tells whether one runs; without one there are no sandboxes to count."""
LEFTOVER = "leftover"
"""The kind of problem that is no damage."""

Fields = dict[str, Any]


class Backend(Protocol):
    """Snapshots of one domain. Every method may raise a QuarkError. Close it, or use it in a `with`."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def snapshots(self, prefix: str = "", parent: str = "") -> Iterator[Fields]:
        """LISTED of every snapshot, by name."""

    def show(self, name: str) -> Fields:
        """SHOWN of one."""

    def delete(self, name: str, *, cascade: bool) -> None:
        """Delete it; its space comes back with `gc`."""

    def flatten(self, name: str) -> Fields:
        """Make it independent of its parent; SHOWN."""

    def check(self, name: str) -> list[Fields]:
        """The files that it depends on: path, state, size, contained, volume, satisfied."""

    def export(self, name: str, file: BinaryIO) -> None:
        """Write it with its chain."""

    def import_(self, file: BinaryIO, name: str | None, *, host_paths: bool) -> Fields:
        """Read what `export` wrote; SHOWN."""

    def warm(self, name: str, progress: Callable[[int], None], clones: int) -> int:
        """Bring its image into memory and keep it; its bytes. `progress` may get the bytes so far."""

    def cool(self, name: str) -> None:
        """Let go of it."""

    def gc(self) -> Fields:
        """Give space back: snapshots, busy, chunks, bytes_freed, leftovers."""

    def fsck(self, progress: Callable[[int, int], None]) -> list[Fields]:
        """Problems: kind, where, what, advice. `progress` gets (bytes read, all bytes)."""

    def stats(self) -> Fields:
        """STATS."""
