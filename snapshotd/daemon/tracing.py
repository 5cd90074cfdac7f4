"""OpenTelemetry traces, when the configuration names a collector: a span for each call, as a child of the caller's (W3C trace context)."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from quark.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

EXPORT_SECONDS = 2  # a collector that does not answer must not keep the daemon from its end
_tracer: Any = None
_propagator: Any = None
_provider: Any = None
# Not OpenTelemetry's current span: a stream that is given up ends in another context than it began in, which that does not bear.
_current: ContextVar[Any] = ContextVar("span", default=None)


def configure(endpoint: str) -> None:
    """Send spans to a collector (OTLP over gRPC).

    Raises:
        ConfigError: the packages for it are not installed.
    """
    global _tracer, _propagator, _provider  # noqa: PLW0603 - one tracer a process
    if not endpoint:
        return
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError as e:
        raise ConfigError(f"otlp: {e.name} is not installed; pip install 'quark[tracing]'") from e
    _provider = TracerProvider(resource=Resource.create({"service.name": "snapshotd"}), shutdown_on_exit=False)
    insecure = not endpoint.startswith("https://")
    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=insecure, timeout=EXPORT_SECONDS)
    _provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = _provider.get_tracer("snapshotd")
    _propagator = TraceContextTextMapPropagator()


def close() -> None:
    """Send what is left."""
    if _provider is not None:
        _provider.shutdown()


class Span:
    """A call's; does nothing when there is no collector."""

    def __init__(self, span: Any = None) -> None:
        self.span = span

    def finish(self, code: str) -> None:
        """Name the status that the call is answered with."""
        if self.span is not None:
            self.span.set_attribute("rpc.grpc.status", code)
            if code != "OK":
                from opentelemetry.trace import StatusCode

                self.span.set_status(StatusCode.ERROR, code)


@contextlib.contextmanager
def span(name: str, context: Any) -> Iterator[Span]:
    """A span around a call."""
    if _tracer is None:
        yield Span()
        return
    from opentelemetry.trace import SpanKind

    carrier = {k: v for k, v in context.invocation_metadata() or () if isinstance(v, str)}
    made = _tracer.start_span(name, context=_propagator.extract(carrier), kind=SpanKind.SERVER)
    _current.set(made)
    try:
        yield Span(made)
    finally:
        made.end()


def current() -> Any:
    """The span of the call that is being answered, or None: for what goes on after the call."""
    return _current.get()


def steps(name: str, timeline: list[tuple[str, int]], start_ns: int, parent: Any, **attributes: str) -> None:
    """A span for a restore below `parent`, with one below it for each step (name, microseconds)."""
    if _tracer is None:
        return
    from opentelemetry import trace

    above = trace.set_span_in_context(parent) if parent is not None else None
    restore = _tracer.start_span(name, context=above, start_time=start_ns, attributes=attributes)
    at = start_ns
    for step, us in timeline:
        child = _tracer.start_span(step, context=trace.set_span_in_context(restore), start_time=at)
        at += us * 1000
        child.end(end_time=at)
    restore.end(end_time=at)
