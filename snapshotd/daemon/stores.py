"""The daemon's hold on the store: one open store a domain, one connection to each domain's pager, and the regular collection."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from typing import TYPE_CHECKING

from quark.errors import PagerLostError, QuarkError
from snapshotd import client
from snapshotd.keys import load_key
from snapshotd.store import Store
from snapshotd.store.errors import StoreBusyError

if TYPE_CHECKING:
    from snapshotd.daemon.config import Config, Domain

log = logging.getLogger("snapshotd")
GC_WAIT = 1.0
WARM_POLL = 0.005


class Stores:
    """By domain. Any thread."""

    def __init__(self, config: Config) -> None:
        os.makedirs(config.root, mode=0o700, exist_ok=True)
        self.config = config
        self.lock = Store.own(config.root)
        self._stores: dict[str, Store] = {}
        self._pagers: dict[str, int] = {}
        self._mutex = threading.Lock()

    def get(self, domain: Domain) -> Store:
        """The store of a domain, opened when it was not.

        Raises:
            StoreError, KeySourceError: it cannot be.
        """
        with self._mutex:
            store = self._stores.get(domain.name)
            if store is None:
                store = Store.open(self.config.root, domain=domain.name, key=load_key(domain.key))
                if domain.quota is not None and store.usage()[1] != domain.quota:
                    store.set_quota(domain.quota)
                self._stores[domain.name] = store
            return store

    def ask_pager(self, domain: Domain, *request: str) -> list[str]:
        """A request to the domain's pager, which is started when there is none; the fields of its answer.

        Raises:
            PagerLostError: it does not come up.
            QuarkError: its answer.
        """
        with self._mutex:
            for last in (False, True):
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
        """(images, pages in them, faults answered) of the domain's pager; zeros when the daemon has not talked to one."""
        if domain.name not in self._pagers:
            return 0, 0, 0
        images, pages, faults = self.ask_pager(domain, "totals")
        return int(images), int(pages), int(faults)

    async def warm(self, domain: Domain, name: str) -> int:
        """Bring a snapshot's whole image into memory; its size in bytes."""
        while True:
            state, size = await asyncio.to_thread(self.ask_pager, domain, "warm", name)
            if state == "complete":
                return int(size)
            await asyncio.sleep(WARM_POLL)

    async def collect_regularly(self) -> None:
        """Gc of every domain that is open, every so often."""
        while self.config.gc_seconds:
            await asyncio.sleep(self.config.gc_seconds)
            for name, store in list(self._stores.items()):
                try:
                    report = await asyncio.to_thread(store.gc, wait=GC_WAIT)
                except StoreBusyError:
                    continue  # captures are under way: next time
                except QuarkError as e:
                    log.error("gc failed", extra={"domain": name, "error": str(e)})  # noqa: TRY400 - its message is made for people
                else:
                    if report.snapshots:
                        log.info(
                            "gc", extra={"domain": name, "snapshots": report.snapshots, "bytes": report.bytes_freed}
                        )

    def close(self) -> None:
        """Let go of everything; another daemon may own the store then."""
        for store in self._stores.values():
            store.close()
        for sock in self._pagers.values():
            os.close(sock)
        self._stores.clear()
        self._pagers.clear()
        self.lock.close()
