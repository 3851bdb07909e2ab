"""A receiver that answers at once, and the processes that a benchmark starts of itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from tests.kit.servers import ROOT


class Receiver(asyncio.Protocol):
    """Reads requests with bodies, and writes for each what `answered` makes of it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with nothing read."""
        self._transport = cast("asyncio.Transport", transport)
        self._data = bytearray()

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole by now."""
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._data[:end]).lower()
            _, _, length = head.partition(b"content-length: ")
            size = int(length.split(b"\r\n")[0] or 0) if length else 0
            if len(self._data) < end + 4 + size:
                return
            del self._data[: end + 4 + size]
            self._transport.write(self.answered(head, size))

    @abstractmethod
    def answered(self, head: bytes, size: int) -> bytes:
        """The answer to a request, by its head in small letters and the bytes of its body."""


async def receive(kind: type[Receiver]) -> None:
    """Listen on a free port, and print the address."""
    server = await asyncio.get_running_loop().create_server(kind, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


@contextmanager
def process(module: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """This module as another process; the first line that it prints."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            yield running, running.stdout.readline().strip()
        finally:
            running.kill()
