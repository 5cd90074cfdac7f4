"""What the store tells of a snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from snapshotd.store.rows import SnapshotRow


class SnapshotInfo:
    """A snapshot as it was when it was asked for.

    Attributes:
        name: in its domain.
        id: 32 hex digits of a UUID; stays the same through flatten, and through export (with no appendix) and import.
        parent: name of the snapshot underneath, or None.
        created_ns: nanoseconds since 1970 UTC.
        frames: guest frames that it covers.
        pages_total: pages given to the capture.
        pages_zero: of these, all zero.
        pages_same: of these, no different from the parent's.
        pages_new: of these, in no snapshot of the domain before, so stored.
        bytes_stored: what it added to the store: compressed pages, map, document.
    """

    __slots__ = (
        "_load_meta",
        "bytes_stored",
        "created_ns",
        "frames",
        "id",
        "name",
        "pages_new",
        "pages_same",
        "pages_total",
        "pages_zero",
        "parent",
    )

    def __init__(self, row: SnapshotRow, parent: str | None, load_meta: Callable[[], bytes]) -> None:
        self.name = row.name
        self.id = row.id.hex()
        self.parent = parent
        self.created_ns = row.created_ns
        self.frames = row.frames
        self.pages_total = row.pages_total
        self.pages_zero = row.pages_zero
        self.pages_same = row.pages_same
        self.pages_new = row.pages_new
        self.bytes_stored = row.bytes_stored
        self._load_meta = load_meta

    @property
    def pages_shared(self) -> int:
        """Pages given to the capture that were in the domain, or earlier in the capture, already."""
        return self.pages_total - self.pages_zero - self.pages_same - self.pages_new

    @property
    def meta(self) -> bytes:
        """The caller's document; read when it is asked for, so the store must still be open.

        Raises:
            CorruptBlobError: it is damaged.
            KeyMissingError: the domain is encrypted and was opened with no key.
        """
        return self._load_meta()

    def to_dict(self) -> dict[str, Any]:
        """All but the document, for JSON."""
        names = (
            "name",
            "id",
            "parent",
            "created_ns",
            "frames",
            "pages_total",
            "pages_zero",
            "pages_same",
            "pages_new",
            "bytes_stored",
        )
        return {name: getattr(self, name) for name in names}

    def __repr__(self) -> str:
        return f"SnapshotInfo({', '.join(f'{name}={value!r}' for name, value in self.to_dict().items())})"
