"""HTTP server connections with time-outs, limits and JSON errors, which aiohttp's lack.

    EdgeRunner         runs an application on connections of this kind
        EdgeServer     counts connections, and checks the time-outs of all once a second
            Connection answers what the parser refuses in JSON, like every other error

aiohttp closes idle connections. It has no time-out for a head or a body that arrives slowly and no
limit for the number of connections, and a handler that waits for a body does not learn that a chunk
of it is malformed. One timer checks all connections, because a timer per request would cost each
request more than the check. All of this needs private names of aiohttp, which
tests/contract/test_aiohttp_names.py lists.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any, Final, cast

import structlog
from aiohttp import hdrs, web
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError, _ErrInfo
from aiohttp.web_server import Server

from shared.errors import (
    ApiError,
    InternalError,
    PayloadTooLarge,
    ServiceUnavailable,
    UpstreamTimeout,
    ValidationError,
)
from shared.http.context import REQUEST_ID_HEADER, Call, request_id_from
from shared.http.edge import COMPLETE, NO_ROUTE, SERVER, Complete, to_api_error
from shared.http.limits import READER_IDLE_S, Limits
from shared.http.parser_errors import HEAD_LINE_BYTES_MAX, parser_error, too_many_connections
from shared.http.responses import error_response
from shared.process import logs
from shared.process.metrics import REQUESTS

log = structlog.get_logger("http")

HEADERS_MAX: Final = 128


class Connection(RequestHandler):
    """One client's connection."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_body_late_s",
        "_body_moved_at",
        "_ended",
        "_head_began_at",
        "_limits",
        "_lingers",
        "_peer",
        "_rejected",
        "_silent_since",
        "_unsent",
        "_unsent_since",
    )

    def __init__(self, manager: EdgeServer, limits: Limits, **options: Any) -> None:
        super().__init__(manager, **options)
        self._limits = limits
        self._body: StreamReader | None = None
        self._body_bytes = 0
        self._body_late_s = 0.0
        self._body_moved_at = 0.0
        self._head_began_at: float | None = None
        self._peer = ""
        self._silent_since: float | None = None
        self._lingers = False
        self._rejected = False
        self._unsent: tuple[int, int] | None = None
        self._unsent_since = 0.0
        self._ended: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve the connection, or answer 503 if there are too many."""
        manager = self._manager
        assert isinstance(manager, EdgeServer)
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        if manager.takes_one_more(self._peer):
            super().connection_made(transport)
            self._silent_since = self._loop.time()
            return
        self._rejected = True
        manager.refuse(cast(asyncio.Transport, transport))

    def connection_lost(self, exc: BaseException | None) -> None:
        """End the waiting in `_linger`, and count the connection as closed."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
        if not self._rejected:
            if isinstance(self._manager, EdgeServer):
                self._manager.lost_one(self._peer)
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; then note since when an incomplete head or body has been arriving."""
        if self._rejected:
            return
        self._silent_since = None
        count = self._request_count
        super().data_received(data)
        if self._request_count != count:
            self._head_began_at = None
            message, payload = self._messages[-1]
            if type(message) is _ErrInfo:
                # After this nothing can be understood, so what still comes is thrown away.
                self._close = self._lingers = True
                self._fail_body(RequestPayloadError("malformed"))
            elif payload is not EMPTY_PAYLOAD and not payload.is_eof():
                self._body = payload
                self._body_bytes = 0
                self._body_late_s = 0.0
                self._body_moved_at = self._loop.time()
        elif self._head_began_at is None and self._body is None and data:
            self._head_began_at = self._loop.time()
        if self._body is not None:
            self._account_for_body()

    def check_timeouts(self, now: float) -> None:
        """End a connection whose head, body or reading of the answer is too slow."""
        if self._silent_since is not None:
            if now - self._silent_since > self._limits.first_byte_s_max:
                self.force_close()
        elif self._head_began_at is not None:
            if self._waiter is None:
                # Half of a pipelined request: its time begins when the one before is answered.
                self._head_began_at = now
            elif now - self._head_began_at > self._limits.head_read_s_max:
                self._head_began_at = None
                self._refuse_head(ValidationError("The request headers did not arrive in time"))
        elif self._body is not None:
            self._check_body(self._body, now)
        if self.writing_paused:
            self._check_answer(now)
        else:
            self._unsent = None

    def _account_for_body(self) -> None:
        body = self._body
        assert body is not None
        if body.is_eof() or body.exception() is not None:
            self._body = None
        elif body.total_bytes > self._limits.body_bytes_max:
            self._fail_body(
                PayloadTooLarge(f"Request body exceeds {self._limits.body_bytes_max} bytes")
            )

    def _check_body(self, body: StreamReader, now: float) -> None:
        if body.is_eof():
            self._body = None
            return
        limits = self._limits
        waited_s = now - self._body_moved_at
        if self._reading_paused or self._buffer_paused:
            # The handler is slow, not the client: the client cannot send now.
            self._body_moved_at = now
            return
        if body.total_bytes != self._body_bytes:
            self._body_bytes = body.total_bytes
            self._body_late_s += waited_s
            self._body_moved_at = now
            waited_s = 0.0
        allowed_s = limits.body_read_s_max + body.total_bytes / limits.body_bytes_per_s_min
        if waited_s > limits.body_idle_s_max or self._body_late_s + waited_s > allowed_s:
            self._fail_body(ValidationError("The request body did not arrive in time"))

    def _check_answer(self, now: float) -> None:
        transport = self.transport
        if transport is None:
            return
        request = self._current_request
        written = 0 if request is None else request.writer.output_size
        state = (transport.get_write_buffer_size(), written)
        if state != self._unsent:
            self._unsent = state
            self._unsent_since = now
            return
        allowed_s = self._limits.answer_idle_s_max
        if request is not None:
            allowed_s = request.get(READER_IDLE_S, allowed_s)
        if now - self._unsent_since > allowed_s:
            transport.abort()

    def _fail_body(self, error: Exception) -> None:
        """Raise the error in the handler that reads the body; close the connection afterwards."""
        body, self._body = self._body, None
        if body is None or body.is_eof():
            return
        if body.exception() is None:
            body.set_exception(error)
        body.feed_eof()
        self._close = self._lingers = True

    def _refuse_head(self, error: ApiError) -> None:
        self._messages.append((_ErrInfo(error.status, error, error.message), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the answer; errors that did not pass the middleware get an envelope too."""
        if isinstance(resp, web.HTTPException):
            resp = self._answer_error(
                request, to_api_error(resp, request, self._limits.body_bytes_max)
            )
        sent = await super().finish_response(request, resp, start_time)
        if self._lingers:
            await self._linger()
        return sent

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - the parser's words quote what was sent
    ) -> web.StreamResponse:
        """Answer an error that no handler raised, mostly one of the parser."""
        if request.writer.output_size > 0:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("the answer was cut off")
        if status == UpstreamTimeout.status:
            error: ApiError = UpstreamTimeout()
        elif status == ValidationError.status:
            error = parser_error(exc)
        else:
            if not isinstance(exc, ConnectionError):
                log.error("unexpected_error", exc_info=exc)
            error = InternalError()
        return self._answer_error(request, error)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log unexpected errors; errors that the client caused are not logged."""
        error = kw.get("exc_info")
        if isinstance(error, (RequestPayloadError, BadHttpMessage, ApiError, ConnectionError)):
            return
        log.error("unexpected_error", message=str(args[0]) if args else "", exc_info=error)

    def _answer_error(self, request: web.BaseRequest, error: ApiError) -> web.Response:
        response = error_response(error, request)
        call = Call(request_id_from(request.headers.get(REQUEST_ID_HEADER)), NO_ROUTE)
        response.headers[REQUEST_ID_HEADER] = call.request_id
        response.headers[hdrs.SERVER] = SERVER
        complete = cast(EdgeServer, self._manager).complete
        if complete is not None:
            complete(request, response.headers)
        response.force_close()
        REQUESTS.count(request.method, NO_ROUTE, error.status, 0.0)
        if logs.access is not None:
            logs.access.add(request, call, error.status, 0.0)
        return response

    async def _linger(self) -> None:
        """Send FIN and wait for the client to close: a reset would destroy the answer."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if transport.can_write_eof():
            transport.write_eof()
        self._ended = self._loop.create_future()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.linger_s_max):
                await self._ended


class EdgeServer(Server):
    """Makes the connections of one application, counts them and checks their time-outs."""

    def __init__(
        self,
        served: Server,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        complete: Complete | None,
    ) -> None:
        super().__init__(
            served.request_handler,
            request_factory=served.request_factory,
            handler_cancellation=served.handler_cancellation,
            loop=loop,
            **served._kwargs,  # noqa: SLF001 - what the application asked for
        )
        self.complete = complete
        self._limits = limits
        self._rejected = 0
        self._by_peer: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self) -> RequestHandler:
        """The protocol of a new connection."""
        if self._timer is None:
            self._schedule_check()
        return Connection(self, self._limits, loop=self._loop, **self._kwargs)

    def takes_one_more(self, peer: str) -> bool:
        """Whether a new connection is served; if so, it is counted until `lost_one`.

        With `connections_shared`, one address gets at most half of the connections, the next half
        of the rest, and so on.
        """
        free = self._limits.connections_max - len(self._connections)
        held = self._by_peer[peer] if self._limits.connections_shared else 0
        if held >= free:
            return False
        self._by_peer[peer] += 1
        return True

    def lost_one(self, peer: str) -> None:
        """A connection that was served is closed."""
        self._by_peer[peer] -= 1
        if not self._by_peer[peer]:
            del self._by_peer[peer]

    def refuse(self, transport: asyncio.Transport) -> None:
        """Answer 503 at once; close without an answer if too many connections are being refused."""
        REQUESTS.count("", NO_ROUTE, ServiceUnavailable.status, 0.0)
        if self._rejected >= self._limits.connections_max:
            transport.abort()
            return
        transport.write(too_many_connections(self.complete))
        if transport.can_write_eof():
            transport.write_eof()
        # A reset would destroy the answer if the client is still sending.
        self._rejected += 1
        self._loop.call_later(self._limits.linger_s_max, self._close_rejected, transport)

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - aiohttp's
        """Wait for requests in flight, then end the rest."""
        await super().shutdown(timeout)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close_rejected(self, transport: asyncio.Transport) -> None:
        self._rejected -= 1
        transport.close()

    def _schedule_check(self) -> None:
        self._timer = self._loop.call_later(self._limits.check_every_s, self._check_connections)

    def _check_connections(self) -> None:
        now = self._loop.time()
        for connection in self._connections:
            if isinstance(connection, Connection):
                connection.check_timeouts(now)
        self._schedule_check()


class EdgeRunner(web.AppRunner):
    """Like aiohttp's `AppRunner`, with `Connection` for its connections."""

    def __init__(self, app: web.Application, limits: Limits, **options: Any) -> None:
        super().__init__(
            app,
            access_log=None,
            handler_cancellation=True,
            keepalive_timeout=limits.idle_s_max,
            lingering_time=limits.linger_s_max,
            max_line_size=HEAD_LINE_BYTES_MAX,
            max_field_size=HEAD_LINE_BYTES_MAX,
            max_headers=HEADERS_MAX,
            **options,
        )
        self._limits = limits

    async def _make_server(self) -> Server:
        return EdgeServer(
            await super()._make_server(),
            self._limits,
            asyncio.get_running_loop(),
            self.app.get(COMPLETE),
        )
