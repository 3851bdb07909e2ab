"""The relay: one leads, another takes over, and what is away costs no event."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiormq
import pytest
from prometheus_client import generate_latest

from shared.database import Database, pool
from shared.messaging import connection, outbox
from shared.messaging import relay as relay_module
from shared.messaging.connection import Bus
from shared.messaging.publishing import Publisher
from shared.messaging.topology import Queue
from tests.kit.eventually import always, eventually
from tests.kit.servers import Servers
from tests.kit.service import PATIENCE_S
from tests.kit.wire import Wire
from tests.service.shelf.relaying import _is, consuming, news, relaying, unsent

ROOT = Path(__file__).resolve().parents[3]


async def effects(db: Database) -> int:
    return int(await db.fetchval("SELECT count(*) FROM effects"))


DYING_RELAY = """
import asyncio, os, signal, sys
from shared.messaging.connection import Bus
from shared.messaging.publishing import Publisher
from shared.messaging.relay import Relay
from shared.database import Database
from shared.messaging.topology import Queue

publish = Publisher.publish

async def publish_and_die(self, *arguments, **options):
    await publish(self, *arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)

Publisher.publish = publish_and_die

async def main():
    bus = Bus(sys.argv[2], "dying", [Queue(sys.argv[3], (sys.argv[3] + ".#",))])
    bus.start()
    Relay(Database(sys.argv[1]), bus, "/test").start()
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_relay_killed_between_publish_and_delete_tells_twice_with_one_effect(
    db: Database, bus: Bus, queue: Queue, amqp_url: str
):
    async with db.transaction() as conn:
        await outbox.stage(conn, news(queue))
    died = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", DYING_RELAY, db.url, amqp_url, queue.name],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=30,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    assert await unsent(db) == 1
    assert await waiting(bus, queue) == 1
    async with relaying(db, bus):
        await eventually(lambda: _is(unsent(db), 0))
    assert await waiting(bus, queue) == 2
    async with consuming(db, bus, queue) as seen:
        await eventually(lambda: _is(waiting(bus, queue), 0))
        await eventually(lambda: seen)
    assert (len(seen), await effects(db)) == (1, 1)


async def test_one_relay_leads_and_another_takes_over(
    db: Database, bus: Bus, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(relay_module, "LEAD_RETRY_S", 0.02)
    async with relaying(db, bus) as first, relaying(db, bus) as second:
        await eventually(lambda: first.leads or second.leads)
        await always(lambda: first.leads != second.leads, 0.3)
        leader, heir = (first, second) if first.leads else (second, first)
        await leader.stop()
        await eventually(lambda: heir.leads)
        async with consuming(db, bus, queue) as seen:
            async with db.transaction() as conn:
                await outbox.stage(conn, news(queue))
            await eventually(lambda: seen)


async def test_a_leader_that_loses_its_session_is_followed_by_another(
    db: Database, bus: Bus, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(relay_module, "LEAD_RETRY_S", 0.02)
    async with relaying(db, bus) as first, relaying(db, bus) as second:
        await eventually(lambda: first.leads or second.leads)
        leader, heir = (first, second) if first.leads else (second, first)
        ended = await db.fetchval(
            """SELECT bool_and(pg_terminate_backend(pid))
                 FROM pg_locks
                WHERE locktype = 'advisory' AND granted
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
        )
        assert ended
        await eventually(lambda: heir.leads and not leader.leads)
        async with consuming(db, bus, queue) as seen:
            async with db.transaction() as conn:
                await outbox.stage(conn, news(queue))
            await eventually(lambda: seen)


FREEZING_RELAY = """
import asyncio, os, signal, sys
from shared.messaging import relay
from shared.messaging.connection import Bus
from shared.messaging.publishing import Publisher
from shared.messaging.relay import Relay
from shared.database import Database
from shared.messaging.topology import Queue

publish, published = Publisher.publish, 0

async def nobody_is_replaced(*arguments):
    return False

relay.end_stale_leader = nobody_is_replaced

async def publish_two_and_freeze(self, *arguments, **options):
    global published
    published += 1
    outcome = await publish(self, *arguments, **options)
    if published == 2:
        os.kill(os.getpid(), signal.SIGSTOP)
    return outcome

Publisher.publish = publish_two_and_freeze

async def main():
    bus = Bus(sys.argv[2], "freezing", [Queue(sys.argv[3], (sys.argv[3] + ".#",))])
    bus.start()
    Relay(Database(sys.argv[1]), bus, "/test", lease_s=1).start()
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_a_leader_that_hangs_is_replaced_and_publishes_nothing_more_when_it_wakes(
    db: Database,
    bus: Bus,
    queue: Queue,
    amqp_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """It hangs in the middle of five events of one record, two of which the broker has.

    Its lease is short. That of its heir is not, for this process may be kept waiting, too.
    """
    replace = relay_module.end_stale_leader
    monkeypatch.setattr(
        relay_module, "end_stale_leader", lambda conn, key, _lease_s: replace(conn, key, 1.0)
    )
    async with db.transaction() as conn:
        await outbox.stage(conn, *(news(queue, "ent-1", version) for version in range(1, 6)))
    log = (tmp_path / "freezing.log").open("w+")
    frozen = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", FREEZING_RELAY, db.url, amqp_url, queue.name],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=log,
        stderr=log,
    )
    try:
        await eventually(lambda: process_state(frozen.pid) == "T", within_s=60)
        async with relaying(db, bus, lease_s=PATIENCE_S) as heir:
            await eventually(lambda: heir.leads, within_s=60)
            await eventually(lambda: _is(unsent(db), 0))
            async with db.transaction() as conn:
                await outbox.stage(conn, *(news(queue, "ent-1", n) for n in range(6, 9)))
            heir.committed.set()
            await eventually(lambda: _is(unsent(db), 0))
            frozen.send_signal(signal.SIGCONT)
            await eventually(
                lambda: "session_interrupted" in Path(log.name).read_text(), within_s=60
            )
            assert heir.leads
            assert await waiting(bus, queue) == 2 + 8
            async with consuming(db, bus, queue) as seen:
                await eventually(lambda: _is(waiting(bus, queue), 0))
                await eventually(lambda: len(seen) == 8)
    finally:
        frozen.kill()
        frozen.wait()
        log.close()
    assert seen.of("ent-1") == list(range(1, 9))


def process_state(pid: int) -> str:
    """As `ps` shows it: `T` is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_a_leader_whose_broker_is_slow_keeps_the_lead(
    db: Database, bus: Bus, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    """What takes longer than the lease is no reason to end it: it is renewed meanwhile."""
    assert relay_module.RENEWALS_PER_LEASE > 3
    monkeypatch.setattr(relay_module, "LEAD_RETRY_S", 0.02)
    monkeypatch.setattr(relay_module, "RENEWALS_PER_LEASE", 1_000)
    publish = Publisher.publish

    async def publish_late(self, *arguments, **options):
        for _ in range(10):
            last = first._renewed_at_s
            await eventually(lambda last=last: first._renewed_at_s > last)
        return await publish(self, *arguments, **options)

    monkeypatch.setattr(Publisher, "publish", publish_late)
    async with relaying(db, bus, lease_s=PATIENCE_S) as first:
        await eventually(lambda: first.leads)
        async with (
            relaying(db, bus, lease_s=PATIENCE_S) as second,
            consuming(db, bus, queue) as seen,
        ):
            async with db.transaction() as conn:
                await outbox.stage(conn, news(queue))
            first.committed.set()
            await eventually(lambda: seen)
            await eventually(lambda: _is(unsent(db), 0))
            assert first.leads
            assert not second.leads


async def test_a_process_that_measures_nothing_exports_no_measure(
    db: Database, queue: Queue, tmp_path: Path
):
    """A 0 of an API process would hide what the worker's gauge shows."""
    script = (
        "from shared.messaging import relay; from prometheus_client import generate_latest;"
        "told = generate_latest().decode(); assert 'sigma_outbox_rows' not in told, told;"
        "assert 'sigma_outbox_oldest' not in told, told"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)  # noqa: ASYNC221
    bus = Bus("amqp://guest:guest@127.0.0.1:1/", "test", [queue])
    bus.start()
    async with relaying(db, bus):
        await eventually(lambda: "sigma_outbox_rows 0.0" in generate_latest().decode())
    await bus.stop()


async def test_a_broker_that_is_away_costs_no_event(db: Database, queue: Queue, amqp_url: str):
    """200 changes while it is away: every one succeeds, and each is told once in effect."""
    async with Wire(amqp_url) as wire:
        bus = Bus(wire.url, "test", [queue])
        bus.start()
        async with relaying(db, bus) as relay, consuming(db, bus, queue) as seen:
            await eventually(lambda: relay.leads)
            for version in range(1, 201):
                if version == 20:
                    wire.cut()
                async with db.transaction() as conn:
                    await outbox.stage(conn, news(queue, f"ent-{version % 10}", version))
                relay.committed.set()
            assert await unsent(db) >= 180
            wire.mend()
            await eventually(lambda: len(seen) >= 200, within_s=60)
            await eventually(lambda: _is(unsent(db), 0))
        await bus.stop()
    assert sorted(event.version for event in seen) == list(range(1, 201))
    assert await effects(db) == 200


@pytest.mark.parametrize("call", ["open", "basic_publish"])
async def test_a_relay_carries_on_when_the_client_library_cancels_it(
    db: Database, bus: Bus, queue: Queue, call: str, monkeypatch: pytest.MonkeyPatch
):
    """As aiormq does with all that waits for a broker whose heartbeat failed."""
    await bus.connection()
    original = getattr(aiormq.Channel, call)
    cancelled: list[str] = []

    async def cancelled_once(*arguments, **options):
        if not cancelled:
            cancelled.append(call)
            raise asyncio.CancelledError
        return await original(*arguments, **options)

    monkeypatch.setattr(aiormq.Channel, call, cancelled_once)
    async with db.transaction() as conn:
        await outbox.stage(conn, *(news(queue, "ent-1", version) for version in (1, 2, 3)))
    async with relaying(db, bus):
        await eventually(lambda: _is(unsent(db), 0))
    assert cancelled
    async with consuming(db, bus, queue) as seen:
        await eventually(lambda: len(seen) == 3)
    assert seen.of("ent-1") == [1, 2, 3]
    await bus.ready()


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before it leads", "while it leads"])
async def test_a_broker_that_hangs_costs_no_event(
    db: Database, queue: Queue, amqp_url: str, moment: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection, "HEARTBEAT_S", 1)
    async with Wire(amqp_url) as wire:
        bus = Bus(wire.url, "test", [queue])
        bus.start()
        await bus.connection()
        if moment == "before it leads":
            wire.hold()
        async with relaying(db, bus) as relay:
            if moment == "while it leads":
                await eventually(lambda: relay.leads)
                wire.hold()
            async with db.transaction() as conn:
                await outbox.stage(conn, *(news(queue, "ent-1", n) for n in range(1, 6)))
            relay.committed.set()
            await eventually(lambda: not bus.is_up, within_s=60)
            wire.mend()
            async with consuming(db, bus, queue) as seen:
                await eventually(lambda: len(seen) == 5)
            await eventually(lambda: _is(unsent(db), 0))
        await bus.ready()
        await bus.stop()
    assert seen.of("ent-1") == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("fault", ["cut", "hold"])
async def test_a_database_that_is_away_or_silent_is_found_again(
    db: Database, bus: Bus, queue: Queue, fault: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pool, "CLIENT_TIMEOUT_S", 0.3)
    async with Wire(db.url) as wire:
        breakable = Database(wire.url)
        async with relaying(breakable, bus) as relay, consuming(db, bus, queue) as seen:
            await eventually(lambda: relay.leads)
            getattr(wire, fault)()
            async with db.transaction() as conn:
                await outbox.stage(conn, news(queue))
            await eventually(lambda: not relay.leads)
            wire.mend()
            await eventually(lambda: seen)
        await breakable.close()


@pytest.mark.slow
async def test_a_broker_that_is_restarted_has_forgotten_nothing(db: Database, own_servers: Servers):
    """What it confirmed it still has, and what it did not confirm comes afterwards.

    Stopped in order, not killed: a quorum queue of RabbitMQ 3.10 that is killed within seconds of
    being made may never find a leader again, and this one has just been made.
    """
    own = Queue("restarted", ("restarted.#",))
    broker = own_servers.rabbit.private
    assert broker is not None
    bus = Bus(own_servers.rabbit.vhost(), "test", [own])
    bus.start()
    async with relaying(db, bus) as relay:
        async with db.transaction() as conn:
            await outbox.stage(conn, *(news(own, f"ent-{n}", n) for n in range(100)))
        await eventually(lambda: _is(unsent(db), 0))
        await asyncio.to_thread(broker.stop)
        async with db.transaction() as conn:
            await outbox.stage(conn, *(news(own, f"ent-{n}", n) for n in range(100, 200)))
        relay.committed.set()
        await asyncio.to_thread(broker.start)
        async with consuming(db, bus, own) as seen:
            await eventually(lambda: len(seen) >= 200, within_s=60)
    await bus.stop()
    assert sorted(event.version for event in seen) == list(range(200))


async def waiting(bus: Bus, queue: Queue) -> int | None:
    async with (await bus.connection()).channel() as channel:
        declared = await channel.declare_queue(queue.name, passive=True)
        return declared.declaration_result.message_count
