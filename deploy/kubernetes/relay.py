"""Relays connections from a network of containers to servers that listen on loopback only."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

_FREEBIND = 15
"""IP_FREEBIND of Linux: the address may appear later, with the first container of the network."""
_CHUNK = 1 << 16


@contextmanager
def relays(address: str, urls: Iterable[str]) -> Iterator[dict[str, str]]:
    """For each URL of a server on this machine, the one that leads there through `address`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="relays", daemon=True)
    thread.start()
    try:
        ports: dict[int, int] = {}
        made = {}
        for url in urls:
            target = urlsplit(url)
            to = target.port or 0
            if to not in ports:
                starting = asyncio.run_coroutine_threadsafe(_relay(address, to), loop)
                ports[to] = starting.result(timeout=10)
            credentials = target.netloc.rpartition("@")[0]
            netloc = f"{credentials}@{address}:{ports[to]}"
            made[url] = urlunsplit(target._replace(netloc=netloc))
        yield made
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def _relay(address: str, to: int) -> int:
    """Listen at the address; the port there."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", to)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pass_on(reader, far_writer), _pass_on(far_reader, writer))

    listening = socket.socket()
    listening.setsockopt(socket.IPPROTO_IP, _FREEBIND, 1)
    listening.bind((address, 0))
    await asyncio.start_server(accept, sock=listening)
    return int(listening.getsockname()[1])


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()
