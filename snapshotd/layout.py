"""The layout of a snapshot: what a clone needs beside the image, as one read-only memfd that all clones of a host share.

A header of `HEADER` (little endian) is followed by the sections it points to: the table of files that the snapshot depends on (snapshotd/files.py:
clones map it), the runs to map from the image, the working set, the vCPU state, the file recipes, and the sandbox's specification as
NUL-separated strings, first the ring mode and whether the snapshot is IMPORTED.
"""

from __future__ import annotations

import struct

MAGIC = b"QKLAYOUT"
HEADER = struct.Struct("<8sQ" + "QQ" * 6)  # magic, ram bytes, then (offset, bytes) of each section
IMPORTED = "imported"  # what its specification names of this host is not believed
ALIGNMENT = 8  # of sections: arrays of structures are read where they are
RUN = struct.Struct("<QII")  # struct qv_page_run: first guest frame, pages, kind
WORKING_SET_RUNS = 1 << 16  # at most: what QVisor records


def is_working_set(blob: bytes, frames: int) -> bool:
    """Whether these are runs of a machine with so many frames, ascending: an import may bring any bytes."""
    if len(blob) % RUN.size or len(blob) > WORKING_SET_RUNS * RUN.size:
        return False
    at = 0
    for gfn, pages, _ in RUN.iter_unpack(blob):
        if gfn < at or gfn + pages > frames:
            return False
        at = gfn + pages
    return True


class Layout:
    """The sections; `runs` and `working_set` are arrays of RUN. Of the table of files, which stays where it is, `files_at` has (offset, bytes)."""

    def __init__(
        self,
        ram_bytes: int,
        files: bytes,
        runs: bytes,
        working_set: bytes,
        cpu_state: bytes,
        recipes: bytes,
        spec: bytes,
    ) -> None:
        self.ram_bytes = ram_bytes
        self.files = files
        self.files_at = (0, 0)
        self.runs = runs
        self.working_set = working_set
        self.cpu_state = cpu_state
        self.recipes = recipes
        self.spec = spec

    def pack(self) -> bytes:
        """The memfd's content."""
        parts = [self.files, self.runs, self.working_set, self.cpu_state, self.recipes, self.spec]
        at, table = HEADER.size, []
        sections = [part.ljust(-(-len(part) // ALIGNMENT) * ALIGNMENT, b"\0") for part in parts]
        for part, section in zip(parts, sections, strict=True):
            table += [at, len(part)]
            at += len(section)
        return b"".join([HEADER.pack(MAGIC, self.ram_bytes, *table), *sections])

    @staticmethod
    def unpack(data: bytes | memoryview) -> Layout:
        """Reverse `pack`; the sections are views of `data`."""
        magic, ram_bytes, *table = HEADER.unpack_from(data)
        if magic != MAGIC:
            raise ValueError("not a snapshot layout")
        parts = [bytes(data[o : o + n]) for o, n in zip(table[2::2], table[3::2], strict=True)]
        layout = Layout(ram_bytes, b"", *parts)
        layout.files_at = (table[0], table[1])
        return layout
