"""A SELECT is planned with its arguments however often it comes, and few are kept."""

from __future__ import annotations

from typing import Any

import pytest

from shared.database import Database, fetch_planned
from shared.database.planned import KEPT_MAX, TIMES_PLANNED
from tests.kit.servers import Servers

SELECT = "SELECT a FROM things WHERE a = $1 AND b = $2"


async def _things(servers: Servers) -> Database:
    database = Database(await servers.postgres.empty_database("planned"), connections_max=1)
    await database.execute("CREATE TABLE things (a integer, b integer)")
    await database.execute("INSERT INTO things SELECT n, n FROM generate_series(1, 9) AS n")
    return database


async def _prepared(conn: Any) -> list[Any]:
    return await conn.fetch(
        "SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements"
        " WHERE statement LIKE '%FROM things%' AND statement NOT LIKE '%prepared%'"
    )


async def test_a_text_that_comes_again_is_kept_and_never_gets_a_generic_plan(servers: Servers):
    database = await _things(servers)
    try:
        async with database.acquire() as conn:
            kept = []
            for number in range(1, 4 * TIMES_PLANNED):
                n = number % 9 + 1
                [row] = await fetch_planned(conn, SELECT, n, n)
                assert row["a"] == n
                assert await fetch_planned(conn, SELECT, n, n + 1) == []
                found = await _prepared(conn)
                assert all(each["generic_plans"] == 0 for each in found)
                # One may wait to be closed.
                assert len(found) <= 2
                kept.append(max((each["custom_plans"] for each in found), default=0))
            assert max(kept) == TIMES_PLANNED
    finally:
        await database.close()


async def test_statements_that_come_once_are_not_kept_and_of_others_some(servers: Servers):
    database = await _things(servers)
    try:
        async with database.acquire() as conn:
            texts = [f"{SELECT} AND a < {number}" for number in range(2 * KEPT_MAX)]
            for text in texts:
                await fetch_planned(conn, text, 1, 1)
            assert await _prepared(conn) == []
            for text in texts:
                await fetch_planned(conn, text, 1, 1)
            assert KEPT_MAX <= len(await _prepared(conn)) <= KEPT_MAX + 1
    finally:
        await database.close()


@pytest.mark.parametrize("change", ["TYPE bigint", "TYPE text"])
async def test_a_column_may_get_another_type(servers: Servers, change: str):
    database = await _things(servers)
    try:
        async with database.acquire() as conn:
            for _ in range(3):
                await fetch_planned(conn, "SELECT a FROM things WHERE b = $1", 4)
            await conn.execute(f"ALTER TABLE things ALTER COLUMN a {change}")
            for _ in range(3):
                [row] = await fetch_planned(conn, "SELECT a FROM things WHERE b = $1", 4)
                assert str(row["a"]) == "4"
    finally:
        await database.close()
