"""The nodes of a cluster in one address: whoever loses one goes on at the next."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit, urlunsplit

import pytest

from shared.messaging import connection
from shared.messaging.connection import Bus
from shared.messaging.dead_letters import main as dead_letters
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
        bus = Bus(_after(urlsplit(one.url).netloc.rpartition("@")[2], other.url), "test", [queue])
        bus.start()
        async with asyncio.timeout(30):
            first = await bus.connection()
            one.cut()
            while await bus.connection() is first:  # noqa: ASYNC110 - lost a moment later
                await asyncio.sleep(0.01)
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


def _after(host: str, url: str) -> str:
    """The same broker, behind a node that is asked first."""
    parts = urlsplit(url)
    user, _, there = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}@{host},{there}"))
