"""The operator's command for dead letters, on a real broker."""

from __future__ import annotations

import asyncio

import aio_pika
import pytest

from shared.database import Conn, Database
from shared.events import Event
from shared.messaging import consuming as consuming_events
from shared.messaging import dead_letters
from shared.messaging.connection import Bus, declare
from shared.messaging.dead_letters import Wanted, work
from shared.messaging.topology import QUEUES, RECORDS_QUEUE, Queue
from tests.kit.service import Services
from tests.service.shelf.consuming import (
    come_true,
    consuming,
    news,
    publish,
    record,
    subjects,
    waiting,
)

(QUEUE,) = [queue for queue in QUEUES if queue.name == RECORDS_QUEUE]


async def test_dead_letters_are_listed_replayed_and_dropped(
    services: Services, monkeypatch, capsys
):
    url = await services.broker()
    monkeypatch.setenv("SIGMA_AMQP_URL", url)
    events = [Event("workflow.updated", "/test", "ws-1", f"wf-{n}", {"version": n}) for n in (1, 2)]
    connection = await aio_pika.connect(url)

    async def run(*arguments: str) -> tuple[int, list[str]]:
        code = await asyncio.to_thread(dead_letters.main, arguments)
        return code, capsys.readouterr().out.splitlines()

    async with connection, connection.channel() as channel:
        await declare(connection, QUEUES)
        for body in (*(event.to_json() for event in events), b"\x1b[2J no event"):
            message = aio_pika.Message(body, headers={"x-death": "kept"}, message_id="id")
            await channel.default_exchange.publish(message, routing_key=QUEUE.dead)
        alive = await channel.get_queue(QUEUE.name)
        # More often than RabbitMQ 4 hands out a message by default.
        for _ in range(3):
            code, lines = await run("list", QUEUE.name)
            assert code == 0
            assert [line.split()[2:] for line in lines[:2]] == [
                ["workflow.updated", "wf-1", "in", "ws-1"],
                ["workflow.updated", "wf-2", "in", "ws-1"],
            ]
            assert lines[2:] == ["id not an event, 13 bytes", "3 found"]
        assert (await run("replay", QUEUE.name, "--most", "2"))[1][-1] == (
            "2 replayed, 1 others left"
        )
        for event in events:
            replayed = await alive.get()
            assert replayed.body == event.to_json()
            assert "x-death" not in replayed.headers
            await replayed.ack()
        assert (await run("drop", QUEUE.name))[1] == ["id not an event, 13 bytes", "1 dropped"]
        assert (await run("list", QUEUE.name)) == (0, ["0 found"])
        assert await alive.get(fail=False) is None


async def test_what_failed_is_handled_once_after_the_fix(
    db: Database, bus: Bus, queue: Queue, amqp_url: str, monkeypatch: pytest.MonkeyPatch
):
    """However often it is replayed, and nothing that was not asked for."""
    monkeypatch.setattr(consuming_events, "BACKOFF_FIRST_S", 0.01)
    is_fixed = False
    said: list[str] = []

    async def handle(conn: Conn, event: Event) -> None:
        if not is_fixed:
            raise ZeroDivisionError
        await record(conn, event)

    wanted = news(queue, "ent-wanted")
    others = [
        news(queue, "ent-other"),
        Event(f"{queue.name}.made", "/test", "ws-2", "ent-wanted", {}),
    ]
    async with consuming(db, bus, queue, handle):
        await publish(bus, wanted)
        await _put(bus, queue.name, aio_pika.Message(b"{}"))
        await come_true(lambda: waiting(bus, queue.dead), 2)
        for other in others:
            await _put(bus, queue.dead, aio_pika.Message(other.to_json(), message_id=other.id))
        assert await work(amqp_url, "list", queue, said.append) == (4, 0)
        reasons = {line.partition(": ")[2].partition(" at ")[0] for line in said}
        assert reasons == {"failed every time", "cannot be read", ""}

        is_fixed = True
        for narrowed in (
            Wanted("ws-1", "ent-wanted"),
            Wanted("ws-1", "ent-wanted", f"{queue.name}.*", most=1),
        ):
            copy = await _copy_of_dead(bus, queue, wanted.id)
            assert (await work(amqp_url, "replay", queue, said.append, narrowed))[0] == 1
            # The same once more, as if the command had been interrupted.
            await _put(bus, queue.name, copy)
            await come_true(lambda: waiting(bus, queue.name), 0)
            await come_true(lambda: subjects(db), ["ent-wanted"])
            await _put(bus, queue.dead, copy)
        later = Wanted(since=others[1].time.replace(year=9999))
        assert await work(amqp_url, "drop", queue, said.append, later) == (0, 4)
        assert await work(amqp_url, "drop", queue, said.append, Wanted("ws-2")) == (1, 3)
        assert await work(amqp_url, "drop", queue, said.append) == (3, 0)
        assert await subjects(db) == ["ent-wanted"]


async def _copy_of_dead(bus: Bus, queue: Queue, event_id: str) -> aio_pika.Message:
    """A dead letter, which stays where it is."""
    async with (await bus.connection()).channel() as channel:
        dead = await channel.get_queue(queue.dead)
        found = None
        for _ in range((await waiting(bus, queue.dead)) or 0):
            message = await dead.get()
            if message.message_id == event_id:
                found = aio_pika.Message(message.body, message_id=message.message_id)
            await _put(
                bus, queue.dead, aio_pika.Message(message.body, message_id=message.message_id)
            )
            await message.ack()
    assert found is not None
    return found


async def _put(bus: Bus, name: str, message: aio_pika.Message) -> None:
    async with (await bus.connection()).channel() as channel:
        await channel.default_exchange.publish(message, name)


def test_wrong_addresses_are_told_without_a_trace(monkeypatch, capsys):
    monkeypatch.setenv("SIGMA_AMQP_URL", "amqp://guest:secret@127.0.0.1:9/")
    assert dead_letters.main(["list", QUEUE.name]) == 1
    monkeypatch.setenv("SIGMA_AMQP_URL", "foo-secret")
    assert dead_letters.main(["list", QUEUE.name]) == 2
    told = capsys.readouterr().err
    assert "expected an address such as amqp://" in told
    assert "secret" not in told
