"""How many connections a user may have: idle ones hold descriptors, and nobody may hold them all."""

from __future__ import annotations

import logging
import os
import resource
import time

log = logging.getLogger("snapshotd")

PER_CONNECTION = 3  # descriptors: the caller's, the relay's to gRPC, gRPC's
RESERVE = 512  # descriptors for the daemon's own work
SHARE = (
    4  # a user may have this part of all connections, and users together leave as much for root and the daemon's user
)
MOST = 4096  # however many descriptors there are: each costs memory, too
WARN_SECONDS = 10.0
ACCEPT_PAUSE = 0.1  # out of descriptors: until the next try


class Connections:
    """Counts connections by user. On the event loop's thread."""

    def __init__(self, descriptors: int | None = None) -> None:
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if descriptors is None else descriptors
        self.most = max(SHARE, min(MOST, (soft - RESERVE) // PER_CONNECTION))
        self._by_user: dict[int, int] = {}
        self._privileged = {0, os.geteuid()}
        self._warned = -WARN_SECONDS

    def enter(self, uid: int) -> bool:
        """Count one more of a user; False: refuse it."""
        have = self._by_user.get(uid, 0)
        others = sum(n for user, n in self._by_user.items() if user not in self._privileged)
        share = self.most // SHARE
        if have >= share or (uid not in self._privileged and others >= self.most - share):
            self._warn(uid, have)
            return False
        self._by_user[uid] = have + 1
        return True

    def leave(self, uid: int) -> None:
        """One of them has ended."""
        left = self._by_user[uid] - 1
        if left:
            self._by_user[uid] = left
        else:
            del self._by_user[uid]

    def _warn(self, uid: int, have: int) -> None:
        now = time.monotonic()
        if now - self._warned >= WARN_SECONDS:
            self._warned = now
            log.warning("connections refused", extra={"uid": uid, "connections": have, "limit": self.most // SHARE})
