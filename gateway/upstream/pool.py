"""HTTP/1.1 connection pool for one service, with streaming in both directions.

aiohttp's own client costs about 150 us a request (cookies, redirects, tracing, URL objects), which
is most of what the hop through the gateway may cost. This pool sends bytes that are a complete
request and parses responses with aiohttp's C parser.

Guarantees:

- `ServiceUnavailable` means that nothing was sent. A request that was sent and not answered may
  have been executed: this is `UpstreamTimeout`.
- A request is sent a second time only if that changes nothing: the connection was refused, or a
  request that the caller calls `replayable` met an idle connection that was just being closed.
- There are at most `connections_max` sockets. A request that finds none free waits in a bounded
  queue, in which the workspaces are served in turn.
- Uploads and large responses, whose duration a client decides, can occupy only a part of them.
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
from shared.http.client import IDLE_S_MAX
from shared.process.waiting import WAIT_S, WAITED_HEADER, Line

# Connections are replaced, so that a replica that was started later gets its share.
_LIFE_S_MAX = 300.0
_CONNECT_S_MAX = 2.0
# A service that restarts refuses connections for a moment; these are the pauses between attempts.
_CONNECT_PAUSES_S = (0.05, 0.15)
# A quarter of the connections may carry uploads; as many requests may wait for one of these slots.
UPLOADS_SHARE = 4
# A quarter may carry large responses, and an eighth those that wait for such a slot. With the
# uploads this leaves more than a third of the connections to all other requests.
RESPONSES_SHARE = 4
RESPONSES_LINE_SHARE = 8
_WAITED = WAITED_HEADER.encode()


class _Room(Enum):
    ROOM = "room"


ROOM: Final = _Room.ROOM
"""Permission to open one more connection; counted as `_opening` until it is used or given back."""
Place = Connection | Literal[_Room.ROOM]
"""What a request needs before it can be sent."""


class UpstreamPool:
    """All connections to one service, and the queue of requests that wait for one."""

    def __init__(
        self,
        base_url: str,
        *,
        connections_max: int,
        idle_body_s_max: float = 30.0,
        wait_s: float = WAIT_S,
        responses_share: int = RESPONSES_SHARE,
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
        # The client decides how long an upload takes: silent uploads must not occupy the
        # connections that all other requests need.
        self._upload_slots = FairSlots(
            max(1, connections_max // UPLOADS_SHARE),
            max(1, connections_max // UPLOADS_SHARE),
            "Too many large bodies are being sent at once",
            wait_s,
        )
        # The same holds for large responses and their readers.
        self._response_slots = FairSlots(
            max(1, connections_max // responses_share),
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
        """Send a request whose body is still being received; holds an upload slot meanwhile.

        Raises as `send` does, and `ServiceUnavailable` if no slot becomes free in time.
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
        """Send one request and return its response when the head of that has been received.

        `head` is complete, with the empty line. `deadline` is a time of the event loop. Raises
        `ServiceUnavailable` if nothing could be sent, `UpstreamTimeout` if the connection broke or
        the deadline passed after the request was sent.
        """
        while True:
            place = None if self._waiting else self._next_place()
            if place is None:
                place, waited_s = await self._wait(workspace_id, deadline)
                # After the request line. The service counts its own queues on top of it.
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
                and now - connection.idle_since < IDLE_S_MAX
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
        """Take back the place of a request that was cancelled before it used it."""
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
        """Count a connection whose socket is open."""
        self._open.add(connection)

    def lost(self, connection: Connection) -> None:
        """Forget a connection whose socket is closed or about to be closed."""
        if connection in self._open:
            self._open.discard(connection)
            with contextlib.suppress(ValueError):
                self._idle.remove(connection)
            self._give_back_response_slot(connection)
            self._assign()

    def give_back(self, connection: Connection) -> None:
        """Take a connection back that can carry the next request."""
        self._idle.append(connection)
        self._give_back_response_slot(connection)
        self._assign()

    async def take_response_slot(
        self, connection: Connection, caller_key: CallerKey, deadline: float
    ) -> None:
        """Take a response slot for this connection, until it is given back or lost."""
        await self._response_slots.take(caller_key, deadline)
        if connection in self._open:
            self._slot_holders[connection] = caller_key
        else:
            # The connection was lost meanwhile; what was received can be read without a slot.
            self._response_slots.give_back(caller_key)

    def _give_back_response_slot(self, connection: Connection) -> None:
        caller_key = self._slot_holders.pop(connection, None)
        if caller_key is not None:
            self._response_slots.give_back(caller_key)

    async def close(self) -> None:
        """Close every connection: running requests fail, and waiting ones are refused."""
        # Each closed connection leaves room for a waiting request, and `_connect` refuses it.
        self._closed = True
        for connection in list(self._open):
            connection.close()
        await asyncio.sleep(0)
