"""Response of a service: status and headers, and a body that is read, streamed or given up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

from aiohttp.client_exceptions import ClientPayloadError
from aiohttp.http import RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from gateway.fairness import CallerKey
from gateway.upstream.connection import BUFFER_BYTES, Connection
from shared.errors import UpstreamTimeout


class UpstreamResponse:
    """Response of a service. Its body is read by one of `take`, `read` and `parts`, or `close`d."""

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
        """Whether the whole body has been received."""
        return self.payload.is_eof()

    def take(self) -> bytes:
        """The body of a `whole` response; frees the connection."""
        body = b"" if self.payload is EMPTY_PAYLOAD else self.payload.read_nowait(-1)
        self._release()
        return body

    async def read(self, deadline: float) -> bytes:
        """Wait for the whole body and return it; frees the connection.

        Raises `UpstreamTimeout` if it is not complete at the deadline (a time of the event loop),
        if nothing comes for `idle_s_max` seconds, or if the connection breaks.
        """
        loop = asyncio.get_running_loop()
        parts: list[bytes] = []
        with self._ending():
            # One timer that is rescheduled: a list of records comes in several parts.
            latest = min(deadline, loop.time() + self._idle_s_max)
            async with asyncio.timeout_at(latest) as limit:
                while not self.payload.at_eof():
                    limit.reschedule(min(deadline, loop.time() + self._idle_s_max))
                    parts.append(await self.payload.read(BUFFER_BYTES))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def hold_slot(self, caller_key: CallerKey, deadline: float) -> None:
        """Take one of the slots for responses that occupy a connection while a client reads them.

        Raises `ServiceUnavailable` if none becomes free in time; the response is then closed.
        `deadline` is a time of the event loop.
        """
        try:
            await self._connection.hold_slot(caller_key, deadline)
        except BaseException:
            self.close()
            raise

    async def parts(self) -> AsyncIterator[bytes]:
        """Stream the body; raises `UpstreamTimeout` as `read` does, but knows no deadline.

        The connection is freed when the last part has been received, before it is yielded.
        """
        with self._ending():
            while not self.payload.at_eof():
                async with asyncio.timeout(self._idle_s_max):
                    part = await self.payload.read(BUFFER_BYTES)
                if self.payload.at_eof():
                    self._release()
                if part:
                    yield part

    @contextlib.contextmanager
    def _ending(self) -> Iterator[None]:
        """Free the connection if the body was read to its end, close it otherwise."""
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
        """Give the response up and close its connection, unless that was freed before."""
        if not self._over:
            self._over = True
            self._connection.close()
