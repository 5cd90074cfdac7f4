"""What every method of the API goes through: who calls, which domain, a span, a log line, metrics, and errors turned into statuses."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import time
from typing import TYPE_CHECKING, Any

import grpc.aio

from quark.errors import QuarkError
from snapshotd.daemon import tracing
from snapshotd.daemon.errors import abort, code_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from snapshotd.daemon.access import Access
    from snapshotd.daemon.config import Domain
    from snapshotd.daemon.manager import Manager
    from snapshotd.daemon.metrics import Metrics
    from snapshotd.daemon.stores import Stores

log = logging.getLogger("snapshotd")


class Service:
    """Base of the services: what they work with."""

    def __init__(self, access: Access, manager: Manager, stores: Stores, metrics: Metrics) -> None:
        self.access = access
        self.manager = manager
        self.stores = stores
        self.metrics = metrics


class _Call:
    """One call, from its first to its last moment."""

    def __init__(self, service: Service, name: str, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self.service, self.name, self.context = service, name, context
        self.started = time.perf_counter()
        self.code = "OK"
        self.who, self.domain = "", ""
        self.message = ""

    def enter(self) -> Domain:
        """Who calls."""
        caller = self.service.access.caller(self.context)
        self.who, self.domain = caller.who, caller.domain.name
        return caller.domain

    async def fail(self, error: BaseException) -> None:
        """Answer with the error's status."""
        self.code = code_of(error)
        self.message = str(error)
        if not isinstance(error, QuarkError):
            log.error("%s failed", self.name, exc_info=error)
        await abort(self.context, error)

    def leave(self, span: tracing.Span) -> None:
        """Log, count and trace."""
        span.finish(self.code)
        seconds = time.perf_counter() - self.started
        self.service.metrics.call(self.name, self.code, seconds)
        level = logging.INFO if self.code in {"OK", "CANCELLED"} else logging.WARNING
        extra: dict[str, Any] = {"method": self.name, "caller": self.who, "domain": self.domain, "code": self.code}
        if self.message:
            extra["error"] = self.message
        extra["ms"] = round(seconds * 1e3, 3)
        # After the answer has been sent: nobody has to wait for the log.
        asyncio.get_running_loop().call_soon(functools.partial(log.log, level, "call", extra=extra))


def unary(
    method: Callable[[Any, Domain, Any], Awaitable[Any]],
) -> Callable[[Any, Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[Any]]:
    """Make a method (domain, request) -> response one of the API."""

    @functools.wraps(method)
    async def served(self: Service, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        call = _Call(self, method.__name__, context)
        with tracing.span(method.__name__, context) as span:
            try:
                return await method(self, call.enter(), request)
            except asyncio.CancelledError:
                call.code = "CANCELLED"
                raise
            except grpc.aio.AbortError:
                raise
            except Exception as e:  # noqa: BLE001 - every error becomes a status
                await call.fail(e)
            finally:
                call.leave(span)

    return served


def stream(
    method: Callable[[Any, Domain, Any], AsyncIterator[Any]],
) -> Callable[[Any, Any, grpc.aio.ServicerContext[Any, Any]], AsyncIterator[Any]]:
    """Make an async generator (domain, request or requests) -> responses one of the API."""
    assert inspect.isasyncgenfunction(method)  # noqa: S101 - a mistake of ours

    @functools.wraps(method)
    async def served(self: Service, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        call = _Call(self, method.__name__, context)
        with tracing.span(method.__name__, context) as span:
            answers = None
            try:
                answers = method(self, call.enter(), request)
                async for answer in answers:
                    yield answer
            except (asyncio.CancelledError, GeneratorExit):
                call.code = "CANCELLED"
                raise
            except grpc.aio.AbortError:
                raise
            except Exception as e:  # noqa: BLE001 - every error becomes a status
                await call.fail(e)
            finally:
                if answers is not None:
                    await answers.aclose()
                call.leave(span)

    return served
