"""The store as its users see it: one object for one sharing domain of one root directory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from snapshotd.store import durable, rows
from snapshotd.store.catalogue import Transaction, row_sum
from snapshotd.store.commit import use
from snapshotd.store.domain import Domain
from snapshotd.store.errors import DiskFullError, HasChildrenError, SnapshotUnknownError, StoreAccessError
from snapshotd.store.info import SnapshotInfo
from snapshotd.store.layout import DomainPaths, check_name, open_root
from snapshotd.store.local import LocalBackend
from snapshotd.store.locks import DaemonLock
from snapshotd.store.reserve import Reserve, spare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from types import TracebackType
    from typing import BinaryIO, Self

    from snapshotd.store.backend import Backend
    from snapshotd.store.exporting import Appendix
    from snapshotd.store.fsck import Problem
    from snapshotd.store.reader import SnapshotReader
    from snapshotd.store.rows import SnapshotRow
    from snapshotd.store.sweep import GcReport

    # Names for what `list` cannot be called inside a class with a method of that name.
    SnapshotInfos = list[SnapshotInfo]
    Problems = list[Problem]
    Names = list[str]

WAIT = 30.0  # seconds for a lock that another process holds


class Store:
    """The snapshots of one sharing domain. Threads may share it; it must not be used across fork(). Close it, or use it in a `with`.

    Every method may raise StoreBusyError (45), DiskFullError (44), StoreAccessError (50) and CorruptCatalogueError (42).
    """

    def __init__(self, root: str, domain: Domain, reserve: Reserve) -> None:
        self._root = root
        self._domain = domain
        self._reserve = reserve

    @classmethod
    def open(
        cls,
        root: Path | str,
        *,
        create: bool = True,
        domain: str = "default",
        key: bytes | None = None,
        backend: Backend | None = None,
    ) -> Self:
        """Open the store under `root`.

        Args:
            root: directory of the store.
            create: make store and domain if they are missing. Without, what is missing looks like an empty store that cannot be written to.
            domain: sharing domain; pages are shared inside one only.
            key: 32 bytes. A domain made with a key is encrypted. Opened with none, an encrypted domain can be listed and cleaned.
            backend: where the domain's packs and maps are, always the same; None for the domain's directory.

        Raises:
            StoreVersionError: the store is of another version.
            KeyWrongError: the key is not the domain's.
            BadNameError: the domain's name.
        """
        check_name(domain, "domain")
        path = os.path.abspath(root)
        exists = open_root(path, create=create)
        paths = DomainPaths(path, domain)
        local = LocalBackend(paths.directory)
        if create:
            durable.make_directory(paths.directory)
            if backend is None:
                local.make()
        elif not os.path.exists(paths.catalogue):
            exists = False
        reserve = Reserve(paths.directory)
        try:
            opened = Domain(domain, paths, backend or local, key, exists=exists)
        except DiskFullError:
            if not reserve.release():
                raise
            opened = Domain(domain, paths, backend or local, key, exists=exists)
        if create:
            reserve.keep()
        return cls(path, opened, reserve)

    def close(self) -> None:
        """Close the catalogue. Readers stay open."""
        self._domain.catalogue.close()
        if self._domain.exists:
            self._reserve.keep()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def domain(self) -> str:
        """Name of the sharing domain."""
        return self._domain.name

    @property
    def directory(self) -> str:
        """Of the domain; callers may keep files of their own there (docs/store-format.md, section 2)."""
        return self._domain.paths.directory

    @staticmethod
    def domains(root: Path | str) -> Names:
        """Names of the domains under `root`, sorted."""
        try:
            return sorted(os.listdir(os.path.join(root, "domains")))
        except FileNotFoundError:
            return []

    @staticmethod
    def own(root: Path | str) -> DaemonLock:
        """Become the daemon of the store under `root` (which exists) until the lock is closed.

        Raises:
            StoreBusyError: another daemon is.
        """
        return DaemonLock(os.path.abspath(root))

    def check_name(self, name: str) -> None:
        """Check that a snapshot can be called `name`, before the work.

        Raises:
            BadNameError: the name has characters that it may not have.
            NameTakenError: there is one.
        """
        check_name(name, "snapshot")
        rows.require_free(self._domain.catalogue, name)

    def create_snapshot(
        self,
        name: str,
        meta: bytes,
        pages: Iterable[tuple[int, memoryview]],
        *,
        frames: int,
        parent: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> SnapshotInfo:
        """Store a snapshot; it is there, durable, when this returns, and not at all if it raises.

        Args:
            name: letters, digits, '.', '_', '-'; at most 128.
            meta: any document.
            pages: (first guest frame number, buffer of n * 4096 bytes), ascending. No buffer may change before this returns.
            frames: guest frames that the snapshot covers. Frames not in `pages` are zero, or, with a parent, as in the parent; a
                page of zeros makes a frame zero.
            parent: name of the snapshot that this is a layer on.
            progress: called with (frames dealt with, frames); an exception out of it gives the capture up.

        Raises:
            NameTakenError, BadNameError: the name.
            SnapshotUnknownError: the parent.
            QuotaExceededError: the domain is full.
            CorruptMapError: the parent is damaged.
            KeyMissingError: the domain is encrypted and was opened with no key.
            ValueError: `pages` is not as told above.
        """
        from snapshotd.store.capture import Capture

        self.check_name(name)
        self._require_writable()
        with self._domain.share(WAIT):
            under = None if parent is None else rows.get(self._domain.catalogue, parent)
            return self._info(Capture(self._domain, name, frames, parent=under).run(meta, pages, progress))

    @spare
    def get(self, name: str) -> SnapshotInfo:
        """What is known of a snapshot.

        Raises:
            SnapshotUnknownError: there is none of that name.
        """
        return self._info(rows.get(self._domain.catalogue, name))

    @spare
    def list(
        self, prefix: str = "", limit: int | None = None, after: str | None = None, parent: str | None = None
    ) -> SnapshotInfos:
        """Snapshots by name: those that start with `prefix`, come after the name `after`, are layers on `parent`; at most `limit` of them.

        Raises:
            SnapshotUnknownError: the parent.
        """
        catalogue = self._domain.catalogue
        with catalogue.lock:
            under = None if parent is None else rows.get(catalogue, parent).id
            found = rows.page_of(catalogue, prefix, after, limit, under)
            parents: dict[bytes, SnapshotRow | None] = {row.id: row for row in found}
            for row in found:
                if row.parent is not None and row.parent not in parents:
                    parents[row.parent] = rows.by_id(catalogue, row.parent)
            return [self._describe(row, None if row.parent is None else parents[row.parent]) for row in found]

    @spare
    def totals(self) -> tuple[int, int, int]:
        """(snapshots, pages of all of them without zero pages, how many of these were new to the domain when they came)."""
        return rows.totals(self._domain.catalogue)

    @spare
    def delete(self, name: str, *, cascade: bool = False) -> None:
        """Delete a snapshot; `gc` gives its space back, once nobody reads it.

        Args:
            name: which.
            cascade: also delete the layers on top of it.

        Raises:
            SnapshotUnknownError: there is none of that name.
            HasChildrenError: there are layers on top, and no `cascade`.
        """
        catalogue = self._domain.catalogue
        with Transaction(catalogue):
            doomed = [rows.get(catalogue, name)]
            for row in doomed:  # grows
                layers = rows.children(catalogue, row.id)
                if layers and not cascade:
                    names = ", ".join(ascii(child.name) for child in layers[:3]) + (" ..." if len(layers) > 3 else "")
                    raise HasChildrenError(
                        f"snapshot {name!a} is the parent of {names}; flatten or delete these, or delete with cascade"
                    )
                doomed += layers
            for row in doomed:
                rows.update(catalogue, row._replace(state=rows.DELETED))

    @spare
    def gc(self, *, wait: float = WAIT) -> GcReport:
        """Give back the space of what no snapshot needs. Waits up to `wait` seconds for captures to end.

        Raises:
            StoreBusyError: they did not.
        """
        from snapshotd.store.sweep import GcReport, collect

        if not self._domain.exists:
            return GcReport(0, 0, 0, 0, 0)
        with self._domain.exclude(wait):
            report = collect(self._domain)
        self._reserve.keep()
        return report

    def fsck(self, progress: Callable[[int, int], None] = lambda _done, _total: None) -> Problems:
        """Read and verify all of the domain; every problem found, none if all is well. Changes nothing.

        Args:
            progress: gets (bytes of chunks read, all bytes of chunks); what it raises ends the check.

        Raises:
            KeyMissingError: the domain is encrypted and was opened with no key.
        """
        from snapshotd.store.fsck import check, lost_catalogue

        if not self._domain.exists:
            return lost_catalogue(self._domain)
        return check(self._domain, WAIT, progress)

    def flatten(self, name: str) -> SnapshotInfo:
        """Make a snapshot independent of its parent.

        Raises:
            SnapshotUnknownError: there is none of that name.
        """
        from snapshotd.store.flatten import flatten

        rows.get(self._domain.catalogue, name)
        with self._domain.share(WAIT):
            return self._info(flatten(self._domain, name))

    def export(self, name: str, fileobj: BinaryIO, appendix: Appendix | None = None) -> None:
        """Write a snapshot with the chain of its parents to a stream; sealed with the domain's key if that is encrypted.

        Args:
            name: which.
            fileobj: where to.
            appendix: frames that the snapshot has in the stream only.

        Raises:
            SnapshotUnknownError: there is none of that name.
            CorruptStoreError: a page of it cannot be read.
        """
        from snapshotd.store.exporting import export

        export(self._domain, name, fileobj, appendix)

    def import_(
        self,
        fileobj: BinaryIO,
        name: str | None = None,
        check: Callable[[bytes], object] | None = None,
        *,
        believed: bool = False,
    ) -> SnapshotInfo:
        """Read a snapshot with its chain from a stream; all of it is there when this returns, or none.

        Args:
            fileobj: what export() wrote.
            name: for the snapshot, instead of the one in the stream. Parents keep theirs, with a suffix if they are taken.
            check: gets the document of each snapshot that is new here before any of them is visible, and refuses it by an exception.
            believed: what comes is not `is_imported`, as if it had been made here.

        Raises:
            NameTakenError, BadNameError: the name.
            CorruptStreamError: the stream is damaged, cut short, or contradicts a snapshot that is here.
            KeyMissingError, KeyWrongError: the stream is sealed with another key than that of this domain.
        """
        from snapshotd.store.importing import Import

        self._require_writable()
        if name is not None:
            self.check_name(name)
        with self._domain.share(WAIT):
            return self._info(Import(self._domain, believed=believed).run(fileobj, name, check))

    @spare
    def is_imported(self, name: str) -> bool:
        """Whether a snapshot came by an import that did not believe it.

        Raises:
            SnapshotUnknownError: there is none of that name.
            CorruptBlobError: the note of it is damaged.
        """
        row = rows.get(self._domain.catalogue, name)
        return rows.get_blob(self._domain.catalogue, self._domain.cipher, row, rows.IMPORTED) is not None

    def set_working_set(self, name: str, blob: bytes) -> None:
        """Replace the working set of a snapshot.

        Raises:
            SnapshotUnknownError: there is none of that name.
        """
        domain = self._domain
        with Transaction(domain.catalogue):
            use(
                domain.catalogue,
                rows.put_blob(
                    domain.catalogue, domain.cipher, rows.get(domain.catalogue, name), rows.WORKING_SET, blob
                ),
            )

    @spare
    def working_set(self, name: str) -> bytes | None:
        """The working set of a snapshot, if one was recorded.

        Raises:
            SnapshotUnknownError: there is none of that name.
            CorruptBlobError: it is damaged.
        """
        with self._domain.catalogue.lock:
            row = rows.get(self._domain.catalogue, name)
            return rows.get_blob(self._domain.catalogue, self._domain.cipher, row, rows.WORKING_SET)

    @spare
    def open_reader(self, name: str) -> SnapshotReader:
        """Open a snapshot for reading. `gc` leaves it alone until the reader is closed, even if it is deleted.

        Raises:
            SnapshotUnknownError: there is none of that name.
            CorruptMapError: its map is damaged.
            KeyMissingError: the domain is encrypted and was opened with no key.
        """
        while True:
            row = rows.get(self._domain.catalogue, name)
            try:
                return self._domain.open_reader(row)
            except SnapshotUnknownError:
                # Collected between the two steps. If it was flattened, another row has its name now.
                if rows.find(self._domain.catalogue, name) == row:
                    raise

    def set_quota(self, limit: int | None) -> None:
        """Limit the domain to `limit` bytes of chunks, maps and documents; None lifts the limit. What is there already stays."""
        catalogue = self._domain.catalogue
        self._require_writable()
        with Transaction(catalogue):
            found = catalogue.rows("SELECT id, created_ns, salt, key_check FROM domain")[0]
            catalogue.run("UPDATE domain SET quota = ?, sum = ?", (limit, row_sum((*found, limit))))

    @spare
    def usage(self) -> tuple[int, int | None]:
        """(bytes of chunks, maps and documents that are not collected yet, quota or None)."""
        quota, used = self._domain.catalogue.quota_and_usage()
        return used, quota

    def _info(self, row: SnapshotRow) -> SnapshotInfo:
        return self._describe(row, None if row.parent is None else rows.by_id(self._domain.catalogue, row.parent))

    def _describe(self, row: SnapshotRow, parent: SnapshotRow | None) -> SnapshotInfo:
        return SnapshotInfo(row, None if parent is None else parent.name, lambda: self._meta(row))

    def _meta(self, row: SnapshotRow) -> bytes:
        return rows.get_meta(self._domain.catalogue, self._domain.cipher, row)

    def _require_writable(self) -> None:
        if not self._domain.exists:
            raise StoreAccessError(
                f"{self._domain.paths.directory}: there is no store here, and it was opened without create"
            )
