"""Who hears of changes during an experiment: a queue on the bus, a follower of the change feed.

Both come back by themselves, from where they were, as the documentation asks of a client. Beside
them runs the documented example consumer, whose database shows the effect of the events.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import cycle
from typing import Any, Final
from urllib.parse import urlsplit

import aio_pika
import aiohttp
from aio_pika.exceptions import AMQPError

from shared.messaging.connection import WatchedConnection
from shared.process.hosts import each_host
from tests.faults.history import Change, tokens_of
from tests.kit.sigma import Caller

EXCHANGE: Final = "sigma.events"
ARGUMENTS: Final = {"x-queue-type": "quorum", "x-single-active-consumer": True}
HEARTBEAT_S: Final = 5
CONNECT_TIMEOUT_S: Final = 3
PAUSE_S: Final = 0.2
FEED_WAIT_S: Final = 5
FEED_TIMEOUT_S: Final = 30.0
GONE: Final = 410


class Ear:
    """What one listener has heard of the records of a workspace, in the order of arrival."""

    exactly_once = False
    """Whether it may hear each event only once."""

    def __init__(self) -> None:
        self.heard: list[Change] = []
        self.tokens: set[str] = set()
        self.heard_s: list[float] = []
        """When each of them came, by the clock of the loop."""
        self._task: asyncio.Task[None] | None = None

    def take(self, event: dict[str, Any]) -> None:
        """Note an event of a record; others are not listened for."""
        data = event["data"]
        if event["type"].startswith("entity."):
            tokens = tokens_of(data.get("changes", ()))
            self.heard.append(Change(data["entityId"], data["version"], tokens, event["id"]))
            self.tokens.update(tokens)
            self.heard_s.append(asyncio.get_running_loop().time())

    async def start(self) -> None:
        """It hears of everything that is written after this."""
        raise NotImplementedError

    def listen(self, listening: Callable[[], Awaitable[None]]) -> None:
        """Listen from now on, again and again."""

        async def for_ever() -> None:
            while True:
                with suppress(AMQPError, aiohttp.ClientError, OSError, TimeoutError):
                    await listening()
                await asyncio.sleep(PAUSE_S)

        self._task = asyncio.create_task(for_ever())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


class BusEar(Ear):
    """A durable queue of its own, bound to the events of records.

    Only one consumer of it is active, as the documentation asks of whoever needs the order: the
    next one begins with what the one before has not acknowledged, even if that is only silent.
    """

    def __init__(self, amqp_url: str, workspace_id: str) -> None:
        super().__init__()
        self._urls = cycle(each_host(amqp_url))
        """Whoever has lost one node of a cluster asks the next."""
        self.host = ""
        """The node that it listens to."""
        self._workspace_id = workspace_id
        self._queue = f"faults.{workspace_id}"

    async def start(self) -> None:
        async with await aio_pika.connect(next(self._urls)) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue(self._queue, durable=True, arguments=ARGUMENTS)
            await queue.bind(EXCHANGE, "entity.*")
        self.listen(self._read)

    async def close(self) -> None:
        """Delete the queue, too."""
        await super().close()
        with suppress(AMQPError, OSError, TimeoutError):
            async with await aio_pika.connect(next(self._urls), timeout=10) as connection:
                channel = await connection.channel()
                await channel.queue_delete(self._queue, timeout=10)

    async def _read(self) -> None:
        url = next(self._urls)
        connection = await aio_pika.connect(
            url,
            heartbeat=HEARTBEAT_S,
            timeout=CONNECT_TIMEOUT_S,
            connection_class=WatchedConnection,
        )
        async with connection:
            channel = await connection.channel(publisher_confirms=False)
            await channel.set_qos(prefetch_count=200)
            # Not declared again: that would wait until the nodes agree on who is there.
            queue = await channel.get_queue(self._queue, ensure=False)
            self.host = str(urlsplit(url).hostname)
            async with queue.iterator() as messages:
                async for message in messages:
                    with suppress(ValueError, KeyError, TypeError):  # poison
                        event = json.loads(message.body)
                        if event["workspaceid"] == self._workspace_id:
                            self.take(event)
                    await message.ack()


class FeedEar(Ear):
    """Follows `GET /changes` through the gateway by long poll, from one token to the next."""

    exactly_once = True

    def __init__(self, caller: Caller) -> None:
        super().__init__()
        self._caller = caller
        self._token = ""
        self.gone = False
        """Whether a token was refused as too old, which is wrong within seven days."""

    async def start(self) -> None:
        self._token = (await self._caller.get("/changes")).ok()["next"]
        self.listen(self._read)

    async def _read(self) -> None:
        path = f"/changes?limit=500&wait={FEED_WAIT_S}&after={self._token}"
        async with asyncio.timeout(FEED_TIMEOUT_S):
            answer = await self._caller.get(path)
        if answer.status == 200:
            for event in answer.body["items"]:
                self.take(event)
            self._token = answer.body["next"]
        self.gone = self.gone or answer.status == GONE
