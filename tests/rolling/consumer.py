"""Two listeners: the documented example consumer as a process, and a queue that hears everything.

The plain queue shows what the broker delivered, for all services and by version.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aio_pika

from tests.kit.example_consumer import ExampleConsumer
from tests.rolling.ledger import Ledger
from tests.rolling.load import WORKSPACE

EXCHANGE, QUEUE = "sigma.events", "rolling_listener"
BINDINGS = ("entity.*", "workflow.*", "auth.role.*")
HEARD_WITHIN_S = 60.0
QUIET_S = 3.0


@dataclass(frozen=True, slots=True)
class Heard:
    """The events of the acknowledged writes, and what became of them."""

    expected: int
    lost: list[str]
    doubled: list[str]
    late: list[str]
    """Subjects whose events first arrived in another order than that of their versions."""
    redelivered: int
    """Deliveries of an event that had been delivered before, which the documentation allows."""


class Listeners:
    def __init__(self, amqp_url: str, database_url: str, folder: Path) -> None:
        self._open = AsyncExitStack()
        self._amqp_url = amqp_url
        self._example = ExampleConsumer(amqp_url, database_url, folder)
        self._deliveries: Counter[str] = Counter()
        self._ids: dict[tuple[str, int], set[str]] = {}
        self._last: dict[str, int] = {}
        self._late: list[str] = []

    async def start(self) -> None:
        """Both listen when this returns; before the first write."""
        connection = await aio_pika.connect(self._amqp_url)
        self._open.push_async_callback(connection.close)
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=100)
        exchange = await channel.declare_exchange(EXCHANGE, "topic", durable=True)
        queue = await channel.declare_queue(
            QUEUE, durable=True, arguments={"x-queue-type": "quorum"}
        )
        for binding in BINDINGS:
            await queue.bind(exchange, binding)
        await queue.consume(self._take)
        self._open.push_async_callback(self._example.close)
        await self._example.start()

    async def close(self) -> None:
        await self._open.aclose()

    async def heard(self, ledger: Ledger) -> Heard:
        """Wait until everything has arrived, or for a minute; then for what comes twice."""
        expected = [(item.id, n) for item in ledger.items for n in range(1, item.version + 1)]
        loop = asyncio.get_running_loop()
        ends = loop.time() + HEARD_WITHIN_S
        followed: dict[str, int] = {}
        while loop.time() < ends:
            followed = await self._example.followed(WORKSPACE)
            behind = [i.id for i in ledger.records.values() if followed.get(i.id, 0) < i.version]
            if not behind and all(each in self._ids for each in expected):
                break
            await asyncio.sleep(0.5)
        await asyncio.sleep(QUIET_S)
        followed = await self._example.followed(WORKSPACE)
        lost = [
            f"{subject} version {n}" for subject, n in expected if (subject, n) not in self._ids
        ]
        lost += [
            f"{item.id}: the example consumer follows version {followed.get(item.id)}"
            for item in ledger.records.values()
            if followed.get(item.id, 0) < item.version
        ]
        doubled = [f"{key}: {len(ids)} ids" for key, ids in self._ids.items() if len(ids) > 1]
        changes = await self._example.changes(WORKSPACE)
        distinct = sum(subject in followed for subject, _ in self._ids)
        if changes > distinct:
            doubled.append(f"the example consumer counted {changes} changes of {distinct}")
        elif changes < distinct:
            lost.append(f"the example consumer counted {changes} changes of {distinct}")
        redelivered = sum(count - 1 for count in self._deliveries.values())
        return Heard(len(expected), lost, doubled, self._late, redelivered)

    async def _take(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        event = json.loads(message.body)
        if event["workspaceid"] == WORKSPACE:
            subject, version = event["subject"], event["data"]["version"]
            self._deliveries[event["id"]] += 1
            if self._deliveries[event["id"]] == 1:
                self._ids.setdefault((subject, version), set()).add(event["id"])
                if version < self._last.get(subject, 0):
                    self._late.append(f"{subject} version {version}")
                self._last[subject] = version
        await message.ack()
