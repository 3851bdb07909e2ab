"""Services that answer byte by byte, as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.kit.sigma import error

AWAY = error(503, "SERVICE_UNAVAILABLE", "Service unavailable")
BROKE_OFF = error(
    504,
    "UPSTREAM_TIMEOUT",
    "The connection broke before the answer came: the change may have been made",
)

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Actor:
    """A service at the level of bytes: runs `script` for each connection."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.connections = 0
        self.requests: list[bytes] = []
        self.url = ""
        self._serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def heard(self, reader: asyncio.StreamReader) -> bytes:
        """The head of the next request, and its body as far as a length says so."""
        head = await reader.readuntil(b"\r\n\r\n")
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                head += await reader.readexactly(int(line.split(b":")[1]))
        self.requests.append(head)
        return head

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = writer
        try:
            await self.script(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
            del self._serving[task]

    async def stop(self) -> None:
        """Close every connection, and let the scripts end by it."""
        for writer in self._serving.values():
            writer.transport.abort()
        await asyncio.gather(*self._serving)


@asynccontextmanager
async def acting(script: Script) -> AsyncIterator[Actor]:
    actor = Actor(script)
    server = await asyncio.start_server(actor.serve, "127.0.0.1", 0)
    actor.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield actor
    finally:
        server.close()
        await actor.stop()


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
