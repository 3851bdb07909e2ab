"""Reverse proxy: forwards a request to its service and streams the response back.

    head      without credentials, hop-by-hop headers and identity headers of the client; with the
              signed identity, the deadline and the request id
    body      unchanged. Buffered if small, so that a slow sender occupies no connection; streamed
              if large
    response  unchanged. Buffered if small; streamed if large, which needs a slot and a client that
              reads at a minimum rate

If anything goes wrong after the head of a response was sent, the client's connection is aborted:
a truncated body must never look like a complete one.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog
from aiohttp import hdrs, web
from multidict import CIMultiDict

from gateway.fairness import ANONYMOUS, CallerKey
from gateway.following import StillAsking, copy_while_asking, unless_draining
from gateway.identities import Caller
from gateway.routes import Service
from gateway.upstream.connection import BodySource
from gateway.upstream.pool import UpstreamPool
from gateway.upstream.response import UpstreamResponse
from shared.errors import (
    ApiError,
    PayloadTooLarge,
    ServiceUnavailable,
    Unauthorized,
    UpstreamTimeout,
    ValidationError,
)
from shared.http import DRAINING
from shared.http.context import Call
from shared.process import tracing

log = structlog.get_logger()

# Request bodies up to this size are buffered.
WHOLE_BODY_BYTES_MAX: Final = 1 << 16
# Responses up to this size are buffered: a usual page of a list needs no slot for large responses.
WHOLE_RESPONSE_BYTES_MAX: Final = 1 << 18
_METHODS_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# For how long a client may read nothing of a large response, and how far it may fall behind the
# minimum rate in total.
_READER_LATE_S_MAX: Final = 10.0
_READER_BYTES_PER_S_MIN: Final = 16 << 10
# By default the kernel buffers megabytes, and reports a socket as writable only after much of that
# was sent. A slow reader would then seem to read nothing for longer than is allowed.
_UNSENT_BYTES_MAX: Final = 1 << 17

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_NOT_FORWARDED = _HOP_BY_HOP | {
    b"authorization",
    b"content-length",  # Written again, see `Body.ready`.
    b"cookie",
    b"expect",  # The gateway answers it.
    b"forwarded",
    b"host",
    b"http2-settings",
    b"x-forwarded-for",  # Sent on with the client's address appended.
    b"x-request-id",
}
_OURS = b"x-sigma-"
_TRACE = frozenset({b"traceparent", b"tracestate"})
_NOT_RETURNED = frozenset(
    {
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "proxy-authenticate",
        "server",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-request-id",
    }
)
_FORWARDED_FOR = re.compile(r"[0-9A-Za-z.:\[\]_, -]{0,1024}")


@dataclass(slots=True)
class Exchange:
    """One request and its response on the way between a client and a service."""

    request: web.Request
    call: Call
    service: Service
    pool: UpstreamPool
    target: str
    """Path and query, as the client sent them."""
    deadline: float
    """A time of the event loop."""
    caller: Caller | None = None
    """None for an open operation."""
    caller_key: CallerKey = ANONYMOUS
    still_asking: StillAsking | None = None
    """Of a request that waits for news: who its caller is by now, or the error for one who may not
    ask any more."""
    response_headers: Mapping[str, str] = field(default_factory=dict)
    """Added to what the service answers."""
    framing: bytes = b""
    content: bytes | BodySource = b""
    """`framing` and `content` are what `Body.ready` returns."""


def request_head(
    exchange: Exchange, *, identity_token: str | None, deadline_ms: int, trace: Mapping[str, str]
) -> bytes:
    """The request head for the service, with the empty line.

    A request to an open operation has no identity. It keeps the client's `Authorization`, and gets
    the client's address in `X-Sigma-Peer`: auth_service checks the one when it renews a token, and
    counts failed logins by the other.
    """
    request = exchange.request
    dropped = _NOT_FORWARDED
    if hdrs.CONNECTION in request.headers:
        named = b",".join(
            value for name, value in request.raw_headers if name.lower() == b"connection"
        )
        dropped = dropped | {part.strip().lower().replace(b"_", b"-") for part in named.split(b",")}
    if trace:
        # Replaced: the span of this hop is between the client's and the service's.
        dropped = dropped | _TRACE
    lines = [
        b"%s %s HTTP/1.1\r\nHost: %s\r\n"
        % (
            request.method.encode("ascii"),
            exchange.target.encode("utf-8", "surrogateescape"),
            exchange.pool.authority,
        )
    ]
    for name, value in request.raw_headers:
        # Some programs treat `X_Sigma_Identity` and `X-Sigma-Identity` as one header.
        plain = name.lower().replace(b"_", b"-")
        if plain.startswith(_OURS) or (
            plain in dropped and not (identity_token is None and plain == b"authorization")
        ):
            continue
        lines.append(b"%s: %s\r\n" % (name, value))
    lines.append(
        b"X-Forwarded-For: %s\r\nX-Request-Id: %s\r\nX-Sigma-Deadline: %d\r\n"
        % (_forwarded_for(request), exchange.call.request_id.encode("ascii"), deadline_ms)
    )
    lines.extend(f"{name}: {value}\r\n".encode("ascii") for name, value in trace.items())
    if identity_token is not None:
        lines.append(b"X-Sigma-Identity: %s\r\n" % identity_token.encode("ascii"))
    else:
        lines.append(b"X-Sigma-Peer: %s\r\n" % exchange.caller_key.peer.encode("ascii", "replace"))
    lines.append(exchange.framing)
    return b"".join(lines)


def _forwarded_for(request: web.BaseRequest) -> bytes:
    """`X-Forwarded-For` as the client sent it, with the address of this connection appended."""
    peer = request.remote or "unknown"
    before = ", ".join(request.headers.getall("X-Forwarded-For", ()))
    if before and _FORWARDED_FOR.fullmatch(before):
        peer = f"{before}, {peer}"
    return peer.encode("ascii", "replace")


class Body:
    """The body of a request, of at most `bytes_max` bytes.

    The HTTP edge limits how long it may take and refuses a length that no route accepts: reading
    the body then raises the error. The limit of this route is checked here, before the service is
    asked; a body of unknown length is counted while it is received.
    """

    def __init__(self, request: web.Request, bytes_max: int) -> None:
        self._request = request
        self._bytes_max = bytes_max
        self._length: int | None = None

    async def ready(self) -> tuple[bytes, bytes | BodySource]:
        """The framing headers with the empty line, and the body or its source.

        Raises `PayloadTooLarge`.
        """
        request = self._request
        if not request.body_exists:
            if request.method in _METHODS_WITH_BODY:
                return b"Content-Length: 0\r\n\r\n", b""
            return b"\r\n", b""
        self._length = request.content_length
        if self._length is not None and self._length > self._bytes_max:
            raise PayloadTooLarge(f"Request body exceeds {self._bytes_max} bytes")
        small = (self._bytes_max if self._length is None else self._length) <= WHOLE_BODY_BYTES_MAX
        if small or request.content.is_eof():
            parts = [part async for part in self._parts()]
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            return b"Content-Length: %d\r\n\r\n" % len(body), body
        if self._length is not None:
            return b"Content-Length: %d\r\n\r\n" % self._length, self._parts()
        return b"Transfer-Encoding: chunked\r\n\r\n", self._chunks()

    async def _parts(self) -> AsyncIterator[bytes]:
        content, seen = self._request.content, 0
        while not content.at_eof():
            part = await content.readany()
            seen += len(part)
            if seen > self._bytes_max:
                raise PayloadTooLarge(f"Request body exceeds {self._bytes_max} bytes")
            if part:
                yield part

    async def _chunks(self) -> AsyncIterator[bytes]:
        async for part in self._parts():
            yield b"%x\r\n%s\r\n" % (len(part), part)
        yield b"0\r\n\r\n"


async def forward(exchange: Exchange) -> web.StreamResponse:
    """Send the request to its service and return the response for the client.

    Raises as `UpstreamPool.send` does; `UpstreamTimeout` if the deadline has passed already;
    `ServiceUnavailable` if the service rejects the identity that this gateway signed, or if no slot
    for a large response becomes free.
    """
    left_s = exchange.deadline - asyncio.get_running_loop().time()
    if left_s <= 0:
        raise UpstreamTimeout
    method, pool, content = exchange.request.method, exchange.pool, exchange.content
    caller = exchange.caller
    trace: dict[str, str] = {}
    with tracing.client_span(method, exchange.service, trace):
        head = request_head(
            exchange,
            identity_token=None if caller is None else caller.token(time.monotonic()),
            deadline_ms=max(1, int(left_s * 1000)),
            trace=trace,
        )
        # A change is never sent twice: the answer to the second time would be wrong. A record that
        # was deleted would be reported as missing, a version as stale.
        replayable = method in _READS
        bodyless = method == "HEAD"
        if isinstance(content, bytes):
            sending = pool.send(
                head,
                content,
                deadline=exchange.deadline,
                replayable=replayable,
                bodyless=bodyless,
                workspace_id=exchange.caller_key.workspace,
            )
            if exchange.still_asking is None:
                answer = await sending
            else:
                answer = await unless_draining(sending, exchange.request.app[DRAINING])
        else:
            answer = await pool.send_streaming(
                head,
                content,
                exchange.caller_key,
                deadline=exchange.deadline,
                replayable=replayable,
                bodyless=bodyless,
            )
    if answer.status == Unauthorized.status and caller is not None:
        # The service does not believe this gateway (keys, clocks); the caller did nothing wrong.
        answer.close()
        log.error("service_refuses_this_gateway", service=exchange.service)
        raise ServiceUnavailable
    if exchange.still_asking is not None and exchange.caller is not None:
        try:
            caller = await exchange.still_asking()
        except BaseException:
            answer.close()
            raise
        if caller.identity != exchange.caller.identity:
            # What this answer shows may be hidden from the caller by now.
            answer.close()
            exchange.caller = caller
            return await forward(exchange)
    return await _respond(exchange, answer)


async def _respond(exchange: Exchange, answer: UpstreamResponse) -> web.StreamResponse:
    request = exchange.request
    headers = _response_headers(answer)
    headers.update(exchange.response_headers)
    length = _length_of(answer)
    if answer.whole:
        payload = answer.take()
    elif length is not None and length <= WHOLE_RESPONSE_BYTES_MAX:
        payload = await answer.read(exchange.deadline)
    else:
        # The head has not been sent yet, so the client can still get an error instead.
        try:
            await answer.hold_slot(exchange.caller_key, exchange.deadline)
        except ServiceUnavailable as error:
            if request.method in _READS or answer.status >= ValidationError.status:
                raise
            # Not 503, which would mean that nothing happened.
            raise UpstreamTimeout(f"The change was made. {error.message}") from None
        return await _stream(exchange, answer, headers, length)
    if request.method == "HEAD":
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
        response.content_length = length
        return response
    return web.Response(
        status=answer.status,
        reason=answer.reason,
        headers=headers,
        body=payload if payload or answer.status not in (204, 304) else None,
    )


def _response_headers(answer: UpstreamResponse) -> CIMultiDict[str]:
    headers: CIMultiDict[str] = CIMultiDict()
    dropped: frozenset[str] = _NOT_RETURNED
    if hdrs.CONNECTION in answer.headers:
        named = ",".join(answer.headers.getall(hdrs.CONNECTION))
        dropped = dropped | {part.strip().lower() for part in named.split(",")}
    for name, value in answer.headers.items():
        plain = name.lower()
        if plain not in dropped and not plain.startswith("x-sigma-"):
            headers.add(name, value)
    return headers


def _length_of(answer: UpstreamResponse) -> int | None:
    length = answer.headers.get(hdrs.CONTENT_LENGTH)
    return int(length) if length is not None and length.isascii() and length.isdigit() else None


async def _stream(
    exchange: Exchange, answer: UpstreamResponse, headers: CIMultiDict[str], length: int | None
) -> web.StreamResponse:
    request = exchange.request
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
    response.content_length = length
    try:
        await response.prepare(request)
        copying = _copy_body(request, answer, response)
        if exchange.still_asking is None or exchange.caller is None:
            await copying
        elif not await copy_while_asking(
            copying, exchange.still_asking, exchange.caller, request.app[DRAINING]
        ):
            answer.close()
        await response.write_eof()
    except (ApiError, OSError, TimeoutError) as error:
        answer.close()
        log.warning("answer_cut_off", path=request.path, reason=type(error).__name__)
        if request.transport is not None:
            request.transport.abort()
    except BaseException:
        answer.close()
        raise
    return response


async def _copy_body(
    request: web.Request, answer: UpstreamResponse, response: web.StreamResponse
) -> None:
    """Stream the body to the client; `TimeoutError` if the client reads too slowly."""
    if request.transport is not None:
        readers: socket.socket = request.transport.get_extra_info("socket")
        readers.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES_MAX)
    loop = asyncio.get_running_loop()
    taken, waited_s = 0, 0.0
    async for part in answer.parts():
        began = loop.time()
        left_s = _READER_LATE_S_MAX + taken / _READER_BYTES_PER_S_MIN - waited_s
        async with asyncio.timeout(min(_READER_LATE_S_MAX, left_s)):
            await response.write(part)
        taken += len(part)
        waited_s += loop.time() - began
