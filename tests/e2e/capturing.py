"""A sandbox whose captures a test takes itself, with all that it wrote."""

import contextlib
import os
import select
import socket
import threading
import time

from qvisor import process
from qvisor.machine import open_kvm
from snapshotd.frozen import FrozenMachine, NotFrozenError
from snapshotd.start import ready_cold


class Collected:
    """A pipe that a thread empties: what a sandbox wrote."""

    def __init__(self):
        self.read_fd, self.write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.read_fd, False)
        self.data = bytearray()
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self.collect, daemon=True)
        self.thread.start()

    def collect(self):
        while self.empty():
            select.select([self.read_fd], [], [])

    def empty(self):
        """Read what there is; False: that was all."""
        with self.lock, contextlib.suppress(BlockingIOError):
            while part := os.read(self.read_fd, 65536):
                self.data += part
            return False
        return True

    def settle(self):
        """Bytes that have been written by now, of a guest that may go on."""
        self.empty()
        return len(self.data)

    def close(self):
        os.close(self.write_fd)
        self.thread.join()
        os.close(self.read_fd)
        return bytes(self.data)


class Running:
    """A sandbox in a QVisor of its own; a storer can read it while it goes on."""

    def __init__(self, spec):
        self.spec = spec
        self.out, self.err = Collected(), Collected()
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        null, kvm = os.open(os.devnull, os.O_RDONLY), open_kvm()
        with ready_cold(self.spec, "", stdio=(null, self.out.write_fd, self.err.write_fd)) as ready, theirs:
            process.machine(self.spec.memory, kvm, parent=os.getpid()).send(self.sock.fileno())
            self.pid = process.spawn(theirs.fileno())
            ready.start.send(self.sock.fileno())
        os.close(null)
        os.close(kvm)
        self.started = time.monotonic()
        self.storer = None
        assert self.sock.recv(4096).startswith(b"started")

    def machine(self):
        """The machine, and bytes that it had written by then, at least and at most, to each stream; None when it ended before."""
        self.storer, theirs = socket.socketpair()
        least = (len(self.out.data), len(self.err.data))
        with theirs, contextlib.suppress(OSError):
            socket.send_fds(self.sock, [b"capture"], [theirs.fileno()])
        try:
            machine = FrozenMachine(self.storer, self.spec)
        except NotFrozenError:
            return None
        return machine, least, (self.out.settle(), self.err.settle())

    def end(self):
        """(status, standard output, standard error) at its end, for which it waits for its storer's."""
        if self.storer is not None:
            self.storer.close()
        try:
            event = self.sock.recv(1 << 16)
        except ConnectionResetError:  # it ended before it had read `capture`, and what it said comes after that
            event = self.sock.recv(1 << 16)
        event = event.split(b"\0")
        assert event[0] == b"ended", event
        os.waitpid(self.pid, 0)
        self.sock.close()
        return int(event[1]), self.out.close(), self.err.close()
