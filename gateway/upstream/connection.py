"""HTTP/1.1 client connection to a service: one socket, one request at a time.

If anything goes wrong with a request, including a time-out or a cancelled caller, its connection is
closed: no caller ever reads the response to another request.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Protocol

from aiohttp.base_protocol import BaseProtocol
from aiohttp.client_exceptions import ClientPayloadError
from aiohttp.http import HttpResponseParser, RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from gateway.fairness import CallerKey
from shared.errors import ServiceUnavailable, UpstreamTimeout

BUFFER_BYTES = 1 << 16
_INFORMATIONAL_STATUSES_END = 200
_NO_CONTENT_STATUSES = frozenset({204, 304})

BodySource = AsyncIterator[bytes]


class ConnectionClosed(Exception):
    """The service closed the connection before the head of its response was complete.

    `silent` means that it had sent no byte of it. The service may have executed the request, which
    was sent at least in part.
    """

    def __init__(self, *, silent: bool) -> None:
        super().__init__()
        self.silent = silent


class Owner(Protocol):
    """The pool that a connection belongs to, as the connection sees it."""

    def opened(self, connection: Connection) -> None:
        """The socket is open."""

    def lost(self, connection: Connection) -> None:
        """The socket is closed, or about to be closed."""

    def give_back(self, connection: Connection) -> None:
        """The response was read to its end: the connection can carry the next request."""

    async def take_response_slot(
        self, connection: Connection, caller_key: CallerKey, deadline: float
    ) -> None:
        """Take the slot that a large response needs; raises `ServiceUnavailable`."""


class Connection(BaseProtocol):
    """A connection, used by one request at a time; tells its `owner` when its state changes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: Owner) -> None:
        super().__init__(loop)
        self._owner = owner
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
            BUFFER_BYTES,
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
        """Mark the connection as used by a request."""
        self._lent = True

    async def exchange(
        self, head: bytes, body: bytes | BodySource, *, bodyless: bool, deadline: float
    ) -> tuple[RawResponseMessage, StreamReader]:
        """Send one request and wait for the head of its response; returns that and its body.

        `bodyless` is a HEAD request, whose response has the headers of a body but no body.
        `deadline` is a time of the event loop. Raises `ConnectionClosed`, `UpstreamTimeout`,
        `ServiceUnavailable` if the connection was closed before, and what the body source raises.
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
        """Send the body while waiting for the head: a service may refuse a body before its end."""
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
                    # Retrieved, so that asyncio does not report it: the client may have left.
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
            # The service has closed; its response, if any, is in the future of the head.
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
        """Called by the event loop; with empty `data` when a paused parser continues."""
        if self._parser is None:
            return
        if not self._lent:
            if not data:
                return
            # Data without a request must not become the response to the next one.
            self.close()
            return
        self._heard = True
        try:
            messages, upgraded, _ = self._parser.feed_data(data)
        except Exception:  # noqa: BLE001 - after any error of the parser the response is unusable
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
            self._head.set_exception(ConnectionClosed(silent=False))
        self.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop when the socket is open."""
        super().connection_made(transport)
        self._owner.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called by the event loop when the socket is closed. Fails the waiting head or body."""
        payload, parser = self._payload, self._parser
        self._parser = None
        if payload is not None and payload is not EMPTY_PAYLOAD and not payload.is_eof():
            try:
                parser.feed_eof()
            except Exception as error:  # noqa: BLE001 - any error here is a truncated body
                payload.set_exception(ClientPayloadError(str(error)))
            if not payload.is_eof() and payload.exception() is None:
                payload.set_exception(ClientPayloadError("connection lost"))
        if self._head is not None and not self._head.done():
            self._head.set_exception(ConnectionClosed(silent=not self._heard))
        super().connection_lost(exc)
        self._owner.lost(self)

    def release(self) -> None:
        """Give the connection back after the response was read; close it if it is not reusable."""
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
            self._owner.give_back(self)
        else:
            self.close()

    async def hold_slot(self, caller_key: CallerKey, deadline: float) -> None:
        """Take the slot that a large response needs while a client reads it."""
        await self._owner.take_response_slot(self, caller_key, deadline)

    def close(self) -> None:
        """Close the socket at once; a body that is being read ends with an error."""
        transport = self.transport
        if transport is not None:
            transport.abort()
        self._owner.lost(self)
