"""The order of events where their ids do not rise: nodes draw them from ranges of their own."""

from __future__ import annotations

import random

import pytest

from shared.database import Database
from shared.messaging import outbox, outbox_reading
from shared.messaging.connection import Bus
from shared.messaging.topology import Queue
from tests.kit.eventually import eventually
from tests.kit.node_ranges import NodeRanges
from tests.service.shelf.relaying import consuming, news, relaying, unsent

SUBJECTS = [f"ent-{number}" for number in range(5)]
VERSIONS = range(1, 13)
DOWNWARDS = (2, 1, 0)


async def stage_on_nodes(db: Database, queue: Queue) -> int:
    """Every change of every subject is staged by another node than the change before it."""
    ranges = NodeRanges(db, "outbox")
    chance = random.Random(7)
    for version in VERSIONS:
        await ranges.draw_on(DOWNWARDS[version % len(DOWNWARDS)])
        for subject in chance.sample(SUBJECTS, len(SUBJECTS)):
            async with db.transaction() as conn:
                text = "x" * chance.randrange(400)
                await outbox.stage(conn, news(queue, subject, version, text=text))
    return len(SUBJECTS) * len(VERSIONS)


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"READ_BYTES_MAX": 900},
        {"BATCH_SIZE": 7},
        {"BATCH_SIZE": 7, "CUT_SUBJECTS_MAX": 1, "READ_BYTES_MAX": 900},
        {"BATCH_SIZE": 1},
    ],
    ids=str,
)
async def test_versions_arrive_in_order_where_ids_do_not_rise(
    db: Database,
    bus: Bus,
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    limits: dict[str, int],
):
    for name, limit in limits.items():
        monkeypatch.setattr(outbox_reading, name, limit)
    count = await stage_on_nodes(db, queue)
    async with relaying(db, bus), consuming(db, bus, queue) as seen:
        await eventually(lambda: len(seen) == count)
    for subject in SUBJECTS:
        assert seen.of(subject) == list(VERSIONS)
    assert await unsent(db) == 0


async def test_code_of_an_earlier_version_stages_beside_this_one(
    db: Database, bus: Bus, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    """It stores no versions: they are in the documents."""
    monkeypatch.setattr(outbox_reading, "BATCH_SIZE", 2)
    ranges = NodeRanges(db, "outbox")
    for version in VERSIONS:
        await ranges.draw_on(DOWNWARDS[version % len(DOWNWARDS)])
        event = news(queue, version=version)
        if version % 2:
            async with db.transaction() as conn:
                await outbox.stage(conn, event)
        else:
            await db.execute(
                """INSERT INTO outbox (workspace_id, type, subject, event_id, document)
                   VALUES ($1, $2, $3, $4, $5)""",
                *(event.workspace_id, event.type, event.subject, event.id, event.to_json()),
            )
    async with relaying(db, bus), consuming(db, bus, queue) as seen:
        await eventually(lambda: len(seen) == len(VERSIONS))
    assert seen.of("ent-1") == list(VERSIONS)


async def test_events_of_an_earlier_version_of_the_code_cut_no_batch_that_is_in_order(
    db: Database, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    """Their column says 0, which is no earlier version than those of the batch."""
    monkeypatch.setattr(outbox_reading, "BATCH_SIZE", 20)
    for version in (1, 2):
        async with db.transaction() as conn:
            await outbox.stage(conn, *(news(queue, f"ent-{n}", version) for n in range(20)))
    await db.execute("UPDATE outbox SET version = 0 WHERE version = 2")
    async with db.acquire() as conn:
        rows, more = await outbox_reading.read(conn)
    assert [row["version"] for row in rows] == [1] * 20
    assert more


async def test_a_full_batch_looks_for_earlier_versions_in_an_index(db: Database, queue: Queue):
    async with db.transaction() as conn:
        await outbox.stage(
            conn, *(news(queue, f"ent-{n % 3_000}", n // 3_000 + 1) for n in range(30_000))
        )
    await db.execute("ANALYZE outbox")
    conn = await db.connect(**outbox_reading.SESSION)
    async with conn.transaction():
        await outbox_reading.read(conn)
        read = await conn.fetchval(
            "SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'outbox'"
        )
    await conn.close()
    assert read == 0
