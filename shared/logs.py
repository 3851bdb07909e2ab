"""Writes one JSON object per line, each with the service and, inside a request, its id.

What happens is logged through structlog. The one line per request is written directly: it is the
same six fields each time, and on the fastest routes structlog would cost as much as the answer.
"""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog

from shared.config import ServiceConfig

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)


class _AccessLog:
    """Where the line of each request goes; nowhere until `start` says so."""

    service = ""
    on = False


_ACCESS = _AccessLog()


def start(config: ServiceConfig, service: str) -> None:
    """Send everything that is logged, by us or by libraries, to standard output."""
    level = logging.getLevelNamesMapping()[config.log_level.upper()]
    as_text = config.log_format == "text"
    _ACCESS.service = service
    _ACCESS.on = level <= logging.INFO
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _naming(service),
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=False)
        if as_text
        else structlog.processors.JSONRenderer(serializer=_to_line)
    )
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)


def access(
    request_id: str,
    method: str,
    route: str | None,
    status: int,
    seconds: float,
    traceparent: str | None,
) -> None:
    """The line of one answered request; the route's template stands for the path."""
    if not _ACCESS.on:
        return
    line = {
        "timestamp": datetime.now(UTC),
        "level": "info",
        "service": _ACCESS.service,
        "event": "request",
        "request_id": request_id,
        "method": method,
        "route": route,
        "status": status,
        "duration_ms": round(seconds * 1000, 2),
    }
    if traceparent is not None:
        line["traceparent"] = traceparent
    sys.stdout.write(orjson.dumps(line).decode() + "\n")


def _naming(service: str) -> Any:
    def add(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        event["service"] = service
        request_id = REQUEST_ID.get()
        if request_id is not None:
            event["request_id"] = request_id
        return event

    return add


def _to_line(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()
