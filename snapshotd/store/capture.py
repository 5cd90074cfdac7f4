"""Making a snapshot: from pages to durable files to a committed row."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from snapshotd.store import rows
from snapshotd.store.backend import MAP
from snapshotd.store.commit import NewPack, commit, named_pages
from snapshotd.store.errors import CorruptMapError, StoreError
from snapshotd.store.index import PageIndex
from snapshotd.store.ingest import Ingest
from snapshotd.store.layout import new_id
from snapshotd.store.overlay import ZERO, joined, overlay
from snapshotd.store.packwriter import PackWriter
from snapshotd.store.pagemap import FRAMES_LIMIT, build_map, publish_map
from snapshotd.store.reader import load_map
from snapshotd.store.rows import SnapshotRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from snapshotd.store.domain import Domain
    from snapshotd.store.ingest import Ingested
    from snapshotd.store.overlay import Piece


class Capture:
    """One snapshot in the making. The caller holds the domain's lock shared from before until after.

    Args:
        domain: where it goes.
        name: checked by the caller; the commit checks that it is free.
        frames: guest frames that it covers.
        parent: row of the snapshot underneath, if any.
        state: LIVE, or INCOMING for an import that is published later.
        snapshot_id: given by an import, else new.
        created_ns: given by an import, else now.
    """

    def __init__(
        self,
        domain: Domain,
        name: str,
        frames: int,
        *,
        parent: SnapshotRow | None = None,
        state: int = rows.LIVE,
        snapshot_id: bytes | None = None,
        created_ns: int | None = None,
    ) -> None:
        if not 0 <= frames <= FRAMES_LIMIT:
            raise ValueError(f"a snapshot covers 0 to {FRAMES_LIMIT} frames, not {frames}")
        self._domain = domain
        self._name = name
        self._frames = frames
        self._parent = parent
        self._state = state
        self._id = snapshot_id or new_id()
        self._created_ns = created_ns or time.time_ns()
        self._map_id = new_id()

    def run(
        self, meta: bytes, pages: Iterable[tuple[int, memoryview]], progress: Callable[[int, int], None] | None
    ) -> SnapshotRow:
        """Take the pages, make everything durable, commit. If anything fails, what was written is removed."""
        domain = self._domain
        domain.cipher.seal_blob(b"", b"")  # no key: say so before the work
        quota, usage = domain.catalogue.quota_and_usage()
        room = None if quota is None else max(quota - usage, 0)
        index = PageIndex(domain.catalogue, domain.backend, domain.cipher)
        writer = PackWriter(domain.backend, domain.catalogue.domain_id, domain.cipher, room)
        try:
            layers, below = self._open_parent(index)
            ingested = Ingest(index, writer, below, self._frames, progress).run(pages)
            # The last chunks are being compressed and written now, and after `finish` made durable: in both waits there is something to do.
            pieces = list(joined(overlay(ingested.pieces, below or (), self._frames)))
            keys = list(dict.fromkeys(piece[2] for piece in pieces if piece[2] != ZERO))
            named, healed = named_pages(domain.cipher, ingested.digests), domain.cipher.mask(ingested.healed)
            chunks, size = writer.finish()
            pack = NewPack(writer.pack_id, size, chunks, named, healed)
            refs = {key: chunks[key] if key < len(chunks) else index.ref(key) for key in keys}
            content = build_map(self._id, self._frames, [self._id, *layers], pieces, refs, domain.cipher)
            writer.wait_published()
            publish_map(domain.backend, self._map_id, content)
            return commit(
                domain.catalogue, domain.cipher, self._row(ingested, len(content)), pack, keys, meta, self._parent
            )
        except BaseException:
            self._clean_up(writer)
            raise
        finally:
            index.close()

    def _open_parent(self, index: PageIndex) -> tuple[list[bytes], list[Piece] | None]:
        """Layers and pieces of the parent, with chunk ids for chunk numbers."""
        if self._parent is None:
            return [], None
        below = load_map(self._domain.backend, self._parent.map, self._domain.cipher)
        if below.snapshot_id != self._parent.id:
            raise CorruptMapError.at(below.path, 32, "this is the map of another snapshot")
        try:
            ids = index.adopt(below.chunk(i) for i in range(below.chunk_count))
        except KeyError as error:
            raise CorruptMapError.at(
                below.path, None, f"the map names pack {error.args[0]}, which the catalogue does not know"
            ) from error
        return below.layers, list(below.pieces(ids, 1))

    def _row(self, ingested: Ingested, map_bytes: int) -> SnapshotRow:
        return SnapshotRow(
            key=0,
            id=self._id,
            name=self._name,
            parent=self._parent.id if self._parent is not None else None,
            state=self._state,
            map=self._map_id,
            map_bytes=map_bytes,
            frames=self._frames,
            pages_total=ingested.total,
            pages_zero=ingested.zero,
            pages_same=ingested.same,
            pages_new=ingested.new,
            bytes_stored=0,
            created_ns=self._created_ns,
        )

    def _clean_up(self, writer: PackWriter) -> None:
        """Remove the files of a capture that failed, unless the commit went through and something later did not."""
        catalogue = self._domain.catalogue
        try:
            writer.stop()
            if catalogue.row("SELECT 1 FROM snapshot WHERE map = ?", (self._map_id,)) is None:
                writer.abort()
                self._domain.backend.remove(MAP, self._map_id)
        except StoreError:
            pass  # the reason of the failure matters more; gc finds what is left
