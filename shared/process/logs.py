"""Structured logs: one JSON object per line, with the service and the request's id and trace.

The access line of each request is built here and not by structlog, whose chain of processors costs
several times as much. It contains the method, the route, the path without the query string, the
caller, and the client's address if it is known; it contains nothing else of the headers, so no
credential. Access lines are buffered for up to 50 ms, so that a busy process writes many of them
with one system call.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final

import orjson
import structlog
from aiohttp import web

from shared.process.config import ServiceConfig

FLUSH_S: Final = 0.05
PATH_LENGTH_MAX: Final = 200
_FAILURES_BEGIN: Final = 500
_LINE: Final = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z

access: AccessLog | None = None
"""The access log; None until `start`, and if the level is `error`."""

_request: ContextVar[tuple[str, str | None] | None] = ContextVar("request", default=None)


def bind_request(request_id: str, trace_id: str | None) -> None:
    """Add this request to every further log line of this task."""
    _request.set((request_id, trace_id))


class AccessLog:
    """One line per request."""

    def __init__(
        self, service: str, out: BinaryIO, *, as_text: bool = False, failures_only: bool = False
    ) -> None:
        self._failures_only = failures_only
        self._service = service
        self._out = out
        self._as_text = as_text
        self._lines: list[bytes] = []

    def add(self, request: web.BaseRequest, call: Any, status: int, seconds: float) -> None:
        """Note one request; `call` is what the edge knows about it."""
        failed = status >= _FAILURES_BEGIN
        if self._failures_only and not failed:
            return
        line: dict[str, Any] = {
            "event": "request",
            "level": "warning" if failed else "info",
            "timestamp": datetime.now(UTC),
            "service": self._service,
            "request_id": call.request_id,
            "method": request.method,
            "route": call.route,
            "path": request.path[:PATH_LENGTH_MAX],
            "status": status,
            "duration_ms": round(seconds * 1000, 3),
        }
        if call.trace_id is not None:
            line["trace_id"] = call.trace_id
        if call.caller is not None:
            line["workspace"] = call.caller.workspace_id
            line["caller"] = call.caller.id
            line["caller_kind"] = call.caller.kind
        if call.peer is not None:
            line["peer"] = call.peer
        elif call.caller is None:
            # Nobody said more: whoever is at the other end of the connection.
            line["peer"] = request.remote
        if call.upstream is not None:
            line["upstream"] = call.upstream
        if call.error is not None:
            line["error"] = call.error
        text = _plain(line) if self._as_text else _json(line)
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
        self._lines.append(text)

    def flush(self) -> None:
        """Write what waits."""
        lines, self._lines = self._lines, []
        self._out.write(b"".join(lines))
        self._out.flush()


def _json(line: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(line, option=_LINE)
    except orjson.JSONEncodeError:
        # The path is not valid text; it is the only field here that a client controls.
        return orjson.dumps({**line, "path": ascii(line["path"])}, option=_LINE)


def _plain(line: dict[str, Any]) -> bytes:
    text = (
        f"{line['timestamp']:%Y-%m-%d %H:%M:%S} [{line['level']:9}] {line['method']}"
        f" {line['path']!a} {line['status']} {line['duration_ms']} ms"
        f" request_id={line['request_id']}"
    )
    for name in ("peer", "workspace", "caller", "upstream", "error"):
        if name in line:
            text += f" {name}={line[name]}"
    return f"{text}\n".encode("ascii", "backslashreplace")


def start(config: ServiceConfig, service: str) -> None:
    """Send all logs, of this project and of libraries, to standard output."""
    global access  # noqa: PLW0603 - one process, one log
    level = logging.getLevelNamesMapping()[config.log_level.upper()]
    as_text = config.log_format == "text"
    common: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _name_request,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _naming(service),
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=False)
        if as_text
        else structlog.processors.JSONRenderer(serializer=_to_line)
    )
    ending = [renderer] if as_text else [structlog.processors.format_exc_info, renderer]
    structlog.configure(
        processors=[*common, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=common,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)
    access = None
    if level <= logging.WARNING:
        access = AccessLog(
            service, sys.stdout.buffer, as_text=as_text, failures_only=level > logging.INFO
        )


def stop() -> None:
    """Write what waits."""
    if access is not None:
        access.flush()


def _name_request(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    current = _request.get()
    if current is not None:
        event["request_id"] = current[0]
        if current[1] is not None:
            event["trace_id"] = current[1]
    return event


def _naming(service: str) -> Any:
    def add(
        _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        event["service"] = service
        return event

    return add


def _to_line(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=repr).decode()
