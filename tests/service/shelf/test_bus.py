"""Reading queues: every event once in effect, and one bad message harms no other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import aio_pika
import pytest
from aiohttp import web

from shared.database import DATABASE, Conn, Database
from shared.events import Event
from shared.messaging import connection, publishing, topology
from shared.messaging import consuming as reading
from shared.messaging.connection import (
    BUS,
    Bus,
    NoChannel,
    NotConfirmed,
)
from shared.messaging.consuming import by_type, consume
from shared.messaging.publishing import Publisher
from shared.messaging.subscribing import subscribe
from shared.messaging.topology import Queue
from tests.kit.eventually import always, eventually
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


async def test_a_service_starts_and_stops_without_a_broker(db: Database, queue: Queue):
    app = web.Application()
    app[DATABASE] = db
    app[BUS] = Bus("amqp://guest:guest@127.0.0.1:1/", "test", [queue])
    app[BUS].start()
    app.cleanup_ctx.append(consume(queue, record))
    app.cleanup_ctx.append(subscribe("#", lambda _: None, on_up=lambda: None, on_down=lambda: None))
    runner = web.AppRunner(app)
    async with asyncio.timeout(30):
        await runner.setup()
        assert not app[BUS].is_up
        await runner.cleanup()
        await app[BUS].stop()


async def test_an_event_is_handled_once_however_often_it_comes(
    db: Database, bus: Bus, queue: Queue
):
    event = news(queue)
    await bus.connection()
    await publish(bus, event, event, event)
    async with consuming(db, bus, queue, record):
        await come_true(lambda: waiting(bus, queue.name), 0)
        await eventually(lambda: outcome(queue, "repeated") == 2)
    # What was not acknowledged would be in the queue again now that its reader is gone.
    await always(lambda: _is(waiting(bus, queue.name), 0), 0.5)
    assert await subjects(db) == ["ent-1"]


async def test_what_comes_first_is_committed_before_the_effect_and_at_every_delivery(
    db: Database, bus: Bus, queue: Queue
):
    async def first(database: Database, event: Event) -> None:
        async with database.transaction() as conn:
            await record(conn, replace(event, subject="first"))

    async def handle(conn: Conn, event: Event) -> None:
        # Seen on another connection.
        await record(conn, replace(event, subject=f"sees {await subjects(db)}"))
        if await _count(db) == 1:
            raise ValueError("I cannot read this")

    await bus.connection()
    await publish(bus, news(queue))
    async with consuming(db, bus, queue, handle, first=first):
        await come_true(lambda: waiting(bus, queue.name), 0)
        await come_true(lambda: _count(db), 3)
    assert await subjects(db) == ["first", "first", "sees ['first', 'first']"]


async def test_a_poison_message_ends_in_the_dead_letters_and_holds_up_nobody(
    db: Database, bus: Bus, queue: Queue
):
    tried: Counter[str] = Counter()
    others_are_done = asyncio.Event()

    async def handle(conn: Conn, event: Event) -> None:
        tried[event.subject] += 1
        if tried["poison"] > topology.DELIVERIES_MAX and event.subject == "poison":
            # However soon its last attempt comes.
            await others_are_done.wait()
        await record(conn, event)
        if event.subject == "poison":
            raise ValueError("I cannot read this")

    await bus.connection()
    await publish(bus, news(queue, "poison"), *(news(queue, f"ent-{n}") for n in range(50)))
    async with consuming(db, bus, queue, handle, prefetch=10, workers=2):
        await come_true(lambda: _count(db), 50)
        assert await waiting(bus, queue.dead) == 0, "the others did not wait for its last attempt"
        others_are_done.set()
        await come_true(lambda: waiting(bus, queue.dead), 1)
        await come_true(lambda: waiting(bus, queue.name), 0)
    assert tried["poison"] == topology.DELIVERIES_MAX + 1
    assert "poison" not in await subjects(db), "its effect was rolled back each time"


async def test_a_message_that_is_no_event_goes_to_the_dead_letters_at_once(
    db: Database, bus: Bus, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reading, "HOUSEKEEPING_S", 0.05)
    await bus.connection()
    publisher = await Publisher.open(await bus.connection())
    for number, body in enumerate([b"", b"\xff", b"{}", b"[]", b'{"specversion":"1.0","data":{}}']):
        await publisher.publish(f"{queue.name}.odd", f"odd-{number}", body)
    await publish(bus, news(queue, "good"))
    async with consuming(db, bus, queue, record):
        await come_true(lambda: waiting(bus, queue.dead), 5)
        await come_true(lambda: subjects(db), ["good"])
        given_up = reading.DEAD_LETTERS.labels(queue.name)
        await eventually(lambda: given_up._value.get() == 5)
    assert (outcome(queue, "malformed"), outcome(queue, "failed")) == (5, 0)


async def test_events_of_one_subject_are_handled_in_order_and_others_meanwhile(
    db: Database, bus: Bus, queue: Queue
):
    at_once = most_at_once = 0
    together = asyncio.Event()
    seen: list[tuple[str, int]] = []

    async def handle(conn: Conn, event: Event) -> None:
        nonlocal at_once, most_at_once
        at_once += 1
        most_at_once = max(most_at_once, at_once)
        if at_once > 1:
            together.set()
        await together.wait()
        await asyncio.sleep(0.002 if event.version % 2 else 0)
        seen.append((event.subject, event.version))
        at_once -= 1

    names = [f"ent-{n}" for n in range(12)]
    await bus.connection()
    await publish(bus, *(news(queue, name, version) for version in range(20) for name in names))
    async with consuming(db, bus, queue, handle, workers=4):
        await eventually(lambda: len(seen) == 20 * len(names))
    for name in names:
        assert [version for subject, version in seen if subject == name] == list(range(20))
    assert 1 < most_at_once <= 4


async def test_no_more_is_taken_than_the_prefetch(db: Database, bus: Bus, queue: Queue):
    stuck = asyncio.Event()

    async def handle(conn: Conn, event: Event) -> None:
        await stuck.wait()

    await bus.connection()
    await publish(bus, *(news(queue, f"ent-{n}") for n in range(20)))
    async with consuming(db, bus, queue, handle, prefetch=5):
        await come_true(lambda: waiting(bus, queue.name), 15)
        await always(lambda: _is(waiting(bus, queue.name), 15), 0.2)
        stuck.set()
        await come_true(lambda: waiting(bus, queue.name), 0)


async def test_stopping_finishes_what_is_at_hand(db: Database, bus: Bus, queue: Queue):
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handle(conn: Conn, event: Event) -> None:
        begun.set()
        await go_on.wait()
        await record(conn, event)

    await bus.connection()
    await publish(bus, *(news(queue, f"ent-{n}") for n in range(3)))
    async with consuming(db, bus, queue, handle, workers=1):
        await begun.wait()
        # All three are on their way to it.
        await come_true(lambda: waiting(bus, queue.name), 0)
        asyncio.get_running_loop().call_later(0.1, go_on.set)
    assert await _count(db) == 3
    assert await waiting(bus, queue.name) == 0


async def test_a_queue_that_is_removed_is_made_again(db: Database, bus: Bus, queue: Queue):
    async with consuming(db, bus, queue, record):
        await bus.connection()
        await publish(bus, news(queue, "before"))
        await come_true(lambda: subjects(db), ["before"])
        async with (await bus.connection()).channel() as channel:
            await channel.queue_delete(queue.name)
        publisher = await Publisher.open(await bus.connection())
        after = news(queue, "after")

        async def taken() -> bool:
            return await publisher.publish(after.type, after.id, after.to_json())

        await eventually(taken)
        await come_true(lambda: subjects(db), ["before", "after"])
        await publisher.close()


async def test_a_queue_that_differs_from_the_topology_is_read_all_the_same(
    db: Database, bus: Bus, queue: Queue, capsys: pytest.CaptureFixture[str]
):
    async with (await bus.connection()).channel() as channel:
        await channel.queue_delete(queue.name)
        old = await channel.declare_queue(queue.name, durable=True, arguments={})
        await old.bind(topology.EVENTS, f"{queue.name}.#")
    async with consuming(db, bus, queue, record):
        await publish(bus, news(queue))
        await come_true(lambda: subjects(db), ["ent-1"])
    assert "queue_differs_from_topology" in capsys.readouterr().out


async def test_the_broker_takes_the_whole_topology_twice(amqp_url: str):
    for _ in range(2):
        real = Bus(amqp_url, "test")
        real.start()
        connection = await real.connection()
        async with connection.channel() as channel:
            for queue in topology.QUEUES:
                await channel.declare_queue(queue.name, passive=True)
                await channel.declare_queue(queue.dead, passive=True)
        await real.stop()


@pytest.mark.slow
async def test_a_broker_far_away_is_connected_to(amqp_url: str):
    """200 ms each way, so the whole topology takes several seconds to declare."""
    async with Wire(amqp_url, delay_s=0.2) as wire:
        bus = Bus(wire.url, "far")
        bus.start()
        await eventually(lambda: bus.is_up, within_s=60)
        await bus.stop()


async def test_a_publisher_says_whether_anybody_was_there(bus: Bus, queue: Queue):
    publisher = await Publisher.open(await bus.connection())
    heard, unheard = news(queue), Event("unheard.of", "/test", "ws-1", "ent-1", {})
    for event, expected in ((heard, True), (unheard, False)):
        same_id_at_once = (
            publisher.publish(event.type, event.id, event.to_json()) for _ in range(5)
        )
        assert await asyncio.gather(*same_id_at_once) == [expected] * 5
    await publisher.close()


async def test_a_publish_into_silence_is_not_confirmed(
    queue: Queue, amqp_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection, "HEARTBEAT_S", 600)
    async with Wire(amqp_url) as wire:
        bus = Bus(wire.url, "test", [queue])
        bus.start()
        publisher = await Publisher.open(await bus.connection())
        wire.hold()
        monkeypatch.setattr(publishing, "PUBLISH_TIMEOUT_S", 0.3)
        with pytest.raises(NotConfirmed):
            await publisher.publish(f"{queue.name}.made", "id-1", b"{}")
        with pytest.raises(NoChannel):
            async with asyncio.timeout(30):
                await Publisher.open(await bus.connection())
        wire.cut()
        await bus.stop()


async def test_a_subscriber_knows_when_it_may_have_missed_something(
    queue: Queue, bus: Bus, amqp_url: str
):
    story: list[str] = []

    def listen(event: Event) -> None:
        if event.subject == "bad":
            raise ValueError("cannot take this")
        story.append(event.subject)

    async with Wire(amqp_url) as wire:
        app = web.Application()
        app[BUS] = Bus(wire.url, "test", [queue])
        app[BUS].start()
        app.cleanup_ctx.append(
            subscribe(
                f"{queue.name}.*",
                listen,
                on_up=lambda: story.append("up"),
                on_down=lambda: story.append("down"),
            )
        )
        runner = web.AppRunner(app)
        await runner.setup()
        await eventually(lambda: story == ["up"])
        await publish(bus, *(news(queue, f"{n}") for n in range(5)))
        await eventually(lambda: story[1:] == ["0", "1", "2", "3", "4"])
        story.clear()
        wire.cut()
        await eventually(lambda: story == ["down"])
        await publish(bus, news(queue, "missed"))
        wire.mend()
        await eventually(lambda: story == ["down", "up"])
        await publish(bus, news(queue, "heard"))
        await eventually(lambda: story == ["down", "up", "heard"])
        story.clear()
        await publish(bus, news(queue, "bad"))
        await eventually(lambda: story == ["down", "up"])
        await runner.cleanup()
        assert story == ["down", "up", "down"]
        await app[BUS].stop()


async def test_two_subscribers_hear_the_same(queue: Queue, bus: Bus):
    heard: list[list[Event]] = [[], []]
    ups: list[int] = []
    app = web.Application()
    app[BUS] = bus
    for mine in heard:
        app.cleanup_ctx.append(
            subscribe(
                f"{queue.name}.#",
                mine.append,
                on_up=lambda: ups.append(1),
                on_down=lambda: None,
            )
        )
    runner = web.AppRunner(app)
    await runner.setup()
    await eventually(lambda: len(ups) == 2)
    await publish(bus, *(news(queue, f"{n}") for n in range(20)))
    told = [f"{n}" for n in range(20)]
    await eventually(lambda: [[event.subject for event in each] for each in heard] == [told, told])
    await runner.cleanup()


async def test_a_table_of_reactions_ignores_what_it_does_not_name(
    db: Database, bus: Bus, queue: Queue
):
    other = Event(f"{queue.name}.other", "/test", "ws-1", "other", {})
    await bus.connection()
    await publish(bus, other, news(queue, "mine"))
    async with consuming(db, bus, queue, by_type({f"{queue.name}.made": record})):
        await come_true(lambda: waiting(bus, queue.name), 0)
        await come_true(lambda: subjects(db), ["mine"])


async def test_lag_is_the_age_of_the_oldest_event_at_hand(db: Database, bus: Bus, queue: Queue):
    stuck = asyncio.Event()

    async def handle(conn: Conn, event: Event) -> None:
        await stuck.wait()

    old = Event(
        f"{queue.name}.made",
        "/test",
        "ws-1",
        "ent-1",
        {},
        time=datetime.now(UTC) - timedelta(minutes=5),
    )
    await bus.connection()
    await publish(bus, old, news(queue, "ent-2"))

    def lag_s() -> float:
        (measured,) = reading.CONSUMER_LAG.labels(queue.name).collect()
        return measured.samples[0].value

    async with consuming(db, bus, queue, handle):
        await eventually(lambda: 300 <= lag_s() < 330)
        stuck.set()
        await eventually(lambda: lag_s() == 0)


async def test_messages_that_wait_are_counted(
    db: Database, bus: Bus, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reading, "HOUSEKEEPING_S", 0.05)
    stuck = asyncio.Event()

    async def handle(conn: Conn, event: Event) -> None:
        await stuck.wait()

    await bus.connection()
    await publish(bus, *(news(queue, f"ent-{n}") for n in range(9)))
    gauge = reading.CONSUMER_WAITING.labels(queue.name)
    async with consuming(db, bus, queue, handle, prefetch=2):
        await eventually(lambda: gauge._value.get() == 7)
        stuck.set()
        await eventually(lambda: gauge._value.get() == 0)


async def test_it_is_swept_again_after_a_failure_that_nobody_foresaw(
    db: Database,
    bus: Bus,
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(reading, "SWEEP_EVERY_S", 0.02)
    await db.execute("INSERT INTO inbox VALUES ('a', 'old', now() - interval '15 days')")
    await db.execute("ALTER TABLE inbox RENAME TO elsewhere")
    async with consuming(db, bus, queue, record):
        await eventually(lambda: "inbox_not_swept" in capsys.readouterr().out)
        await db.execute("ALTER TABLE elsewhere RENAME TO inbox")
        await come_true(lambda: db.fetchval("SELECT count(*) FROM inbox"), 0)


async def test_a_message_that_is_published_is_persistent(bus: Bus, queue: Queue):
    await bus.connection()
    event = news(queue)
    await publish(bus, event)
    async with (await bus.connection()).channel() as channel:
        own = await channel.get_queue(queue.name)
        message = await own.get(no_ack=True)
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert (message.message_id, message.content_type) == (event.id, "application/cloudevents+json")
    assert message.body == event.to_json()


async def _is(asked: Awaitable[object], expected: object) -> bool:
    return await asked == expected
