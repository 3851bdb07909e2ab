"""Response of a service: status and headers, and a body that is read or given up."""

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
                    parts.append(await self.payload.read(BUFFER_BYTES))
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
                    part = await self.payload.read(BUFFER_BYTES)
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
