"""A sandbox's standard streams on the daemon's side: input that is fed, output that is kept and followed."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import termios

READ = 65536


class Stream:
    """What came out of one stream: the last `limit` bytes, and how many there were before them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.data = bytearray()
        self.dropped = 0
        self.ended = False

    def add(self, data: bytes) -> None:
        """Keep `data`."""
        self.data += data
        # In steps, so that a program that writes a lot does not have each byte moved each time.
        if len(self.data) > 2 * self.limit:
            self.trim()

    def trim(self) -> None:
        """Down to the limit."""
        over = len(self.data) - self.limit
        if over > 0:
            del self.data[:over]
            self.dropped += over

    def since(self, position: int) -> tuple[bytes, int, int]:
        """(what came after `position`, how many bytes of that are lost, the position behind it)."""
        lost = max(self.dropped - position, 0)
        start = position + lost - self.dropped
        data = bytes(self.data[start : start + READ])
        return data, lost, position + lost + len(data)


class Terminals:
    """The daemon's ends of three pipes or of one pseudo-terminal. Closed when the sandbox ends and everything has been read."""

    def __init__(self, *, tty: bool, limit: int) -> None:
        self.stdout, self.stderr = Stream(limit), Stream(limit)
        self.tty = tty
        self.changed = asyncio.Event()
        self.drained = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._pending = bytearray()
        self._close_stdin = False
        self._readers: dict[int, Stream] = {}
        self._stdin = -1
        self.theirs: tuple[int, ...] = ()
        if tty:
            master, slave = pty.openpty()
            os.set_blocking(master, False)
            self.theirs = (slave, os.dup(slave), os.dup(slave))
            self._stdin = master
            self._readers = {master: self.stdout}
            self.stderr.ended = True
        else:
            stdin, stdout, stderr = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
            self.theirs = (stdin[0], stdout[1], stderr[1])
            self._stdin = stdin[1]
            self._readers = {stdout[0]: self.stdout, stderr[0]: self.stderr}
            for fd in (self._stdin, *self._readers):
                os.set_blocking(fd, False)
        for fd in self._readers:
            self._loop.add_reader(fd, self._read, fd)

    def started(self) -> None:
        """The worker has its ends; close ours of them."""
        for fd in self.theirs:
            os.close(fd)
        self.theirs = ()

    def _read(self, fd: int) -> None:
        stream = self._readers[fd]
        try:
            data = os.read(fd, READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # EIO: nobody has the terminal open any more
        if data:
            stream.add(data)
        else:
            self._end(fd)
        self._notify()

    def _end(self, fd: int) -> None:
        stream = self._readers.pop(fd)
        stream.ended = True
        self._loop.remove_reader(fd)
        if fd == self._stdin:
            self._loop.remove_writer(fd)
            self._stdin = -1
        os.close(fd)
        if not self._readers:
            self.drained.set()
            self.close_input()

    def _notify(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def write(self, data: bytes) -> None:
        """Feed standard input; what does not fit yet waits."""
        if self._stdin >= 0:
            self._pending += data
            self._write()

    def close_input(self) -> None:
        """End of standard input, after what was fed before."""
        self._close_stdin = True
        if self._stdin >= 0:
            if self.tty:
                self.write(b"\x04")
                self._close_stdin = False
            else:
                self._write()

    @property
    def input_waiting(self) -> int:
        """Bytes that the sandbox has not taken yet."""
        return len(self._pending)

    def _write(self) -> None:
        fd = self._stdin
        try:
            while self._pending:
                done = os.write(fd, self._pending[:READ])
                del self._pending[:done]
        except BlockingIOError:
            self._loop.add_writer(fd, self._write)
            return
        except OSError:
            self._pending.clear()  # nobody reads
        self._loop.remove_writer(fd)
        self._notify()
        if self._close_stdin and not self.tty:
            self._stdin = -1
            os.close(fd)

    def resize(self, rows: int, columns: int) -> None:
        """New window size; the kernel tells the sandbox (SIGWINCH)."""
        if self.tty and self._stdin >= 0:
            fcntl.ioctl(self._stdin, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def close(self) -> None:
        """Everything, read or not."""
        self.started()
        for stream in (self.stdout, self.stderr):
            stream.trim()  # who has followed it has had its time; it may be kept for long now
        for fd in list(self._readers):
            self._end(fd)
        if self._stdin >= 0:
            self._loop.remove_writer(self._stdin)
            os.close(self._stdin)
            self._stdin = -1
        self._notify()
