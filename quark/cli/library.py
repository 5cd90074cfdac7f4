"""Work on snapshots that this process does, with the store's library and the domain's pager."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

import quark
from quark.cli.backend import LISTED, STATS
from quark.errors import PagerLostError, UsageError
from snapshotd import client
from snapshotd.keys import load_key
from snapshotd.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import BinaryIO, Self

    from quark.cli.backend import Fields
    from snapshotd.store import SnapshotInfo

WARM_POLL = 0.02


class Library:
    """A Backend. A state directory that is not there is an empty one; only an import makes it."""

    def __init__(self, root: str, domain: str, key: str) -> None:
        self._root = root
        self._domain = domain
        self._key = key
        self._store: Store | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _open(self, *, create: bool = False) -> Store:
        if self._store is None:
            self._store = Store.open(self._root, create=create, domain=self._domain, key=load_key(self._key))
        return self._store

    def _find(self, name: str) -> tuple[Store, SnapshotInfo]:
        store = self._open()
        return store, store.get(name)

    def snapshots(self, prefix: str = "", parent: str = "") -> Iterator[Fields]:
        """See Backend."""
        for info in self._open().list(prefix, parent=parent or None):
            yield {name: getattr(info, name) for name in LISTED}

    def show(self, name: str) -> Fields:
        """See Backend."""
        from snapshotd.metadata import Metadata

        store, info = self._find(name)
        meta = Metadata.load(info.meta)
        return {
            **{field: getattr(info, field) for field in LISTED},
            "memory_used_bytes": meta.stats["ram_used"],
            "cache_dropped_bytes": meta.stats.get("cache_dropped", 0),
            "ram_bytes": meta.ram_bytes,
            "pause_us": meta.stats["pause_us"],
            "argv": meta.spec["argv"],
            "rootfs": meta.spec["rootfs"],
            "volume_slots": [volume[3] for volume in meta.spec["volumes"] if len(volume) > 3],
            "trigger": meta.trigger,
            "kernel": meta.kernel,
            "ring": "ring0" if meta.ring == 1 else "ring3",
            "working_set": store.working_set(name) is not None,
            "self_contained": meta.self_contained,
        }

    def delete(self, name: str, *, cascade: bool) -> None:
        """See Backend."""
        store, _ = self._find(name)
        store.delete(name, cascade=cascade)

    def flatten(self, name: str) -> Fields:
        """See Backend."""
        store, _ = self._find(name)
        store.flatten(name)
        return self.show(name)

    def check(self, name: str) -> list[Fields]:
        """See Backend."""
        from snapshotd.dependencies import check

        store, _ = self._find(name)
        return [{**d._asdict(), "satisfied": d.satisfied} for d in check(store, name)]

    def export(self, name: str, file: BinaryIO) -> None:
        """See Backend."""
        from snapshotd.dependencies import export

        store, _ = self._find(name)
        export(store, name, file)

    def import_(self, file: BinaryIO, name: str | None, *, host_paths: bool) -> Fields:
        """See Backend."""
        from snapshotd.metadata import Metadata

        return self.show(self._open(create=True).import_(file, name, Metadata.load, believed=host_paths).name)

    def warm(self, name: str, progress: Callable[[int], None], clones: int) -> int:
        """See Backend."""
        if clones:
            raise UsageError("--clones: it is the daemon that keeps clones prepared, and none runs; start snapshotd")
        self._find(name)
        sock = client.connect(self._root, self._domain, self._key)
        try:
            while True:
                (_, state, size), _ = client.ask(sock, "warm", name)
                progress(int(size))
                if state == "complete":
                    return int(size)
                time.sleep(WARM_POLL)
        finally:
            os.close(sock)

    def cool(self, name: str) -> None:
        """See Backend."""
        self._find(name)
        self._ask_pager("cool", name)

    def _ask_pager(self, *request: str) -> list[str]:
        """The answer of the domain's pager; nothing if none runs."""
        from qvisor._native import lib

        try:
            directory = os.open(
                os.path.join(self._root, "run", self._domain), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
            )
        except FileNotFoundError:
            return []
        try:
            sock = int(lib.qc_connect(directory))
        finally:
            os.close(directory)
        if sock in {-errno.ENOENT, -errno.ECONNREFUSED}:
            return []
        if sock < 0:
            raise PagerLostError(f"the pager of {self._root}: {os.strerror(-sock)}")
        try:
            return client.ask(sock, *request)[0][1:]
        finally:
            os.close(sock)

    def gc(self) -> Fields:
        """See Backend."""
        return self._open().gc()._asdict()

    def fsck(self, progress: Callable[[int, int], None]) -> list[Fields]:
        """See Backend."""
        return [p._asdict() for p in self._open().fsck(progress)]

    def stats(self) -> Fields:
        """See Backend."""
        fields: Fields = dict.fromkeys(STATS, 0)
        fields.update(version=quark.__version__, domain=self._domain, daemon=False)
        store = self._open()
        fields["snapshots"], fields["pages_total"], fields["pages_stored"] = store.totals()
        fields["store_bytes"], quota = store.usage()
        fields["quota_bytes"] = quota or 0
        images = self._ask_pager("totals")
        if images:
            fields["images"], fields["image_pages"], fields["faults"] = map(int, images)
        return fields
