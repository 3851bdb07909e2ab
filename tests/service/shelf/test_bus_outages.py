"""A broker, a database or a client library that fails: nobody waits for ever, nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import aio_pika
import aiormq
import pytest
from aio_pika.abc import AbstractConnection
from aiohttp import web
from aiormq.exceptions import ChannelAccessRefused
from pydantic import SecretStr

from shared.database import DATABASE, Conn, Database
from shared.errors import ServiceUnavailable
from shared.events import Event
from shared.http import DRAINING, READINESS
from shared.http.probes import check_ready
from shared.messaging import connection, topology
from shared.messaging import consuming as reading
from shared.messaging.connection import (
    BUS,
    Bus,
    NotConfirmed,
    cancel_all,
    rabbitmq,
)
from shared.messaging.consuming import consume
from shared.messaging.publishing import Publisher
from shared.messaging.sessions import run_on_each_connection
from shared.messaging.subscribing import subscribe
from shared.messaging.topology import Queue
from shared.process.config import ServiceConfig
from tests.kit.eventually import eventually
from tests.kit.wire import Wire
from tests.service.shelf.consuming import (
    _count,
    come_true,
    consuming,
    news,
    outcome,
    publish,
    record,
    subjects,
    waiting,
)


async def test_an_outage_of_what_the_handler_needs_uses_up_no_deliveries(
    db: Database, bus: Bus, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reading, "PAUSE_MAX_S", 0.1)
    tried = 0

    async def handle(conn: Conn, event: Event) -> None:
        nonlocal tried
        tried += 1
        if tried <= 3 * topology.DELIVERIES_MAX:
            raise ServiceUnavailable
        await record(conn, event)

    await bus.connection()
    await publish(bus, news(queue))
    async with consuming(db, bus, queue, handle):
        await come_true(lambda: subjects(db), ["ent-1"])
    assert await waiting(bus, queue.dead) == 0


async def test_a_database_that_goes_away_costs_no_event(
    database_url: str, db: Database, bus: Bus, queue: Queue
):
    async with Wire(database_url) as wire:
        breakable = Database(wire.url)
        await bus.connection()
        async with consuming(breakable, bus, queue, record):
            await publish(bus, *(news(queue, f"ent-{n:03}") for n in range(30)))
            await come_true(lambda: _some(db), True)
            wire.cut()
            await publish(bus, *(news(queue, f"ent-{n:03}") for n in range(30, 60)))
            await eventually(lambda: outcome(queue, "waited") >= 10)
            wire.mend()
            await come_true(lambda: _count(db), 60)
        await breakable.close()
    assert await waiting(bus, queue.dead) == 0


async def test_a_connection_lost_in_the_middle_has_one_effect_per_event(
    db: Database, queue: Queue, bus: Bus, amqp_url: str
):
    await bus.connection()
    await publish(bus, *(news(queue, f"ent-{n:03}") for n in range(60)))

    async def handle(conn: Conn, event: Event) -> None:
        await record(conn, event)
        await asyncio.sleep(0.01)

    async with Wire(amqp_url) as wire:
        breakable = Bus(wire.url, "test", [queue])
        breakable.start()
        async with consuming(db, breakable, queue, handle):
            for done in (10, 25):
                await eventually(lambda: _at_least(db, done))  # noqa: B023  awaited in this turn
                wire.cut()
                await asyncio.sleep(0.05)
                wire.mend()
            await come_true(lambda: _count(db), 60)
            await come_true(lambda: waiting(bus, queue.name), 0)
        await breakable.stop()
    assert sorted(await subjects(db)) == [f"ent-{n:03}" for n in range(60)]


@pytest.mark.slow
async def test_a_broker_that_hangs_is_found_again_by_all_who_wait_for_it(
    db: Database, bus: Bus, queue: Queue, amqp_url: str, monkeypatch: pytest.MonkeyPatch
):
    """The client library's heartbeat ends the connection, and all that waits on it."""
    monkeypatch.setattr(connection, "HEARTBEAT_S", 1)
    ups: list[int] = []
    heard: list[Event] = []
    async with Wire(amqp_url) as wire:
        app = web.Application()
        app[DATABASE] = db
        app[BUS] = breakable = Bus(wire.url, "test", [queue])
        app.cleanup_ctx.append(consume(queue, record))
        app.cleanup_ctx.append(
            subscribe(
                f"{queue.name}.*", heard.append, on_up=lambda: ups.append(1), on_down=lambda: None
            )
        )
        breakable.start()
        await breakable.connection()
        wire.hold()
        runner = web.AppRunner(app)
        await runner.setup()
        await eventually(lambda: not breakable.is_up, within_s=60)
        wire.mend()
        await eventually(lambda: ups)
        await publish(bus, news(queue))
        await come_true(lambda: subjects(db), ["ent-1"])
        await eventually(lambda: heard)
        await breakable.ready()
        await runner.cleanup()
        await breakable.stop()


def cancelled_by_the_library(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str
) -> Callable[[], bool]:
    """The first call ends as aiormq lets it end when its heartbeat fails; whether that was."""
    original = getattr(owner, name)
    cancelled: list[str] = []

    async def cancelled_once(*arguments, **options):
        if not cancelled:
            cancelled.append(name)
            raise asyncio.CancelledError
        return await original(*arguments, **options)

    monkeypatch.setattr(owner, name, cancelled_once)
    return lambda: bool(cancelled)


@pytest.mark.parametrize(
    ("owner", "call"), [(aio_pika, "connect"), (connection, "declare")], ids=["connect", "declare"]
)
async def test_connecting_goes_on_when_the_library_cancels_it(
    queue: Queue, amqp_url: str, owner: object, call: str, monkeypatch: pytest.MonkeyPatch
):
    cancelled = cancelled_by_the_library(monkeypatch, owner, call)
    bus = Bus(amqp_url, "test", [queue])
    bus.start()
    await eventually(lambda: bus.is_up)
    assert cancelled()
    await bus.ready()
    await bus.stop()


@pytest.mark.parametrize("call", ["basic_qos", "basic_consume", "basic_ack"])
async def test_a_consumer_reads_on_when_the_library_cancels_it(
    db: Database, bus: Bus, queue: Queue, call: str, monkeypatch: pytest.MonkeyPatch
):
    await bus.connection()
    cancelled = cancelled_by_the_library(monkeypatch, aiormq.Channel, call)
    await publish(bus, news(queue))
    async with consuming(db, bus, queue, record):
        await eventually(cancelled)
        await publish(bus, news(queue, "ent-2"))
        await come_true(lambda: subjects(db), ["ent-1", "ent-2"])
        await come_true(lambda: waiting(bus, queue.name), 0)
    await bus.ready()


async def test_a_consumer_stops_in_order_when_the_library_cancels_that(
    db: Database, bus: Bus, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    await bus.connection()
    async with consuming(db, bus, queue, record) as consumer:
        await publish(bus, news(queue))
        await come_true(lambda: subjects(db), ["ent-1"])
        cancelled = cancelled_by_the_library(monkeypatch, aiormq.Channel, "basic_cancel")
        await consumer.stop()
    assert cancelled()


async def test_a_subscriber_hears_on_when_the_library_cancels_it(
    bus: Bus, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    await bus.connection()
    cancelled = cancelled_by_the_library(monkeypatch, aiormq.Channel, "basic_consume")
    story: list[str] = []
    app = web.Application()
    app[BUS] = bus
    app.cleanup_ctx.append(
        subscribe(
            f"{queue.name}.*",
            lambda event: story.append(event.subject),
            on_up=lambda: story.append("up"),
            on_down=lambda: story.append("down"),
        )
    )
    runner = web.AppRunner(app)
    await runner.setup()
    await eventually(lambda: story == ["up", "down", "up"])
    assert cancelled()
    await publish(bus, news(queue))
    await eventually(lambda: story[3:] == ["ent-1"])
    await runner.cleanup()


async def test_a_publish_that_the_library_cancels_is_not_confirmed(
    bus: Bus, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    publisher = await Publisher.open(await bus.connection())
    cancelled_by_the_library(monkeypatch, aiormq.Channel, "basic_publish")
    with pytest.raises(NotConfirmed):
        await publisher.publish(f"{queue.name}.made", "id-1", b"{}")
    assert await publisher.publish(f"{queue.name}.made", "id-1", b"{}")
    await publisher.close()


async def test_a_publish_that_its_caller_cancels_is_cancelled(
    queue: Queue, amqp_url: str, monkeypatch: pytest.MonkeyPatch
):
    async with Wire(amqp_url) as wire:
        bus = Bus(wire.url, "test", [queue])
        bus.start()
        publisher = await Publisher.open(await bus.connection())
        wire.hold()
        publishing_it = asyncio.create_task(publisher.publish(f"{queue.name}.made", "id-1", b"{}"))
        await asyncio.sleep(0.05)
        publishing_it.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing_it
        wire.cut()
        await bus.stop()


class Unforeseen(BaseException):
    """What no loop catches."""


async def test_a_task_that_ends_unasked_is_said_aloud(
    queue: Queue, amqp_url: str, capsys: pytest.CaptureFixture[str]
):
    async def session(_connection: AbstractConnection) -> None:
        raise Unforeseen

    app = web.Application()
    app[DRAINING] = asyncio.Event()
    app[READINESS] = []
    app.cleanup_ctx.append(
        rabbitmq(ServiceConfig.model_construct(amqp_url=SecretStr(amqp_url)), "test", [queue])
    )
    runner = web.AppRunner(app)
    await runner.setup()
    await check_ready(app)
    ended = run_on_each_connection(app[BUS], "read the news", session)
    await asyncio.wait([ended])
    with pytest.raises(ServiceUnavailable, match="read the news"):
        await check_ready(app)
    assert "task_ended_unasked" in capsys.readouterr().out
    await runner.cleanup()


async def test_a_task_that_was_stopped_is_not_missed(bus: Bus):
    task = run_on_each_connection(bus, "wait", lambda _: asyncio.sleep(60))
    await bus.connection()
    await cancel_all(task)
    await bus.ready()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"path": "/no-such-vhost"}, "refuses the virtual host"),
        ({"netloc": "sigma:very-secret@{host}"}, "refuses the user or the password"),
    ],
)
async def test_a_process_that_the_broker_refuses_is_not_ready_and_names_the_variable(
    amqp_url: str, change: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection, "FIRST_ATTEMPT_S", 60.0)
    parts = urlsplit(amqp_url)
    host = parts.netloc.rpartition("@")[2]
    changed = {name: value.format(host=host) for name, value in change.items()}
    bus = Bus(urlunsplit(parts._replace(**changed)), "test")
    bus.start()
    with pytest.raises(ServiceUnavailable, match=told) as caught:
        await bus.ready()
    assert str(caught.value).endswith("check SIGMA_AMQP_URL")
    assert "secret" not in str(caught.value)
    await bus.stop()


async def test_a_user_who_may_declare_nothing_is_told(amqp_url: str):
    class Refusing(Bus):
        @asynccontextmanager
        async def _connected(self) -> AsyncIterator[asyncio.Event]:
            raise ChannelAccessRefused
            yield

    bus = Refusing(amqp_url, "test")
    bus.start()
    with pytest.raises(ServiceUnavailable, match="does not permit this user"):
        await bus.ready()
    await bus.stop()


async def test_a_refusal_after_the_process_was_accepted_is_an_outage(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
):
    """A password that is changed at the broker must not end all processes that serve."""
    async with Wire(amqp_url) as wire:
        bus = Bus(wire.url, "test", [])
        bus.start()
        await bus.connection()
        refused = asyncio.Event()

        async def refuse(*_arguments: object, **_more: object) -> None:
            refused.set()
            raise aio_pika.exceptions.ProbableAuthenticationError

        monkeypatch.setattr(aio_pika, "connect", refuse)
        wire.cut()
        await asyncio.wait_for(refused.wait(), 30)
        assert not bus.is_up
        await bus.ready()
        await bus.stop()


async def test_a_broker_that_is_away_is_no_reason_not_to_be_ready():
    bus = Bus("amqp://sigma:sigma@127.0.0.1:1/", "test")
    bus.start()
    await bus.ready()
    await bus.stop()


async def _some(db: Database) -> bool:
    return await _count(db) > 0


async def _at_least(db: Database, count: int) -> bool:
    return await _count(db) >= count
