"""grpc.health.v1: SERVING as long as the daemon does, and streams of it that end with the daemon instead of being cut off."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2 as hp
from grpc_health.v1.health_pb2_grpc import HealthServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable


class Health(HealthServicer):  # type: ignore[misc] # has no stubs
    """All services have one state: the daemon's."""

    def __init__(self, services: Iterable[str]) -> None:
        self.services = {"", *services}
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """NOT_SERVING from now on: callers may look for another daemon while this one answers the calls that have begun."""
        self._stopping.set()

    def _status(self) -> hp.HealthCheckResponse:
        state = hp.HealthCheckResponse
        return state(status=state.NOT_SERVING if self._stopping.is_set() else state.SERVING)

    async def Check(  # noqa: N802 - the service definition's name
        self, request: hp.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> hp.HealthCheckResponse:
        """Now."""
        if request.service not in self.services:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no service {request.service!r}")
        return self._status()

    async def List(  # noqa: N802
        self, _request: hp.HealthListRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> hp.HealthListResponse:
        """Of all services, now."""
        return hp.HealthListResponse(statuses={name: self._status() for name in self.services})

    async def Watch(  # noqa: N802
        self, request: hp.HealthCheckRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[hp.HealthCheckResponse]:
        """Now, and when it changes, which is at the end."""
        known = request.service in self.services
        yield self._status() if known else hp.HealthCheckResponse(status=hp.HealthCheckResponse.SERVICE_UNKNOWN)
        if not self._stopping.is_set():
            await self._stopping.wait()
            if known:
                yield self._status()
