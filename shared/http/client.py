"""HTTP client for the other services: passes on the caller's identity and raises their errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import orjson
import structlog
from aiohttp import hdrs, web
from prometheus_client import Counter

from shared.errors import (
    ApiError,
    InternalError,
    ServiceUnavailable,
    UpstreamTimeout,
    from_envelope,
)
from shared.http.context import (
    DEADLINE_HEADER,
    REQUEST_ID_HEADER,
    TRACE_HEADER,
    Call,
)
from shared.http.responses import JSON
from shared.http.retries import DRY_RUN, DRY_RUNNING, PREFER
from shared.identity import IDENTITY_HEADER
from shared.process import tracing

TIMEOUT_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 2.0
CONNECTIONS_MAX: Final = 64
IDLE_S_MAX: Final = 4.0
"""How long a connection to a service may be idle and still be used.

Below the drain of a service (`SIGMA_DRAIN_SECONDS`, 5 s by default). A service that stops ends each
connection with an answer while it drains, and at the end of the drain those that had none: they
have been idle for longer than this. So no request is sent over a connection that is being closed.
"""
ANSWER_BYTES_MAX: Final = 32 << 20
STREAM_SILENCE_S: Final = 30.0
"""How long a stream may bring nothing while it is read."""
_ENVELOPE_BYTES_MAX: Final = 64 << 10
_PASSED_ON: Final = (IDENTITY_HEADER, TRACE_HEADER, "tracestate")
_ERRORS_BEGIN: Final = 400
_FAILURES_BEGIN: Final = 500

ASKED: Final = Counter(
    "sigma_upstream_requests_total", "Calls to other services, by outcome", ["name", "outcome"]
)

FAILED: Final = Counter(
    "sigma_upstream_failures_total",
    "Requests that failed because of another service, by error code",
    ["upstream", "error"],
)

log = structlog.get_logger("upstream")


def blame(error: ApiError, service: str) -> None:
    """Record the failed service in the access line of the request and in a metric."""
    if error.upstream is None:
        cause = error.__cause__ or error.__context__
        error.upstream = service
        error.reason = error.message if cause is None else repr(cause)
        FAILED.labels(service, error.code).inc()


class Upstream:
    """One other service."""

    def __init__(
        self,
        base_url: str,
        name: str,
        session: aiohttp.ClientSession | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """`session` comes from `new_session`; its traces record what was sent."""
        self._base_url = base_url.rstrip("/")
        self._name = name
        self._session = session
        self._timeout_s = timeout_s

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        call: Call | None = None,
        identity_token: str | None = None,
        reads: bool = False,
        timeout_s: float | None = None,
    ) -> Any:
        """The parsed answer, None when it is empty.

        Passes on the caller's identity (or `identity_token` instead), request id, trace, what is
        left of the deadline and whether it is a dry run. `reads` says of a POST
        that it changes nothing; of a GET it is known. `timeout_s` is for what takes longer than
        most requests.

        Raises the error that the service answered; `ServiceUnavailable` when nothing happened,
        because it cannot be reached or because it broke off a read; `UpstreamTimeout` when it does
        not answer in time, or broke off what may have changed something.
        """
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        headers: dict[str, str] = {hdrs.ACCEPT: JSON}
        if call is not None:
            headers[REQUEST_ID_HEADER] = call.request_id
            for name in _PASSED_ON:
                if name in call.headers:
                    headers[name] = call.headers[name]
            left_s = call.seconds_left
            if left_s is not None:
                timeout_s = min(timeout_s, left_s)
        if method != hdrs.METH_GET and DRY_RUNNING.get():
            # Also with what only asks: a question may leave a claim behind.
            headers[PREFER] = DRY_RUN
        if identity_token is not None:
            headers[IDENTITY_HEADER] = identity_token
        body = None
        if json is not None:
            body = orjson.dumps(json)
            headers[hdrs.CONTENT_TYPE] = JSON
        try:
            with tracing.client_span(method, self._name, headers):
                status, payload, answer_headers = await self._ask(
                    method, path, body, headers, timeout_s, reads=reads or method == hdrs.METH_GET
                )
        except ApiError as error:
            ASKED.labels(self._name, error.code).inc()
            blame(error, self._name)
            raise
        return self._understood(status, payload, answer_headers)

    @asynccontextmanager
    async def stream(
        self, path: str, *, identity_token: str
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body of a GET of any length, in pieces as they come.

        Raises the error that the service answered, and `ServiceUnavailable`, also between two
        pieces, when it cannot be reached, breaks off or falls silent.
        """
        if self._session is None:
            self._session = new_session()
        headers = {IDENTITY_HEADER: identity_token}
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=STREAM_SILENCE_S
        )
        with tracing.client_span(hdrs.METH_GET, self._name, headers):
            try:
                answer = await self._session.get(
                    self._base_url + path,
                    headers=headers,
                    allow_redirects=False,
                    timeout=timeout,
                    trace_request_ctx=_Sending(),
                )
            except (aiohttp.ClientError, OSError) as error:
                raise self._broke_off(error) from None
        try:
            if answer.status >= _ERRORS_BEGIN:
                payload = await answer.content.read(_ENVELOPE_BYTES_MAX)
                self._understood(answer.status, payload, answer.headers)
            ASKED.labels(self._name, "OK").inc()
            yield self._pieces(answer)
        finally:
            # What is left of the body is not waited for.
            answer.close()

    async def _pieces(self, answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        try:
            async for piece in answer.content.iter_any():
                yield piece
        except (aiohttp.ClientError, OSError) as error:
            raise self._broke_off(error) from None

    def _broke_off(self, error: Exception) -> ServiceUnavailable:
        log.warning("upstream_broke_off", name=self._name, error=repr(error))
        failure = ServiceUnavailable()
        ASKED.labels(self._name, failure.code).inc()
        blame(failure, self._name)
        return failure

    async def close(self) -> None:
        """Close the connections that this object opened itself."""
        if self._session is not None:
            await self._session.close()

    async def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        timeout_s: float,
        *,
        reads: bool,
    ) -> tuple[int, bytes, Any]:
        if timeout_s <= 0:
            raise UpstreamTimeout
        sending = _Sending()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        if self._session is None:
            self._session = new_session()
        headers[DEADLINE_HEADER] = str(max(1, int(timeout_s * 1000)))
        try:
            async with asyncio.timeout_at(deadline):
                # aiohttp itself retries once if an idle connection turns out to be closed and the
                # method is idempotent.
                return await self._exchange(method, path, body, headers, sending)
        except TimeoutError as error:
            if not sending.begun:
                # Connecting took too long: the service has not received the request.
                log.warning("upstream_unreachable", name=self._name, error=repr(error))
                raise ServiceUnavailable from None
            log.warning("upstream_too_slow", name=self._name, method=method, path=path)
            raise UpstreamTimeout from None
        except (aiohttp.ClientError, OSError) as error:
            if reads or not sending.begun:
                log.warning("upstream_unreachable", name=self._name, error=repr(error))
                raise ServiceUnavailable from None
            log.warning("upstream_broke_off", name=self._name, error=repr(error))
            raise UpstreamTimeout.unknown() from None

    async def _exchange(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], sending: _Sending
    ) -> tuple[int, bytes, Any]:
        assert self._session is not None
        async with self._session.request(
            method,
            self._base_url + path,
            data=body,
            headers=headers,
            allow_redirects=False,
            trace_request_ctx=sending,
        ) as answer:
            payload = bytearray()
            async for part in answer.content.iter_any():
                payload += part
                if len(payload) > ANSWER_BYTES_MAX:
                    log.error("upstream_answer_too_large", name=self._name, path=path)
                    raise InternalError
            return answer.status, bytes(payload), answer.headers

    def _understood(self, status: int, payload: bytes, headers: Any) -> Any:
        try:
            parsed = orjson.loads(payload) if payload else None
        except orjson.JSONDecodeError:
            log.error("upstream_answer_not_json", name=self._name, status=status)  # noqa: TRY400
            ASKED.labels(self._name, InternalError.code).inc()
            raise InternalError from None
        if status < _ERRORS_BEGIN:
            ASKED.labels(self._name, "OK").inc()
            return parsed
        error = from_envelope(status, parsed, headers)
        ASKED.labels(self._name, error.code).inc()
        if status >= _FAILURES_BEGIN:
            blame(error, self._name)
        raise error


class _Sending:
    """Whether anything of a request was sent, in this attempt or in one before it."""

    __slots__ = ("begun",)

    def __init__(self) -> None:
        self.begun = False


async def _begun(_session: aiohttp.ClientSession, context: Any, _params: Any) -> None:
    context.trace_request_ctx.begun = True


def new_session() -> aiohttp.ClientSession:
    """A client session for services: few connections, no cookies, no total time-out."""
    sending = aiohttp.TraceConfig()
    sending.on_request_headers_sent.append(_begun)
    return aiohttp.ClientSession(
        trace_configs=[sending],
        connector=aiohttp.TCPConnector(
            limit=CONNECTIONS_MAX, limit_per_host=CONNECTIONS_MAX, keepalive_timeout=IDLE_S_MAX
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        trust_env=False,
    )


def upstream(
    key: web.AppKey[Upstream], url: str, name: str, timeout_s: float = TIMEOUT_S
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Provide the client of another service as `app[key]` while this service runs."""

    async def opened(app: web.Application) -> AsyncIterator[None]:
        async with new_session() as session:
            app[key] = Upstream(url, name, session, timeout_s)
            yield

    return opened
