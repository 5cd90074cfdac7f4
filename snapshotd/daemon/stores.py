"""The daemon's hold on the store: one open store a domain, one connection to each domain's pager, and the regular collection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from typing import TYPE_CHECKING

from quark.errors import PagerLostError, QuarkError
from snapshotd import client
from snapshotd.daemon.pipe import in_thread
from snapshotd.daemon.waiting import set_within
from snapshotd.keys import load_key
from snapshotd.store import Store
from snapshotd.store.errors import StoreBusyError
from snapshotd.store.layout import make_root

if TYPE_CHECKING:
    from snapshotd.daemon.config import Config, Domain

log = logging.getLogger("snapshotd")
GC_WAIT = 1.0
GC_RETRY = 5.0
WARM_POLL = 0.005


class Stores:
    """By domain. Any thread."""

    def __init__(self, config: Config) -> None:
        make_root(os.path.abspath(config.root))
        self.config = config
        self.lock = Store.own(config.root)
        self._stores: dict[str, Store] = {}
        self._pagers: dict[str, int] = {}
        # A domain whose key or pager is slow to come keeps no other waiting.
        self._mutex = {name: threading.Lock() for name in config.all_domains()}
        self._unclean: set[str] = set()  # domains with files of work that was given up
        self._wake = asyncio.Event()
        # A pager that keeps images warm, left by the daemon before this one, ends when nobody is connected for long.
        for domain in config.all_domains().values():
            self._has_pager(domain)

    def get(self, domain: Domain) -> Store:
        """The store of a domain, opened when it was not.

        Raises:
            StoreError, KeySourceError: it cannot be.
        """
        with self._mutex[domain.name]:
            store = self._stores.get(domain.name)
            if store is None:
                store = Store.open(self.config.root, domain=domain.name, key=load_key(domain.key))
                if domain.quota is not None and store.usage()[1] != domain.quota:
                    store.set_quota(domain.quota)
                self._stores[domain.name] = store
            return store

    async def open(self, domain: Domain) -> Store:
        """`get`, on the event loop's thread."""
        store = self._stores.get(domain.name)
        return store if store is not None else await in_thread(domain.name, lambda: self.get(domain))

    def ask_pager(self, domain: Domain, *request: str) -> list[str]:
        """A request to the domain's pager, which is started when there is none; the fields of its answer.

        Raises:
            PagerLostError: it does not come up.
            QuarkError: its answer.
        """
        with self._mutex[domain.name]:
            # The kept connection's pager may have ended, and one that is being killed still accepts.
            for last in (False, False, True):
                sock = self._pagers.pop(domain.name, -1)
                try:
                    if sock < 0:
                        sock = client.connect(self.config.root, domain.name, domain.key)
                    fields, _ = client.ask(sock, *request)
                except PagerLostError:
                    if sock >= 0:
                        os.close(sock)
                    if last:
                        raise
                    continue
                except QuarkError:
                    self._pagers[domain.name] = sock
                    raise
                self._pagers[domain.name] = sock
                return fields[1:]
        raise PagerLostError("unreachable")

    def pager_totals(self, domain: Domain) -> tuple[int, int, int]:
        """(images, pages in them, faults answered) of the domain's pager; zeros when there is none."""
        if not self._has_pager(domain):
            return 0, 0, 0
        try:
            images, pages, faults = self.ask_pager(domain, "totals")
        except PagerLostError:  # it ended just now
            return 0, 0, 0
        return int(images), int(pages), int(faults)

    def prune(self, domain: Domain) -> None:
        """Have the domain's pager, if there is one, let go of the images of deleted snapshots."""
        if self._has_pager(domain):
            self.ask_pager(domain, "prune")

    def _has_pager(self, domain: Domain) -> bool:
        """Whether there is one to ask; none is started for that, and the daemon's connection to it is made."""
        with self._mutex[domain.name]:
            sock = self._pagers.get(domain.name, -1)
            if sock >= 0 and client.ended(sock):
                os.close(self._pagers.pop(domain.name))
                sock = -1
            if sock < 0:
                sock = client.find(self.config.root, domain.name)
                if sock >= 0:
                    self._pagers[domain.name] = sock
            return sock >= 0

    async def warm(self, domain: Domain, name: str) -> int:
        """Bring a snapshot's whole image into memory; its size in bytes. Given up, the image is not kept for that any more."""
        while True:
            asked = asyncio.ensure_future(in_thread(domain.name, lambda: self.ask_pager(domain, "warm", name)))
            try:
                state, size = await asyncio.shield(asked)
                if state == "complete":
                    return int(size)
                await asyncio.sleep(WARM_POLL)
            except asyncio.CancelledError:
                with contextlib.suppress(QuarkError):
                    await asked
                    await in_thread(domain.name, lambda: self.ask_pager(domain, "cool", name))
                raise

    def collect_soon(self, domain: Domain) -> None:
        """Work was given up: give the space of what it had written back. On the event loop's thread."""
        self._unclean.add(domain.name)
        self._wake.set()

    async def collect_regularly(self) -> None:
        """Gc of every domain that is open, every so often, and of one where work was given up, at once."""
        while self.config.gc_seconds:
            await set_within(self._wake, self.config.gc_seconds)
            names = self._unclean if self._wake.is_set() else set(self._stores)
            self._unclean = set()
            self._wake.clear()
            for name in names:
                if not await self._collect(name):
                    # Captures are under way: again when they may have ended.
                    self._unclean.add(name)
                    asyncio.get_running_loop().call_later(GC_RETRY, self._wake.set)

    async def _collect(self, name: str) -> bool:
        """Gc of a domain; False when it was busy."""
        try:
            report = await in_thread("", lambda: self.get(self.config.all_domains()[name]).gc(wait=GC_WAIT))
        except StoreBusyError:
            return False
        except QuarkError as e:
            log.error("gc failed", extra={"domain": name, "error": str(e)})  # noqa: TRY400 - its message is made for people
        else:
            if report.snapshots or report.leftovers:
                log.info("gc", extra={"domain": name, "snapshots": report.snapshots, "bytes": report.bytes_freed})
        return True

    def close(self) -> None:
        """Let go of everything; another daemon may own the store then."""
        for store in self._stores.values():
            store.close()
        for sock in self._pagers.values():
            os.close(sock)
        self._stores.clear()
        self._pagers.clear()
        self.lock.close()
