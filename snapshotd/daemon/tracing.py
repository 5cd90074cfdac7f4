"""OpenTelemetry traces, when the configuration names a collector: a span for each call, as a child of the caller's (W3C trace context)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from quark.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

_tracer: Any = None
_propagator: Any = None
_provider: Any = None


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
    _provider = TracerProvider(resource=Resource.create({"service.name": "snapshotd"}))
    insecure = not endpoint.startswith("https://")
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=insecure)))
    _tracer = _provider.get_tracer("snapshotd")
    _propagator = TraceContextTextMapPropagator()


def close() -> None:
    """Send what is left."""
    if _provider is not None:
        _provider.shutdown()


@contextlib.contextmanager
def span(name: str, context: Any) -> Iterator[None]:
    """A span around a call; nothing when there is no collector."""
    if _tracer is None:
        yield
        return
    carrier = {k: v for k, v in context.invocation_metadata() or () if isinstance(v, str)}
    with _tracer.start_as_current_span(name, context=_propagator.extract(carrier)):
        yield


def steps(name: str, timeline: list[tuple[str, int]], start_ns: int, **attributes: str) -> None:
    """A span for a restore, with one below it for each step (name, microseconds)."""
    if _tracer is None:
        return
    from opentelemetry import trace

    parent = _tracer.start_span(name, start_time=start_ns, attributes=attributes)
    at = start_ns
    for step, us in timeline:
        child = _tracer.start_span(step, context=trace.set_span_in_context(parent), start_time=at)
        at += us * 1000
        child.end(end_time=at)
    parent.end(end_time=at)
