"""The operator's command for dead letters, on a real broker."""

from __future__ import annotations

import asyncio

import aio_pika

from shared.events import Event
from shared.messaging import dead_letters
from shared.messaging.connection import declare
from shared.messaging.topology import QUEUES, RECORDS_QUEUE
from tests.kit.service import Services

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
        assert (await run("replay", QUEUE.name, "--most", "2"))[1][-1] == "2 replayed"
        for event in events:
            replayed = await alive.get()
            assert replayed.body == event.to_json()
            assert "x-death" not in replayed.headers
            await replayed.ack()
        assert (await run("drop", QUEUE.name))[1] == ["id not an event, 13 bytes", "1 dropped"]
        assert (await run("list", QUEUE.name)) == (0, ["0 found"])
        assert await alive.get(fail=False) is None


def test_wrong_addresses_are_told_without_a_trace(monkeypatch, capsys):
    monkeypatch.setenv("SIGMA_AMQP_URL", "amqp://guest:secret@127.0.0.1:9/")
    assert dead_letters.main(["list", QUEUE.name]) == 1
    monkeypatch.setenv("SIGMA_AMQP_URL", "foo-secret")
    assert dead_letters.main(["list", QUEUE.name]) == 2
    told = capsys.readouterr().err
    assert "expected an address such as amqp://" in told
    assert "secret" not in told
