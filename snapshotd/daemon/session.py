"""The session socket: `quark run` hands the daemon its standard streams, which gRPC cannot carry, and waits for the end.

Messages are NUL-separated fields on a SOCK_SEQPACKET socket (docs/abi.md, "Session"); quark/session.py is the other side. The caller is
known by its peer credentials. A session that ends takes its sandbox with it, unless it was detached.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import logging
import os
import socket
from typing import TYPE_CHECKING, Any

from quark.clone_request import unpack_clone
from quark.errors import AccessError, DaemonLostError, QuarkError, UsageError
from quark.sizes import MEMORY_MAX, SLOT, Limits
from quark.store_errors import CorruptBlobError
from qvisor.confinement import ANY_OWNER, SET_ID, STRICT
from qvisor.owner import is_user
from qvisor.spec import SandboxSpec
from snapshotd import wire
from snapshotd.daemon.connections import ACCEPT_PAUSE
from snapshotd.daemon.errors import told
from snapshotd.daemon.relay import peer_credentials
from snapshotd.daemon.sandbox import EXITED, FAILED, STARTING
from snapshotd.daemon.waiting import first_of, readable
from snapshotd.document import check_spec
from snapshotd.trigger import Trigger

if TYPE_CHECKING:
    from snapshotd.daemon.access import Access
    from snapshotd.daemon.config import Domain
    from snapshotd.daemon.connections import Connections
    from snapshotd.daemon.manager import Manager
    from snapshotd.daemon.sandbox import Sandbox
    from snapshotd.daemon.stores import Stores

log = logging.getLogger("snapshotd")
REQUEST_MAX = 4 << 20
KILLED = 128 + 9
ATTACHED, DETACHED, DETACHED_TTY = "attached", "detached", "detached-tty"


def spec_of(strings: list[str]) -> SandboxSpec:
    """The sandbox that a request describes. The command has checked it; but others may send requests, too.

    Raises:
        UsageError: it is none.
    """
    spec = SandboxSpec.from_strings(strings)
    try:
        check_spec(spec.to_dict())
    except CorruptBlobError as e:
        raise UsageError("session: the request describes no sandbox; see docs/abi.md") from e
    return spec


class Session:
    """One connection."""

    def __init__(self, sock: socket.socket, server: SessionServer) -> None:
        self.sock = sock
        self.server = server
        self.sandbox: Sandbox | None = None
        self.detached = False

    async def serve(self) -> None:
        """A request, then commands, until one side ends."""
        fds: list[int] = []
        try:
            request, fds = await self._request()
            if request:
                await self._run(request, fds)
        except QuarkError as e:
            self._send("error", type(e).__name__, told(e))
        except (ValueError, IndexError) as e:
            self._send("error", UsageError.__name__, "session: this is no request; see docs/abi.md")
            log.warning("session: bad request", extra={"error": ascii(e)})
        except OSError as e:
            log.warning("session failed", extra={"error": repr(e)})
        finally:
            if self.sandbox is not None and not self.detached:
                self.sandbox.kill()
            for fd in fds:
                os.close(fd)
            self.sock.close()

    async def _run(self, request: list[str], fds: list[int]) -> None:
        """From `run DOMAIN MODE LIMITS KIND ...`."""
        verb, wanted, mode, limits, kind, *rest = request
        mode, *confine = mode.split("+")
        if (
            verb != "run"
            or mode not in {ATTACHED, DETACHED, DETACHED_TTY}
            or not {ANY_OWNER, STRICT, SET_ID}.issuperset(word for word in confine if not is_user(word))
            or len(fds) != (3 if mode == ATTACHED else 0)
        ):
            raise UsageError(f"session: {verb!r} {mode!r} with {len(fds)} descriptors is no request; see docs/abi.md")
        _, uid, gid = peer_credentials(self.sock)
        domain = self.server.access.local(uid, gid, wanted).domain
        if ANY_OWNER in confine and domain.paths is not None:
            raise AccessError(f"domain {domain.name!r} is open to others: --any-owner is for the daemon's own user")
        job = self._job(domain, Limits.from_string(limits), kind, rest)
        job["confine"] += confine
        if kind == "create":
            await self.server.stores.open(domain)  # which gives a new domain its quota
        if mode != ATTACHED:
            await self._detach(domain, job, tty=mode == DETACHED_TTY)
            return
        sandbox = self.sandbox = await self.server.manager.run(domain, job, stdio=tuple(fds))
        sandbox.on_stopped = lambda: self._send("stopped")
        while fds:
            os.close(fds.pop())
        commands = asyncio.create_task(self._commands(sandbox))
        try:
            await self._follow(sandbox)
        finally:
            commands.cancel()
            capture = sandbox.capture
            if capture is not None and (not capture.finished or capture.error is not None):
                self.server.stores.collect_soon(domain)  # what it had written when it was given up
        self._answer(sandbox)

    async def _detach(self, domain: Domain, job: dict[str, Any], *, tty: bool) -> None:
        """Start it on streams of its own, and leave it when it runs."""
        sandbox = self.sandbox = await self.server.manager.run(domain, job, tty=tty)
        while sandbox.state == STARTING and not sandbox.ended.is_set():
            await first_of(sandbox.state_changed, sandbox.ended)
        if sandbox.error is not None:
            raise sandbox.error
        self.detached = True
        self._send("started", sandbox.id)

    def _job(self, domain: Domain, limits: Limits, kind: str, rest: list[str]) -> dict[str, Any]:
        """From `cold SPEC...`, `clone ...` (quark.clone_request) or `create NAME TRIGGER VALUE CONTAINED SPEC...`."""
        manager = self.server.manager
        if kind == "cold":
            return manager.cold_job(domain, spec_of(rest), limits)
        if kind == "create":
            name, trigger, value, contained, *spec = rest
            Trigger.parse(f"--ready-{trigger}", value)
            return {
                **manager.cold_job(domain, spec_of(spec), limits),
                "trigger": (trigger, value),
                "name": name,
                "self_contained": bool(contained),
            }
        if kind != "clone":
            raise UsageError(f"session: {kind!r} is none of cold, clone, create")
        name, prefetch, payload, args, env, changes = unpack_clone(rest)
        if changes.memory % SLOT or not (0 <= changes.memory <= MEMORY_MAX and 0 <= changes.disk <= MEMORY_MAX):
            raise UsageError(
                f"session: a clone cannot have {changes.memory} bytes of memory and {changes.disk} of disk"
            )
        return manager.clone_job(
            domain, name, args, env, payload, prefetch=prefetch != "none", changes=changes, limits=limits
        )

    async def _follow(self, sandbox: Sandbox) -> None:
        """Tell what happens, until the program has ended: the command need not wait for the end of the machine's process."""
        told = False
        while sandbox.state not in {EXITED, FAILED}:
            if not told and sandbox.state != STARTING:
                told = True
                self._send("started", sandbox.id, fd=sandbox.worker.pidfd)
            events = [sandbox.state_changed, sandbox.ended]
            if sandbox.capture is not None:
                capture = sandbox.capture
                if capture.changed.is_set():
                    capture.changed.clear()
                    if capture.total and not capture.finished:
                        self._send("progress", str(capture.done), str(capture.total))
                events.append(capture.changed)
            await first_of(*events)

    async def _commands(self, sandbox: Sandbox) -> None:
        """Do what the command passes on; its end is the sandbox's."""
        while True:
            fields = await self._receive()
            if not fields:
                sandbox.kill()
                return
            while sandbox.state == STARTING:
                await first_of(sandbox.state_changed, sandbox.ended)
            try:
                if fields[0] == "signal":
                    sandbox.signal(int(fields[1]))
            except QuarkError:
                continue  # it has just ended
            except (ValueError, IndexError):
                log.warning("session: bad command", extra={"error": repr(fields)})

    def _answer(self, sandbox: Sandbox) -> None:
        if sandbox.error is not None:
            raise sandbox.error
        if self.server.closing and sandbox.exit_status == KILLED:
            raise DaemonLostError("the daemon was stopped, and ended the sandbox; run it again when the daemon is back")
        steps = [text for step, us in sandbox.timeline for text in (step, str(us))]
        counts = [str(n) for n in (sandbox.prefetched, sandbox.faults, sandbox.fault_pages)]
        self._send("ended", str(sandbox.exit_status), *counts, *steps)

    async def _request(self) -> tuple[list[str], list[int]]:
        """`begin BYTES` with the descriptors, then pieces of the request until it has so many bytes. Nothing if the other side hangs up."""
        await readable(self.sock)
        fields, fds = wire.receive(self.sock)
        try:
            if not fields:
                return [], fds
            size = int(fields[1]) if fields[0] == "begin" else -1
            if not 0 < size <= REQUEST_MAX:
                raise UsageError(
                    f"session: a request has 1 to {REQUEST_MAX} bytes; arguments and environment are too long"
                )
            data = b""
            while len(data) < size:
                await readable(self.sock)
                piece = self.sock.recv(wire.MESSAGE_MAX)
                if not piece:
                    return [], fds
                data += piece
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise
        return data.decode("utf-8", "surrogateescape").split("\0"), fds

    async def _receive(self) -> list[str]:
        """Fields of a command; none when the other side is gone. Descriptors that come with it are closed by the kernel."""
        await readable(self.sock)
        try:
            data = self.sock.recv(wire.MESSAGE_MAX)
        except ConnectionError:
            return []
        return data.decode("utf-8", "replace").split("\0") if data else []

    def _send(self, *fields: str, fd: int = -1) -> None:
        """Send a message; a command that does not read misses it."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))] if fd >= 0 else []
        with contextlib.suppress(OSError):
            self.sock.sendmsg(["\0".join(fields).encode("utf-8", "surrogateescape")], rights, socket.MSG_DONTWAIT)


class SessionServer:
    """Accepts sessions on `listener`."""

    def __init__(
        self, listener: socket.socket, access: Access, manager: Manager, stores: Stores, connections: Connections
    ) -> None:
        self.listener = listener
        self.access = access
        self.manager = manager
        self.stores = stores
        self.connections = connections
        self.closing = False
        self.tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to accept."""
        self.listener.setblocking(False)
        asyncio.get_running_loop().add_reader(self.listener, self._accept)

    def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            sock, _ = self.listener.accept()
        except BlockingIOError:
            return
        except OSError:
            # Out of descriptors: the connection waits, and looking for it all the time would leave no time for those that end.
            loop.remove_reader(self.listener)
            loop.call_later(ACCEPT_PAUSE, self._resume)
            return
        sock.setblocking(False)
        try:
            _, uid, _ = peer_credentials(sock)
        except OSError:
            sock.close()
            return
        if not self.connections.enter(uid):
            sock.close()
            return
        task = asyncio.create_task(Session(sock, self).serve())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        task.add_done_callback(lambda _: self.connections.leave(uid))

    def _resume(self) -> None:
        if not self.closing:
            asyncio.get_running_loop().add_reader(self.listener, self._accept)

    def close(self) -> None:
        """Accept no more. Sandboxes that end from now on end because the daemon does."""
        self.closing = True
        asyncio.get_running_loop().remove_reader(self.listener)
        self.listener.close()
