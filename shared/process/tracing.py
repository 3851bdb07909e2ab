"""OpenTelemetry tracing, if an exporter is configured; otherwise it costs one check of a flag.

`traceparent` is passed on to other services in both cases.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, Final

from aiohttp import web

ENDPOINT_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_SERVER_ERRORS: Final = 500

enabled = False
_tracer: Any = None
_propagator: Any = None
_provider: Any = None


def start(service: str, environment: Mapping[str, str] = os.environ) -> None:
    """Start exporting spans, if the standard OTEL_ variables name an endpoint."""
    global enabled, _tracer, _propagator, _provider  # noqa: PLW0603 - one process, one exporter
    if not any(environment.get(name) for name in ENDPOINT_VARIABLES):
        return
    # These imports take half a second, so they happen only if tracing is enabled.
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
        TraceContextTextMapPropagator,
    )

    _provider = TracerProvider(resource=Resource.create({"service.name": service}))
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(_provider)
    _tracer = trace.get_tracer("sigma")
    _propagator = TraceContextTextMapPropagator()
    enabled = True


def stop() -> None:
    """Send what waits."""
    global enabled  # noqa: PLW0603
    if enabled:
        enabled = False
        _provider.shutdown()


@contextmanager
def server_span(request: web.Request, route: str) -> Iterator[Any]:
    """The span of one request, a child of the caller's span."""
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    with _tracer.start_as_current_span(
        f"{request.method} {route}",
        context=_propagator.extract(request.headers),
        kind=SpanKind.SERVER,
        attributes={"http.request.method": request.method, "url.path": request.path},
    ) as span:
        yield span


def set_status(span: Any, status: int, route: str) -> None:
    """Record the outcome on the span."""
    from opentelemetry.trace import StatusCode  # noqa: PLC0415

    span.set_attribute("http.response.status_code", status)
    span.set_attribute("http.route", route)
    if status >= _SERVER_ERRORS:
        span.set_status(StatusCode.ERROR)


@contextmanager
def client_span(method: str, name: str, headers: MutableMapping[str, str]) -> Iterator[None]:
    """The span of a call to another service; adds it to the call's headers."""
    if not enabled:
        yield
        return
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    with _tracer.start_as_current_span(f"{method} {name}", kind=SpanKind.CLIENT):
        _propagator.inject(headers)
        yield
