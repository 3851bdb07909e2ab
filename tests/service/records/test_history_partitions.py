"""The partitions of the history: made ahead, few of them read, dropped when nobody needs them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import psycopg
import pytest

from records_service.history import store as history
from records_service.history.retention import commands, partitions
from records_service.history.versions import store as versions
from records_service.writes import history_partitions as store
from records_service.writes.model import Record
from shared.database import Conn, Database
from shared.database.migrations import upgrade
from shared.database.paging import Order, PageQuery, place_of
from tests.kit.eventually import eventually
from tests.kit.pages import block
from tests.kit.servers import Servers

A, B = "ws-a", "ws-b"


def new_year(year: int) -> datetime:
    return datetime(year, 1, 1, tzinfo=UTC)


@pytest.fixture
async def years(servers: Servers) -> AsyncIterator[Database]:
    """A database of records_service with partitions for the years until 2036, without entries."""
    url = await servers.postgres.new_database("records_service")
    database = Database(url)
    async with database.acquire() as conn:
        until = (await store.partitions(conn))[-1].until.year
    for year in range(until, 2037):
        async with database.transaction() as conn:
            await store.add(conn, year)
    yield database
    await database.close()
    await servers.postgres.drop_database(url)


async def names(database: Database) -> list[str]:
    async with database.acquire() as conn:
        return [one.name for one in await store.partitions(conn)]


async def write(database: Database, workspace_id: str, *years: int) -> None:
    """An entry in the middle of each of these years."""
    await database.execute(
        "INSERT INTO models (workspace_id, version) VALUES ($1, 1) ON CONFLICT DO NOTHING",
        workspace_id,
    )
    for version, year in enumerate(years, start=1):
        await database.execute(
            """
            INSERT INTO audit (workspace_id, record_id, version, schema_id, action, user_id, at,
                               changes)
            VALUES ($1, 'ent-x', $2, 'schema-x', 'update', 'user-x', $3, '[]')
            """,
            workspace_id,
            version,
            datetime(year, 6, 1, tzinfo=UTC),
        )


async def years_of(database: Database, workspace_id: str) -> list[str]:
    rows = await database.fetch(
        "SELECT tableoid::regclass::text AS part FROM audit WHERE workspace_id = $1 ORDER BY at",
        workspace_id,
    )
    return [row["part"] for row in rows]


async def keep_days(conn: Conn | Database, workspace_id: str, days: int | None) -> None:
    await conn.execute(
        """
        INSERT INTO history_retentions VALUES ($1, $2, now(), 'user-x', now())
            ON CONFLICT (workspace_id) DO UPDATE SET days = excluded.days
        """,
        workspace_id,
        days,
    )


async def test_years_are_made_ahead_of_time(servers: Servers):
    url = await servers.postgres.new_database("records_service")
    database = Database(url)
    async with database.acquire() as conn:
        (first,) = await store.partitions(conn)
    assert (first.name, first.since) == ("audit_first", None)
    year = first.until.year
    assert first.until == new_year(year)
    now = new_year(year - 1)
    # Several processes do it at once.
    await asyncio.gather(*(partitions.keep(database, now) for _ in range(5)))
    ahead = ["audit_first", f"audit_{year}"]
    assert await names(database) == ahead
    assert await partitions.keep(database, now)
    assert await names(database) == ahead
    await write(database, A, year - 1)
    await partitions.keep(database, new_year(year))
    assert await names(database) == [*ahead, f"audit_{year + 1}"]
    async with database.acquire() as conn:
        found = await store.partitions(conn)
    assert all(one.since == last.until for last, one in pairwise(found))
    indexes = await database.fetch(
        """
        SELECT tablename, count(*), count(*) FILTER (WHERE indexdef LIKE '%bloom%') AS of_users
          FROM pg_indexes WHERE tablename LIKE 'audit%' GROUP BY 1
        """
    )
    assert {tuple(row)[1:] for row in indexes} == {(6, 1)}
    await database.close()
    await servers.postgres.drop_database(url)


async def test_entries_are_in_their_year(years: Database):
    await write(years, A, 2020, 2032, 2033, 2033, 2035, 2099)
    assert await years_of(years, A) == [
        "audit_first",
        "audit_2032",
        "audit_2033",
        "audit_2033",
        "audit_2035",
        "audit_other",
    ]


async def looks(conn: Conn) -> Counter[str]:
    """How often this connection has looked into each partition, or a little less."""
    rows = await conn.fetch(
        """
        SELECT relname::text AS name, coalesce(idx_scan, 0) + seq_scan AS looks
          FROM pg_stat_xact_user_tables
         WHERE relname LIKE 'audit%'
        """
    )
    return Counter({row["name"]: row["looks"] for row in rows})


async def test_an_earlier_version_is_read_from_the_years_of_its_record(years: Database):
    await write(years, A, 2033, 2034, 2034, 2034)
    record = Record(
        *(
            A,
            "ent-x",
            "schema-x",
            None,
            4,
            {},
            new_year(2033),
            datetime(2034, 6, 1, tzinfo=UTC),
            "u",
            "u",
            None,
        )
    )
    async with years.transaction() as conn:
        before = await looks(conn)
        kept = await versions.kept(conn, record)
        found = await versions.steps(conn, record, kept, 2, 4)
        assert found is not None
        assert len(found) == 3
        looked = await looks(conn) - before
    assert looked.keys() == {"audit_2033", "audit_2034"}


@pytest.mark.parametrize(
    ("order", "filters"),
    [(history.OF_A_RECORD, {"record_id": "ent-x"}), (history.OF_A_WORKSPACE, {})],
)
async def test_the_entries_of_a_page_are_each_looked_up_in_one_year(
    years: Database, order: Order, filters: dict[str, Any]
):
    await write(years, A, *[2033] * 30)
    place = place_of(A, "/x", PageQuery(limit=20), order)
    async with years.transaction() as conn:
        before = await looks(conn)
        part, *_ = await history.page(conn, A, place=place, **filters)
        assert len(part.rows) == 20
        looked = await looks(conn) - before
    # To find the page, and to count.
    assert {name for name, times in looked.items() if times > 2} == {"audit_2033"}


async def test_a_year_that_nobody_keeps_is_dropped_as_a_whole(years: Database):
    now = datetime(2035, 3, 1, tzinfo=UTC)
    await write(years, A, 2031, 2032, 2033, 2034)
    await write(years, B, 2032)
    before = await names(years)
    assert await partitions.keep(years, now)
    assert {"audit_2031", "audit_2032", "audit_2033"} <= set(await names(years))
    await keep_days(years, A, 365)
    assert await partitions.keep(years, now)
    # The other workspace keeps everything, and has something in one of these years.
    assert set(before) - set(await names(years)) == {
        "audit_first",
        *(one for one in before if "audit_2027" < one < "audit_2032"),
        "audit_2033",
    }
    assert await years_of(years, A) == ["audit_2032", "audit_2034"]
    assert await years_of(years, B) == ["audit_2032"]
    async with years.transaction() as conn:
        assert not await commands.remover(lambda: now)(conn, A, "")
    assert await years_of(years, A) == ["audit_2034"]
    assert await years_of(years, B) == ["audit_2032"]
    await keep_days(years, B, 400)
    assert await partitions.keep(years, now)
    assert "audit_2032" not in await names(years)
    assert await years_of(years, A) == ["audit_2034"]
    assert await years_of(years, B) == []


async def test_the_year_that_has_just_ended_stays(years: Database):
    """A process whose clock is behind may still write into it."""
    await partitions.keep(years, datetime(2034, 1, 20, tzinfo=UTC))
    assert "audit_2033" in await names(years)
    await partitions.keep(years, datetime(2034, 2, 2, tzinfo=UTC))
    assert "audit_2033" not in await names(years)
    assert "audit_2034" in await names(years)


async def test_what_a_job_has_to_read_is_not_dropped(years: Database):
    await write(years, A, 2032)
    await keep_days(years, A, 1)
    await years.execute(
        """
        INSERT INTO attribute_removals (workspace_id, attribute_id, schema_ids, last_change)
        VALUES ($1, 'attr-gone', '{}', 0)
        """,
        A,
    )
    assert await partitions.keep(years, new_year(2035))
    assert "audit_2032" in await names(years)
    await years.execute("DELETE FROM attribute_removals")
    assert await partitions.keep(years, new_year(2035))
    assert "audit_2032" not in await names(years)


async def test_nobody_waits_long_for_a_drop(years: Database):
    await write(years, A, 2032)
    await keep_days(years, A, 1)
    async with years.transaction() as conn:
        await store.use(conn, A)
        assert not await partitions.keep(years, new_year(2035))
        assert await years_of(years, A) == ["audit_2032"]
    assert await partitions.keep(years, new_year(2035))
    assert await years_of(years, A) == []


async def test_a_longer_time_that_is_chosen_before_the_drop_counts(
    years: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(store, "LOCK_WAIT", "9s")
    await write(years, A, 2032)
    await keep_days(years, A, 1)

    async def waits() -> bool:
        return bool(
            await years.fetchval(
                """SELECT EXISTS (SELECT FROM pg_stat_activity
                                   WHERE datname = current_database()
                                     AND wait_event_type = 'Lock')"""
            )
        )

    async with years.transaction() as conn:
        await store.use(conn, A)
        dropping = asyncio.create_task(partitions.keep(years, new_year(2035)))
        await eventually(waits)
        await keep_days(conn, A, None)
    assert await dropping
    assert await years_of(years, A) == ["audit_2032"]


async def test_entries_out_of_place_are_told(years: Database):
    await write(years, A, 2090)
    assert await partitions.keep(years, new_year(2036))
    assert partitions.OUT_OF_PLACE._value.get() == 1
    # The partition of their time cannot be made while they are elsewhere.
    assert (await names(years))[-1] == "audit_2036"
    await years.execute("DELETE FROM audit")
    assert await partitions.keep(years, new_year(2036))
    assert partitions.OUT_OF_PLACE._value.get() == 0
    assert (await names(years))[-1] == "audit_2037"
    # In a year whose partition has been dropped.
    await write(years, A, 2033)
    assert await partitions.keep(years, new_year(2036))
    assert partitions.OUT_OF_PLACE._value.get() == 1


async def test_entries_out_of_place_are_moved_by_hand(servers: Servers):
    url = await servers.postgres.new_database("records_service")
    database = Database(url)
    await write(database, A, 2020, 2031, 2032)
    assert await years_of(database, A) == ["audit_first", "audit_other", "audit_other"]
    async with database.acquire() as conn:
        await conn.execute(block("out-of-place"))
    assert await years_of(database, A) == ["audit_first", "audit_2031", "audit_other"]
    async with database.acquire() as conn:
        (_, moved) = await store.partitions(conn)
    assert (moved.since, moved.until) == (new_year(2031), new_year(2032))
    await database.close()
    await servers.postgres.drop_database(url)


async def test_a_database_in_use_gets_partitions(servers: Servers):
    """Its history becomes the first of them, and whoever is connected goes on."""
    url = await servers.postgres.empty_database("records_service")
    insert = """
        INSERT INTO audit (workspace_id, record_id, version, schema_id, action, user_id, at,
                           changes)
        VALUES (%s, 'ent-x', %s, 'schema-x', 'update', 'user-x', %s, '[]') RETURNING id
    """
    found: list[int] = []
    with psycopg.connect(url, autocommit=True) as conn:

        def write_one(version: int, at: datetime) -> None:
            row = conn.execute(insert, [A, version, at], prepare=True).fetchone()
            assert row is not None
            found.append(row[0])

        def before_revision(said: str) -> None:
            if said.startswith("0047"):
                conn.execute("INSERT INTO models (workspace_id, version) VALUES (%s, 1)", [A])
                # A clock was wrong once.
                for version, year in enumerate((2020, 2026, 2061), start=1):
                    write_one(version, new_year(year))
            if said.startswith("0048"):
                write_one(4, new_year(2026))

        upgrade("records_service", url, before_revision)
        write_one(5, new_year(2062))
        write_one(6, new_year(2063))
        rows = conn.execute(
            "SELECT version, id, tableoid::regclass::text FROM audit ORDER BY version"
        ).fetchall()
    assert rows == [
        (1, found[0], "audit_first"),
        (2, found[1], "audit_first"),
        (3, found[2], "audit_first"),
        (4, found[3], "audit_first"),
        (5, found[4], "audit_first"),
        (6, found[5], "audit_other"),
    ]
    assert found == sorted(set(found))
    await servers.postgres.drop_database(url)
