"""The image of a snapshot: its pages in a memfd, filled from the store as clones need them, shared read-only by all of them."""

from __future__ import annotations

import fcntl
import os

from qvisor.spec import SandboxSpec
from snapshotd.layout import RUN, Layout
from snapshotd.metadata import Metadata

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snapshotd.store import SnapshotReader, Store

PAGE = 4096
GAP_PAGES = 32  # zero pages between two runs that are cheaper as part of the image than as a mapping of their own
SEALS = 0x0001 | 0x0002 | 0x0004 | 0x0008  # F_SEAL_SEAL SHRINK GROW WRITE (fcntl(2))
ZERO = bytes(PAGE)


class Image:
    """Pages go in with pwrite: the kernel keeps a page locked until all of it is there, so that no clone can map half of one."""

    def __init__(self, store: Store, name: str) -> None:
        info = store.get(name)
        self.name, self.id = name, info.id
        self.meta = Metadata.load(info.meta)
        self._reader: SnapshotReader | None = store.open_reader(name)
        self._runs = self._map_runs(self._reader)
        self.working_set = store.working_set(name) or b""
        self.fd = os.memfd_create(f"quark-image-{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, self.meta.ram_bytes)
        self._layout_fd = -1
        self._filled: set[int] = set()
        self._gaps = self._gap_frames(self._reader)
        self._queue = self._fill_order(self._reader)
        self.chunks_by_fault = 0
        self.pages_filled = 0

    @staticmethod
    def _map_runs(reader: SnapshotReader) -> list[tuple[int, int]]:
        merged: list[tuple[int, int]] = []
        for gfn, pages in reader.data_runs():
            if merged and gfn - merged[-1][1] <= GAP_PAGES:
                merged[-1] = (merged[-1][0], gfn + pages)
            else:
                merged.append((gfn, gfn + pages))
        return merged

    def _gap_frames(self, reader: SnapshotReader) -> set[int]:
        frames: set[int] = set()
        for first, end in self._runs:
            frames.update(range(first, end))
        for gfn, pages in reader.data_runs():
            frames.difference_update(range(gfn, gfn + pages))
        return frames

    def _fill_order(self, reader: SnapshotReader) -> list[int]:
        """Chunks to fill in the background, last first: the working set's before all others."""
        order: dict[int, None] = {}
        for gfn, pages, _ in RUN.iter_unpack(self.working_set):
            for frame in range(gfn, gfn + pages):
                chunk = reader.chunk_of(frame)
                if chunk >= 0:
                    order.setdefault(chunk)
        for gfn, pages in reader.data_runs():
            for frame in range(gfn, gfn + pages):
                order.setdefault(reader.chunk_of(frame))
        return list(reversed(order))

    @property
    def complete(self) -> bool:
        """Whether every page is there, so that clones need nobody any more."""
        return self._reader is None

    def layout_fd(self) -> int:
        """Read-only descriptor of the layout memfd, which is the image's."""
        if self._layout_fd < 0:
            spec = [str(self.meta.ring), *SandboxSpec.from_dict(self.meta.spec).to_strings()]
            data = Layout(
                self.meta.ram_bytes,
                b"".join(RUN.pack(first, end - first, 0) for first, end in self._runs),
                self.working_set,
                self.meta.cpu_state,
                self.meta.recipes,
                "\0".join(spec).encode("utf-8", "surrogateescape"),
            ).pack()
            fd = os.memfd_create("quark-layout", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.write(fd, data)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
            self._layout_fd = fd
        return self._layout_fd

    def set_working_set(self, blob: bytes) -> None:
        """Use a newly recorded working set for the clones to come."""
        self.working_set = blob
        if self._layout_fd >= 0:
            os.close(self._layout_fd)
            self._layout_fd = -1

    def need(self, gfn: int) -> int:
        """Make frame `gfn` present; returns how many pages were brought in for it."""
        if self._reader is None:
            return 0
        chunk = self._reader.chunk_of(gfn)
        if chunk < 0:
            if gfn not in self._gaps:
                return 0
            self._gaps.discard(gfn)
            os.pwrite(self.fd, ZERO, gfn * PAGE)
            return 1
        if chunk in self._filled:
            return 0
        self.chunks_by_fault += 1
        return self._fill(self._reader, chunk)

    def _fill(self, reader: SnapshotReader, chunk: int) -> int:
        self._filled.add(chunk)
        pages = sorted(reader.read_chunk(chunk), key=lambda p: p[0])
        i = 0
        while i < len(pages):
            j = i + 1
            while j < len(pages) and pages[j][0] == pages[j - 1][0] + 1:
                j += 1
            os.pwritev(self.fd, [data for _, data in pages[i:j]], pages[i][0] * PAGE)
            i = j
        self.pages_filled += len(pages)
        return len(pages)

    def fill_some(self, chunks: int) -> bool:
        """Background work: fill up to `chunks` more; True when there is more to do."""
        if self._reader is None:
            return False
        while chunks and self._queue:
            chunk = self._queue.pop()
            if chunk not in self._filled:
                self._fill(self._reader, chunk)
                chunks -= 1
        if self._queue:
            return True
        while self._gaps:
            os.pwrite(self.fd, ZERO, self._gaps.pop() * PAGE)
        self._reader.close()
        self._reader = None
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, SEALS)
        return False

    def close(self) -> None:
        """Drop the pager's hold; clones keep what they have mapped."""
        for fd in (self.fd, self._layout_fd):
            if fd >= 0:
                os.close(fd)
        if self._reader is not None:
            self._reader.close()
            self._reader = None
