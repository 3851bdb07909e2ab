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
from enum import Enum
from typing import Final, Literal
from urllib.parse import urlsplit

from gateway.fairness import CallerKey, FairSlots
from gateway.upstream.connection import BodySource, Connection, ConnectionClosed
from gateway.upstream.response import UpstreamResponse
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
# One connection in so many may carry a body that is still on its way; as many requests may wait for
# a slot among those.
UPLOADS_SHARE = 4
# One in so many may carry an answer to whoever reads it slowly, and one in so many be kept by who
# waits for a place among those. With the uploads this leaves more than a third to everybody else.
RESPONSES_SHARE = 4
RESPONSES_LINE_SHARE = 8
_WAITED = WAITED_HEADER.encode()


class _Room(Enum):
    ROOM = "room"


ROOM: Final = _Room.ROOM
"""Room for one more connection, which counts as being opened as long as a request has it."""
Place = Connection | Literal[_Room.ROOM]
"""What a request needs to be sent."""


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
        self._waiting: Line[Place] = Line(wait_s, passed_on=self._give_back_place)
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
            place = None if self._waiting else self._next_place()
            if place is None:
                place, waited_s = await self._wait(workspace_id, deadline)
                # After the request line. The service goes on counting from there.
                line, _, rest = head.partition(b"\r\n")
                head = b"%s\r\n%s: %d\r\n%s" % (line, _WAITED, int(waited_s * 1000), rest)
            connection = await self._connect(deadline) if place is ROOM else place
            try:
                message, payload = await connection.exchange(
                    head, body, bodyless=bodyless, deadline=deadline
                )
            except ConnectionClosed as closed:
                # An idle connection that the service had closed. The other idle ones may be as
                # old, so this ends with a new connection at the latest.
                reused = place is not ROOM
                if reused and closed.silent and replayable and isinstance(body, bytes):
                    continue
                raise UpstreamTimeout.unknown() from None
            return UpstreamResponse(connection, message, payload, self._idle_body_s_max)

    def _next_place(self) -> Place | None:
        """What the next request in turn can have now.

        1. An idle connection: the one that was used last. It is lent to the request.
        2. No connection is idle, and fewer than the maximum exist: room for one more, which is
           reserved for the request.
        3. Neither: None. The request waits until a connection becomes idle or is lost.
        """
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if (
                connection.usable
                and now - connection.idle_since < _IDLE_S_MAX
                and now - connection.opened_at < _LIFE_S_MAX
            ):
                connection.lend()
                return connection
            # Forgotten before it is closed, so that `lost` assigns nothing in the middle of this.
            self._open.discard(connection)
            connection.close()
        if len(self._open) + self._opening < self._connections_max:
            self._opening += 1
            return ROOM
        return None

    def _assign(self) -> None:
        """Give places to waiting requests, in turn, until there are no more of one or the other.

        Called on every change: a connection became idle or was lost, or room was given back. As
        long as requests wait there is therefore no place left, and new requests join the line.
        """
        while self._waiting and (place := self._next_place()) is not None:
            if not self._waiting.call(place):
                self._give_back_place(place)

    async def _wait(self, workspace_id: str, deadline: float) -> tuple[Place, float]:
        """Wait in line for a place; also returns for how many seconds."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        place: Place | None = None
        lost = False
        while place is None:
            place = await self._waiting.wait(workspace_id, until=deadline, first=lost)
            if place is not ROOM and not place.usable:
                # It was closed after it was assigned, before this request could run.
                place, lost = self._next_place(), True
        return place, loop.time() - began

    def _give_back_place(self, place: Place) -> None:
        """A request that was given a place has been cancelled, and has not used it."""
        if place is ROOM:
            self._opening -= 1
            self._assign()
        else:
            place.release()

    async def _connect(self, deadline: float) -> Connection:
        """Open a connection in the room that was reserved. `ServiceUnavailable` when refused."""
        loop = asyncio.get_running_loop()
        try:
            if self._closed:
                raise ServiceUnavailable
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
            self._assign()

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
            self._assign()

    def give_back(self, connection: Connection) -> None:
        """A connection tells that it is free."""
        self._idle.append(connection)
        self._give_back_response_slot(connection)
        self._assign()

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

    async def close(self) -> None:
        """Close every connection; requests that still run end as if the service had gone."""
        self._closed = True
        self._waiting.refuse_all()
        for connection in list(self._open):
            connection.close()
        await asyncio.sleep(0)
