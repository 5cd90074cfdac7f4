"""Where a domain keeps its packs and maps: what a place must offer so that a store can live in it (docs/store-format.md, section 10).

The one place so far is a local directory (local.py). Nothing here asks for more than an object store has: an object is written once, from
front to end, under an id of its own, and read in ranges. The catalogue and the locks are no part of it; they are files of the host
that writes to the domain. `tests/unit/store/backend_suite.py` is what every backend must pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    Kind = Literal["pack", "map"]

PACK: Final = "pack"
MAP: Final = "map"


class Readable(Protocol):
    """Bytes that are read in ranges, by any thread."""

    @property
    def name(self) -> str:
        """What people call it: a path or a URL, for messages."""

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on: fewer where the object ends, none past its end.

        Raises:
            ObjectMissingError: the object was removed after it was opened (a backend may also go on reading it).
            StoreError: the bytes cannot be had.
        """


class StoredObject(Readable, Protocol):
    """A published object that is open for reading."""

    def size(self) -> int:
        """Its length in bytes."""

    def close(self) -> None:
        """Let go of it; a second time is fine."""


class Upload(Readable, Protocol):
    """An object that is being written, by one thread at a time. Nobody else sees it before publish(), and nobody at all after abandon().

    What was appended can be read, by other threads too, until publish() or abandon(). A place that cannot do that keeps a copy meanwhile.
    """

    def append(self, buffers: Sequence[bytes]) -> None:
        """Add all of `buffers` at the end; they are not changed later.

        Raises:
            DiskFullError: there is no room.
        """

    def publish(self) -> None:
        """Make the object visible, whole and durable: when this returns, a power cut does not take it away. If it raises, abandon it.

        Raises:
            DiskFullError: there is no room.
        """

    def abandon(self) -> None:
        """Drop what was appended; after publish(), nothing happens. A second time is fine."""


class Backend(Protocol):
    """The packs and maps of one domain. Threads and processes may use one place at the same time.

    Every method may raise StoreAccessError if the place refuses the access, and StoreError if it cannot be reached.
    """

    def name(self, kind: Kind, object_id: bytes) -> str:
        """What people call an object, for messages; it need not exist."""

    def begin(self, kind: Kind, object_id: bytes) -> Upload:
        """Start to write an object, with an id that no object of this kind ever had.

        Raises:
            DiskFullError: there is no room.
        """

    def open(self, kind: Kind, object_id: bytes) -> StoredObject:
        """Open a published object for reading.

        Raises:
            ObjectMissingError: there is none.
        """

    def ids(self, kind: Kind) -> list[bytes]:
        """Ids of the published objects of a kind, in any order."""

    def remove(self, kind: Kind, object_id: bytes) -> None:
        """Remove an object; none there is fine. It may come back after a power cut: then no row names it, and gc removes it again."""

    def punch(self, kind: Kind, object_id: bytes, holes: Sequence[tuple[int, int]]) -> bool:
        """Give back the space of (offset, bytes) ranges, which nobody reads any more; all else stays as it is. Durable.

        Returns:
            False if the place cannot: then the space comes back when the object is removed.

        Raises:
            ObjectMissingError: there is no such object.
        """

    def leftovers(self) -> list[str]:
        """Names of what is no object: writes that were cut short, or are going on at this moment. Only gc asks, when nobody writes."""

    def discard(self, leftover: str) -> None:
        """Remove what leftovers() named."""
