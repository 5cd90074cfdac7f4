"""The pager's protocol: NUL-separated fields on a SOCK_SEQPACKET unix socket, with descriptors (docs/abi.md, "Pager").

The socket is reached through a descriptor of its directory, so that a long state directory path does not meet the 107 bytes of sun_path.
"""

from __future__ import annotations

import array
import os
import socket

MESSAGE_MAX = 64 << 10
FDS_MAX = 4


def directory(root: str, domain: str) -> str:
    """Where the socket and the lock of a domain's pager live."""
    return os.path.join(root, "run", domain)


def address(root: str, domain: str) -> tuple[str, int]:
    """Path usable with bind and connect, and the directory descriptor that it depends on (the caller closes it)."""
    fd = os.open(directory(root, domain), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return f"/proc/self/fd/{fd}/pager.sock", fd


def send(sock: socket.socket, fields: list[str], fds: tuple[int, ...] = ()) -> None:
    """Send one message and copies of `fds`."""
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg(["\0".join(fields).encode("utf-8", "surrogateescape")], ancillary)


def receive_now(sock: socket.socket) -> bytes | None:
    """The next message of a socket that does not block; empty when the peer is gone, None when there is none yet."""
    for _ in range(2):  # "connection reset", of a peer that has not read everything, stands before its last messages
        try:
            return sock.recv(MESSAGE_MAX, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            continue
    return b""


def receive(sock: socket.socket) -> tuple[list[str], list[int]]:
    """Fields of the next message and its descriptors (close-on-exec); no fields when the peer is gone."""
    fds = array.array("i")
    try:
        data, ancillary, _, _ = sock.recvmsg(
            MESSAGE_MAX, socket.CMSG_SPACE(FDS_MAX * fds.itemsize), socket.MSG_CMSG_CLOEXEC
        )
    except ConnectionError:
        return [], []
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    return data.decode("utf-8", "surrogateescape").split("\0") if data else [], list(fds)
