"""Starts sandboxes, remembers them, and ends them: what the gRPC services and the command line's session socket share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from quark.errors import BusyError, DaemonLostError, SandboxUnknownError
from quark.sizes import Limits
from qvisor import cgroup
from qvisor._native import lib
from qvisor.confinement import ANY_OWNER, STRICT
from snapshotd.daemon.making import populates
from snapshotd.daemon.output import Terminals
from snapshotd.daemon.pool import Pool
from snapshotd.daemon.prepared import Shelf
from snapshotd.daemon.sandbox import STARTING, Sandbox
from snapshotd.daemon.threads import Threads
from snapshotd.daemon.waiting import set_within

if TYPE_CHECKING:
    from qvisor.spec import Changes, SandboxSpec
    from snapshotd.daemon.config import Config, Domain
    from snapshotd.daemon.metrics import Metrics
    from snapshotd.daemon.stores import Stores

THREADS = 64  # of a domain
END_SECONDS = 10.0
SWITCHED_OFF = "the daemon's configuration switches control groups off (`cgroup`)"
STOPPED = "the daemon was stopped, and ended the sandbox; run it again when the daemon is back"


class Manager:
    """All sandboxes of the daemon, by id."""

    def __init__(self, config: Config, metrics: Metrics, stores: Stores) -> None:
        self.config = config
        self.metrics = metrics
        self.host = cgroup.find() if config.cgroup == "auto" else cgroup.Host(SWITCHED_OFF)
        cgroup.sweep(self.host.trees)  # what a daemon that was killed has left
        self.pool = Pool(config.pool, lib.QM_USERS if config.require_confinement else 0, self.host.trees)
        self.sandboxes: dict[str, Sandbox] = {}
        self.live: dict[str, Sandbox] = {}  # those whose process is there
        self.shelf = Shelf(config, self.pool, stores, self._is_busy)
        self.starting = 0
        self._threads: dict[str, Threads] = {}  # by domain

    def start(self) -> None:
        """Make the processes that wait for sandboxes."""
        self.pool.start()
        self.shelf.start()

    def _is_busy(self) -> bool:
        """Whether a sandbox starts at this moment."""
        return self.starting > 0 or any(s.state == STARTING for s in self.live.values())

    @property
    def running(self) -> int:
        """Sandboxes that have not ended."""
        return len(self.live)

    def job(self, domain: Domain, limits: Limits) -> dict[str, Any]:
        """What every job says."""
        config = self.config
        confine = [w for w, on in ((ANY_OWNER, config.any_owner), (STRICT, config.require_confinement)) if on]
        return {
            "root": config.root,
            "domain": domain.name,
            "key": domain.key,
            "paths": domain.paths,
            "confine": confine,
            "limits": limits.to_string(),
            "caller": domain.caller,
        }

    def cold_job(self, domain: Domain, spec: SandboxSpec, limits: Limits) -> dict[str, Any]:
        """A sandbox that boots."""
        return {**self.job(domain, limits), "spec": spec.to_dict()}

    def clone_job(
        self,
        domain: Domain,
        name: str,
        args: list[str],
        env: dict[str, str],
        payload: str,
        *,
        prefetch: bool,
        changes: Changes,
        limits: Limits,
    ) -> dict[str, Any]:
        """A sandbox that is restored."""
        mode = "working-set" if prefetch else "none"
        clone = {
            "name": name,
            "args": args,
            "env": env,
            "payload": payload,
            "prefetch": mode,
            "changes": changes.to_strings(),
        }
        return {**self.job(domain, limits), "clone": clone}

    async def run(
        self, domain: Domain, job: dict[str, Any], *, tty: bool = False, stdio: tuple[int, ...] | None = None
    ) -> Sandbox:
        """Start a sandbox on `stdio`, or on streams of its own.

        Raises:
            BusyError: too many run.
            LimitsError: this host cannot limit what it is to limit.
            QuarkError: it could not be started. (What goes wrong later is the sandbox's `error`.)
        """
        self.host.need(Limits.from_string(job["limits"]))
        if self.running + self.starting >= self.config.sandboxes_max:
            raise BusyError(f"{self.config.sandboxes_max} sandboxes run already; end one, or raise sandboxes_max")
        self.starting += 1
        machine = self.shelf.take(domain.name, job["clone"]["name"]) if populates(job) else None
        try:
            worker = machine.process if machine is not None else await self.pool.take()
        finally:
            self.starting -= 1
        streams = None
        job = {**job, "tty": tty}
        try:
            if stdio is None:
                streams = Terminals(tty=tty, limit=self.config.output_bytes)
                stdio = streams.theirs
            sandbox = Sandbox(
                domain.name, job, worker, self.pool, streams, machine, self.shelf, self._threads_of(domain)
            )
            sandbox.start(stdio)
        except BaseException:
            (machine or worker).close()
            if streams is not None:
                streams.close()
            raise
        if streams is not None:
            streams.started()
        self.sandboxes[sandbox.id] = self.live[sandbox.id] = sandbox
        sandbox.on_gone = lambda: self.live.pop(sandbox.id, None)
        sandbox.on_end = self._ended
        return sandbox

    def _threads_of(self, domain: Domain) -> Threads:
        """The threads that make sandboxes of a domain ready. Files that hang are one domain's affair."""
        if domain.name not in self._threads:
            self._threads[domain.name] = Threads(THREADS, f"ready-{domain.name}")
        return self._threads[domain.name]

    def _ended(self, sandbox: Sandbox) -> None:
        self.metrics.sandbox_ended(sandbox)
        if sandbox.streams is not None:
            # What is still in the pipes is read first; a process that was given the streams could keep them open for ever.
            asyncio.get_running_loop().call_later(END_SECONDS, sandbox.streams.close)
        while len(self.sandboxes) - len(self.live) > self.config.keep_ended:
            old = next(i for i in self.sandboxes if i not in self.live)
            gone = self.sandboxes.pop(old)
            if gone.streams is not None and old != sandbox.id:
                gone.streams.close()

    def get(self, domain: Domain, sandbox_id: str) -> Sandbox:
        """One of the domain's sandboxes.

        Raises:
            SandboxUnknownError: there is none.
        """
        sandbox = self.sandboxes.get(sandbox_id)
        if sandbox is None or sandbox.domain != domain.name:
            raise SandboxUnknownError(
                f"sandbox {sandbox_id!r} does not exist; it ended long ago, or the daemon was restarted since"
            )
        return sandbox

    async def finish(self, sandbox: Sandbox) -> None:
        """Wait until it is known how a sandbox ended and its output has been read; a caller who gives up ends it.

        The machine's process may need some more milliseconds, which nobody has to wait for.
        """
        try:
            await sandbox.finished.wait()
            if sandbox.streams is not None:
                await set_within(sandbox.streams.drained, END_SECONDS)
        except BaseException:
            sandbox.kill()
            raise

    async def close(self) -> None:
        """End all of them."""
        for sandbox in self.sandboxes.values():
            if not sandbox.finished.is_set():
                sandbox.error = DaemonLostError(STOPPED)
            sandbox.kill()
        await self.shelf.close()
        for sandbox in list(self.sandboxes.values()):
            await set_within(sandbox.ended, END_SECONDS)
            if sandbox.streams is not None:
                sandbox.streams.close()
        self.pool.close()
