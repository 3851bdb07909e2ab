"""What two databases have of a workspace, compared range by range while clients write."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from deploy.workspaces import comparing
from deploy.workspaces.databases import Database, Failed, open_one
from deploy.workspaces.tables import RECORDS
from tests.kit.servers import Servers

OURS = "ws-ours"
TABLES = ["record_lives", "unique_values", "models"]


@pytest.fixture
async def both(servers: Servers) -> AsyncIterator[tuple[Database, Database]]:
    opened = []
    for _ in range(2):
        database = await open_one(RECORDS, await servers.postgres.new_database(RECORDS))
        await database.conn.execute(
            """INSERT INTO record_lives (workspace_id, record_id, last_version, next_version)
               SELECT each, 'ent-' || n, n, n + 1
                 FROM generate_series(1, 95) AS n, unnest($1::text[]) AS each""",
            [OURS, "ws-neighbours"],
        )
        await database.conn.execute(
            """INSERT INTO unique_values
               SELECT $1, 'attr', '{}', decode(md5(n::text), 'hex'), 'ent-' || n
                 FROM generate_series(1, 25) AS n""",
            OURS,
        )
        await database.conn.execute("INSERT INTO models VALUES ($1, 7)", OURS)
        opened.append(database)
    yield opened[0], opened[1]
    for database in opened:
        await database.conn.close()
        await servers.postgres.drop_database(database.url)


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "RANGE_ROWS", 10)


async def left(one: asyncpg.Connection, other: asyncpg.Connection) -> list[comparing.Range]:
    return await comparing.look_ahead(one, other, TABLES, OURS)


async def test_only_the_end_of_a_table_and_what_has_changed_is_left(
    both: tuple[Database, Database],
):
    source, target = (database.conn for database in both)
    ranges = await left(source, target)
    assert [one.table for one in ranges] == TABLES
    assert all(one.until is None for one in ranges)
    assert await comparing.compare(RECORDS, source, target, TABLES, OURS, ranges) == 121
    assert await comparing.compare(RECORDS, source, target, TABLES, OURS) == 121

    # A change that has not come yet: its range is compared again, and is equal then.
    changed = """UPDATE record_lives SET last_version = 200, next_version = 201
                  WHERE workspace_id = $1 AND record_id = 'ent-17'"""
    await source.execute(changed, OURS)
    ranges = await left(source, target)
    assert [one.table for one in ranges] == ["record_lives", *TABLES]
    with pytest.raises(Failed, match=r"differ in record_lives \(the content of rows\)"):
        await comparing.compare(RECORDS, source, target, TABLES, OURS, ranges)
    await target.execute(changed, OURS)
    assert await comparing.compare(RECORDS, source, target, TABLES, OURS, ranges) == 121


async def test_a_row_too_few_or_too_many_is_found_wherever_it_is(
    both: tuple[Database, Database],
):
    source, target = (database.conn for database in both)
    ranges = await left(source, target)
    await target.execute(
        "DELETE FROM record_lives WHERE workspace_id = $1 AND record_id = 'ent-3'", OURS
    )
    with pytest.raises(Failed, match=r"record_lives \(95 and 94 rows\)"):
        await comparing.compare(RECORDS, source, target, TABLES, OURS, ranges)
    # That of a neighbour is none of ours.
    await source.execute("DELETE FROM record_lives WHERE workspace_id = $1", OURS)
    await target.execute("DELETE FROM record_lives WHERE workspace_id = $1", OURS)
    await source.execute("DELETE FROM record_lives")
    assert await comparing.compare(RECORDS, source, target, TABLES, OURS) == 26
