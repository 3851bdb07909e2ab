"""Hears the events of a running system, as a consumer of its exchange does."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Self

import aio_pika

from deploy.local.failure import StartFailed
from shared.messaging import topology

HEARD_WITHIN_S = 30.0


class Listener:
    """From the beginning of its `with` block it misses no event."""

    def __init__(self, amqp_url: str) -> None:
        self._url = amqp_url
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        self._runner.run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._connection.close())
        self._runner.close()

    def wait_for(self, subject: str) -> str:
        """The type of the first event about this object; `StartFailed` if none comes."""
        try:
            return self._runner.run(self._heard(subject))
        except TimeoutError:
            why = f"no event about {subject} within {HEARD_WITHIN_S:.0f} s"
            raise StartFailed("Events", why) from None

    async def _listen(self) -> None:
        self._connection = await aio_pika.connect(self._url)
        channel = await self._connection.channel()
        self._queue = await channel.declare_queue(exclusive=True, auto_delete=True)
        await self._queue.bind(topology.EVENTS, "#")

    async def _heard(self, subject: str) -> str:
        async with asyncio.timeout(HEARD_WITHIN_S), self._queue.iterator(no_ack=True) as messages:
            async for message in messages:
                event: dict[str, Any] = json.loads(message.body)
                if event["subject"] == subject:
                    return str(event["type"])
        raise TimeoutError
