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
        self._waiting: Line[None] = Line(wait_s, lambda _: self._call_next())
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
            connection, reused, waited_s = await self._acquire(deadline, workspace_id)
            if waited_s:
                # After the request line. The service goes on counting from there.
                line, _, rest = head.partition(b"\r\n")
                head = b"%s\r\n%s: %d\r\n%s" % (line, _WAITED, int(waited_s * 1000), rest)
            try:
                message, payload = await connection.exchange(
                    head, body, bodyless=bodyless, deadline=deadline
                )
            except ConnectionClosed as closed:
                # An idle connection that the service had given up: every other idle one may be as
                # old, so this ends with a new connection, which is not `reused`.
                if reused and closed.silent and replayable and isinstance(body, bytes):
                    continue
                raise UpstreamTimeout.unknown() from None
            return UpstreamResponse(connection, message, payload, self._idle_body_s_max)

    async def _acquire(self, deadline: float, workspace_id: str) -> tuple[Connection, bool, float]:
        """A connection, whether it was used before, and for how long it was waited for."""
        loop = asyncio.get_running_loop()
        called, waited_s = False, 0.0
        while True:
            now = loop.time()
            if called or not self._waiting:
                while self._idle:
                    connection = self._idle.pop()
                    if (
                        connection.usable
                        and now - connection.idle_since < _IDLE_S_MAX
                        and now - connection.opened_at < _LIFE_S_MAX
                    ):
                        connection.lend()
                        return connection, True, waited_s
                    connection.close()
                if self._closed:
                    raise ServiceUnavailable
                if len(self._open) + self._opening < self._connections_max:
                    return await self._connect(deadline), False, waited_s
            await self._waiting.wait(workspace_id, until=deadline, first=called)
            waited_s += loop.time() - now
            called = True

    async def _connect(self, deadline: float) -> Connection:
        loop = asyncio.get_running_loop()
        self._opening += 1
        try:
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
            self._call_next()

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
            self._call_next()

    def give_back(self, connection: Connection) -> None:
        """A connection tells that it is free."""
        self._idle.append(connection)
        self._give_back_response_slot(connection)
        self._call_next()

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

    def _call_next(self) -> None:
        if self._idle or len(self._open) + self._opening < self._connections_max:
            self._waiting.call(None)

    async def close(self) -> None:
        """Close every connection; requests that still run end as if the service had gone."""
        self._closed = True
        for connection in list(self._open):
            connection.close()
        while self._waiting.call(None):
            pass
        await asyncio.sleep(0)
