"""HTTP/1.1 connection pool for one service, with streaming in both directions.

aiohttp's own client costs about 150 us a request (cookies, redirects, tracing, URL objects), most
of what the hop through the gateway may cost at all. This one sends bytes that are already a request
and leaves the reading of answers to aiohttp's C parser.

    UpstreamPool.send      one request, one `UpstreamResponse`, within a deadline
        Connection         one socket; carries one request at a time
        UpstreamResponse   status, headers and a body to be read, or to be given up

What it promises:

- `ServiceUnavailable` means that nothing was sent. What was sent and not answered may have been
  acted on, and is `UpstreamTimeout`.
- A request is sent a second time only where that changes nothing: the connection was refused, or an
  idle connection turned out to be closed and the caller said that the request is `replayable`.
- Whatever goes wrong, time-outs and a cancelled caller included, the connection is closed with the
  request: no answer is ever read by the wrong caller.
- Never more than `connections_max` sockets. A request that finds none free waits in line for a
  while; the workspaces take turns.
- Bodies that take as long as a client likes, of either direction, never keep all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

from aiohttp.base_protocol import BaseProtocol
from aiohttp.client_exceptions import ClientPayloadError
from aiohttp.http import HttpResponseParser, RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from gateway.fairness import CallerKey, FairSlots
from shared.errors import ServiceUnavailable, UpstreamTimeout
from shared.process.waiting import WAIT_S, WAITED_HEADER, Line

# A service closes an idle connection after more than a minute. To stop using it well before that is
# what keeps a request from meeting a connection that is just being closed.
_IDLE_S_MAX = 15.0
# A connection is not kept for ever, so that replicas which came later get their share.
_LIFE_S_MAX = 300.0
_CONNECT_S_MAX = 2.0
# A service that restarts refuses connections for a moment; these are the pauses between attempts.
_CONNECT_PAUSES_S = (0.05, 0.15)
_BUFFER_BYTES = 1 << 16
# One connection in so many may carry a body that is still on its way; as many requests may wait for
# a slot among those.
UPLOADS_SHARE = 4
# One in so many may carry an answer to whoever reads it slowly, and one in so many be kept by who
# waits for a place among those. With the uploads this leaves more than a third to everybody else.
RESPONSES_SHARE = 4
RESPONSES_LINE_SHARE = 8
_WAITED = WAITED_HEADER.encode()
_INFORMATIONAL_STATUSES_END = 200
_NO_CONTENT_STATUSES = frozenset({204, 304})

BodySource = AsyncIterator[bytes]


class _Closed(Exception):
    """The service closed the connection before it answered; `silent` when not a byte had come.

    The request may have been acted on: it was sent, or at least begun.
    """

    def __init__(self, *, silent: bool) -> None:
        super().__init__()
        self.silent = silent


class UpstreamResponse:
    """What the service answered; the body is read by exactly one of the three ways out."""

    __slots__ = ("_connection", "_idle_s_max", "_over", "headers", "payload", "reason", "status")

    def __init__(
        self,
        connection: Connection,
        message: RawResponseMessage,
        payload: StreamReader,
        idle_s_max: float,
    ) -> None:
        self._connection = connection
        self._idle_s_max = idle_s_max
        self._over = False
        self.status: int = message.code
        self.reason: str = message.reason
        self.headers = message.headers
        self.payload = payload

    @property
    def whole(self) -> bool:
        """Whether the whole body is here already."""
        return self.payload.is_eof()

    def take(self) -> bytes:
        """The body of a `whole` answer; the connection is free for the next request."""
        body = b"" if self.payload is EMPTY_PAYLOAD else self.payload.read_nowait(-1)
        self._release()
        return body

    async def read(self, deadline: float) -> bytes:
        """The body, once all of it has come; the connection is free for the next request.

        `UpstreamTimeout` when that is later than the deadline, a time of the event loop, or when
        the body is too slow or cut off.
        """
        loop = asyncio.get_running_loop()
        parts: list[bytes] = []
        with self._ending():
            # One timer that is moved: a list of records comes in several parts.
            latest = min(deadline, loop.time() + self._idle_s_max)
            async with asyncio.timeout_at(latest) as limit:
                while not self.payload.at_eof():
                    limit.reschedule(min(deadline, loop.time() + self._idle_s_max))
                    parts.append(await self.payload.read(_BUFFER_BYTES))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def hold_slot(self, caller_key: CallerKey, deadline: float) -> None:
        """Have a place among the answers that keep their connection while they are read.

        Where none comes free soon the answer is given up, with `ServiceUnavailable`. `deadline` is
        a time of the event loop.
        """
        try:
            await self._connection.hold_slot(caller_key, deadline)
        except BaseException:
            self.close()
            raise

    async def parts(self) -> AsyncIterator[bytes]:
        """The body as it comes; `UpstreamTimeout` when it is too slow or cut off.

        The connection is free as soon as the last part is here, before that is asked for.
        """
        with self._ending():
            while not self.payload.at_eof():
                async with asyncio.timeout(self._idle_s_max):
                    part = await self.payload.read(_BUFFER_BYTES)
                if self.payload.at_eof():
                    self._release()
                if part:
                    yield part

    @contextlib.contextmanager
    def _ending(self) -> Iterator[None]:
        """Free the connection when the body has been read, and give it up when it has not."""
        try:
            yield
        except TimeoutError:
            self.close()
            raise UpstreamTimeout from None
        except (ClientPayloadError, ConnectionError):
            self.close()
            raise UpstreamTimeout.unknown() from None
        except BaseException:
            self.close()
            raise
        self._release()

    def _release(self) -> None:
        if not self._over:
            self._over = True
            self._connection.release()

    def close(self) -> None:
        """Give the answer up, and the connection with it unless that carries another by now."""
        if not self._over:
            self._over = True
            self._connection.close()


class Connection(BaseProtocol):
    """One socket to the service."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: UpstreamPool) -> None:
        super().__init__(loop)
        self._pool = pool
        self._parser: Any = self._new_parser(with_body=True)
        self._head: asyncio.Future[tuple[RawResponseMessage, StreamReader]] | None = None
        self._payload: StreamReader | None = None
        self._heard = False
        self._ends_with_answer = False
        self._lent = True
        self._upload_done = True
        self._bodyless = False
        self.opened_at = loop.time()
        self.idle_since = self.opened_at

    def _new_parser(self, *, with_body: bool) -> Any:
        return HttpResponseParser(
            self,
            self._loop,
            _BUFFER_BYTES,
            payload_exception=ClientPayloadError,
            response_with_body=with_body,
            read_until_eof=True,
            auto_decompress=False,
            max_line_size=16_384,
            max_field_size=16_384,
        )

    @property
    def usable(self) -> bool:
        """Whether a request can be sent over it."""
        return self.transport is not None and not self.transport.is_closing()

    def lend(self) -> None:
        """Taken out of the idle ones."""
        self._lent = True

    async def exchange(
        self, head: bytes, body: bytes | BodySource, *, bodyless: bool, deadline: float
    ) -> tuple[RawResponseMessage, StreamReader]:
        """Send one request and wait for the head of its answer.

        `bodyless` is a HEAD request: its answer has the headers of a body and none. Raises
        `_Closed`, `UpstreamTimeout`, and what the body source raises.
        """
        if bodyless:
            self._parser = self._new_parser(with_body=False)
            self._bodyless = True
        self._heard = False
        answered: asyncio.Future[tuple[RawResponseMessage, StreamReader]]
        self._head = answered = self._loop.create_future()
        timer = self._loop.call_at(deadline, self._expire)
        try:
            transport = self.transport
            if transport is None:
                raise ServiceUnavailable
            if isinstance(body, bytes):
                transport.write(head + body if body else head)
                return await answered
            transport.write(head)
            return await self._while_uploading(answered, body)
        except BaseException:
            self.close()
            raise
        finally:
            timer.cancel()
            self._head = None

    async def _while_uploading(
        self, answered: asyncio.Future[tuple[RawResponseMessage, StreamReader]], body: BodySource
    ) -> tuple[RawResponseMessage, StreamReader]:
        """Send the body and listen at the same time: a refusal may come before the body's end."""
        self._upload_done = False
        upload = self._loop.create_task(self._upload(body))
        try:
            await asyncio.wait((answered, upload), return_when=asyncio.FIRST_COMPLETED)
            if upload.done():
                upload.result()
            return await answered
        finally:
            if upload.done():
                if not upload.cancelled():
                    # Looked at, whoever else has looked: the client may have gone meanwhile.
                    upload.exception()
            else:
                upload.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await upload
            if answered.done() and not answered.cancelled():
                answered.exception()

    async def _upload(self, body: BodySource) -> None:
        async for part in body:
            transport = self.transport
            # The service has closed; what it said, if anything, is in the future of the head.
            if transport is None or transport.is_closing():
                return
            transport.write(part)
            try:
                await self._drain_helper()
            except ConnectionError:
                return
        self._upload_done = True

    def _expire(self) -> None:
        if self._head is not None and not self._head.done():
            self._head.set_exception(UpstreamTimeout())

    def data_received(self, data: bytes) -> None:
        """Called by the loop, and with nothing when a paused parser goes on."""
        if self._parser is None:
            return
        if not self._lent:
            if not data:
                return
            # Nobody asked: whatever this is, it must not become somebody's answer.
            self.close()
            return
        self._heard = True
        try:
            messages, upgraded, _ = self._parser.feed_data(data)
        except Exception:  # noqa: BLE001 - whatever the parser dislikes, the answer is unusable
            self._fail()
            return
        for message, payload in messages:
            if message.code < _INFORMATIONAL_STATUSES_END and message.code != 101:  # noqa: PLR2004
                continue
            if upgraded or self._head is None or self._head.done():
                self._fail()
                return
            self._ends_with_answer = message.should_close
            empty = self._bodyless or message.code in _NO_CONTENT_STATUSES
            self._payload = EMPTY_PAYLOAD if empty else payload
            self._head.set_result((message, self._payload))

    def _fail(self) -> None:
        if self._head is not None and not self._head.done():
            self._head.set_exception(_Closed(silent=False))
        self.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop when the socket is open."""
        super().connection_made(transport)
        self._pool.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called by the loop when the socket is gone: tell whoever still waits for something."""
        payload, parser = self._payload, self._parser
        self._parser = None
        if payload is not None and payload is not EMPTY_PAYLOAD and not payload.is_eof():
            try:
                parser.feed_eof()
            except Exception as error:  # noqa: BLE001 - a body cut short, whatever it is called
                payload.set_exception(ClientPayloadError(str(error)))
            if not payload.is_eof() and payload.exception() is None:
                payload.set_exception(ClientPayloadError("connection lost"))
        if self._head is not None and not self._head.done():
            self._head.set_exception(_Closed(silent=not self._heard))
        super().connection_lost(exc)
        self._pool.lost(self)

    def release(self) -> None:
        """The answer was read to its end: the connection may carry the next request."""
        clean = (
            self.usable
            and not self._ends_with_answer
            and self._upload_done
            and (self._payload is None or self._payload.is_eof())
        )
        self._payload = None
        if self._bodyless:
            self._bodyless = False
            self._parser = self._new_parser(with_body=True) if clean else None
        if clean and self._lent:
            self._lent = False
            self.idle_since = self._loop.time()
            self._pool.give_back(self)
        else:
            self.close()

    async def hold_slot(self, caller_key: CallerKey, deadline: float) -> None:
        """Take the place that an answer needs to keep this connection while it is read."""
        await self._pool.take_response_slot(self, caller_key, deadline)

    def close(self) -> None:
        """Close the socket at once; a body that somebody still reads ends with an error."""
        transport = self.transport
        if transport is not None:
            transport.abort()
        self._pool.lost(self)


class UpstreamPool:
    """All connections to one service."""

    def __init__(
        self,
        base_url: str,
        *,
        connections_max: int,
        idle_body_s_max: float = 30.0,
        wait_s: float = WAIT_S,
    ) -> None:
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname or url.path not in ("", "/"):
            raise ValueError(f"not a base address: {base_url}")
        self._host = url.hostname
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if url.scheme == "https" else None
        self.authority = url.netloc.rpartition("@")[2].encode("ascii")
        self._connections_max = connections_max
        self._idle_body_s_max = idle_body_s_max
        self._idle: deque[Connection] = deque()
        self._open: set[Connection] = set()
        self._opening = 0
        self._waiting: Line[None] = Line(wait_s, lambda _: self._call_next())
        self._closed = False
        # A client that streams a body decides how long it takes; a few connections are lent to
        # such clients, so that silent uploads cannot take those that everybody else needs.
        self._upload_slots = FairSlots(
            max(1, connections_max // UPLOADS_SHARE),
            max(1, connections_max // UPLOADS_SHARE),
            "Too many large bodies are being sent at once",
            wait_s,
        )
        # The same of answers, whose readers decide.
        self._response_slots = FairSlots(
            max(1, connections_max // RESPONSES_SHARE),
            max(1, connections_max // RESPONSES_LINE_SHARE),
            "Too many large answers are being read at once",
            wait_s,
        )
        self._slot_holders: dict[Connection, CallerKey] = {}

    async def send_streaming(
        self,
        head: bytes,
        body: BodySource,
        caller_key: CallerKey,
        *,
        deadline: float,
        replayable: bool = False,
        bodyless: bool = False,
    ) -> UpstreamResponse:
        """As `send`, for a body that is not here yet: it needs one of the few slots for those.

        Raises `ServiceUnavailable` where none comes free soon.
        """
        async with self._upload_slots.slot(caller_key, deadline):
            return await self.send(
                head,
                body,
                deadline=deadline,
                replayable=replayable,
                bodyless=bodyless,
                workspace_id=caller_key.workspace,
            )

    async def send(
        self,
        head: bytes,
        body: bytes | BodySource = b"",
        *,
        deadline: float,
        replayable: bool = False,
        bodyless: bool = False,
        workspace_id: str = "",
    ) -> UpstreamResponse:
        """Send one request, whose head is complete, and return the answer when its head is here.

        `deadline` is a time of the event loop. Raises `ServiceUnavailable` when the service is
        away, `UpstreamTimeout` when it broke off or the deadline passed with the request sent.
        """
        while True:
            connection, reused, waited_s = await self._acquire(deadline, workspace_id)
            if waited_s:
                # After the request line. The service goes on counting from there.
                line, _, rest = head.partition(b"\r\n")
                head = b"%s\r\n%s: %d\r\n%s" % (line, _WAITED, int(waited_s * 1000), rest)
            try:
                message, payload = await connection.exchange(
                    head, body, bodyless=bodyless, deadline=deadline
                )
            except _Closed as closed:
                # An idle connection that the service had given up: every other idle one may be as
                # old, so this ends with a new connection, which is not `reused`.
                if reused and closed.silent and replayable and isinstance(body, bytes):
                    continue
                raise UpstreamTimeout.unknown() from None
            return UpstreamResponse(connection, message, payload, self._idle_body_s_max)

    async def _acquire(self, deadline: float, workspace_id: str) -> tuple[Connection, bool, float]:
        """A connection, whether it was used before, and for how long it was waited for."""
        loop = asyncio.get_running_loop()
        called, waited_s = False, 0.0
        while True:
            now = loop.time()
            if called or not self._waiting:
                while self._idle:
                    connection = self._idle.pop()
                    if (
                        connection.usable
                        and now - connection.idle_since < _IDLE_S_MAX
                        and now - connection.opened_at < _LIFE_S_MAX
                    ):
                        connection.lend()
                        return connection, True, waited_s
                    connection.close()
                if self._closed:
                    raise ServiceUnavailable
                if len(self._open) + self._opening < self._connections_max:
                    return await self._connect(deadline), False, waited_s
            await self._waiting.wait(workspace_id, until=deadline, first=called)
            waited_s += loop.time() - now
            called = True

    async def _connect(self, deadline: float) -> Connection:
        loop = asyncio.get_running_loop()
        self._opening += 1
        try:
            for pause_s in (*_CONNECT_PAUSES_S, None):
                latest = min(deadline, loop.time() + _CONNECT_S_MAX)
                try:
                    async with asyncio.timeout_at(latest):
                        _, connection = await loop.create_connection(
                            lambda: Connection(loop, self), self._host, self._port, ssl=self._tls
                        )
                except ConnectionRefusedError:
                    if pause_s is None or loop.time() + pause_s >= deadline:
                        raise ServiceUnavailable from None
                    await asyncio.sleep(pause_s)
                except (OSError, TimeoutError):
                    raise ServiceUnavailable from None
                else:
                    return connection
            raise AssertionError("unreachable")
        finally:
            self._opening -= 1
            self._call_next()

    def opened(self, connection: Connection) -> None:
        """A connection tells that its socket is open."""
        self._open.add(connection)

    def lost(self, connection: Connection) -> None:
        """A connection tells that its socket is gone, or about to go."""
        if connection in self._open:
            self._open.discard(connection)
            with contextlib.suppress(ValueError):
                self._idle.remove(connection)
            self._give_back_response_slot(connection)
            self._call_next()

    def give_back(self, connection: Connection) -> None:
        """A connection tells that it is free."""
        self._idle.append(connection)
        self._give_back_response_slot(connection)
        self._call_next()

    async def take_response_slot(
        self, connection: Connection, caller_key: CallerKey, deadline: float
    ) -> None:
        """A connection asks for the place of an answer; it has it until it is free or gone."""
        await self._response_slots.take(caller_key, deadline)
        if connection in self._open:
            self._slot_holders[connection] = caller_key
        else:
            # Gone meanwhile; what had come of the answer can be read without it.
            self._response_slots.give_back(caller_key)

    def _give_back_response_slot(self, connection: Connection) -> None:
        caller_key = self._slot_holders.pop(connection, None)
        if caller_key is not None:
            self._response_slots.give_back(caller_key)

    def _call_next(self) -> None:
        if self._idle or len(self._open) + self._opening < self._connections_max:
            self._waiting.call(None)

    async def close(self) -> None:
        """Close every connection; requests that still run end as if the service had gone."""
        self._closed = True
        for connection in list(self._open):
            connection.close()
        while self._waiting.call(None):
            pass
        await asyncio.sleep(0)
