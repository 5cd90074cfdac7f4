"""Prepared machines: QVisors of the pool that have done all that the snapshot decides (image mapped, working set there, vCPU set), and wait for a request.

The pool's third level: a process is forked, has its machine, is prepared for (domain, snapshot). demand.py says how many of each; they are made one at a
time, while no other sandbox starts, and only of images that are complete in memory. Clocks, randomness, identity, arguments, files and roots come with the
request, so one that waited is as any other. It is let go when nobody asks for it any more, when its snapshot or its pager is gone, and when memory is short.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from quark.errors import BusyError, QuarkError
from snapshotd import wire
from snapshotd.daemon.demand import Demand
from snapshotd.daemon.memory import available_memory, own_memory
from snapshotd.daemon.waiting import readable, set_within
from snapshotd.start import Prepared
from snapshotd.store.errors import SnapshotUnknownError

if TYPE_CHECKING:
    from collections.abc import Callable

    from snapshotd.daemon.config import Config, Domain
    from snapshotd.daemon.pool import Pool, Process
    from snapshotd.daemon.stores import Stores

log = logging.getLogger("snapshotd")
PERIOD_SECONDS = 0.5  # of the controller
PAUSE_SECONDS = 0.01  # after a request: what it started comes first
PREPARE_SECONDS = 10.0
AGAIN_SECONDS = 5.0  # after one that could not be prepared


class Key(NamedTuple):
    """What a machine is prepared for."""

    domain: str
    snapshot: str


class Machine:
    """A prepared one. Who takes it closes `prepared`."""

    def __init__(self, key: Key, process: Process, prepared: Prepared) -> None:
        self.key = key
        self.process = process
        self.prepared = prepared
        self.bytes = 0  # of its own
        # An import gives a deleted snapshot's id to what is trusted otherwise.
        self.identity = (prepared.attachment.snapshot_id, prepared.imported)

    def close(self) -> None:
        """End it."""
        self.process.close()
        self.prepared.close()


class Shelf:
    """The prepared machines of a daemon. All on the event loop's thread. `busy` says whether sandboxes start at this moment."""

    def __init__(self, config: Config, pool: Pool, stores: Stores, busy: Callable[[], bool]) -> None:
        self.config = config
        self.pool = pool
        self.stores = stores
        self.busy = busy
        self.demand: Demand[Key] = Demand(config.prepared, config.prepared_seconds)
        self.machines: list[Machine] = []
        self.taken = self.missed = 0
        self._domains = config.all_domains()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._refused: dict[Key, float] = {}  # which cannot be prepared now, and until when that counts

    @property
    def bytes(self) -> int:
        """What they have of their own, together."""
        return sum(m.bytes for m in self.machines)

    def start(self) -> None:
        """Begin to look after them."""
        if self.config.prepared:
            self._task = asyncio.create_task(self._run())

    def take(self, domain: str, snapshot: str) -> Machine | None:
        """One for a request, if there is one."""
        key = Key(domain, snapshot)
        found = [m for m in self.machines if m.key == key]
        for machine in found:
            self._remove(machine)
            if machine.process.ended:
                machine.close()
                continue
            self.taken += 1
            self._asked(key, len(found))
            return machine
        return None

    def miss(self, domain: str, snapshot: str) -> None:
        """A clone runs (so there is such a snapshot) that found none."""
        self.missed += 1
        self._asked(Key(domain, snapshot), 0)

    def _asked(self, key: Key, left: int) -> None:
        self.demand.asked(key, time.monotonic(), left)
        self._wake.set()

    async def keep(self, domain: str, snapshot: str, count: int) -> None:
        """Keep `count` of a snapshot from now on, asked for or not, and wait until they are there.

        Raises:
            BusyError: there is no room for them.
        """
        if count > self.config.prepared:
            raise BusyError(f"the daemon keeps {self.config.prepared} clones prepared at most; raise `prepared`")
        key = Key(domain, snapshot)
        self.demand.pin(key, count)
        self._refused.pop(key, None)
        self._wake.set()
        while sum(m.key == key for m in self.machines) < count:
            if key in self._refused or key not in self.demand.wanted(time.monotonic()) or self._is_short():
                self.forget(domain, snapshot)
                raise BusyError(
                    f"no {count} clones of snapshot {snapshot!r} can be kept prepared; the daemon's log says why"
                )
            await asyncio.sleep(PAUSE_SECONDS)

    def forget(self, domain: str, snapshot: str) -> None:
        """A snapshot is to go from memory."""
        key = Key(domain, snapshot)
        self.demand.forget(key)
        self._let_go([m for m in self.machines if m.key == key])

    async def check(self, domain: Domain) -> None:
        """Let go of those whose snapshot was deleted, or replaced by another of that name."""
        mine = [m for m in self.machines if m.key.domain == domain.name]
        if not mine:
            return
        there = await asyncio.to_thread(self._there, domain, {m.key.snapshot for m in mine})
        gone = [m for m in mine if m in self.machines and there.get(m.key.snapshot) != m.identity]
        for machine in gone:
            self.demand.forget(machine.key)
        self._let_go(gone)

    def _there(self, domain: Domain, names: set[str]) -> dict[str, tuple[str, bool]]:
        """Of the snapshots that there are: id, and whether it is imported, as a machine's `identity`."""
        found = {}
        for name in names:
            with contextlib.suppress(QuarkError):
                store = self.stores.get(domain)
                found[name] = store.get(name).id, store.is_imported(name)
        return found

    def is_current(self, machine: Machine) -> bool:
        """Whether its name is still its snapshot's, and its pager there. Blocks."""
        name = machine.key.snapshot
        return not machine.prepared.attachment.lost() and (
            self._there(self._domains[machine.key.domain], {name}).get(name) == machine.identity
        )

    def _remove(self, machine: Machine) -> None:
        self.machines.remove(machine)
        loop = asyncio.get_running_loop()
        loop.remove_reader(machine.process.sock)
        loop.remove_reader(machine.prepared.attachment.sock)

    def _let_go(self, machines: list[Machine]) -> None:
        for machine in machines:
            self._remove(machine)
            machine.close()

    async def _run(self) -> None:
        """The controller: at each request, and every so often."""
        settled = 0.0
        while True:
            if await set_within(self._wake, PERIOD_SECONDS):
                await asyncio.sleep(PAUSE_SECONDS)
            self._wake.clear()
            now = time.monotonic()
            if now - settled >= PERIOD_SECONDS:
                settled = now
                self.demand.settle(now, Counter(m.key for m in self.machines))
                for domain in {m.key.domain for m in self.machines}:
                    await self.check(self._domains[domain])
            try:
                await self._adjust()
            except Exception:  # the sandboxes need none of it
                log.exception("prepared machines")

    async def _adjust(self) -> None:
        """Let go of what is too many, and make what lacks, one after the other."""
        wanted = {} if self._is_short() else self.demand.wanted(time.monotonic())
        have = Counter(m.key for m in self.machines)
        for machine in list(self.machines):
            over = self.bytes > self.config.prepared_bytes
            if over or have[machine.key] > wanted.get(machine.key, 0):
                have[machine.key] -= 1
                self._let_go([machine])
        for key, count in wanted.items():
            for _ in range(count - have[key]):
                if self.busy():
                    self._wake.set()  # again, in a moment
                    return
                if self._refused.get(key, 0) > time.monotonic() or not self._fits(key):
                    break
                self._refused.pop(key, None)
                try:
                    await self._make(key)
                except SnapshotUnknownError:
                    self.demand.forget(key)
                except (QuarkError, OSError, TimeoutError) as e:
                    self._refuse(key, str(e))

    def _is_short(self) -> bool:
        """Whether the host has too little memory for what may never be used."""
        return available_memory() < self.config.prepared_reserve

    def _fits(self, key: Key) -> bool:
        """Whether one more has room, as far as those tell that there are."""
        size = max((m.bytes for m in self.machines if m.key == key), default=0)
        return self.bytes + size <= self.config.prepared_bytes

    def _refuse(self, key: Key, why: str) -> None:
        self._refused[key] = time.monotonic() + AGAIN_SECONDS
        log.info("not prepared", extra={"domain": key.domain, "snapshot": key.snapshot, "reason": why})

    async def _make(self, key: Key) -> None:
        """One more.

        Raises:
            QuarkError, OSError, TimeoutError: it cannot be.
        """
        config, domain = self.config, self._domains[key.domain]
        prepared = await asyncio.to_thread(
            Prepared, config.root, key.snapshot, domain.name, domain.key, populate=True
        )  # fmt: skip
        machine: Machine | None = None
        try:
            # A clone that runs now brings that about; who said that he wants some has them as they can be had.
            if not prepared.attachment.complete or not (
                prepared.attachment.layout.working_set or self.demand.is_pinned(key)
            ):
                prepared.close()
                return
            machine = Machine(key, await self.pool.take(), prepared)
            prepared.fill(ahead=True).send(machine.process.sock.fileno())
            async with asyncio.timeout(PREPARE_SECONDS):
                await self._until_prepared(machine)
            machine.bytes = own_memory(machine.process)
        except BaseException:
            (machine or prepared).close()
            raise
        if self.bytes + machine.bytes > config.prepared_bytes:
            machine.close()
            self._refuse(key, f"prepared_bytes is less than the {machine.bytes} more that it takes")
            return
        self.machines.append(machine)
        loop = asyncio.get_running_loop()
        for sock in (machine.process.sock, prepared.attachment.sock):
            loop.add_reader(sock, self._ended, machine)

    @staticmethod
    async def _until_prepared(machine: Machine) -> None:
        while True:
            await readable(machine.process.sock)
            data = wire.receive_now(machine.process.sock)
            if data == b"prepared":
                return
            if data is not None:
                raise QuarkError(data.decode(errors="replace").replace("\0", " ") or "the process ended")

    def _ended(self, machine: Machine) -> None:
        """One that waits, or its pager, has nothing to say: this is its end."""
        self._let_go([machine])
        self._wake.set()

    async def close(self) -> None:
        """Let go of all of them."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._let_go(list(self.machines))
