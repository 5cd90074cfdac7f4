"""The snapshot store: immutable snapshots of guest memory, deduplicated by page (docs/store-format.md).

Opening a snapshot for restore imports little; what captures, checks and transfers is imported by the methods that do it.
"""

from snapshotd.store.info import SnapshotInfo
from snapshotd.store.reader import DATA, ZERO, SnapshotReader
from snapshotd.store.store import Store

__all__ = ["DATA", "ZERO", "SnapshotInfo", "SnapshotReader", "Store"]
