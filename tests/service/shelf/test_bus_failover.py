"""The nodes of a cluster in one address: whoever loses one goes on at the next."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiormq
import pytest
from aio_pika.abc import AbstractConnection

from shared.messaging import connection
from shared.messaging.connection import Bus
from shared.messaging.dead_letters import main as dead_letters
from shared.messaging.sessions import run_on_each_connection
from shared.messaging.topology import QUEUES, RECORDS_QUEUE, Queue
from tests.kit.service import Services
from tests.kit.wire import Wire


async def test_whoever_loses_a_node_is_at_the_next_one_without_a_pause(
    amqp_url: str, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    # A pause would not end before the test does; and where a process begins is chance.
    monkeypatch.setattr(connection, "BACKOFF_FIRST_S", 1_000.0)
    monkeypatch.setattr(connection.random, "randrange", lambda _: 0)
    async with Wire(amqp_url) as one, Wire(amqp_url) as other:
        bus = Bus(_both(one, other), "test", [queue])
        bus.start()
        async with asyncio.timeout(30):
            first = await bus.connection()
            one.cut()
            while await bus.connection() is first:  # noqa: ASYNC110 - lost a moment later
                await asyncio.sleep(0.01)
        await bus.stop()


@pytest.mark.parametrize("after", ["accepting", "opening"])
async def test_a_node_that_falls_silent_is_left_for_the_next(
    amqp_url: str, queue: Queue, after: str, monkeypatch: pytest.MonkeyPatch
):
    # Those for slow answers would end no attempt before the test does.
    for limit in ("CONNECT_TIMEOUT_S", "ANSWER_TIMEOUT_S", "AGREED_TIMEOUT_S"):
        monkeypatch.setattr(connection, limit, 1_000.0)
    monkeypatch.setattr(connection, "HEARTBEAT_S", 600)
    monkeypatch.setattr(connection, "CONNECT_NODE_TIMEOUT_S", 1.0)
    monkeypatch.setattr(connection, "FIRST_ANSWER_TIMEOUT_S", 0.5)
    monkeypatch.setattr(connection, "CLOSE_TIMEOUT_S", 0.1)
    monkeypatch.setattr(connection.random, "randrange", lambda _: 0)
    declares = connection.declare
    asked = 0
    async with Wire(amqp_url) as one, Wire(amqp_url) as other:

        async def declare(at: AbstractConnection, queues: Sequence[Queue]) -> None:
            nonlocal asked
            asked += 1
            if asked == 1:
                one.hold_answers()
            await declares(at, queues)

        if after == "opening":
            monkeypatch.setattr(connection, "declare", declare)
        else:
            one.hold_answers()
        bus = Bus(_both(one, other), "test", [queue])
        bus.start()
        async with asyncio.timeout(30):
            await bus.connection()
        await bus.stop()


async def test_a_connection_that_opens_no_channel_is_left_for_another(
    amqp_url: str, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    """The broker may read no more of it, and send heartbeats all the same."""
    monkeypatch.setattr(connection, "HEARTBEAT_S", 600)
    monkeypatch.setattr(connection.random, "randrange", lambda _: 0)
    opened: list[AbstractConnection] = []

    async def session(at: AbstractConnection) -> None:
        if not opened:
            one.hold()
        opened.append(at)
        await connection.open_channel(at, 0.5 if len(opened) == 1 else 600)
        done.set()
        await asyncio.sleep(600)

    async with Wire(amqp_url) as one, Wire(amqp_url) as other:
        bus = Bus(_both(one, other), "test", [queue])
        bus.start()
        done = asyncio.Event()
        task = run_on_each_connection(bus, "open", session)
        async with asyncio.timeout(60):
            await done.wait()
        assert opened[-1] is not opened[0]
        await connection.cancel_all(task)
        await bus.stop()


async def test_what_all_nodes_have_to_agree_on_is_waited_for(
    amqp_url: str, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    """As while one of them is silent, and the others have not noticed."""
    assert connection.AGREED_TIMEOUT_S > connection.ANSWER_TIMEOUT_S
    monkeypatch.setattr(connection, "AGREED_TIMEOUT_S", 1_000.0)
    binds, seen, limits = aiormq.Channel.queue_bind, Counter[str](), set[float]()

    async def bind(channel: aiormq.Channel, *arguments: Any, **more: Any) -> Any:
        seen[more["routing_key"]] += 1
        limits.add(more["timeout"])
        return await binds(channel, *arguments, **more)

    monkeypatch.setattr(aiormq.Channel, "queue_bind", bind)
    bus = Bus(amqp_url, "test", [queue])
    bus.start()
    async with asyncio.timeout(30):
        await bus.connection()
    assert limits == {1_000.0}
    assert seen.keys() == {queue.name, *queue.bindings}
    await bus.stop()


async def test_dead_letters_are_listed_though_the_first_node_is_away(
    services: Services, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    url = await services.broker()
    bus = Bus(url, "test", [one for one in QUEUES if one.name == RECORDS_QUEUE])
    bus.start()
    await bus.connection()
    await bus.stop()
    monkeypatch.setenv("SIGMA_AMQP_URL", _after("127.0.0.1:9", url))
    assert await asyncio.to_thread(dead_letters, ["list", RECORDS_QUEUE]) == 0
    assert capsys.readouterr().out.endswith("0 found\n")


def _both(one: Wire, other: Wire) -> str:
    return _after(urlsplit(one.url).netloc.rpartition("@")[2], other.url)


def _after(host: str, url: str) -> str:
    """The same broker, behind a node that is asked first."""
    parts = urlsplit(url)
    user, _, there = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}@{host},{there}"))
