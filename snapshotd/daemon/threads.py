"""Threads for what may block on the host: a user's files that never answer, the store, a pager. Nobody's hang is another's, nor the daemon's end."""

from __future__ import annotations

import concurrent.futures
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

END_SECONDS = 10.0  # that work in hand has when the daemon ends


class Threads(ThreadPoolExecutor):
    """`most` threads at a time; what is more waits for one."""

    def __init__(self, most: int, name: str) -> None:
        super().__init__(most, name)
        self._in_hand: set[Future[Any]] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As its base."""
        future = super().submit(fn, *args, **kwargs)
        self._in_hand.add(future)
        future.add_done_callback(self._in_hand.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As its base, but not for longer than END_SECONDS: a thread may wait for the host for ever. Who ends the process must not join it either."""
        super().shutdown(wait=False, cancel_futures=cancel_futures)
        if wait:
            concurrent.futures.wait(self.in_hand, END_SECONDS)

    @property
    def in_hand(self) -> list[Future[Any]]:
        """Work that has not ended."""
        return list(self._in_hand)


def end(pools: Iterable[Threads]) -> None:
    """Take no more work, and wait for what is in hand in all of them together, as `shutdown`."""
    pools = list(pools)
    for pool in pools:
        pool.shutdown(wait=False, cancel_futures=True)
    concurrent.futures.wait([future for pool in pools for future in pool.in_hand], END_SECONDS)
