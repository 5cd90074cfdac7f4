"""Carries connections of the public unix socket to gRPC's own one, under a name that tells who they are from (access.py)."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import TYPE_CHECKING

from snapshotd.daemon.connections import ACCEPT_PAUSE

if TYPE_CHECKING:
    from collections.abc import Callable

    from snapshotd.daemon.access import Access
    from snapshotd.daemon.connections import Connections

HIGH_WATER = 1 << 20


class Half(asyncio.Protocol):
    """One direction: what arrives here goes out at `other`, which says when it has had enough."""

    def __init__(self, ended: Callable[[], None] | None = None) -> None:
        self._ended = ended
        self.other: Half | None = None
        self.transport: asyncio.Transport | None = None
        # Came before the other half was there: Python 3.11.2 reads even when connection_made pauses.
        self.early = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready: pass on what came too early for this half."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        transport.set_write_buffer_limits(HIGH_WATER)
        self.transport = transport
        if self.other is not None and self.other.early:
            transport.write(self.other.early)
            self.other.early = bytearray()

    def data_received(self, data: bytes) -> None:
        """Pass on."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)
        elif self.other is not None:
            self.early += data

    def pause_writing(self) -> None:
        """This side does not keep up: read no more from the other."""
        if self.other is not None and self.other.transport is not None and not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """It does again."""
        if self.other is not None and self.other.transport is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, _: Exception | None) -> None:
        """The end of one side is the end of both."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()
        self.other = None
        if self._ended is not None:
            self._ended()


class Relay:
    """Accepts on `listener` and connects to `inner`."""

    def __init__(self, listener: socket.socket, inner: str, access: Access, connections: Connections) -> None:
        self.listener = listener
        self.inner = inner
        self.access = access
        self.connections = connections
        self.tasks: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to accept."""
        self.listener.setblocking(False)
        self._task = asyncio.create_task(self.accept())

    async def accept(self) -> None:
        """Accept until closed."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self.listener)
            except OSError:
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            task = asyncio.create_task(self.connect(connection))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def connect(self, outside: socket.socket) -> None:
        """Tie a new connection to one to gRPC."""
        loop = asyncio.get_running_loop()
        try:
            _, uid, gid = peer_credentials(outside)
        except OSError:
            outside.close()
            return
        if not self.connections.enter(uid):
            outside.close()
            return
        name = self.access.admit(uid, gid)

        def ended() -> None:
            if self.access.forget(name):
                self.connections.leave(uid)

        inside = socket.socket(socket.AF_UNIX)
        try:
            inside.bind(f"\0{name}")
            inside.setblocking(False)
            await loop.sock_connect(inside, self.inner)
            a, b = Half(), Half(ended)
            a.other, b.other = b, a
            make: list[tuple[Callable[[], Half], socket.socket]] = [(lambda: b, inside), (lambda: a, outside)]
            for protocol, sock in make:
                await loop.create_connection(protocol, sock=sock)
        except OSError:
            inside.close()
            outside.close()
            ended()

    def close(self) -> None:
        """Accept no more."""
        if self._task is not None:
            self._task.cancel()
        self.listener.close()


def peer_credentials(sock: socket.socket) -> tuple[int, int, int]:
    """(pid, uid, gid) of the process that connected (SO_PEERCRED, unix(7))."""
    pid, uid, gid = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid, gid


def listen(path: str, kind: socket.SocketKind, mode: int) -> socket.socket:
    """A new listening unix socket at `path`, in place of what a daemon that was killed left there (the store's lock is ours)."""
    os.makedirs(os.path.dirname(path), mode=0o755 if mode & 0o077 else 0o700, exist_ok=True)
    if os.path.lexists(path):
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, kind)
    old = os.umask(0o777 & ~mode)
    try:
        sock.bind(path)
    finally:
        os.umask(old)
    sock.listen(1024)
    return sock
