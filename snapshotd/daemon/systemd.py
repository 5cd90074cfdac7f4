"""systemd's protocols: readiness and watchdog (sd_notify(3)), and sockets that it opened for us (sd_listen_fds(3))."""

from __future__ import annotations

import asyncio
import os
import socket

FIRST_FD = 3


def notify(message: str) -> None:
    """Tell the service manager, if there is one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.sendto(message.encode(), "\0" + address[1:] if address[0] == "@" else address)


def listen_sockets() -> list[socket.socket]:
    """The listening sockets that this process was given."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    sockets = [socket.socket(fileno=FIRST_FD + i) for i in range(int(os.environ.get("LISTEN_FDS", "0")))]
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    for sock in sockets:
        sock.set_inheritable(False)
    return sockets


async def watchdog() -> None:
    """As long as the event loop turns, say so, twice as often as asked."""
    microseconds = int(os.environ.get("WATCHDOG_USEC", "0"))
    if not microseconds or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return
    while True:
        notify("WATCHDOG=1")
        await asyncio.sleep(microseconds / 2e6)
