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
    await db.execute("VACUUM ANALYZE outbox")
    conn = await db.connect(**outbox_reading.SESSION)
    async with conn.transaction():
        await outbox_reading.read(conn)
        read = await conn.fetchval(
            "SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'outbox'"
        )
    await conn.close()
    assert read == 0


async def test_a_session_that_knew_an_empty_outbox_does_not_read_all_of_a_full_one(db: Database):
    """It keeps its plans, and many are made while nothing waits."""
    await db.execute("VACUUM ANALYZE outbox")
    conn = await db.connect(**outbox_reading.SESSION)
    try:
        none = {"workspace_id": "ws-1", "subject": "ent-1", "version": 1, "id": 1}
        for _ in range(8):
            await outbox_reading.read(conn)
            await outbox_reading._with_earlier_versions(conn, [none])
            await outbox_reading.delete(conn, [1])
        await db.execute(
            """
            INSERT INTO outbox (workspace_id, type, subject, event_id, document, version)
            SELECT 'ws-1', 'unheard.of', 'ent-' || n, 'evt-' || n, '{}', 1
              FROM generate_series(1, 3000) AS n
            """
        )
        async with conn.transaction():
            rows, more = await outbox_reading.read(conn)
            await outbox_reading.delete(conn, [row["id"] for row in rows])
            looked_at = await conn.fetchval(
                """
                SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)
                  FROM pg_stat_xact_user_tables WHERE relname = 'outbox'
                """
            )
    finally:
        await conn.close()
    assert (len(rows), more) == (outbox_reading.BATCH_SIZE, True)
    assert outbox_reading.BATCH_SIZE <= looked_at < 4 * outbox_reading.BATCH_SIZE
