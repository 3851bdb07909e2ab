"""The outbox: nothing told that was not committed, nothing committed that is not told."""

from __future__ import annotations

import asyncio
import base64
import random
from datetime import UTC, datetime

import pytest
from aiohttp import web

from shared.database import DATABASE, Database
from shared.errors import PayloadTooLarge
from shared.events import Event
from shared.messaging import outbox, outbox_metrics, outbox_reading, topology
from shared.messaging import relay as relay_module
from shared.messaging.connection import BUS, Bus, NotConfirmed
from shared.messaging.publishing import Publisher
from shared.messaging.relay import Relay
from shared.messaging.subscribing import subscribe
from shared.messaging.topology import Queue
from tests.kit.eventually import always, eventually
from tests.service.shelf.relaying import _is, consuming, news, relaying, unsent


async def test_what_is_rolled_back_is_not_told(db: Database, bus: Bus, queue: Queue):
    async with relaying(db, bus), consuming(db, bus, queue) as seen:
        with pytest.raises(ZeroDivisionError):
            async with db.transaction() as conn:
                await outbox.stage(conn, news(queue, "lost"))
                raise ZeroDivisionError
        async with db.transaction() as conn:
            await outbox.stage(conn, news(queue, "kept"))
        await eventually(lambda: seen)
        assert [event.subject for event in seen] == ["kept"]
        await eventually(lambda: _is(unsent(db), 0))


async def test_an_event_arrives_as_it_was_staged(db: Database, bus: Bus, queue: Queue):
    told = news(queue, changes=[{"oldValue": None, "newValue": "ø ☃ \u0000 \\u0000 1e400"}])
    async with relaying(db, bus), consuming(db, bus, queue) as seen:
        async with db.transaction() as conn:
            await outbox.stage(conn, told)
        await eventually(lambda: seen)
    assert seen[0].to_json() == told.to_json()


async def test_an_event_can_be_staged_in_the_statement_of_its_change(
    db: Database, bus: Bus, queue: Queue
):
    statement = """
        WITH changed AS (
                 UPDATE effects SET version = version + 1
                  WHERE subject = $2 AND version = $3 RETURNING id),
             told AS (
                 INSERT INTO outbox (workspace_id, type, subject, event_id, document, version)
                 SELECT $1, news.*
                   FROM changed,
                        unnest($4::text[], $5::text[], $6::text[], $7::json[], $8::bigint[])
                        AS news)
        SELECT id FROM changed"""
    await db.execute("INSERT INTO effects (subject, version) VALUES ('ent-1', 1)")
    event = news(queue, version=2)
    assert await db.fetchval(statement, "ws-1", "ent-1", 7, *outbox.arrays([event])) is None
    assert await unsent(db) == 0
    assert await db.fetchval(statement, "ws-1", "ent-1", 1, *outbox.arrays([event])) is not None
    assert await unsent(db) == 1


def test_a_transaction_stages_events_of_one_workspace(queue: Queue):
    other = Event("t", "/test", "ws-2", "ent-1", {"version": 1})
    with pytest.raises(ValueError, match="one workspace"):
        outbox.arrays([news(queue), other])


async def test_an_event_that_no_broker_would_take_is_refused_before_it_is_staged(queue: Queue):
    with pytest.raises(PayloadTooLarge):
        outbox.arrays([news(queue, text="x" * outbox.EVENT_BYTES_MAX)])


async def test_events_of_one_subject_arrive_in_the_order_of_their_changes(
    db: Database, bus: Bus, queue: Queue
):
    subjects = [f"ent-{number}" for number in range(7)]
    async with relaying(db, bus) as relay, consuming(db, bus, queue) as seen:
        for version in range(1, 41):
            async with db.transaction() as conn:
                await outbox.stage(conn, *(news(queue, subject, version) for subject in subjects))
            relay.committed.set()
        await eventually(lambda: len(seen) == 7 * 40)
    for subject in subjects:
        assert seen.of(subject) == list(range(1, 41))


async def test_a_commit_wakes_the_relay_of_its_application(
    db: Database, bus: Bus, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    """The second event: the first may be found when the relay begins."""
    monkeypatch.setattr(relay_module, "POLL_S", 600.0)
    app = web.Application()
    app[DATABASE], app[BUS] = db, bus
    app.cleanup_ctx.append(relay_module.relay("/test"))
    runner = web.AppRunner(app)
    await runner.setup()
    async with consuming(db, bus, queue) as seen:
        for version in (1, 2):
            async with db.transaction() as conn:
                await outbox.stage(conn, news(queue, version=version))
            outbox.wake(app)
            await eventually(lambda version=version: seen.of("ent-1")[-1:] == [version])
    await runner.cleanup()


async def test_order_survives_a_broker_that_refuses_one_of_them(
    db: Database, bus: Bus, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    """The second of three is refused once: the third must not overtake it."""
    publish = Publisher.publish
    refused: list[str] = []

    async def publish_and_refuse_once(self, event_type, message_id, document, **options):
        if b'"version":2' in document and not refused:
            refused.append(message_id)
            raise NotConfirmed("refused")
        return await publish(self, event_type, message_id, document, **options)

    monkeypatch.setattr(Publisher, "publish", publish_and_refuse_once)
    async with db.transaction() as conn:
        await outbox.stage(conn, *(news(queue, "ent-1", version) for version in (1, 2, 3)))
    async with relaying(db, bus), consuming(db, bus, queue) as seen:
        await eventually(lambda: len(seen) == 3)
    assert refused
    assert seen.of("ent-1") == [1, 2, 3]


def incompressible(size: int, seed: int) -> str:
    """Text of which PostgreSQL stores every byte."""
    return base64.b64encode(random.Random(seed).randbytes(size * 3 // 4)).decode()


async def stage_large(db: Database, queue: Queue) -> int:
    """Stage some 13 MiB of events of three subjects, one of them larger than a whole read."""
    sizes = [300_000] * 30
    sizes[10] = 4 * outbox_reading.READ_BYTES_MAX
    sizes[20:25] = [100] * 5
    for number, size in enumerate(sizes):
        text = incompressible(size, number)
        async with db.transaction() as conn:
            await outbox.stage(conn, news(queue, f"ent-{number % 3}", number, text=text))
    return len(sizes)


async def test_large_events_are_carried_a_few_at_a_time_in_order(
    db: Database, bus: Bus, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    reads: list[list[int]] = []
    publish = Relay._publish

    async def publish_and_note(self, conn, publisher, rows):
        reads.append([len(row["document"]) for row in rows])
        await publish(self, conn, publisher, rows)

    monkeypatch.setattr(Relay, "_publish", publish_and_note)
    count = await stage_large(db, queue)
    async with relaying(db, bus), consuming(db, bus, queue) as seen:
        await eventually(lambda: len(seen) == count)
        await eventually(lambda: _is(unsent(db), 0))
    for subject in range(3):
        assert seen.of(f"ent-{subject}") == list(range(subject, count, 3))
    assert sum(map(len, reads)) == count
    assert max(map(len, reads)) > 1
    assert all(len(read) == 1 or sum(read) <= outbox_reading.READ_BYTES_MAX for read in reads)


async def test_many_small_events_are_one_read(db: Database):
    async with db.transaction() as conn:
        await outbox.stage(
            conn,
            *(
                Event("t", "/test", "ws-1", f"ent-{n}", {"text": incompressible(1_500, n)})
                for n in range(outbox_reading.BATCH_SIZE + 1)
            ),
        )
        rows, more = await outbox_reading.read(conn)
        assert (len(rows), more) == (outbox_reading.BATCH_SIZE, True)


async def test_stopping_tells_also_what_is_large(db: Database, bus: Bus, queue: Queue):
    await stage_large(db, queue)
    relay = Relay(db, bus, "/test")
    relay.start()
    await eventually(lambda: relay.leads)
    await relay.stop()
    assert await unsent(db) == 0


async def test_no_watermark_before_the_last_of_the_large_events(
    db: Database, bus: Bus, queue: Queue
):
    watermark = f"{queue.name}.watermark"
    heard: list[str] = []
    up = asyncio.Event()
    count = await stage_large(db, queue)
    app = web.Application()
    app[BUS] = bus
    app[DATABASE] = db
    app.cleanup_ctx.append(
        subscribe(
            f"{queue.name}.#",
            lambda event: heard.append(event.type),
            on_up=up.set,
            on_down=up.clear,
        )
    )
    runner = web.AppRunner(app)
    await runner.setup()
    await up.wait()
    async with relaying(db, bus, watermark=watermark):
        await eventually(lambda: watermark in heard)
    assert heard.index(watermark) == count
    await runner.cleanup()


async def test_a_transaction_that_commits_after_a_later_one_is_not_stepped_over(
    db: Database, bus: Bus, queue: Queue
):
    async with relaying(db, bus), consuming(db, bus, queue) as seen:
        async with db.transaction() as slow:
            await outbox.stage(slow, news(queue, "slow"))
            async with db.transaction() as fast:
                await outbox.stage(fast, news(queue, "fast"))
            await eventually(lambda: seen.of("fast"))
        await eventually(lambda: seen.of("slow"))


async def test_an_event_that_nobody_asked_for_does_not_hold_up_the_rest(
    db: Database, bus: Bus, queue: Queue
):
    async with relaying(db, bus), consuming(db, bus, queue) as seen:
        async with db.transaction() as conn:
            await outbox.stage(
                conn, Event("unheard.of", "/test", "ws-1", "ent-1", {}), news(queue, "after")
            )
        await eventually(lambda: seen)
        await eventually(lambda: _is(unsent(db), 0))


async def test_an_event_whose_queue_was_removed_is_kept_and_the_queue_made_again(
    db: Database, bus: Bus, queue: Queue
):
    async with relaying(db, bus) as relay:
        await eventually(lambda: relay.leads)
        async with (await bus.connection()).channel() as channel:
            await channel.queue_delete(queue.name)
        async with db.transaction() as conn:
            await outbox.stage(conn, news(queue))
        async with consuming(db, bus, queue) as seen:
            await eventually(lambda: seen)
        await eventually(lambda: _is(unsent(db), 0))


async def test_stopping_tells_what_is_committed(
    db: Database, bus: Bus, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    # However long that takes here.
    monkeypatch.setattr(relay_module, "STOP_WAIT_S", 60.0)
    relay = Relay(db, bus, "/test")
    relay.start()
    await eventually(lambda: relay.leads)
    async with db.transaction() as conn:
        await outbox.stage(conn, *(news(queue, f"ent-{n}") for n in range(1200)))
    await relay.stop()
    assert await unsent(db) == 0


async def test_a_watermark_comes_after_everything_committed_before_its_time(
    db: Database, bus: Bus, queue: Queue
):
    """Ten writers with transactions of random length; the listener hears events and watermarks."""
    watermark = f"{queue.name}.watermark"
    heard: list[Event] = []
    committed: dict[str, datetime] = {}
    up = asyncio.Event()
    app = web.Application()
    app[BUS] = bus
    app[DATABASE] = db
    app.cleanup_ctx.append(
        subscribe(f"{queue.name}.#", heard.append, on_up=up.set, on_down=up.clear)
    )
    app.cleanup_ctx.append(relay_module.relay("/test", watermark=watermark))
    runner = web.AppRunner(app)
    await runner.setup()
    await up.wait()
    dice = random.Random(3)

    async def write(writer: int) -> None:
        for number in range(12):
            event = news(queue, f"ent-{writer}", number)
            async with db.transaction() as conn:
                await outbox.stage(conn, event)
                await asyncio.sleep(dice.uniform(0, 0.1))
            committed[event.id] = datetime.now(UTC)
            outbox.wake(app)

    await asyncio.gather(*(write(writer) for writer in range(10)))

    def watermarks() -> list[tuple[int, Event]]:
        return [(place, event) for place, event in enumerate(heard) if event.type == watermark]

    await eventually(
        lambda: set(committed) <= {event.id for event in heard} and len(watermarks()) >= 3
    )
    await runner.cleanup()
    for place, event in watermarks():
        before = {earlier.id for earlier in heard[:place]}
        owed = {known for known, at in committed.items() if at < event.time}
        assert owed <= before


async def test_no_watermark_while_something_cannot_be_told(
    db: Database, bus: Bus, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    watermark = f"{queue.name}.watermark"
    publish = Publisher.publish
    refusing = True
    watermarks = refused = 0

    async def publish_or_refuse(self, event_type, message_id, document, **options):
        nonlocal watermarks, refused
        if event_type == watermark:
            watermarks += 1
        elif refusing:
            refused += 1
            raise NotConfirmed("refused")
        return await publish(self, event_type, message_id, document, **options)

    monkeypatch.setattr(Publisher, "publish", publish_or_refuse)
    async with relaying(db, bus, watermark=watermark):
        await eventually(lambda: watermarks)
        async with db.transaction() as conn:
            await outbox.stage(conn, news(queue))
        await eventually(lambda: refused)
        heard = watermarks
        await always(lambda: watermarks == heard, 2 * relay_module.WATERMARK_EVERY_S)
        refusing = False
        await eventually(lambda: watermarks > heard)


async def test_how_far_behind_it_is_can_be_read_without_a_broker(db: Database, queue: Queue):
    bus = Bus("amqp://guest:guest@127.0.0.1:1/", "test", [queue])
    bus.start()
    await db.execute(
        """INSERT INTO outbox (workspace_id, type, subject, event_id, document, staged_at)
           SELECT 'ws-1', 't', 's', i::text, '{}', now() - interval '90 seconds'
             FROM generate_series(1, 3) AS i"""
    )
    async with relaying(db, bus):
        await eventually(lambda: outbox_metrics.OUTBOX_ROWS._value.get() == 3)
        assert 90 <= outbox_metrics.OUTBOX_AGE._value.get() < 120
    await bus.stop()


async def test_it_is_measured_again_after_a_failure_that_nobody_foresaw(
    db: Database, bus: Bus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(outbox_metrics, "MEASURE_EVERY_S", 0.02)
    monkeypatch.setattr(outbox_metrics, "REST", 0)
    outbox_metrics.OUTBOX_ROWS.set(-1)
    await db.execute("ALTER TABLE outbox RENAME TO elsewhere")
    async with relaying(db, bus):
        await eventually(lambda: "outbox_not_measured" in capsys.readouterr().out)
        await db.execute("ALTER TABLE elsewhere RENAME TO outbox")
        await eventually(lambda: outbox_metrics.OUTBOX_ROWS._value.get() == 0)


@pytest.mark.parametrize(
    ("binding", "routing_key", "taken"),
    [
        ("auth.#", "auth.role.created", True),
        ("auth.#", "auth", True),
        ("auth.role.*", "auth.role.created", True),
        ("auth.role.*", "auth.user.created", False),
        ("auth.role.*", "auth.role", False),
        ("schema.created", "schema.created", True),
        ("schema.created", "schema.attribute.created", False),
        ("#.created", "schema.attribute.created", True),
        ("*.created", "schema.attribute.created", False),
    ],
)
def test_bindings_are_read_as_the_broker_reads_them(binding: str, routing_key: str, *, taken: bool):
    assert topology.matches(binding, routing_key) is taken
