"""OpenTelemetry traces, if a collector is configured; otherwise they cost one check of a flag.

A trace goes from the client's request through all services, and with the event of a change on to
whoever handles it: `shared.events.TRACE` is what events staged meanwhile carry as `traceparent`.
Attributes name operations, ids and outcomes. Query strings, bodies, headers, addresses of receivers
and the texts of errors are never among them: they may hold what is secret.

Spans are sent by a thread of their own. What a collector does not take in time is dropped.
`traceparent` is passed on to other services in any case.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from aiohttp import web

from shared import VERSION
from shared.events import TRACE, Event, trace_in
from shared.process.config import collector_url

STOP_S_MAX: Final = 2.0
"""How long a process that stops waits for a collector to take its last spans."""
PATH_LENGTH_MAX: Final = 200
_SERVER_ERRORS: Final = 500

enabled = False
_tracer: Any = None
_propagator: Any = None
_provider: Any = None


def start(service: str, environment: Mapping[str, str] = os.environ) -> None:
    """Start exporting spans, if the standard OTEL_ variables name a collector."""
    global enabled, _tracer, _propagator, _provider  # noqa: PLW0603 - one process, one exporter
    if collector_url(environment) is None:
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

    described = Resource.create({"service.name": service, "service.version": VERSION})
    _provider = TracerProvider(resource=described, shutdown_on_exit=False)
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(_provider)
    _tracer = trace.get_tracer("sigma")
    _propagator = TraceContextTextMapPropagator()
    enabled = True


def stop() -> None:
    """Send what waits, for `STOP_S_MAX` at most: a collector that hangs holds up no process."""
    global enabled  # noqa: PLW0603
    if enabled:
        enabled = False
        sending = threading.Thread(target=_provider.shutdown, name="last spans", daemon=True)
        sending.start()
        sending.join(STOP_S_MAX)


@contextmanager
def server_span(request: web.Request, route: str) -> Iterator[Any]:
    """The span of one request, a child of the caller's span."""
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    attributes = {
        "http.request.method": request.method,
        "url.path": request.path[:PATH_LENGTH_MAX],
    }
    context = _propagator.extract(request.headers)
    with _span(f"{request.method} {route}", SpanKind.SERVER, attributes, context) as span:
        yield span


def set_status(span: Any, method: str, status: int, route: str) -> None:
    """Record the outcome of a request on its span; a gateway knows the route only now."""
    span.update_name(f"{method} {route}")
    span.set_attribute("http.response.status_code", status)
    span.set_attribute("http.route", route)
    if status >= _SERVER_ERRORS:
        note_failure(span)


def note_failure(span: Any) -> None:
    """Record that what the span stands for has failed."""
    from opentelemetry.trace import StatusCode  # noqa: PLC0415

    span.set_status(StatusCode.ERROR)


@contextmanager
def client_span(method: str, name: str, headers: MutableMapping[str, str]) -> Iterator[None]:
    """The span of a call to another service, which its headers then name as the parent.

    Only within a trace: what a process asks on its own, again and again, tells nobody anything.
    """
    if not enabled or TRACE.get() is None:
        yield
        return
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    attributes = {"http.request.method": method, "peer.service": name}
    with _span(f"{method} {name}", SpanKind.CLIENT, attributes):
        _propagator.inject(headers)
        yield


@contextmanager
def handling(queue: str, event: Event) -> Iterator[None]:
    """The span of what a consumer does with an event, in the trace of its cause."""
    if not enabled or event.traceparent is None:
        yield
        return
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    attributes = _of_message("process", queue, event.type, event.id) | {
        "sigma.workspace": event.workspace_id
    }
    context = _propagator.extract({"traceparent": event.traceparent})
    with _span(f"process {event.type}", SpanKind.CONSUMER, attributes, context):
        yield


@contextmanager
def caused_by(traceparent: str | None) -> Iterator[None]:
    """What is done meanwhile is in the trace of what caused it, perhaps long ago."""
    token = TRACE.set(traceparent)
    try:
        yield
    finally:
        TRACE.reset(token)


@contextmanager
def delivering(
    delivery_id: str, number: int, host: str, headers: MutableMapping[str, str]
) -> Iterator[None]:
    """The span of one request to a receiver of webhooks; its headers name it as the parent.

    `number` counts the requests of a delivery. Of the address the trace has the host alone: what
    follows may be a secret.
    """
    traceparent = TRACE.get()
    if not enabled or traceparent is None:
        yield
        return
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    attributes: dict[str, str | int] = {
        "http.request.method": "POST",
        "http.request.resend_count": number,
        "server.address": host,
        "sigma.delivery": delivery_id,
    }
    context = _propagator.extract({"traceparent": traceparent})
    with _span("POST webhook", SpanKind.CLIENT, attributes, context):
        _propagator.inject(headers)
        yield


def note_published(exchange: str, rows: Iterable[Any], began: int) -> None:
    """The spans of events that the broker has just confirmed; `began` is a time in nanoseconds.

    `rows` have `type`, `event_id` and `document`.
    """
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    ended = time.time_ns()
    for row in rows:
        traceparent = trace_in(row["document"])
        if traceparent is not None:
            _tracer.start_span(
                f"send {row['type']}",
                context=_propagator.extract({"traceparent": traceparent}),
                kind=SpanKind.PRODUCER,
                attributes=_of_message("send", exchange, row["type"], row["event_id"]),
                start_time=began,
            ).end(ended)


def note_run(
    kind: str,
    run_id: str,
    workspace_id: str,
    traceparent: str | None,
    *,
    began: datetime,
    outcome: str,
    failed: bool,
) -> None:
    """The span of work in the background that has just ended, in the trace of who asked for it.

    One for all of it, in however many turns and processes it was done; none for what nobody asked
    for, such as a run by schedule. `kind` says what it was: `import`.
    """
    if not enabled or traceparent is None:
        return
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    span = _tracer.start_span(
        f"run {kind}",
        context=_propagator.extract({"traceparent": traceparent}),
        kind=SpanKind.INTERNAL,
        attributes={"sigma.workspace": workspace_id, "sigma.run": run_id, "sigma.outcome": outcome},
        start_time=int(began.timestamp() * 1e9),
    )
    if failed:
        note_failure(span)
    span.end()


def note_outcome(outcome: str | int, *, failed: bool) -> None:
    """What has become of the work of the current span: a word, or the status of an answer."""
    if enabled:
        from opentelemetry import trace  # noqa: PLC0415

        span = trace.get_current_span()
        is_status = isinstance(outcome, int)
        span.set_attribute("http.response.status_code" if is_status else "sigma.outcome", outcome)
        if failed:
            note_failure(span)


def _of_message(operation: str, place: str, event_type: str, event_id: str) -> dict[str, str]:
    return {
        "messaging.system": "rabbitmq",
        "messaging.operation.type": operation,
        "messaging.destination.name": place,
        "messaging.message.id": event_id,
        "cloudevents.event_type": event_type,
    }


@contextmanager
def _span(
    name: str, kind: Any, attributes: Mapping[str, str | int], context: Any = None
) -> Iterator[Any]:
    """A span that is current meanwhile, also for events that are staged."""
    from opentelemetry.trace import StatusCode  # noqa: PLC0415

    # The text of an exception may repeat what a client has sent.
    with _tracer.start_as_current_span(
        name,
        context=context,
        kind=kind,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        carrier: dict[str, str] = {}
        _propagator.inject(carrier)
        token = TRACE.set(carrier.get("traceparent"))
        try:
            yield span
        except Exception as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(StatusCode.ERROR)
            raise
        finally:
            TRACE.reset(token)


def trace_id_of(span: Any) -> str:
    """The id by which logs name the trace."""
    return f"{span.get_span_context().trace_id:032x}"
