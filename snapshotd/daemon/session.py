"""The session socket: `quark run` hands the daemon its standard streams, which gRPC cannot carry, and waits for the end.

NUL-separated fields on a SOCK_SEQPACKET socket (docs/abi.md, "Session"). The caller is known by its peer credentials. A session that ends
takes its sandbox with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any

from quark.errors import QuarkError, UsageError
from qvisor.spec import SandboxSpec
from snapshotd import wire
from snapshotd.daemon.relay import peer_credentials

if TYPE_CHECKING:
    import socket

    from snapshotd.daemon.access import Access
    from snapshotd.daemon.config import Domain
    from snapshotd.daemon.manager import Manager
    from snapshotd.daemon.sandbox import Sandbox

log = logging.getLogger("snapshotd")


class Session:
    """One connection."""

    def __init__(self, sock: socket.socket, access: Access, manager: Manager) -> None:
        self.sock = sock
        self.access = access
        self.manager = manager
        self.sandbox: Sandbox | None = None
        self.domain: Domain | None = None

    async def serve(self) -> None:
        """`run`, then `signal`s, until one side ends."""
        fds: list[int] = []
        try:
            fields, fds = await self._receive()
            if not fields:
                return
            _, uid, gid = peer_credentials(self.sock)
            self.domain = self.access.local(uid, gid, fields[1]).domain
            self.sandbox = await self.manager.run(self.domain, self._job(fields), stdio=tuple(fds[:3]))
            for fd in fds:
                os.close(fd)
            fds = []
            signals = asyncio.create_task(self._signals())
            try:
                await self.sandbox.ended.wait()
            finally:
                signals.cancel()
            self._answer(self.sandbox)
        except QuarkError as e:
            wire.send(self.sock, ["error", type(e).__name__, str(e)])
        except (OSError, ValueError, IndexError) as e:
            log.warning("session failed", extra={"error": repr(e)})
        finally:
            if self.sandbox is not None:
                self.sandbox.kill()
            for fd in fds:
                os.close(fd)
            self.sock.close()

    async def _receive(self) -> tuple[list[str], list[int]]:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self.sock, lambda: None if ready.done() else ready.set_result(None))
        try:
            await ready
        finally:
            loop.remove_reader(self.sock)
        return wire.receive(self.sock)

    def _job(self, fields: list[str]) -> dict[str, Any]:
        """From `run DOMAIN clone NAME PREFETCH PAYLOAD NARGS ARGS... K V ...` or `run DOMAIN cold SPEC...`."""
        assert self.domain is not None  # noqa: S101 - for the type checker
        kind, *rest = fields[2:]
        if kind == "cold":
            return self.manager.cold_job(self.domain, SandboxSpec.from_strings(rest))
        if kind != "clone":
            raise UsageError(f"session: {kind!r} is neither cold nor clone")
        name, prefetch, payload, argc = rest[:4]
        args, pairs = rest[4 : 4 + int(argc)], rest[4 + int(argc) :]
        env = dict(zip(pairs[::2], pairs[1::2], strict=True))
        return self.manager.clone_job(self.domain, name, args, env, payload, prefetch=prefetch != "none")

    async def _signals(self) -> None:
        """Pass on what the command got; its end is the sandbox's."""
        assert self.sandbox is not None  # noqa: S101 - for the type checker
        while True:
            fields, _ = await self._receive()
            if not fields:
                self.sandbox.kill()
                return
            with contextlib.suppress(QuarkError):  # it has just ended
                self.sandbox.signal(int(fields[1]))

    def _answer(self, sandbox: Sandbox) -> None:
        if sandbox.error is not None:
            wire.send(self.sock, ["error", type(sandbox.error).__name__, str(sandbox.error)])
            return
        steps = [text for step, us in sandbox.timeline for text in (step, str(us))]
        counts = [str(n) for n in (sandbox.prefetched, sandbox.faults, sandbox.fault_pages)]
        wire.send(self.sock, ["ended", str(sandbox.exit_status), *counts, *steps])


class SessionServer:
    """Accepts sessions on `listener`."""

    def __init__(self, listener: socket.socket, access: Access, manager: Manager) -> None:
        self.listener = listener
        self.access = access
        self.manager = manager
        self.tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to accept."""
        self.listener.setblocking(False)
        asyncio.get_running_loop().add_reader(self.listener, self._accept)

    def _accept(self) -> None:
        try:
            sock, _ = self.listener.accept()
        except OSError:
            return
        task = asyncio.create_task(Session(sock, self.access, self.manager).serve())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def close(self) -> None:
        """Accept no more."""
        asyncio.get_running_loop().remove_reader(self.listener)
        self.listener.close()
