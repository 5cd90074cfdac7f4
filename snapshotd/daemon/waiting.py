"""Waiting for whichever comes first, for so long at most, and for a socket."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket


async def first_of(*events: asyncio.Event) -> None:
    """Wait until one of them is set."""
    waits = [asyncio.ensure_future(e.wait()) for e in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait until it is set, for so long at most; whether it is.

    asyncio.wait_for of Python 3.11 forgets a cancellation that comes in the same round of the loop as what it waits for, and the task goes on.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


async def readable(sock: socket.socket) -> None:
    """Wait until there is something to be received, or the peer is gone. Nobody else may watch the socket meanwhile."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(sock)
