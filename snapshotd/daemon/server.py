"""Puts the daemon together, runs it until it is told to stop, and takes it apart."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
from typing import TYPE_CHECKING

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

import quark
from quark.errors import ConfigError
from quark.snapshot.v1 import (
    sandboxes_pb2,
    sandboxes_pb2_grpc,
    snapshots_pb2,
    snapshots_pb2_grpc,
    statistics_pb2,
    statistics_pb2_grpc,
)
from snapshotd.daemon import errors, logs, systemd, tracing
from snapshotd.daemon.access import Access
from snapshotd.daemon.connections import Connections
from snapshotd.daemon.health import Health
from snapshotd.daemon.manager import Manager
from snapshotd.daemon.metrics import Metrics
from snapshotd.daemon.pipe import end_threads
from snapshotd.daemon.relay import Relay, listen
from snapshotd.daemon.sandboxes import SandboxService
from snapshotd.daemon.session import SessionServer
from snapshotd.daemon.snapshots import SnapshotService
from snapshotd.daemon.statistics import StatisticsService
from snapshotd.daemon.stores import Stores
from snapshotd.daemon.threads import Threads

if TYPE_CHECKING:
    from snapshotd.daemon.config import Config, Tcp

log = logging.getLogger("snapshotd")
SERVICES = ("SnapshotService", "SandboxService", "StatisticsService")
GRACE_SECONDS = 5.0
THREADS = 16
# An ended sandbox is a circle of some sixty objects and 20 KiB: all generations are looked at every 200 sandboxes, instead of every 1,000.
GC_THRESHOLDS = (700, 10, 2)
OPTIONS = (
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
)


class Daemon:
    """One state directory's daemon."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.run_directory = os.path.join(config.root, "run")
        errors.hide(config.root, "the state directory")
        self.access = Access(config)
        self.metrics = Metrics()
        # First of all: two daemons on one store must not meet.
        self.stores = Stores(config)
        self.manager = Manager(config, self.metrics, self.stores)
        self.stopping = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; then take everything apart, in the reverse order."""
        loop = asyncio.get_running_loop()
        # Long work has a thread for itself each (stores.py); these are for what asks the catalogue or the pager.
        loop.set_default_executor(Threads(THREADS, "snapshotd"))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        async with contextlib.AsyncExitStack() as undo:
            undo.callback(self.close)
            tracing.configure(self.config.otlp)
            undo.callback(tracing.close)
            undo.callback(self.metrics.serve(self.config.metrics, self.manager, self.stores))
            self.manager.start()
            undo.callback(self.manager.pool.close)
            server = grpc.aio.server(options=OPTIONS)
            health = self._add_services(server)
            inner = await self._start(server)
            undo.push_async_callback(server.stop, GRACE_SECONDS)
            undo.push_async_callback(self.manager.close)  # before that: whoever waits for a sandbox has an answer then
            public, session = self._sockets(undo)
            connections = Connections()
            relay = Relay(public, inner, self.access, connections)
            sessions = SessionServer(session, self.access, self.manager, self.stores, connections)
            relay.start()
            undo.callback(relay.close)
            sessions.start()
            undo.callback(sessions.close)
            for work in (systemd.watchdog(), self.stores.collect_regularly()):
                undo.callback(asyncio.create_task(work).cancel)
            log.info(
                "ready",
                extra={"version": quark.__version__, "root": self.config.root, "socket": self.config.socket_path},
            )
            gc.collect()
            gc.freeze()  # all that has been imported stays: no collection has to look at it in the middle of a call
            gc.set_threshold(*GC_THRESHOLDS)
            systemd.notify("READY=1")
            await self.stopping.wait()
            systemd.notify("STOPPING=1")
            log.info("stopping", extra={"sandboxes": self.manager.running})
            health.stop()

    async def _start(self, server: grpc.aio.Server) -> str:
        """Bind and start gRPC; the path of its own unix socket."""
        inner = os.path.join(self.run_directory, "grpc.sock")
        listen(inner, socket.SOCK_STREAM, 0o600).close()  # so that the name is free and its directory there
        os.unlink(inner)
        if self.config.tcp is not None:
            self._listen_tcp(server, self.config.tcp)
        old = os.umask(0o177)
        try:
            server.add_insecure_port(f"unix:{inner}")
            await server.start()
        finally:
            os.umask(old)
        return inner

    def close(self) -> None:
        """Let go of the store."""
        self.stores.close()

    def _add_services(self, server: grpc.aio.Server) -> Health:
        parts = (self.access, self.manager, self.stores, self.metrics)
        snapshots_pb2_grpc.add_SnapshotServiceServicer_to_server(SnapshotService(*parts), server)
        sandboxes_pb2_grpc.add_SandboxServiceServicer_to_server(SandboxService(*parts), server)
        statistics_pb2_grpc.add_StatisticsServiceServicer_to_server(StatisticsService(*parts), server)
        names = [
            module.DESCRIPTOR.services_by_name[name].full_name
            for module, name in zip((snapshots_pb2, sandboxes_pb2, statistics_pb2), SERVICES, strict=True)
        ]
        health = Health(names)
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
        health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        reflection.enable_server_reflection([*names, health_name, reflection.SERVICE_NAME], server)
        return health

    @staticmethod
    def _listen_tcp(server: grpc.aio.Server, tcp: Tcp) -> None:
        try:
            key, certificate, ca = (open(p, "rb").read() for p in (tcp.key, tcp.certificate, tcp.client_ca))  # noqa: SIM115 - read at once
            credentials = grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=True)
            server.add_secure_port(tcp.listen, credentials)
        except (OSError, RuntimeError, ValueError) as e:
            raise ConfigError(f"tcp: cannot listen on {tcp.listen}: {e}; check the address and the three files") from e

    def _sockets(self, undo: contextlib.AsyncExitStack) -> tuple[socket.socket, socket.socket]:
        """The public gRPC socket and the session socket: the service manager's, or our own."""
        path = self.config.socket_path
        paths = {
            socket.SOCK_STREAM: path,
            socket.SOCK_SEQPACKET: os.path.join(os.path.dirname(path), "session.sock"),
        }
        found = {s.type: s for s in systemd.listen_sockets()}
        for kind, where in paths.items():
            if kind not in found:
                found[kind] = listen(where, kind, 0o666 if self.access.open_to_others else 0o600)
                undo.callback(_unlink, where)
        return found[socket.SOCK_STREAM], found[socket.SOCK_SEQPACKET]


def _unlink(path: str) -> None:
    """The daemon's own socket; gone already is as good."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def main(config: Config) -> None:
    """Run a daemon in this process to its end.

    Raises:
        StoreBusyError: there is one already.
        ConfigError: it cannot be started like that.
    """
    logs.configure(config.log, config.log_level)
    # A sandbox takes six descriptors here; the soft limit of 1024 is for programs that use select(2).
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    async def run() -> None:
        await Daemon(config).run()

    asyncio.run(run())
    end_threads()
