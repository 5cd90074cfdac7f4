"""Fuzzes the pager over its socket (docs/abi.md): messages with descriptors, as a QVisor sends that its guest took over, and faults that it makes up.

The pager goes on, a clone that behaves keeps its connection and its image, descriptors do not pile up, each error is one line.
"""

import ctypes
import fcntl
import mmap
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from mutations import Run
from sockets import (
    Descriptors,
    check_log,
    connect,
    count_fds,
    is_one_error,
    mutate_messages,
    receive,
    rest,
    send,
    until,
    userfaultfd,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "store"))

from contents import FRAMES, MEMORY, pages
from snapshots import RAM_BYTES, document

from qvisor import kernel
from snapshotd.store import Store

UFFDIO_REGISTER, REGISTER_MISSING = 0xC020AA00, 1
FAULT_PAGES = 16
FAULT_SECONDS = 0.1  # that a fault lasts
FLOOD = 20000  # messages
FDS_MORE = 40  # of the pager: images that are kept

BASES = [
    [([b"attach", b"base"], []), ([b"prefetch"], []), ([b"guest"], []), ([b"uffd", b"4096"], ["uffd"]), ([b"working-set", b"32"], ["memfd"]), ([b"stats"], [])],
    [([b"attach", b"layer"], []), ([b"files", b"8"], ["memfd"]), ([b"contents"], []), ([b"prefetch"], []), ([b"stats"], [])],
    [([b"warm", b"layer"], []), ([b"totals"], []), ([b"cool", b"layer"], []), ([b"prune"], []), ([b"totals"], [])],
]  # fmt: skip


class Pager:
    """A real one, of a store that has two snapshots."""

    def __init__(self, root: Path) -> None:
        with Store.open(root) as store:
            meta = document(kernel.build_id(kernel.load()))
            store.create_snapshot("base", meta, pages({gfn: gfn + 1 for gfn in range(0, 60, 2)}), frames=FRAMES)
            store.create_snapshot("layer", meta, pages({7: 1000, 9: 0, 11: 5}), frames=FRAMES, parent="base")
        self.log, self.socket = root / "fuzz.log", root / "run" / "default" / "pager.sock"
        with self.log.open("w") as log:
            # Images are not filled in the background: faults are what is to be answered.
            command = [sys.executable, "-P", "-m", "snapshotd.pager", root, "--no-fill"]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self.socket.exists, "no pager")
        self.other = connect(self.socket)
        self.clone = connect(self.socket)
        send(self.clone, [b"attach", b"base"])
        _, ancillary, _, _ = self.clone.recvmsg(100, 100)
        self.image = int.from_bytes(ancillary[0][2][:4], sys.byteorder)
        assert fcntl.fcntl(self.image, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        self.fds = count_fds(self.process.pid)

    def check(self) -> None:
        assert self.process.poll() is None, "the pager ended"
        send(self.other, [b"totals"])
        assert receive(self.other)[:1] == [b"ok"]
        send(self.clone, [b"stats"])
        assert receive(self.clone) == [b"0", b"0"], "a clone was dropped for what another one did"
        st = os.fstat(self.image)
        assert st.st_size == RAM_BYTES, "an image has grown"
        assert st.st_blocks * 512 <= RAM_BYTES
        assert count_fds(self.process.pid) <= self.fds + FDS_MORE

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def one(run: Run, pager: Pager, descriptors: Descriptors) -> None:
    messages = mutate_messages(run.rng, run.rng.choice(BASES))
    with run.allowing("messages", repr(messages).encode()):
        with connect(pager.socket) as sock:
            for fields, kinds in messages:
                try:
                    send(sock, fields, descriptors.of(kinds))
                except OSError:
                    break  # hung up on, or too long
            for answer in rest(sock):
                assert answer[0] != b"error" or is_one_error(answer), answer
        pager.check()


def flood(run: Run, pager: Pager) -> None:
    """Asks, and does not read the answers."""
    with run.allowing("flood", b""):
        with connect(pager.socket) as sock:
            try:
                for _ in range(FLOOD):
                    send(sock, [b"totals"])
            except OSError:
                pass
        pager.check()


def fault_in(pager: Pager, base: int, page: int) -> None:
    """The child: a clone with memory of its own, whose frame 0 is said to lie `base` pages behind it."""
    memory = mmap.mmap(-1, FAULT_PAGES * mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fd = userfaultfd()
    fcntl.ioctl(
        fd, UFFDIO_REGISTER, b"".join(n.to_bytes(8, "little") for n in (address, len(memory), REGISTER_MISSING, 0))
    )
    sock = connect(pager.socket)
    send(sock, [b"attach", b"base"])
    receive(sock)
    send(sock, [b"uffd", str(address - base * mmap.PAGESIZE).encode()], [fd])
    memory[page * mmap.PAGESIZE]


def faults(run: Run, pager: Pager) -> None:
    base = run.rng.choice((0, -1, -8, 50, RAM_BYTES // mmap.PAGESIZE, 1 << 30, -(1 << 40), 1 << 50))
    with run.allowing("faults", str(base).encode()):
        child = os.fork()
        if child == 0:
            fault_in(pager, base, run.rng.randrange(FAULT_PAGES))
            os._exit(0)
        try:
            pidfd = os.pidfd_open(child)
            select.select(
                [pidfd], [], [], FAULT_SECONDS
            )  # its fault is never made good: the memory is none of the image's
            os.close(pidfd)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        pager.check()


def main() -> None:
    run = Run()
    descriptors = Descriptors()
    with tempfile.TemporaryDirectory(prefix="quark-fuzz-", dir=MEMORY) as folder:
        pager = Pager(Path(folder) / "state")
        try:
            while run.goes_on():
                kind = run.rng.randrange(200)
                if kind == 0:
                    flood(run, pager)
                elif kind < 4:
                    faults(run, pager)
                else:
                    one(run, pager, descriptors)
            with run.allowing("log", b""):
                check_log(pager.log)
        finally:
            pager.close()


if __name__ == "__main__":
    main()
