"""A machine of another process that stands still, read through a socket (qvisor/program/message.h, capture.c).

What comes from there a guest may have written: lengths and runs are checked, and pages are copied before anybody looks at them.
"""

from __future__ import annotations

import socket

from quark.errors import CaptureError
from qvisor._native import ffi, lib
from snapshotd.files import are_possible
from snapshotd.layout import RUN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from qvisor.spec import SandboxSpec

PAGE = 4096
PIECE = 1 << 20  # bytes of pages at a time
RECIPES_MAX = 64 << 20
COUNT = 8  # bytes of an int64_t


class NotFrozenError(CaptureError):
    """The machine ended before it stood still."""


class FrozenMachine:
    """A parked machine, as it has to be read while it stands still. `pause` in seconds, sizes in bytes. The socket stays the caller's.

    `spec` is what the machine was asked to be: it has no more memory, and no other files open than such a guest can have.

    Its pages are found and read later, in memory that nobody changes until then: that of a fork of QVisor, or of a machine that goes on standing still.

    Raises:
        NotFrozenError: there is no machine any more.
        CaptureError: it says what cannot be.
    """

    def __init__(self, sock: socket.socket, spec: SandboxSpec) -> None:
        self._sock = sock
        self._runs: list[tuple[int, int]] = []
        head: Any = ffi.new("struct qm_frozen *")
        try:
            ffi.memmove(head, self._receive(ffi.sizeof("struct qm_frozen")), ffi.sizeof("struct qm_frozen"))
        except CaptureError as e:
            raise NotFrozenError("the program ended before it could be captured") from e
        self.ring, self.ram_bytes = head.ring, head.ram_bytes
        self.ram_used, self.cache_dropped = head.ram_used, head.cache_dropped
        self.pause = head.pause_ns / 1e9
        sound = (
            head.version == lib.QM_VERSION
            and self.ring in {lib.QK_RING_0, lib.QK_RING_3}
            and self.ram_bytes % lib.QK_SLOT_SIZE == 0
            and 0 < self.ram_bytes <= spec.memory
            and max(self.ram_used, self.cache_dropped) <= self.ram_bytes
            and head.state_bytes == lib.qv_state_size()
            and head.recipes_bytes <= RECIPES_MAX
        )
        if not sound:
            raise _nonsense()
        self.state = bytes(self._receive(head.state_bytes))
        self.recipes = bytes(self._receive(head.recipes_bytes))
        if not are_possible(self.recipes, [True, *(volume.read_only for volume in spec.volumes)]):
            raise _nonsense()

    def scan(self, *, private_only: bool) -> tuple[int, int, int]:
        """Find the pages to keep; how many (there are, read zero, the guest has no use for).

        Raises:
            CaptureError: they cannot be found.
        """
        count = self._ask(lib.QM_SCAN, int(private_only), "find the pages in use")
        frames, end = self.ram_bytes // PAGE, 0
        if count > frames:
            raise _nonsense()
        found = ffi.new("struct qv_scan_stats *")
        ffi.memmove(found, self._receive(ffi.sizeof("struct qv_scan_stats")), ffi.sizeof("struct qv_scan_stats"))
        for gfn, pages, _ in RUN.iter_unpack(self._receive(count * RUN.size)):
            if gfn < end or not pages or gfn + pages > frames:
                raise _nonsense()
            end = gfn + pages
            self._runs.append((gfn, pages))
        return found.data_pages, found.zero_pages, found.free_pages

    def pages(self) -> Iterator[tuple[int, memoryview]]:
        """(frame, whole pages) of what `scan` found, ascending."""
        if self._ask(lib.QM_PAGES, 0, "read the pages in use") != sum(pages for _, pages in self._runs):
            raise _nonsense()
        for gfn, pages in self._runs:
            for first in range(0, pages, PIECE // PAGE):
                yield gfn + first, memoryview(self._receive(min(PIECE, (pages - first) * PAGE)))

    def handle(self, index: int) -> int:
        """Descriptor of a file that it has open, for the caller to close; negative if it cannot be had."""
        self._send(lib.QM_HANDLE, index)
        data, fds, _, _ = socket.recv_fds(self._sock, COUNT, 1, socket.MSG_CMSG_CLOEXEC)
        if len(data) != COUNT:
            raise _gone()
        result = int.from_bytes(data, "little", signed=True)
        return fds[0] if fds else min(result, -1)

    def _send(self, op: int, arg: int) -> None:
        ask = ffi.new("struct qm_ask *", {"op": op, "arg": arg})
        try:
            self._sock.sendall(ffi.buffer(ask))
        except OSError as e:
            raise _gone() from e

    def _ask(self, op: int, arg: int, what: str) -> int:
        self._send(op, arg)
        result = int.from_bytes(self._receive(COUNT), "little", signed=True)
        if result < 0:
            import os

            raise CaptureError(f"could not {what}: {os.strerror(-result)}")
        return result

    def _receive(self, size: int) -> bytearray:
        data = bytearray(size)
        view, at = memoryview(data), 0
        while at < size:
            try:
                n = self._sock.recv_into(view[at:])
            except OSError:
                n = 0
            if not n:
                raise _gone()
            at += n
        return data


def _gone() -> CaptureError:
    return CaptureError("the sandbox's process ended while it was captured; try again")


def _nonsense() -> CaptureError:
    return CaptureError("the sandbox's process says what cannot be; nothing was stored")
