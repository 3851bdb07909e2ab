"""A connection to a server that a test can cut, hold up and mend, without touching the server."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

_CHUNK = 64 * 1024


class Wire:
    """`async with Wire(url) as wire`: `wire.url` leads to the server, through a port of its own.

    With `delay_s` whatever is sent arrives that much later, in either direction, and as fast as it
    was sent: a server that is far away.
    """

    def __init__(self, url: str, *, delay_s: float = 0.0) -> None:
        self._delay_s = delay_s
        self._target = urlsplit(url)
        self._open: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._answering = asyncio.Event()
        self._answering.set()
        self._refuses = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        credentials, at, _ = self._target.netloc.rpartition("@")
        self.url = urlunsplit(self._target._replace(netloc=f"{credentials}{at}127.0.0.1:{port}"))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        self.cut()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def cut(self) -> None:
        """Break every connection, and refuse new ones until `mend`."""
        self._refuses = True
        self._flowing.set()
        self._answering.set()
        for writer in tuple(self._open):
            writer.transport.abort()

    def hold(self) -> None:
        """Keep connections open and carry nothing: what a vanished server looks like."""
        self._flowing.clear()

    def hold_answers(self) -> None:
        """Carry what is sent to the server, and nothing of what it says."""
        self._answering.clear()

    def mend(self) -> None:
        """Carry again, and accept new connections."""
        self._refuses = False
        self._flowing.set()
        self._answering.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(
            self._target.hostname, self._target.port
        )
        self._open |= {writer, far_writer}
        for source, sink, flowing in (
            (reader, far_writer, self._flowing),
            (far_reader, writer, self._answering),
        ):
            under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
            for work in (
                self._take_in(source, under_way),
                self._give_out(under_way, sink, flowing),
            ):
                pump = asyncio.create_task(work)
                self._pumps.add(pump)
                pump.add_done_callback(self._pumps.discard)

    async def _take_in(
        self, source: asyncio.StreamReader, under_way: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        loop = asyncio.get_running_loop()
        chunk = b""
        try:
            while chunk := await source.read(_CHUNK):
                under_way.put_nowait((loop.time() + self._delay_s, chunk))
        except OSError:
            pass
        finally:
            under_way.put_nowait((loop.time() + self._delay_s, b""))

    async def _give_out(
        self,
        under_way: asyncio.Queue[tuple[float, bytes]],
        sink: asyncio.StreamWriter,
        flowing: asyncio.Event,
    ) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                arrives_at, chunk = await under_way.get()
                await asyncio.sleep(max(0.0, arrives_at - loop.time()))
                if not chunk:
                    return
                await self._flowing.wait()
                await flowing.wait()
                if sink.transport.is_closing():
                    return
                sink.write(chunk)
                await sink.drain()
        except OSError:
            pass
        finally:
            self._open.discard(sink)
            sink.transport.abort()
