"""Bytes and progress between a thread, which may block, and the event loop, which may not; and the threads for such work."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, TypeVar

from snapshotd.daemon.threads import Threads, end

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
DEPTH = 8  # pieces that wait
STEP_SECONDS = 0.05  # between two news of progress
# Work that lasts: each has a thread for as long as its caller likes, so it takes none of those that answer short calls, nor those of another domain.
THREADS = 256
_long: dict[str, Threads] = {}


async def in_thread(domain: str, work: Callable[[], T]) -> T:
    """The result of work that may take long, for a domain; for the empty name: for the daemon itself."""
    if domain not in _long:
        _long[domain] = Threads(THREADS, f"long-{domain}")
    return await asyncio.get_running_loop().run_in_executor(_long[domain], work)


def end_threads() -> None:
    """The daemon ends: wait for work in hand, but not for what hangs."""
    end(_long.values())


class Steps:
    """Progress of work in a thread, which calls this, and which the event loop can give up. Made on the event loop's thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._told = 0.0
        self._given_up = False
        self.changed = asyncio.Event()
        self.done = self.total = 0

    def __call__(self, done: int, total: int) -> None:
        """The thread's side: so much of so much.

        Raises:
            Abandoned: nobody waits for it any more.
        """
        if self._given_up:
            raise Abandoned
        self.done, self.total = done, total
        if (now := time.monotonic()) - self._told >= STEP_SECONDS:
            self._told = now
            self._loop.call_soon_threadsafe(self.changed.set)

    def give_up(self) -> None:
        """The event loop's side."""
        self._given_up = True


class Abandoned(Exception):  # noqa: N818 - not an error: the other side wants no more
    """The other side of a pipe is gone."""


class Pipe:
    """A few pieces of bytes; either side can give up. Made on the event loop's thread.

    The thread has the methods of a file: `write` and `flush`, or `read`. The event loop has `take`, or `give` and `end`.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()  # for the event loop
        self._condition = threading.Condition()  # for the thread, and around all that follows
        self._pieces: deque[bytes] = deque()
        self._ended = False
        self._abandoned = False
        self._rest = b""

    def _tell_loop(self) -> None:
        with contextlib.suppress(RuntimeError):  # it has ended, and nobody waits
            self._loop.call_soon_threadsafe(self._changed.set)

    def abandon(self) -> None:
        """Whoever is at the other side: stop. Any thread."""
        with self._condition:
            self._abandoned = True
            self._condition.notify_all()
        self._tell_loop()

    def feed(self, produce: Callable[[Pipe], None]) -> None:
        """The thread's work: run `produce` with this as its output, and end."""
        try:
            produce(self)
        finally:
            with self._condition:
                self._ended = True
            self._tell_loop()

    def write(self, data: bytes | memoryview) -> int:
        """As a file's.

        Raises:
            Abandoned: nobody will take it.
        """
        with self._condition:
            self._condition.wait_for(lambda: len(self._pieces) < DEPTH or self._abandoned)
            if self._abandoned:
                raise Abandoned
            if data:
                self._pieces.append(bytes(data))
        self._tell_loop()
        return len(data)

    def flush(self) -> None:
        """As a file's: nothing is held back."""

    def read(self, size: int = -1) -> bytes:
        """As a file's: `size` bytes, fewer at the end.

        Raises:
            Abandoned: no more will come, and that is not the end.
        """
        parts, have = [self._rest], len(self._rest)
        while size < 0 or have < size:
            with self._condition:
                self._condition.wait_for(lambda: self._pieces or self._ended or self._abandoned)
                if self._pieces:
                    parts.append(self._pieces.popleft())
                elif self._ended:
                    break
                else:
                    raise Abandoned
            have += len(parts[-1])
            self._tell_loop()
        whole = b"".join(parts)
        cut = len(whole) if size < 0 else size
        self._rest = whole[cut:]
        return whole[:cut]

    async def take(self, size: int) -> bytes:
        """The event loop's side: what has come, about `size` bytes of it; nothing at the end."""
        while True:
            self._changed.clear()
            with self._condition:
                parts: list[bytes] = []
                have = 0
                while self._pieces and have < size:
                    parts.append(self._pieces.popleft())
                    have += len(parts[-1])
                self._condition.notify_all()
                if parts or self._ended or self._abandoned:
                    return b"".join(parts)
            await self._changed.wait()

    async def give(self, data: bytes) -> bool:
        """The event loop's side: pass `data` on; False when nobody will read it."""
        while True:
            self._changed.clear()
            with self._condition:
                if self._abandoned:
                    return False
                if len(self._pieces) < DEPTH:
                    if data:
                        self._pieces.append(data)
                        self._condition.notify_all()
                    return True
            await self._changed.wait()

    def end(self) -> None:
        """The event loop's side: that was all."""
        with self._condition:
            self._ended = True
            self._condition.notify_all()
