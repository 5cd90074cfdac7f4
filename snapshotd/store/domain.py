"""An open sharing domain: its paths, catalogue, backend and cipher, and the lock that captures and gc take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snapshotd.store import rows
from snapshotd.store.catalogue import Catalogue
from snapshotd.store.cipher import open_cipher
from snapshotd.store.errors import CorruptMapError, SnapshotUnknownError
from snapshotd.store.locks import FileLock, HeldError, Hold
from snapshotd.store.reader import SnapshotReader, load_map

if TYPE_CHECKING:
    from snapshotd.store.backend import Backend
    from snapshotd.store.cipher import Cipher
    from snapshotd.store.layout import DomainPaths
    from snapshotd.store.rows import SnapshotRow


class Domain:
    """What the parts of the store share.

    Attributes:
        name: of the domain.
        paths: of its catalogue and locks.
        backend: its packs and maps.
        catalogue: its rows.
        cipher: what its bytes are sealed with.
        key: of an encrypted domain, if it was given.
        exists: False for a domain that was not there and was opened with create=False: empty, and nothing can be written to it.
    """

    def __init__(self, name: str, paths: DomainPaths, backend: Backend, key: bytes | None, *, exists: bool) -> None:
        self.name = name
        self.exists = exists
        self.key = key
        self.paths = paths
        self.backend = backend
        self.catalogue = Catalogue(paths, backend, key, exists=exists)
        try:
            self.cipher: Cipher = open_cipher(key, self.catalogue.salt, self.catalogue.key_check, self.paths.directory)
        except BaseException:
            self.catalogue.close()
            raise

    def share(self, wait: float) -> FileLock:
        """The lock of whoever adds a snapshot: any number at a time, but not during gc. Seconds to wait for it."""
        return FileLock(self.paths.lock, exclusive=False, wait=wait, busy="gc is running; try again")

    def exclude(self, wait: float) -> FileLock:
        """The lock of gc."""
        return FileLock(
            self.paths.lock, exclusive=True, wait=wait, busy="a capture, an import or another gc is running; try again"
        )

    def open_reader(self, row: SnapshotRow) -> SnapshotReader:
        """Open the snapshot of a row.

        Raises:
            CorruptMapError: its map is missing, damaged, or of another snapshot.
            SnapshotUnknownError: it was deleted, or flattened, and is collected at this moment.
        """
        try:
            hold = Hold(self.paths.readers, row.key, exclusive=False)
        except HeldError:
            raise self._collected(row) from None
        try:
            if rows.by_key(self.catalogue, row.key) is None:
                raise self._collected(row)
            page_map = load_map(self.backend, row.map, self.cipher)
            if page_map.snapshot_id != row.id or page_map.frames != row.frames:
                raise CorruptMapError.at(page_map.path, 32, "this is the map of another snapshot")
        except BaseException:
            hold.close()
            raise
        return SnapshotReader(self.backend, self.catalogue.domain_id, self.cipher, hold, page_map)

    def _collected(self, row: SnapshotRow) -> SnapshotUnknownError:
        return SnapshotUnknownError(f"snapshot {row.name!a} was deleted at this moment")
