"""How many machines are to be kept prepared for each snapshot: a small controller that knows requests and times, and nothing else.

A snapshot that was asked for within the last `keep` seconds has one. Each request that finds none although the snapshot was in use raises the number by
one; a period in which one was always left lowers it by one. Together they are `most`: the snapshots asked for last come first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

K = TypeVar("K")


class _Use:
    """Of one snapshot."""

    def __init__(self) -> None:
        self.last = 0.0
        self.target = 1
        self.least_left = 0  # since the last `settle`
        self.pinned = 0


class Demand(Generic[K]):
    """By key, the snapshot. Times are seconds of any clock that does not go back."""

    def __init__(self, most: int, keep: float) -> None:
        self.most = most
        self.keep = keep
        self._uses: dict[K, _Use] = {}  # those asked for last at the end

    def asked(self, key: K, now: float, left: int) -> None:
        """A request has come, and found so many prepared, of which it takes one."""
        use = self._uses.pop(key, None)
        in_use = use is not None and now - use.last < self.keep
        use = use or _Use()
        self._uses[key] = use
        use.last = now
        if in_use and not left:
            use.target = min(use.target + 1, max(self.most, 1))
        use.least_left = min(use.least_left, max(left - 1, 0))

    def pin(self, key: K, count: int) -> None:
        """Keep `count` at least, asked for or not; 0: no more."""
        if count or key in self._uses:
            self._uses.setdefault(key, _Use()).pinned = count

    def is_pinned(self, key: K) -> bool:
        """Whether there is a number that is to be kept."""
        return key in self._uses and self._uses[key].pinned > 0

    def forget(self, key: K) -> None:
        """There is no such snapshot any more."""
        self._uses.pop(key, None)

    def settle(self, now: float, have: Mapping[K, int]) -> None:
        """The end of a period."""
        for key, use in list(self._uses.items()):
            if now - use.last >= self.keep:
                use.target = 1
                if not use.pinned:
                    del self._uses[key]
                    continue
            elif use.least_left:
                use.target = max(use.target - 1, 1)
            use.least_left = have.get(key, 0)

    def wanted(self, now: float) -> dict[K, int]:
        """How many of each: those asked for last first, and of each first one, so that as many snapshots as there is room for have one."""
        keys = [k for k, use in reversed(self._uses.items()) if use.pinned or now - use.last < self.keep][: self.most]
        numbers = dict.fromkeys(keys, 1)
        room = self.most - len(keys)
        for key in keys:
            use = self._uses[key]
            in_use = now - use.last < self.keep
            more = min(max(use.target if in_use else 0, use.pinned) - 1, room)
            numbers[key] += more
            room -= more
        return numbers
