"""The inbox: one effect per event, however often and however concurrently it is delivered."""

from __future__ import annotations

import asyncio

import pytest

from shared.database import Database
from shared.messaging import inbox


async def test_an_event_is_new_once_per_consumer(db: Database):
    async with db.transaction() as conn:
        assert await inbox.first_time(conn, "a", "event-1") is True
    async with db.transaction() as conn:
        assert await inbox.first_time(conn, "a", "event-1") is False
        assert await inbox.first_time(conn, "b", "event-1") is True
        assert await inbox.first_time(conn, "a", "event-2") is True


async def test_an_effect_that_fails_leaves_the_event_new(db: Database):
    with pytest.raises(ZeroDivisionError):
        async with db.transaction() as conn:
            assert await inbox.first_time(conn, "a", "event-1")
            raise ZeroDivisionError
    async with db.transaction() as conn:
        assert await inbox.first_time(conn, "a", "event-1") is True


async def test_ten_deliveries_at_once_have_one_effect(db: Database):
    async def deliver() -> bool:
        async with db.transaction() as conn:
            first = await inbox.first_time(conn, "a", "event-1")
            if first:
                await asyncio.sleep(0.05)
                await conn.execute("INSERT INTO effects (subject, version) VALUES ('s', 1)")
            return first

    assert sorted(await asyncio.gather(*(deliver() for _ in range(10)))) == [False] * 9 + [True]
    assert await db.fetchval("SELECT count(*) FROM effects") == 1


async def test_what_is_old_is_swept_and_what_is_not_stays(
    db: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(inbox, "SWEPT_AT_ONCE_MAX", 3)
    await db.execute(
        """INSERT INTO inbox (consumer, event_id, received_at)
           SELECT 'a', 'old-' || i, now() - interval '14 days 1 minute'
             FROM generate_series(1, 5) AS i"""
    )
    await db.execute(
        """INSERT INTO inbox (consumer, event_id, received_at)
           VALUES ('a', 'young', now() - interval '13 days 23 hours')"""
    )
    assert [await inbox.sweep(db), await inbox.sweep(db), await inbox.sweep(db)] == [3, 2, 0]
    assert [row["event_id"] for row in await db.fetch("SELECT event_id FROM inbox")] == ["young"]
