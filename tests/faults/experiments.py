"""What is broken, for how long, and how soon everything has to be as before.

An experiment is a coroutine that breaks something in a scene and returns when it is whole again.
Those of background work (imports, change sets) are in `background.py`, the rolling restart in
`restarts.py`; `catalogue.py` lists all of them.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import aio_pika

from deploy.local.private_server import PrivateServer
from shared.identity import GATEWAY
from shared.messaging.topology import QUEUES, RECORDS_QUEUE, WORKFLOW_QUEUE
from tests.faults.isolation import cut
from tests.faults.scene import Limits, Scene
from tests.kit.eventually import eventually
from tests.kit.stack import AUTH, RECORDS, WORKFLOW

Fault = Callable[[Scene, "Form"], Awaitable[None]]


VICTIMS: Final = (RECORDS, GATEWAY, WORKFLOW, AUTH)


@dataclass(frozen=True, slots=True)
class Form:
    """How much an experiment does."""

    kills: int
    """Of services, each of `victims` in its turn."""
    server_kills: int
    away_s: float
    silent_s: float
    """How long a hanging broker or a cut link stays so."""
    writes: int
    rows: int
    """Of an import."""
    patience_s: float = 90
    """Waited for what does not come: then it counts as lost, or as too late."""
    clients: int = 16
    pause_s: float = 0.15
    victims: tuple[str, ...] = VICTIMS


FULL: Final = Form(kills=52, server_kills=10, away_s=30, silent_s=30, writes=10_000, rows=20_000)
SHORT: Final = Form(kills=4, server_kills=1, away_s=3, silent_s=3, writes=0, rows=4_000)

SERVICE_KILLED: Final = Limits(writes_s=20, events_s=30)
"""The start of the process is in it, on a machine that has other things to do."""
POSTGRES_KILLED: Final = Limits(writes_s=10, events_s=20)
BROKER_KILLED: Final = Limits(writes_s=5, events_s=30)
BROKER_HUNG: Final = Limits(writes_s=5, events_s=45)
"""Who has given up a connection opens a new one, and sends again what was not confirmed."""
LINK_HEALED: Final = Limits(writes_s=30, events_s=45)
"""TCP itself sends again only after a pause that grew while the link was cut."""


async def kill_services(scene: Scene, form: Form) -> None:
    """SIGKILL of each service in turn, at any moment, under writes."""
    chance = random.Random(scene.name)
    for number in range(form.kills):
        victim = form.victims[number % len(form.victims)]
        await asyncio.sleep(chance.uniform(0.1, 1.0))
        await scene.stack.kill(victim)
        restarting = asyncio.create_task(scene.stack.start(victim))
        await scene.recovered(f"{victim} killed", SERVICE_KILLED)
        await restarting
    await eventually(lambda: len(scene.writers.writes) >= form.writes, within_s=300)


async def kill_postgres(scene: Scene, form: Form) -> None:
    """SIGKILL of the database server, again and again."""
    for _ in range(form.server_kills):
        await asyncio.sleep(1)
        await _revived(postgres(scene), away_s=0.0)
        await scene.recovered("PostgreSQL killed", POSTGRES_KILLED)


async def kill_broker(scene: Scene, form: Form) -> None:
    """SIGKILL of the broker; every other time it hangs for a second before it dies."""
    for number in range(form.server_kills):
        await asyncio.sleep(1)
        if number % 2 == 0:
            _signal(broker(scene), signal.SIGSTOP)
            await asyncio.sleep(1)
        await _revived(broker(scene), away_s=0.0)
        await scene.recovered("RabbitMQ killed", BROKER_KILLED)


async def without_postgres(scene: Scene, form: Form) -> None:
    """The database server is stopped, and comes back later."""
    await asyncio.sleep(1)
    await _revived(postgres(scene), away_s=form.away_s)
    await scene.recovered("PostgreSQL away", POSTGRES_KILLED)


async def without_broker(scene: Scene, form: Form) -> None:
    """The broker is gone, and comes back later; writes go on meanwhile."""
    await asyncio.sleep(1)
    before = scene.writers.acknowledged
    await _revived(broker(scene), away_s=form.away_s)
    _note_if_no_writes(scene, before)
    await scene.recovered("RabbitMQ away", BROKER_KILLED)


async def stop_broker(scene: Scene, form: Form) -> None:
    """SIGSTOP: the broker keeps all connections and answers nothing; writes go on meanwhile."""
    await asyncio.sleep(1)
    before = scene.writers.acknowledged
    _signal(broker(scene), signal.SIGSTOP)
    try:
        await asyncio.sleep(form.silent_s)
    finally:
        _signal(broker(scene), signal.SIGCONT)
    _note_if_no_writes(scene, before)
    await scene.recovered("RabbitMQ stopped", BROKER_HUNG)


async def cut_off_broker(scene: Scene, form: Form) -> None:
    """Packets between records_service and the broker are dropped; writes go on meanwhile."""
    await asyncio.sleep(1)
    before = scene.writers.acknowledged
    async with cut(RECORDS, broker(scene).port):
        await asyncio.sleep(form.silent_s)
    _note_if_no_writes(scene, before)
    await scene.recovered("records_service and RabbitMQ apart", LINK_HEALED)


async def cut_off_postgres(scene: Scene, form: Form) -> None:
    """Packets between records_service and the database are dropped."""
    # Until most statements are prepared: one that is not asks twice, and writes only then.
    await asyncio.sleep(6)
    async with cut(RECORDS, postgres(scene).port):
        await asyncio.sleep(form.silent_s)
    await scene.recovered("records_service and PostgreSQL apart", LINK_HEALED)


async def poison(scene: Scene, form: Form) -> None:
    """One message in a hundred is one that nobody can handle, of three kinds."""
    before = await _dead_letters(scene)
    sent = dict.fromkeys(POISONED, 0)
    until = len(scene.writers.writes) + form.writes // 4
    connection = await aio_pika.connect(scene.stack.amqp_url)
    async with connection, connection.channel() as channel:
        exchange = await channel.get_exchange("sigma.events", ensure=False)
        while (written := len(scene.writers.writes)) < until or sum(sent.values()) < written // 100:
            if sum(sent.values()) < written // 100:
                number = sum(sent.values())
                queue = tuple(POISONED)[number % len(POISONED)]
                key, kinds = POISONED[queue]
                body = POISON[number // len(POISONED) % kinds]
                body = body.replace(b"TYPE", key.encode())
                await exchange.publish(aio_pika.Message(body), key)
                sent[queue] += 1
            else:
                await asyncio.sleep(0.02)

    async def all_set_aside() -> bool:
        now = await _dead_letters(scene)
        return all(now[queue] - before[queue] >= sent[queue] for queue in POISONED)

    with suppress(AssertionError):
        await eventually(all_set_aside, form.patience_s)
    now = await _dead_letters(scene)
    for queue in POISONED:
        scene.found.set_aside[queue] = (sent[queue], now[queue] - before[queue])
    await scene.recovered("poison", BROKER_KILLED)


async def full_disk(scene: Scene, form: Form) -> None:
    """The broker has no disk left, as its own alarm sees it; writes go on meanwhile."""
    await asyncio.sleep(1)
    before = scene.writers.acknowledged
    server = broker(scene)
    await asyncio.to_thread(server.control, "set_disk_free_limit", "900000GB")
    try:
        await asyncio.sleep(form.silent_s)
    finally:
        await asyncio.to_thread(server.control, "set_disk_free_limit", "50MB")
    _note_if_no_writes(scene, before)
    await scene.recovered("disk of RabbitMQ full", BROKER_HUNG)


POISONED: Final = {
    WORKFLOW_QUEUE: ("schema.updated", 2),
    RECORDS_QUEUE: ("workflow.updated", 3),
    "example_follower": ("entity.updated", 3),
}
"""Queue -> a routing key that reaches this queue and no other, and how many kinds are poison to it:
workflow_service asks for the schema that an event names, and needs nothing else of the event."""
POISON: Final = (
    b"not JSON",
    b'{"specversion": "1.0", "id": "evt-poison", "type": "TYPE"}',
    b"""{"specversion": "1.0", "id": "evt-poison", "type": "TYPE", "source": "/faults", "data": {},
      "subject": "x", "workspaceid": "ws-faults", "time": "2026-01-01T00:00:00Z"}""",
)
"""No JSON, no event, and an event without what its handler needs: that one is tried six times."""


async def _dead_letters(scene: Scene) -> dict[str, int]:
    names = [queue.name for queue in QUEUES] + ["example_follower"]
    counts: dict[str, int] = {}
    connection = await aio_pika.connect(scene.stack.amqp_url)
    async with connection, connection.channel() as channel:
        for name in names:
            queue = await channel.declare_queue(f"{name}.dead", passive=True)
            counts[name] = queue.declaration_result.message_count or 0
    return counts


def _note_if_no_writes(scene: Scene, before: int) -> None:
    """Writes do not need the broker: that they stop would be an outage of its own."""
    if scene.writers.acknowledged == before:
        scene.found.unfinished.append("no write was acknowledged while the broker was away")


def broker(scene: Scene) -> Any:
    """The private broker of the scene."""
    assert scene.stack.servers.rabbit.private is not None
    return scene.stack.servers.rabbit.private


def postgres(scene: Scene) -> Any:
    """The private database server of the scene."""
    assert scene.stack.servers.postgres.private is not None
    return scene.stack.servers.postgres.private


async def _revived(server: PrivateServer, away_s: float) -> None:
    """Killed, and started again after a while; returns when the server itself does its work."""
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(away_s)
    await asyncio.to_thread(server.start)


def _signal(server: PrivateServer, how: signal.Signals) -> None:
    assert server.pid is not None
    os.kill(server.pid, how)
