"""The files that a clone depends on, accepted as they are on this host, or from the store, before its first instruction."""

from __future__ import annotations

import os

from qvisor._native import ffi, lib
from qvisor.machine import check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from qvisor.roots import Roots
    from qvisor.spec import SandboxSpec
    from snapshotd.client import Attachment
    from snapshotd.files import File

VOLUME_NAMES_MAX = 1 << 16


class Dependencies:
    """Of one clone of snapshot `name`. `table_fd` has the table of files if it is not the layout's, `contents` what comes from the store; else -1."""

    def __init__(self, name: str, attachment: Attachment, digests: str) -> None:
        self._name = name
        self._attachment = attachment
        self._digests = digests
        self._table = b""
        self.table_fd = self.contents = -1

    @property
    def table(self) -> bytes:
        """Where this host has them (snapshotd/files.py)."""
        if not self._table:
            at, size = self._attachment.layout.files_at
            self._table = os.pread(self._attachment.layout_fd, size, at)
        return self._table

    @property
    def files(self) -> list[File]:
        """The same, for a capture of the clone."""
        from snapshotd.files import unpack

        return unpack(self.table)

    def contains_all(self) -> bool:
        """Whether the snapshot contains all of them."""
        from snapshotd.files import KEPT

        return all(f.flags & KEPT for f in self.files)

    def accept(self, vm: Any, spec: SandboxSpec, roots: Roots) -> None:
        """Give a machine that has its roots the open files of the snapshot, and see to it that all it depends on can be had.

        Raises:
            SnapshotFilesError: some can not.
        """
        layout = self._attachment.layout
        check(lib.qv_recipes_load(vm, layout.recipes, len(layout.recipes)), "take over the open files")
        at, size = layout.files_at
        self._load(vm, self._attachment.layout_fd, at, size)
        wrong = check(lib.qv_files_check(vm, ffi.NULL), "look at the files that the snapshot depends on")
        lost = self._missing_from_volumes(vm) if spec.volumes else b""
        if not wrong and not lost:
            return
        from snapshotd.files import missing_from_volumes, settle

        problems = missing_from_volumes(spec, lost)
        self._table = settle(self._name, self.table, roots.fds[0], roots.hidden, self._digests, problems)
        self.table_fd = os.memfd_create("quark-files", os.MFD_CLOEXEC)
        os.write(self.table_fd, self._table)
        self._load(vm, self.table_fd, 0, len(self._table))
        self._attachment.send_files(self.table_fd, len(self._table))

    @staticmethod
    def _missing_from_volumes(vm: Any) -> bytes:
        lost = ffi.new("char[]", VOLUME_NAMES_MAX)
        size = check(lib.qv_volumes_check(vm, lost, VOLUME_NAMES_MAX), "open the files of volumes")
        return bytes(ffi.buffer(lost, size))

    def _load(self, vm: Any, fd: int, at: int, size: int) -> None:
        what = "take over the files that the snapshot depends on"
        if check(lib.qv_files_load(vm, fd, at, size, self.contents), what):
            self.contents = self._attachment.contents()
            check(lib.qv_files_load(vm, fd, at, size, self.contents), what)

    def close(self) -> None:
        """Let go of the descriptors; harmless when done before."""
        for fd in (self.table_fd, self.contents):
            if fd >= 0:
                os.close(fd)
        self.table_fd = self.contents = -1
