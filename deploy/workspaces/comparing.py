"""Compares what two databases have of a workspace: rows and checksums, range by range.

To hash every row of a large workspace takes minutes, which nobody may write in. So `look_ahead`
compares the tables while clients write, in ranges of the primary key, and `compare` only the rest
while nobody does: how many rows there are, and the checksums of the ranges that were unlike (a
change was on its way) and of the last one of each table, which is all of a small table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from deploy.workspaces.databases import Failed, key_of, quoted
from shared.database.connection import Conn

RANGE_ROWS: Final = 20_000
_COLLATION: Final = """
    SELECT (datcollate, datctype, datlocprovider)::text FROM pg_database
     WHERE datname = current_database()
"""


@dataclass(frozen=True, slots=True)
class Range:
    """Rows of a table by their key without the workspace: behind `after`, up to `until`.

    None is from the beginning, and to the end.
    """

    table: str
    key: tuple[str, ...] = ()
    after: tuple[Any, ...] | None = None
    until: tuple[Any, ...] | None = None

    def where(self, workspace_id: str) -> tuple[str, list[Any]]:
        """SQL, and the values of its parameters."""
        key = ", ".join(f'"{column}"' for column in self.key)
        condition, values = f"workspace_id = {quoted(workspace_id)}", list[Any]()
        for sign, bound in ((">", self.after), ("<=", self.until)):
            if bound is not None:
                numbers = range(len(values) + 1, len(values) + len(bound) + 1)
                places = ", ".join(f"${number}" for number in numbers)
                condition += f" AND ({key}) {sign} ({places})"
                values += bound
        return condition, values


@dataclass(frozen=True, slots=True)
class Content:
    """How many rows there are, and the sum of their hashes."""

    rows: int
    checksum: str


async def look_ahead(
    source: Conn, target: Conn, tables: Iterable[str], workspace_id: str
) -> list[Range]:
    """The ranges that are left to be compared while nobody writes."""
    if await source.fetchval(_COLLATION) != await target.fetchval(_COLLATION):
        # Keys have another order there: ranges would have other rows.
        return [Range(table) for table in tables]
    left = []
    for table in tables:
        key = tuple(name for name in await key_of(source, table) if name != "workspace_id")
        one = Range(table, key, until=await _end_of(source, Range(table, key), workspace_id))
        while one.until is not None:
            ours, theirs = await asyncio.gather(
                _content(source, one, workspace_id), _content(target, one, workspace_id)
            )
            if ours != theirs:
                left.append(one)
            rest = Range(table, key, after=one.until)
            one = Range(table, key, one.until, await _end_of(source, rest, workspace_id))
        left.append(one)
    return left


async def compare(
    service: str,
    source: Conn,
    target: Conn,
    tables: Sequence[str],
    workspace_id: str,
    ranges: Sequence[Range] | None = None,
) -> int:
    """How many rows both have. Raises `Failed`, with the tables that differ.

    `ranges` is what `look_ahead` has left; None: everything.
    """
    ranges = [Range(table) for table in tables] if ranges is None else ranges
    ours, theirs = await asyncio.gather(
        _counts(source, tables, workspace_id), _counts(target, tables, workspace_id)
    )
    different = {
        f"{table} ({ours[table]} and {theirs[table]} rows)"
        for table in tables
        if ours[table] != theirs[table]
    }
    for one in ranges:
        our, their = await asyncio.gather(
            _content(source, one, workspace_id), _content(target, one, workspace_id)
        )
        if our != their and ours[one.table] == theirs[one.table]:
            different.add(f"{one.table} (the content of rows)")
    if different:
        raise Failed(f"{service}: source and target differ in {', '.join(sorted(different))}")
    return sum(ours.values())


async def _end_of(conn: Conn, rest: Range, workspace_id: str) -> tuple[Any, ...] | None:
    """The key of the last row of the next range; None where what is left is less than one."""
    if not rest.key:
        return None
    where, values = rest.where(workspace_id)
    key = ", ".join(f'"{column}"' for column in rest.key)
    row = await conn.fetchrow(
        f"SELECT {key} FROM {rest.table} WHERE {where} ORDER BY {key}"
        f" OFFSET {RANGE_ROWS - 1} LIMIT 1",
        *values,
    )
    return None if row is None else tuple(row)


async def _content(conn: Conn, one: Range, workspace_id: str) -> Content:
    where, values = one.where(workspace_id)
    row = await conn.fetchrow(
        f"""
        SELECT count(*) AS rows, coalesce(sum(hashtextextended(each::text, 0)), 0)::text AS checksum
          FROM {one.table} AS each WHERE {where}
        """,
        *values,
    )
    assert row is not None
    return Content(**row)


async def _counts(conn: Conn, tables: Iterable[str], workspace_id: str) -> dict[str, int]:
    where = f"workspace_id = {quoted(workspace_id)}"
    return {
        table: await conn.fetchval(f"SELECT count(*) FROM {table} WHERE {where}")
        for table in tables
    }
