"""The middleware around every handler.

In this order: the request id, the signed identity, the permission, the size of the body, the
deadline; then the handler; then its answer or the envelope of the error that it raised. Each
request is counted and logged. It is one function and not a stack of middlewares, because every
request pays for each layer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any, Final

import structlog
from aiohttp import HttpVersion10, HttpVersion11, hdrs, web
from aiohttp.web_protocol import RequestPayloadError
from aiohttp.web_urldispatcher import AbstractRoute
from multidict import CIMultiDict

from shared.errors import (
    ApiError,
    InternalError,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    PermissionDenied,
    Unauthorized,
    UpstreamTimeout,
    ValidationError,
)
from shared.http.context import (
    CALL,
    DEADLINE_HEADER,
    REQUEST_ID_HEADER,
    TRACE_HEADER,
    Call,
    deadline_from,
    request_id_from,
    trace_id_from,
)
from shared.http.limits import body_limit
from shared.http.messages import shown
from shared.http.responses import error_response, keep_only_id
from shared.http.retries import IDEMPOTENCY_KEY, PREFER, READS, as_asked
from shared.http.routes import Guarded, Handler, Route
from shared.identity import IDENTITY_HEADER, Identity, IdentityVerifier
from shared.process import logs, tracing
from shared.process.metrics import REQUESTS
from shared.process.waiting import ASKING, WAITED_HEADER, waited_from
from shared.process.workspace_metrics import WORKSPACES

SERVER: Final = "Sigma"
NO_ROUTE: Final = "-"
TICK_S: Final = 0.02
"""The resolution of deadlines."""
_CLIENT_GONE: Final = 499
_REFUSED_STATUSES: Final = range(400, 500)

_REFUSALS: Final = frozenset({401, 403, 429})
"""Statuses that are logged in a line of their own, with the reason."""

log = structlog.get_logger("http")

Middleware = Any
Complete = Callable[[web.BaseRequest | None, CIMultiDict[str]], None]
"""Adds an application's own headers to the headers of an answer.

It is given every answer, also what the connection refuses; the request is None where there is none.
"""
COMPLETE: Final[web.AppKey[Complete]] = web.AppKey("complete")


class Edge:
    """The middleware of one application, and the rules of its routes."""

    def __init__(
        self,
        verifier: IdentityVerifier,
        body_bytes_max: int,
        draining: asyncio.Event,
        open_below: tuple[str, ...] = (),
    ) -> None:
        self.routes: dict[AbstractRoute, Route] = {}
        self._open_below = open_below
        self._verifier = verifier
        self._body_bytes_max = body_bytes_max
        self._draining = draining
        self._waiting: dict[Call, asyncio.Task[Any]] = {}
        self._ticks = False

    def body_bytes_max(self, route: Route | None) -> int:
        """The maximum size of a body for this route."""
        declared = None if route is None else route.body_bytes_max
        return body_limit(declared, self._body_bytes_max)

    def middleware(self) -> Middleware:
        """The middleware for `web.Application`."""

        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            began = perf_counter()
            headers = request.headers
            route = self.routes.get(request.match_info.route)
            call = Call(
                request_id_from(headers.get(REQUEST_ID_HEADER)),
                NO_ROUTE if route is None else route.path,
                self.body_bytes_max(route),
                headers,
            )
            if TRACE_HEADER in headers:
                call.trace_id = trace_id_from(headers[TRACE_HEADER])
            request[CALL] = call
            if WAITED_HEADER in headers:
                call.waited_s = waited_from(headers[WAITED_HEADER])
            ASKING.set(call)
            logs.bind_request(call.request_id, call.trace_id)
            REQUESTS.in_flight += 1
            status = _CLIENT_GONE
            try:
                if tracing.enabled:
                    response = await self._traced(request, handler, route, call)
                else:
                    response = await self._answered(request, handler, route, call)
                status = response.status
            finally:
                REQUESTS.in_flight -= 1
                seconds = perf_counter() - began
                is_timed = REQUESTS.count(request.method, call.route, status, seconds)
                workspace_id = "" if call.caller is None else call.caller.workspace_id
                WORKSPACES.count(workspace_id, status, seconds if is_timed else None)
                if logs.access is not None:
                    logs.access.add(request, call, status, seconds)
            if self._draining.is_set():
                response.force_close()
            return response

        return middleware

    async def _answered(
        self, request: web.Request, handler: Handler, route: Route | None, call: Call
    ) -> web.StreamResponse:
        try:
            check_address(request)
            if not (request.path.startswith(self._open_below) if route is None else route.open):
                call.identity = call.caller = authenticated(request, self._verifier)
                if route is not None:
                    check_access(call.identity, route)
            if request.body_exists:
                check_body_size(request, call.body_bytes_max)
            if request.method not in READS and (
                IDEMPOTENCY_KEY in request.headers or PREFER in request.headers
            ):
                handler = as_asked(request, route, call, handler)
            if DEADLINE_HEADER not in request.headers or (route is not None and route.streams):
                response = await handler(request)
            else:
                response = await self._within_deadline(request, handler, call)
            # The identity is checked first, because nearly every caller may read.
            may_read = call.identity is None or call.identity.may_read
            return response if may_read else without_reading(response, route)
        except ApiError as error:
            if error.upstream is not None:
                call.upstream, call.error = error.upstream, error.reason
            if error.status in _REFUSALS:
                log_refusal(request, call, error)
            return _refused(request, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets two fields
            return _refused(request, self._to_api_error(request, error))

    async def _within_deadline(
        self, request: web.Request, handler: Handler, call: Call
    ) -> web.StreamResponse:
        """Cancel the handler when the caller has stopped waiting; its transaction rolls back.

        What `asyncio.timeout_at` does at 9 us: every request that comes through the gateway has a
        deadline, so all of them share one timer.
        """
        call.deadline = deadline_from(request.headers[DEADLINE_HEADER])
        task = asyncio.current_task()
        if call.deadline is None or task is None:
            return await handler(request)
        loop = asyncio.get_running_loop()
        if call.deadline <= loop.time():
            raise UpstreamTimeout
        self._waiting[call] = task
        if not self._ticks:
            self._ticks = True
            loop.call_later(TICK_S, self._tick, loop)
        try:
            return await handler(request)
        except asyncio.CancelledError:
            # A client that has gone at the same time cancels as well, and that one stays.
            if call not in self._waiting and task.uncancel() == 0:
                raise UpstreamTimeout from None
            raise
        finally:
            self._waiting.pop(call, None)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel the requests whose deadline has passed."""
        now = loop.time()
        for call, task in tuple(self._waiting.items()):
            if call.deadline is not None and call.deadline <= now:
                del self._waiting[call]
                task.cancel()
        self._ticks = bool(self._waiting)
        if self._ticks:
            loop.call_later(TICK_S, self._tick, loop)

    async def _traced(
        self, request: web.Request, handler: Handler, route: Route | None, call: Call
    ) -> web.StreamResponse:
        with tracing.server_span(request, call.route) as span:
            if call.trace_id is None:
                # Nobody has named a trace, so this is the beginning of one.
                call.trace_id = tracing.trace_id_of(span)
                logs.bind_request(call.request_id, call.trace_id)
            response = await self._answered(request, handler, route, call)
            tracing.set_status(span, request.method, response.status, call.route)
            return response

    def _to_api_error(self, request: web.Request, error: Exception) -> ApiError:
        if isinstance(error, web.HTTPException):
            return to_api_error(error, request, self._body_bytes_max)
        if isinstance(error, RequestPayloadError):
            return ValidationError("The request body is malformed")
        if isinstance(error, ConnectionError) and request.transport is None:
            raise error
        log.error("unexpected_error", method=request.method, path=request.path, exc_info=error)
        return InternalError()


def naming(complete: Complete | None) -> Callable[[web.Request, web.StreamResponse], Any]:
    """Signal `on_response_prepare`: what every answer carries, also one that is streamed."""

    async def name_answer(request: web.Request, response: web.StreamResponse) -> None:
        call = request.get(CALL)
        headers = response.headers
        headers[REQUEST_ID_HEADER] = (
            request_id_from(request.headers.get(REQUEST_ID_HEADER))
            if call is None
            else call.request_id
        )
        headers[hdrs.SERVER] = SERVER
        if complete is not None:
            complete(request, headers)

    return name_answer


def check_address(request: web.Request) -> None:
    """Refuse what no handler could put into a statement: NUL, and bytes that are no text."""
    raw = request.raw_path
    if "%00" in raw or not raw.isascii():
        path, _, _ = raw.partition("?")
        where = "path" if "%00" in path or not path.isascii() else "query"
        raise ValidationError(f"The {where} contains a NUL or an unencoded character")
    if request.version is not HttpVersion11 and request.version < HttpVersion10:
        raise ValidationError("Malformed HTTP: the request line has no version")


def authenticated(request: web.Request, verifier: IdentityVerifier) -> Identity:
    """The caller, or `Unauthorized`, even if the path does not exist."""
    token = request.headers.get(IDENTITY_HEADER)
    if token is None:
        raise Unauthorized("Missing authentication")
    return verifier.verify(token)


def log_refusal(request: web.Request, call: Call, error: ApiError) -> None:
    """Log a refused request, its caller and the reason, in more detail than the client gets."""
    about: dict[str, str | None] = {"peer": call.peer or request.remote}
    if call.caller is not None:
        about = {"workspace": call.caller.workspace_id, "caller": call.caller.id}
        if call.peer is not None:
            about["peer"] = call.peer
    # A token that has expired is nothing to look at; what a known caller may not do is.
    tell = log.warning if error.status == PermissionDenied.status else log.info
    tell(
        "refused",
        status=error.status,
        reason=error.reason or error.first,
        method=request.method,
        route=call.route,
        **about,
    )


def check_access(identity: Identity, route: Guarded) -> None:
    """The one place that decides whether this caller may use this route at all.

    Raises `PermissionDenied` with the reason, which is for the log and for explanations.
    """
    if route.internal:
        return
    if identity.kind == "service":
        raise PermissionDenied
    if route.user_only:
        identity.require_user()
    if route.permission is not None:
        identity.require(route.permission)
    if route.flag is not None:
        identity.require_flag(route.flag)
    if route.administrators:
        identity.require_unrestricted()


def without_reading(response: web.StreamResponse, route: Route | None) -> web.StreamResponse:
    """The answer to a write for a caller who may not read: the id, and the version as `ETag`.

    Here and not in each handler, so that no write that comes later can forget it.
    """
    if route is not None and route.writes:
        keep_only_id(response)
    return response


def check_body_size(request: web.Request, bytes_max: int) -> None:
    """Refuse a body that says itself that it is too large; one that does not say is counted."""
    length = request.headers.get(hdrs.CONTENT_LENGTH)
    if length is not None and int(length) > bytes_max:
        raise PayloadTooLarge(_too_large(bytes_max))


def _too_large(bytes_max: int) -> str:
    return f"Request body exceeds {bytes_max} bytes"


def to_api_error(error: web.HTTPException, request: web.BaseRequest, bytes_max: int) -> ApiError:
    """The error for an exception of aiohttp's router or parser."""
    if isinstance(error, web.HTTPNotFound):
        return NotFound(f"Route {shown(request.path)} not found")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return MethodNotAllowed(
            f"Method {shown(request.method)} is not allowed for {shown(request.path)},"
            f" expected {allowed}",
            headers={hdrs.ALLOW: allowed},
        )
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        text = error.text or ""
        return PayloadTooLarge(text if text.startswith("Request body") else _too_large(bytes_max))
    if isinstance(error, web.HTTPExpectationFailed):
        expected = request.headers.get(hdrs.EXPECT)
        return ValidationError(
            f"Expect {shown(expected)} is not supported, expected '100-continue'"
        )
    if error.status in _REFUSED_STATUSES:
        return ValidationError("The request is malformed")
    log.error("unexpected_http_exception", status=error.status, path=request.path)
    return InternalError()


def _refused(request: web.Request, error: ApiError) -> web.StreamResponse:
    """The envelope, unless part of an answer is out: then half of it must not look like a whole."""
    if request.writer.output_size > 0:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the answer was cut off")
    response = error_response(error, request)
    if request.body_exists and not request.content.is_eof():
        # Nobody will read the rest; what follows on this connection would be taken for it.
        response.force_close()
    return response
