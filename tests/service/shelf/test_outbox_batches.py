"""Events that nobody has to read are published many at a time, with the same promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import pytest

from shared.database import Database
from shared.events import Event
from shared.messaging import connection, outbox, publishing, topology
from shared.messaging.batches import Batch, Message
from shared.messaging.connection import Bus
from shared.messaging.publishing import Patience, Publisher
from shared.messaging.relay import LeaseExpired, Relay
from shared.messaging.topology import Queue
from tests.kit.eventually import eventually
from tests.kit.wire import Wire
from tests.service.shelf.relaying import _is, news, relaying, unsent


@asynccontextmanager
async def listening(bus: Bus, event_type: str, **arguments: Any) -> AsyncIterator[Any]:
    """A queue that a consumer has bound itself; the topology does not name it."""
    async with (await bus.connection()).channel() as channel:
        own = await channel.declare_queue(exclusive=True, arguments=arguments)
        await own.bind(topology.EVENTS, event_type)
        yield own


async def taken(own: Any) -> list[Any]:
    """What the queue holds, out of it."""
    found = []
    while (message := await own.get(fail=False, no_ack=True)) is not None:
        found.append(message)
    return found


def unread(subject: str, version: int, size: int = 0) -> Event:
    data = {"version": version, "text": "ø" * size}
    return Event("nobody.has-to-read", "/test", "ws-1", subject, data)


async def test_they_arrive_as_they_were_staged_and_each_subject_in_order(
    db: Database, bus: Bus, queue: Queue
):
    """Among more subjects than one write has; one event is larger than a frame of the protocol."""
    events = [unread(f"ent-{n}", version) for version in (1, 2) for n in range(70)]
    events += [unread("ent-1", 3, size=200_000), unread("ent-1", 4)]
    mixed = [
        unread("ent-2", 3),
        Event(f"{queue.name}.made", "/test", "ws-1", "ent-2", {"version": 4}),
        unread("ent-2", 5),
    ]
    async with listening(bus, "nobody.has-to-read") as own:
        await own.bind(topology.EVENTS, f"{queue.name}.made")
        async with db.transaction() as conn:
            await outbox.stage(conn, *events, *mixed)
        async with relaying(db, bus):
            await eventually(lambda: _is(unsent(db), 0))
        arrived = await taken(own)
    told = [Event.from_json(message.body) for message in arrived]
    assert len(told) == len(events) + len(mixed)
    assert {event.id: event.to_json() for event in told} == {
        event.id: event.to_json() for event in (*events, *mixed)
    }
    for subject in {event.subject for event in told}:
        versions = [event.version for event in told if event.subject == subject]
        assert versions == list(range(1, len(versions) + 1))
    for message, event in zip(arrived, told, strict=True):
        assert message.message_id == event.id
        assert (message.type, message.content_type) == (event.type, publishing.CONTENT_TYPE)
        assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT


async def test_what_the_broker_refuses_is_kept_and_holds_up_only_its_subject(
    db: Database, bus: Bus
):
    """A queue that takes two messages refuses the others, of which nothing may overtake them."""
    full = {"x-max-length": 2, "x-overflow": "reject-publish"}
    async with listening(bus, "nobody.has-to-read", **full) as own:
        async with db.transaction() as conn:
            events = [unread(f"ent-{n}", version) for version in (1, 2, 3) for n in range(4)]
            await outbox.stage(conn, *events)
        told: list[Event] = []

        async def all_arrive() -> bool:
            told.extend(Event.from_json(message.body) for message in await taken(own))
            return await unsent(db) == 0

        async with relaying(db, bus):
            await eventually(lambda: _is(unsent(db), len(events) - 2))
            await eventually(all_arrive, within_s=60)
        await all_arrive()
    for n in range(4):
        assert [each.version for each in told if each.subject == f"ent-{n}"] == [1, 2, 3]


async def test_what_is_published_into_silence_is_not_confirmed(
    queue: Queue, amqp_url: str, monkeypatch: pytest.MonkeyPatch
):
    async with Wire(amqp_url) as wire:
        bus = Bus(wire.url, "test", [queue])
        bus.start()
        publisher = await Publisher.open(await bus.connection())
        messages = [Message("nobody.has-to-read", f"id-{n}", b"{}") for n in range(3)]
        heard = await publisher.send(messages)
        assert await publisher.confirmed(heard) == [[True] * 3]
        wire.hold()
        monkeypatch.setattr(publishing, "PUBLISH_TIMEOUT_S", 0.3)
        unheard = await publisher.send(messages)
        assert await publisher.confirmed(unheard) == [[False] * 3]
        wire.cut()
        await bus.stop()


async def test_silence_is_waited_out_once_for_all_batches(
    queue: Queue, amqp_url: str, monkeypatch: pytest.MonkeyPatch
):
    """Ten seconds for each of them would be 80 for what the relay sends together."""
    monkeypatch.setattr(connection, "HEARTBEAT_S", 600)
    limits = iter([0.05])

    class ShortAndThenEndless(Patience):
        @property
        def within_s(self) -> float:
            return next(limits, 1_000.0)

    async with Wire(amqp_url) as wire, asyncio.timeout(30):
        bus = Bus(wire.url, "test", [queue])
        bus.start()
        publisher = await Publisher.open(await bus.connection(), ShortAndThenEndless())
        wire.hold()
        one = [Message("nobody.has-to-read", "id-1", b"{}")]
        batches = [await publisher.send(one) for _ in range(8)]
        assert await publisher.confirmed(*batches) == [[False]] * 8
        wire.cut()
        await bus.stop()


async def test_a_new_channel_that_confirms_nothing_is_soon_left_for_another(
    db: Database, bus: Bus, monkeypatch: pytest.MonkeyPatch
):
    """One that was opened while a cluster lost a node may never confirm."""
    monkeypatch.setattr(publishing, "FIRST_CONFIRM_S", 0.1)
    monkeypatch.setattr(publishing, "PUBLISH_TIMEOUT_S", 1_000.0)
    send, publishers = Publisher.send, []

    async def unheard_in_the_first(self: Publisher, messages: Any) -> Any:
        if self not in publishers:
            publishers.append(self)
        if self is publishers[0]:
            return Batch(len(messages), asyncio.get_running_loop().create_future())
        return await send(self, messages)

    monkeypatch.setattr(Publisher, "send", unheard_in_the_first)
    async with db.transaction() as conn:
        await outbox.stage(conn, unread("ent-1", 1))
    async with relaying(db, bus):
        await eventually(lambda: _is(unsent(db), 0), within_s=60)


async def test_a_new_channel_has_to_confirm_a_batch_before_it_is_given_more(
    db: Database, bus: Bus, monkeypatch: pytest.MonkeyPatch
):
    """What it does not take would hold up all of its connection."""
    monkeypatch.setattr(publishing, "FIRST_CONFIRM_S", 60.0)
    monkeypatch.setattr(publishing, "PUBLISH_TIMEOUT_S", 60.0)
    send, confirmed, did = Publisher.send, Publisher.confirmed, []

    async def noted(self: Publisher, messages: Any) -> Any:
        did.append(len(messages))
        return await send(self, messages)

    async def answered(self: Publisher, *batches: Any) -> Any:
        answer = await confirmed(self, *batches)
        did.append("confirmed")
        return answer

    monkeypatch.setattr(Publisher, "send", noted)
    monkeypatch.setattr(Publisher, "confirmed", answered)
    async with db.transaction() as conn:
        await outbox.stage(conn, *(unread(f"ent-{n}", 1) for n in range(150)))
    async with relaying(db, bus):
        await eventually(lambda: _is(unsent(db), 0))
    assert did == [64, "confirmed", 64, 22, "confirmed"]


def test_patience_is_short_at_first_and_grows_with_what_is_in_vain():
    patience, waited = Patience(), []
    for _ in range(4):
        patience.with_a_new_channel()
        waited.append(patience.within_s)
        patience.in_vain()
        patience.in_vain()
    assert waited == [3.0, 6.0, 10.0, 10.0]
    patience.rewarded()
    assert patience.within_s == 10.0
    patience.with_a_new_channel()
    assert patience.within_s == 3.0


async def test_a_message_for_itself_is_confirmed_among_those_of_a_batch(bus: Bus, queue: Queue):
    """Both count deliveries of one channel."""
    publisher = await Publisher.open(await bus.connection())
    one, other = news(queue), Event("unheard.of", "/test", "ws-1", "ent-1", {})
    for _ in range(2):
        batch = await publisher.send(
            [Message("nobody.has-to-read", f"id-{n}", b"{}") for n in (1, 2)]
        )
        assert await publisher.publish(one.type, one.id, one.to_json())
        assert not await publisher.publish(other.type, other.id, other.to_json())
        assert await publisher.confirmed(batch) == [[True, True]]
    await publisher.close()


async def test_a_relay_whose_lease_has_expired_sends_nothing(
    db: Database, bus: Bus, monkeypatch: pytest.MonkeyPatch
):
    sent: list[Any] = []

    async def send(self: Publisher, messages: Any) -> None:
        sent.append(messages)

    monkeypatch.setattr(Publisher, "send", send)
    publisher = await Publisher.open(await bus.connection())
    async with db.transaction() as conn:
        await outbox.stage(conn, unread("ent-1", 1))
    relay = Relay(db, bus, "/test", lease_s=5)
    async with db.acquire() as conn:
        rows = await conn.fetch("SELECT *, document::text AS document FROM outbox")
        with pytest.raises(LeaseExpired):
            # It has never led.
            await relay._publish(conn, publisher, rows)
    await publisher.close()
    assert sent == []
    assert await unsent(db) == 1


async def test_nothing_overtakes_an_event_that_was_refused(
    db: Database, bus: Bus, monkeypatch: pytest.MonkeyPatch
):
    send, confirmed, sent = Publisher.send, Publisher.confirmed, []

    async def noted(self: Publisher, messages: Any) -> Any:
        events = [Event.from_json(each.document) for each in messages]
        sent.append([(each.subject, each.version) for each in events])
        return await send(self, messages)

    async def refused_once(self: Publisher, *batches: Any) -> Any:
        (answer,) = await confirmed(self, *batches)
        return [[False, *answer[1:]] if len(sent) == 1 else answer]

    monkeypatch.setattr(Publisher, "send", noted)
    monkeypatch.setattr(Publisher, "confirmed", refused_once)
    async with db.transaction() as conn:
        events = [unread(f"ent-{n}", version) for version in (1, 2) for n in range(2)]
        await outbox.stage(conn, *events)
    async with relaying(db, bus):
        await eventually(lambda: _is(unsent(db), 0))
    assert sent == [
        [("ent-0", 1), ("ent-1", 1)],
        [("ent-0", 1), ("ent-1", 2)],
        [("ent-0", 2)],
    ]
