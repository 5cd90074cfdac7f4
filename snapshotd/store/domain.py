"""An open sharing domain: its paths, catalogue and cipher, and the lock that captures and gc take."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from snapshotd.store import rows
from snapshotd.store.catalogue import Catalogue
from snapshotd.store.cipher import open_cipher
from snapshotd.store.errors import CorruptMapError, SnapshotUnknownError
from snapshotd.store.layout import DomainPaths
from snapshotd.store.locks import FileLock
from snapshotd.store.reader import SnapshotReader, open_map

if TYPE_CHECKING:
    from snapshotd.store.cipher import Cipher
    from snapshotd.store.rows import SnapshotRow


class Domain:
    """What the parts of the store share.

    Attributes:
        name: of the domain.
        paths: of its files.
        catalogue: its rows.
        cipher: what its bytes are sealed with.
        key: of an encrypted domain, if it was given.
        exists: False for a domain that was not there and was opened with create=False: empty, and nothing can be written to it.
    """

    def __init__(self, root: str, name: str, key: bytes | None, *, exists: bool) -> None:
        self.name = name
        self.exists = exists
        self.key = key
        self.paths = DomainPaths(root, name)
        self.catalogue = Catalogue(self.paths, key, exists=exists)
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
            CorruptMapError: its map is missing, damaged, being collected, or of another snapshot.
            SnapshotUnknownError: it was deleted and collected at this moment.
        """
        path = self.paths.map(row.map)
        fd, page_map = open_map(path, self.cipher)
        try:
            if page_map.snapshot_id != row.id or page_map.frames != row.frames:
                raise CorruptMapError.at(path, 32, "this is the map of another snapshot")
            if rows.by_key(self.catalogue, row.key) is None:
                raise SnapshotUnknownError(f"{self.catalogue.path}: snapshot {row.name!a} was deleted at this moment")
        except BaseException:
            os.close(fd)
            raise
        return SnapshotReader(self.paths, self.catalogue.domain_id, self.cipher, fd, page_map)
