"""Puts the daemon together, runs it until it is told to stop, and takes it apart."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
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
from snapshotd.daemon import logs, systemd, tracing
from snapshotd.daemon.access import Access
from snapshotd.daemon.manager import Manager
from snapshotd.daemon.metrics import Metrics
from snapshotd.daemon.relay import Relay, listen
from snapshotd.daemon.sandboxes import SandboxService
from snapshotd.daemon.session import SessionServer
from snapshotd.daemon.snapshots import SnapshotService
from snapshotd.daemon.statistics import StatisticsService
from snapshotd.daemon.stores import Stores

if TYPE_CHECKING:
    from snapshotd.daemon.config import Config, Tcp

log = logging.getLogger("snapshotd")
SERVICES = ("SnapshotService", "SandboxService", "StatisticsService")
GRACE_SECONDS = 5.0
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
        self.access = Access(config)
        self.metrics = Metrics()
        # First of all: two daemons on one store must not meet.
        self.stores = Stores(config)
        self.manager = Manager(config, self.metrics)
        self.stopping = asyncio.Event()
        self.exporter: object = None

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        self.manager.start()
        server = grpc.aio.server(options=OPTIONS)
        status = self._add_services(server)
        inner = os.path.join(self.run_directory, "grpc.sock")
        listen(inner, socket.SOCK_STREAM, 0o600).close()  # so that the name is free and its directory there
        os.unlink(inner)
        old = os.umask(0o177)
        try:
            server.add_insecure_port(f"unix:{inner}")
            await server.start()
        finally:
            os.umask(old)
        if self.config.tcp is not None:
            self._listen_tcp(server, self.config.tcp)
        public, session = self._sockets()
        relay, sessions = Relay(public, inner), SessionServer(session, self.access, self.manager)
        self.exporter = self.metrics.serve(self.config.metrics, self.manager, self.stores)
        tracing.configure(self.config.otlp)
        relay.start()
        sessions.start()
        background = [asyncio.create_task(systemd.watchdog()), asyncio.create_task(self.stores.collect_regularly())]
        for name in SERVICES:
            await status.set(f"quark.snapshot.v1.{name}", health_pb2.HealthCheckResponse.SERVING)
        log.info(
            "ready", extra={"version": quark.__version__, "root": self.config.root, "socket": self.config.socket_path}
        )
        systemd.notify("READY=1")
        await self.stopping.wait()
        systemd.notify("STOPPING=1")
        log.info("stopping", extra={"sandboxes": self.manager.running})
        await status.enter_graceful_shutdown()
        relay.close()
        sessions.close()
        for task in background:
            task.cancel()
        await self.manager.close()
        await server.stop(GRACE_SECONDS)

    def close(self) -> None:
        """Let go of the store and the sockets."""
        self.stores.close()
        tracing.close()

    def _add_services(self, server: grpc.aio.Server) -> Any:
        parts = (self.access, self.manager, self.stores, self.metrics)
        snapshots_pb2_grpc.add_SnapshotServiceServicer_to_server(SnapshotService(*parts), server)
        sandboxes_pb2_grpc.add_SandboxServiceServicer_to_server(SandboxService(*parts), server)
        statistics_pb2_grpc.add_StatisticsServiceServicer_to_server(StatisticsService(*parts), server)
        status = health.aio.HealthServicer()  # type: ignore[attr-defined] # the stubs lack it
        health_pb2_grpc.add_HealthServicer_to_server(status, server)
        names = [
            module.DESCRIPTOR.services_by_name[name].full_name
            for module, name in zip((snapshots_pb2, sandboxes_pb2, statistics_pb2), SERVICES, strict=True)
        ]
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
        return status

    @staticmethod
    def _listen_tcp(server: grpc.aio.Server, tcp: Tcp) -> None:
        try:
            key, certificate, ca = (open(p, "rb").read() for p in (tcp.key, tcp.certificate, tcp.client_ca))  # noqa: SIM115 - read at once
            credentials = grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=True)
            server.add_secure_port(tcp.listen, credentials)
        except (OSError, RuntimeError, ValueError) as e:
            raise ConfigError(f"tcp: cannot listen on {tcp.listen}: {e}") from e

    def _sockets(self) -> tuple[socket.socket, socket.socket]:
        """The public gRPC socket and the session socket: the service manager's, or our own."""
        mode = 0o666 if self.access.open_to_others else 0o600
        given = {s.type: s for s in systemd.listen_sockets()}
        public = given.get(socket.SOCK_STREAM) or listen(self.config.socket_path, socket.SOCK_STREAM, mode)
        path = os.path.join(os.path.dirname(self.config.socket_path), "session.sock")
        session = given.get(socket.SOCK_SEQPACKET) or listen(path, socket.SOCK_SEQPACKET, mode)
        return public, session


def main(config: Config) -> None:
    """Run a daemon in this process to its end.

    Raises:
        StoreBusyError: there is one already.
        ConfigError: it cannot be started like that.
    """
    logs.configure(config.log, config.log_level)

    async def run() -> None:
        daemon = Daemon(config)
        try:
            await daemon.run()
        finally:
            daemon.close()

    asyncio.run(run())
