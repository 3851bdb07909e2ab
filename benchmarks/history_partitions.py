"""What the partitions of the history cost those who write and read it, and what they spare.

    python -m benchmarks.history_partitions

Databases have the same history of eight years: in one table, in one partition of three as after the
migration, in a partition for each year, and in one for each month. The statements of the service
are executed in each of them in turn, in every round: creates, a page of a record's history, an
earlier version, a page of the workspace's history. At the end a year is removed, by the slices of
the job and by dropping its partition.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks import machine
from benchmarks.written_once import WORKSPACE, creates
from records_service.history import store as history
from records_service.history.versions import store as versions
from records_service.writes import history_partitions, old_history, store
from records_service.writes.model import Record
from records_service.writes.quota import redistribute_quota
from shared.database.connection import connect
from shared.database.paging import PageQuery, place_of
from tests.kit.servers import Servers

ROUNDS = 5
FIRST, LAST = 2019, 2026
"""The years of the history."""
RECORDS, VERSIONS = 2_000, 96


async def in_one_table(conn: Any) -> None:
    """As the history was before it had partitions."""
    await conn.execute("CREATE TABLE plain (LIKE audit INCLUDING ALL)")
    await conn.execute("DROP TABLE audit")
    await conn.execute("ALTER TABLE plain RENAME TO audit")
    await conn.execute(
        "ALTER TABLE audit DROP CONSTRAINT plain_pkey, ADD PRIMARY KEY (workspace_id, id)"
    )


async def in_one_of_three(conn: Any) -> None:
    """As it is some time after the migration, with a year to come."""
    async with conn.transaction():
        (first,) = await history_partitions.partitions(conn)
        await history_partitions.add(conn, first.until.year)


def in_partitions(months: int) -> Callable[[Any], Awaitable[None]]:
    """Each of so many months, from the first year to two years after the last, and the rest."""

    async def divide(conn: Any) -> None:
        await conn.execute("DROP TABLE audit_first")
        for number in range(0, 12 * (LAST + 3 - FIRST), months):
            bounds = [
                f"{FIRST + each // 12}-{each % 12 + 1:02}-01 00:00:00+00"
                for each in (number, number + months)
            ]
            name = f"audit_{bounds[0][:7].replace('-', '_')}"
            await conn.execute(f"CREATE TABLE {name} (LIKE audit INCLUDING ALL EXCLUDING IDENTITY)")
            await conn.execute(
                f"ALTER TABLE audit ATTACH PARTITION {name}"
                f" FOR VALUES FROM ('{bounds[0]}') TO ('{bounds[1]}')"
            )

    return divide


FORMS: Final[dict[str, Callable[[Any], Awaitable[None]]]] = {
    "one table": in_one_table,
    "one of three": in_one_of_three,
    "by year": in_partitions(12),
    "by month": in_partitions(1),
}


async def prepared(url: str, divide: Callable[[Any], Awaitable[None]]) -> Any:
    """A connection to a database with the whole history."""
    conn = await connect(url, {})
    await divide(conn)
    await conn.execute("INSERT INTO models (workspace_id, version) VALUES ($1, 1)", WORKSPACE)
    async with conn.transaction():
        await redistribute_quota(conn, WORKSPACE, 10**7, 0)
    await conn.execute(
        """
        INSERT INTO audit (workspace_id, record_id, version, schema_id, action, user_id, at,
                           changes)
        SELECT $1, 'ent-' || record, version, 'schema-x',
               CASE version WHEN 1 THEN 'create' ELSE 'update' END, 'user-' || record % 50,
               make_timestamptz($2, 1, 1, 0, 0, 0, 'UTC')
                 + ((version - 1) * $4::bigint + record) * make_interval(secs => $5),
               json_build_array(json_build_object(
                   'attribute', 'price', 'attributeId', 'attr-price', 'scope', '{}'::json,
                   'oldValue', version - 1, 'newValue', version))
          FROM generate_series(1, $3::bigint) AS version, generate_series(1, $4::bigint) AS record
         ORDER BY 7
        """,
        WORKSPACE,
        FIRST,
        VERSIONS,
        RECORDS,
        (LAST + 1 - FIRST) * 365.25 * 86_400 / (RECORDS * VERSIONS + RECORDS),
    )
    await conn.execute("VACUUM (ANALYZE) audit")
    return conn


async def create_one(conn: Any, number: int) -> None:
    await store.insert(
        conn, creates(1, "as it is"), model_version=1, record_limit=10**7, stripe=number % 16
    )


async def create_many(conn: Any, number: int) -> None:
    await store.insert(
        conn, creates(500, "as it is"), model_version=1, record_limit=10**7, stripe=number % 16
    )


async def record_page(conn: Any, number: int) -> None:
    place = place_of(WORKSPACE, "/x", PageQuery(limit=20), history.OF_A_RECORD)
    part, _ = await history.page(
        conn, WORKSPACE, record_id=f"ent-{number % RECORDS + 1}", place=place
    )
    assert len(part.rows) == 20


async def workspace_page(conn: Any, number: int) -> None:
    place = place_of(WORKSPACE, "/x", PageQuery(limit=20, offset=number), history.OF_A_WORKSPACE)
    part, _ = await history.page(conn, WORKSPACE, place=place)
    assert len(part.rows) == 20


async def former_version(conn: Any, number: int) -> None:
    """Of a record that was written in three of the years."""
    time = datetime(FIRST + 3, 1, 1, tzinfo=UTC)
    last = datetime(FIRST + 5, 12, 31, tzinfo=UTC)
    record = Record(
        *(WORKSPACE, f"ent-{number % RECORDS + 1}", "schema-x", None, 60, {}),
        *(time, last, "u", "u", None),
    )
    kept = await versions.kept(conn, record)
    assert await versions.steps(conn, record, kept, 50, 60) is not None


DONE: Final[dict[str, tuple[Callable[[Any, int], Awaitable[None]], int, int]]] = {
    "create, one": (create_one, 300, 1),
    "create, 500 at once": (create_many, 4, 500),
    "page of a record": (record_page, 200, 1),
    "earlier version": (former_version, 200, 1),
    "page of the workspace": (workspace_page, 100, 1),
}
"""What is done, how often in a round, and how many records each time."""


async def spent(conn: Any, act: Callable[[Any, int], Awaitable[None]], times: int) -> float:
    """Seconds of PostgreSQL's processor."""
    began = cpu_of(conn)
    for number in range(times):
        await act(conn, number)
    return cpu_of(conn) - began


def cpu_of(conn: Any) -> float:
    """Seconds for which the process of this connection has run."""
    return int(Path(f"/proc/{conn.get_server_pid()}/schedstat").read_text().split()[0]) / 1e9


async def removed(conn: Any, form: str) -> tuple[float, float]:
    """Seconds, and seconds of the processor, in which the second year of the history goes."""
    end = datetime(FIRST + 2, 1, 1, tzinfo=UTC)
    await old_history_of_first_year(conn)
    cpu, began = cpu_of(conn), time.perf_counter()
    if form == "by year":
        await conn.execute(f"DROP TABLE audit_{FIRST + 1}_01")
    else:
        while not (await old_history.remove(conn, WORKSPACE, before=end, until=None)).is_last:
            pass
    return time.perf_counter() - began, cpu_of(conn) - cpu


async def old_history_of_first_year(conn: Any) -> None:
    """Only the second year is measured."""
    before = datetime(FIRST + 1, 1, 1, tzinfo=UTC)
    while not (await old_history.remove(conn, WORKSPACE, before=before, until=None)).is_last:
        pass


async def main() -> None:
    """Print the median of each figure."""
    print(machine.described())
    servers = Servers(own=True)
    try:
        conns = {
            form: await prepared(await servers.postgres.new_database("records_service"), divide)
            for form, divide in FORMS.items()
        }
        found: dict[tuple[str, str], list[float]] = {}
        for number in range(ROUNDS + 1):
            for what, (act, times, each) in DONE.items():
                for form, conn in conns.items():
                    seconds = await spent(conn, act, times)
                    if number:
                        found.setdefault((what, form), []).append(seconds / times / each * 1e6)
                    await conn.execute("DELETE FROM outbox")
        for what in DONE:
            floor = median(found[what, "one table"])
            for form in FORMS:
                ratios = [
                    a / b for a, b in zip(found[what, form], found[what, "one table"], strict=True)
                ]
                took = median(found[what, form])
                print(
                    f"{what:22} {form:12} PostgreSQL {took:8.0f} us  {took / floor:5.2f}"
                    f"  by rounds {median(ratios):5.2f}"
                )
        for form, conn in conns.items():
            seconds, cpu = await removed(conn, form)
            print(f"a year removed         {form:12} {seconds:8.3f} s   PostgreSQL {cpu:6.2f} s")
            await conn.close()
    finally:
        servers.close()


if __name__ == "__main__":
    asyncio.run(main())
