"""Work on snapshots that the daemon does, through the SDK."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from quark.cli.backend import LISTED, SHOWN, STATS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import BinaryIO, Self

    from quark.api import Snapshot
    from quark.cli.backend import Fields
    from quark.client import Client


class Service:
    """A Backend."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def snapshots(self, prefix: str = "", parent: str = "") -> Iterator[Fields]:
        """See Backend."""
        return (_fields(s, LISTED) for s in self._client.list_snapshots(prefix, parent=parent))

    def show(self, name: str) -> Fields:
        """See Backend."""
        return _fields(self._client.get_snapshot(name), SHOWN)

    def delete(self, name: str, *, cascade: bool) -> None:
        """See Backend."""
        self._client.delete_snapshot(name, cascade=cascade)

    def flatten(self, name: str) -> Fields:
        """See Backend."""
        return _fields(self._client.flatten_snapshot(name), SHOWN)

    def check(self, name: str) -> list[Fields]:
        """See Backend."""
        return [{**asdict(d), "satisfied": d.satisfied} for d in self._client.check_snapshot(name)]

    def export(self, name: str, file: BinaryIO) -> None:
        """See Backend."""
        self._client.export_snapshot(name, file)

    def import_(self, file: BinaryIO, name: str | None, *, host_paths: bool) -> Fields:
        """See Backend."""
        return _fields(self._client.import_snapshot(file, name, host_paths=host_paths), SHOWN)

    def warm(self, name: str, progress: Callable[[int], None], clones: int) -> int:
        """See Backend."""
        size = self._client.warm_snapshot(name, clones)
        progress(size)
        return size

    def cool(self, name: str) -> None:
        """See Backend."""
        self._client.cool_snapshot(name)

    def gc(self) -> Fields:
        """See Backend."""
        return asdict(self._client.collect_garbage())

    def fsck(self, progress: Callable[[int, int], None]) -> list[Fields]:
        """See Backend."""
        return [asdict(p) for p in self._client.check_store(progress)]

    def stats(self) -> Fields:
        """See Backend."""
        statistics = self._client.statistics()
        return {name: True if name == "daemon" else getattr(statistics, name) for name in STATS}


def _fields(snapshot: Snapshot, names: tuple[str, ...]) -> Fields:
    fields = {name: getattr(snapshot, name) for name in names}
    fields["parent"] = fields["parent"] or None
    if "argv" in fields:
        fields["argv"] = list(fields["argv"])
    return fields
