"""The image of a snapshot: its pages in a memfd, filled from the store as clones need them, shared read-only by all of them."""

from __future__ import annotations

import fcntl
import os
import sys

from qvisor.spec import SandboxSpec
from snapshotd import files
from snapshotd.layout import IMPORTED, RUN, Layout, is_working_set
from snapshotd.metadata import Metadata
from snapshotd.store.errors import CorruptBlobError, StoreBusyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snapshotd.store import SnapshotReader, Store

PAGE = 4096
GAP_PAGES = 32  # zero pages between two runs that are cheaper as part of the image than as a mapping of their own
MAPS = "/proc/sys/vm/max_map_count"
MAPS_SPARE = 4096  # mappings of a clone that are not its memory's
# F_SEAL_SEAL SHRINK GROW FUTURE_WRITE (fcntl(2)). Nobody maps a memfd of ours writable, so that the last one forbids all that F_SEAL_WRITE does; but that
# one waits for pages to which somebody holds a reference, and in the end fails with EBUSY (Linux mm/memfd.c, memfd_wait_for_pins).
SEALS = 0x0001 | 0x0002 | 0x0004 | 0x0010


def runs_max() -> int:
    """How many runs a clone can map on this host: each is a mapping, and so is what is between two (proc_sys_vm(5))."""
    with open(MAPS, encoding="ascii") as f:
        return max((int(f.read()) - MAPS_SPARE) // 2, 1)


Runs = list[tuple[int, int]]  # each (first frame, end)


def map_runs(data_runs: Runs, most: int) -> tuple[Runs, Runs, int]:
    """What is mapped of an image with these runs of (frame, pages), in at most so many pieces, and the zero frames among it.

    The last result is how many of those are there only because there would be too many pieces: the narrowest gaps.
    """
    runs: Runs = []
    gaps: Runs = []
    for gfn, pages in data_runs:
        if runs and gfn - runs[-1][1] <= GAP_PAGES:
            _append(runs, gaps, gfn, gfn + pages)
        else:
            runs.append((gfn, gfn + pages))
    if len(runs) <= most:
        return runs, gaps, 0
    widest = sorted(range(1, len(runs)), key=lambda i: runs[i][0] - runs[i - 1][1], reverse=True)
    wide = {0, *widest[: most - 1]}
    joined: Runs = []
    filled: Runs = []
    for i, (first, end) in enumerate(runs):
        if i in wide:
            joined.append((first, end))
        else:
            _append(joined, filled, first, end)
    return joined, gaps + filled, sum(end - first for first, end in filled)


def _append(runs: Runs, gaps: Runs, first: int, end: int) -> None:
    """Make it part of the last run, with what is between."""
    gaps.append((runs[-1][1], first))
    runs[-1] = (runs[-1][0], end)


class Image:
    """Pages go in with pwrite: the kernel keeps a page locked until all of it is there, so that no clone can map half of one."""

    def __init__(self, store: Store, name: str) -> None:
        self._reader: SnapshotReader | None = store.open_reader(name)
        try:
            info = store.get(name)
            if info.id != self._reader.layers[0]:
                raise StoreBusyError(f"snapshot {name!r} was replaced by another at this moment; try again")
            self.meta = Metadata.load(info.meta)
            self.working_set = store.working_set(name) or b""
            if not is_working_set(self.working_set, self.meta.ram_bytes // PAGE):
                raise CorruptBlobError(f"the working set of snapshot {name!r} is malformed")
            self.imported = store.is_imported(name)
        except BaseException:
            self._reader.close()
            raise
        self.name, self.id = name, info.id
        self.files = files.pack([files.File.from_json(f) for f in self.meta.files])
        self._frames = self.meta.ram_bytes // PAGE
        most = runs_max()
        data_runs = [run for run in self._reader.data_runs() if run[0] < files.FIRST_GFN]
        self._runs, self._gaps, filled = map_runs(data_runs, most)
        if filled:
            print(
                f"snapshot {name!r} is in more pieces than the {most} that a clone can map on this host: "
                f"{filled * PAGE >> 20} MiB of zeros between them take memory as well; raise vm.max_map_count",
                file=sys.stderr,
                flush=True,
            )
        self.fd = os.memfd_create(f"quark-image-{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, self.meta.ram_bytes)
        self._layout_fd = self._contents_fd = -1
        self._filled: set[int] = set()
        # Chunks to fill, last first: the working set's, and in the background all.
        self._ahead = self._working_set_chunks(self._reader)
        self._queue = list(reversed(range(self._reader.chunk_count)))
        if self._reader.frames > files.FIRST_GFN:
            self._queue = [c for c in self._queue if self._reader.frames_of(c)[0][0] < files.FIRST_GFN]
        self.pages_filled = 0

    def _working_set_chunks(self, reader: SnapshotReader) -> list[int]:
        runs = RUN.iter_unpack(self.working_set)
        chunks = dict.fromkeys(chunk for gfn, pages, _ in runs for chunk in reader.chunks_of(gfn, pages))
        return list(reversed(chunks))

    @property
    def complete(self) -> bool:
        """Whether every page is there, so that clones need nobody any more."""
        return self._reader is None

    def layout_fd(self) -> int:
        """Read-only descriptor of the layout memfd, which is the image's."""
        if self._layout_fd < 0:
            spec = [
                str(self.meta.ring),
                IMPORTED if self.imported else "",
                *SandboxSpec.from_dict(self.meta.spec).to_strings(),
            ]
            data = Layout(
                self.meta.ram_bytes,
                self.files,
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
        if self._reader is not None:
            self._ahead = self._working_set_chunks(self._reader)
        self._drop_layout()

    def set_files(self, table: bytes) -> None:
        """Where this host has the files, as a clone found out: those to come need not look."""
        self.files = table
        self._drop_layout()

    def contents_fd(self, store: Store) -> int:
        """Read-only memfd of the files' contents, which is the image's; brought in when it is first asked for.

        Raises:
            StoreError: they cannot be read.
        """
        if self._contents_fd < 0:
            fd = os.memfd_create(f"quark-files-{self.name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            try:
                with store.open_reader(self.name) as reader:
                    if reader.layers[0] != self.id:
                        raise StoreBusyError(
                            f"snapshot {self.name!r} was replaced by another at this moment; try again"
                        )
                    os.ftruncate(fd, max(reader.frames - files.FIRST_GFN, 0) * PAGE)
                    for chunk in reader.chunks_of(files.FIRST_GFN, reader.frames - files.FIRST_GFN):
                        for gfn, page in reader.read_chunk(chunk):
                            if gfn >= files.FIRST_GFN:
                                os.pwrite(fd, page, (gfn - files.FIRST_GFN) * PAGE)
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
            except BaseException:
                os.close(fd)
                raise
            self._contents_fd = fd
        return self._contents_fd

    def _drop_layout(self) -> None:
        if self._layout_fd >= 0:
            os.close(self._layout_fd)
            self._layout_fd = -1

    def need(self, gfn: int) -> int:
        """Make frame `gfn` present; returns how many pages were brought in for it."""
        if self._reader is None:
            return 0
        chunk = self._reader.chunk_of(gfn)
        if chunk < 0:
            os.posix_fallocate(
                self.fd, gfn * PAGE, PAGE
            )  # a zero page between two runs; nothing happens to one that is there
            return 1
        if chunk in self._filled:
            return 0
        return self._fill(chunk)

    def prefetch(self, chunks: int) -> bool:
        """Bring in up to `chunks` chunks of the working set; True when there is more of it."""
        if self._reader is None:
            return False
        self._fill_from(self._ahead, chunks)
        if not self._ahead:
            self._fill_gaps()
        return bool(self._ahead)

    def _fill_from(self, queue: list[int], chunks: int) -> None:
        """Up to `chunks` chunks off the end of `queue` that are not there yet."""
        while chunks and queue:
            chunk = queue.pop()
            if chunk not in self._filled:
                self._fill(chunk)
                chunks -= 1

    def _fill(self, chunk: int) -> int:
        """Write all frames that a chunk serves; how many they are."""
        assert self._reader is not None  # noqa: S101 - for the type checker
        raw = memoryview(self._reader.read_chunk_raw(chunk))
        written = 0
        for gfn, slot, count in self._reader.frames_of(chunk):
            if gfn >= self._frames:
                continue  # of a file
            os.pwrite(self.fd, raw[slot * PAGE : (slot + count) * PAGE], gfn * PAGE)
            written += count
        self._filled.add(chunk)
        self.pages_filled += written
        return written

    def fill_some(self, chunks: int) -> bool:
        """Background work: fill up to `chunks` more; True when there is more to do."""
        if self._reader is None:
            return False
        self._fill_from(self._queue, chunks)
        if self._queue:
            return True
        self._fill_gaps()
        self._close_reader()
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, SEALS)
        return False

    def _fill_gaps(self) -> None:
        for first, end in self._gaps:
            os.posix_fallocate(self.fd, first * PAGE, (end - first) * PAGE)
        self._gaps.clear()

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def close(self) -> None:
        """Drop the pager's hold; clones keep what they have mapped."""
        for fd in (self.fd, self._layout_fd, self._contents_fd):
            if fd >= 0:
                os.close(fd)
        self._close_reader()
