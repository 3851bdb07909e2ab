"""A TCP balancer in front of the replicas of one service; it follows `/readyz` as kube-proxy does.

It asks each replica every `period_s`, and acts on a change only when the news has travelled: at
most `late_s` after the replica changed, the waiting for the next probe included. A new connection
goes to any replica believed ready; one that is established stays where it is.

One difference to kube-proxy remains: a connection that the replica refuses was accepted here
first, so its client sees a reset and not a refusal. That is stricter: the client cannot know that
nothing was sent.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp

from deploy.local.settings import HOST
from tests.kit.processes import Process

PROBE_WITHIN_S = 1.0
MARGIN_S = 0.5
"""What a probe and this process may take, so that the news is never later than it was said."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How a balancer learns of changes."""

    period_s: float = 2.0
    late_s: float = 5.0

    @property
    def travel_s_max(self) -> float:
        """What is left for the news to travel after the slowest probe."""
        return max(0.0, self.late_s - self.period_s - MARGIN_S)


class Balancer:
    """The address of one service: `url`. Replicas come with `add` and leave after `forget`."""

    def __init__(self, timing: Timing, seed: int) -> None:
        self._timing = timing
        self._random = random.Random(seed)
        self._ready: dict[Process, bool] = {}
        self._probes: dict[Process, asyncio.Task[None]] = {}
        self._leaving: set[Process] = set()
        self._halves: set[Half] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._stopped_at: dict[Process, float] = {}
        self.latest_s = 0.0
        """The longest that a stopping replica got connections."""
        self.unanswered = 0
        """Connections for which no replica answered."""

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._server.sockets[0].getsockname()[1]}"

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True),
            timeout=aiohttp.ClientTimeout(total=PROBE_WITHIN_S),
        )
        self._server = await loop.create_server(lambda: Half(self._halves, self._met), HOST, 0)

    async def close(self) -> None:
        self._server.close()
        for task in (*self._probes.values(), *self._connecting):
            task.cancel()
        for half in tuple(self._halves):
            half.abort()
        await self._session.close()
        # Aborted connections are closed in the next turn of the loop.
        await asyncio.sleep(0)

    def add(self, replica: Process) -> None:
        """Ask this replica from now on; it gets connections when it is believed ready."""
        self._ready[replica] = False
        self._probes[replica] = asyncio.create_task(self._follow(replica))

    def stops(self, replica: Process) -> None:
        """It was asked to stop now. The balancer does not act on this: it keeps its own promise."""
        self._stopped_at[replica] = asyncio.get_running_loop().time()

    def forget(self, replica: Process) -> None:
        """Its process has ended: stop asking as soon as it is not believed ready any more."""
        self._leaving.add(replica)

    def believes(self, replica: Process) -> bool:
        """Whether this replica gets new connections."""
        return self._ready.get(replica, False)

    async def _follow(self, replica: Process) -> None:
        await asyncio.sleep(self._random.uniform(0, self._timing.period_s))
        while replica not in self._leaving or self.believes(replica):
            ready = await self._asked(replica)
            if ready != self.believes(replica):
                await asyncio.sleep(self._travel_s(replica, ready=ready))
                self._ready[replica] = ready
                if not ready and replica in self._stopped_at:
                    late_s = asyncio.get_running_loop().time() - self._stopped_at.pop(replica)
                    self.latest_s = max(self.latest_s, late_s)
            await asyncio.sleep(self._timing.period_s)
        del self._ready[replica], self._probes[replica]

    def _travel_s(self, replica: Process, *, ready: bool) -> float:
        """How long the news travels; less where a slow probe has used up the time for it."""
        travel_s = self._random.uniform(0, self._timing.travel_s_max)
        if ready or replica not in self._stopped_at:
            return travel_s
        late_s = asyncio.get_running_loop().time() - self._stopped_at[replica]
        return max(0.0, min(travel_s, self._timing.late_s - MARGIN_S - late_s))

    async def _asked(self, replica: Process) -> bool:
        try:
            async with self._session.get(f"{replica.internal_url}/readyz") as answer:
                return answer.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    def _met(self, client: Half) -> None:
        task = asyncio.create_task(self._connect(client))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, client: Half) -> None:
        ready = [replica for replica, believed in self._ready.items() if believed]
        loop = asyncio.get_running_loop()
        try:
            port = self._random.choice(ready).port
            _, server = await loop.create_connection(lambda: Half(self._halves), HOST, port)
        except (IndexError, OSError):
            self.unanswered += 1
            client.abort()
        else:
            client.join(server)


class Half(asyncio.Protocol):
    """One of the two sockets of a connection; whatever it receives, the other one sends."""

    def __init__(self, halves: set[Half], met: Callable[[Half], None] | None = None) -> None:
        self._halves = halves
        self._met = met
        self._transport: Any = None
        self._other: Half | None = None
        self._early = bytearray()
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._halves.add(self)
        if self._met is not None:
            self._met(self)

    def join(self, other: Half) -> None:
        """Carry in both directions from now on."""
        if self._transport.is_closing():
            other.abort()
            return
        self._other, other._other = other, self
        other._transport.write(bytes(self._early))
        if self._ended:
            self.eof_received()

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            # There is nobody yet to send it to, or nobody any more.
            self._early += data
        else:
            self._other._transport.write(data)

    def eof_received(self) -> bool:
        self._ended = True
        other = self._other
        if other is not None and other._ended:
            # Nothing more comes from either side; what is still to be sent is sent.
            self._transport.close()
            other._transport.close()
        elif other is not None and not other._transport.is_closing():
            with suppress(OSError, RuntimeError):
                other._transport.write_eof()
        # The other direction may still carry an answer.
        return True

    def pause_writing(self) -> None:
        if self._other is not None and not self._other._transport.is_closing():
            self._other._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None and not self._other._transport.is_closing():
            self._other._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._halves.discard(self)
        other, self._other = self._other, None
        if other is not None:
            other._other = None
            if exc is None:
                other._transport.close()
            else:
                other.abort()

    def abort(self) -> None:
        self._transport.abort()
