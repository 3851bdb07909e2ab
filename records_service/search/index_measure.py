"""How often a condition is met, and on which way those that meet it are found.

PostgreSQL cannot tell. So matches are counted in the first of the buckets into which a hash of
their ids puts the records, up to a number that tells that there are more than are counted exactly.

One statement counts all that may have to be known: what depends on another count is in a CASE, and
a subquery that is not needed is not executed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, NamedTuple

import orjson

from records_service.search.index_joins import Way
from records_service.search.index_query import RECORD, Query, rows_found
from records_service.search.index_sources import REPEATED, Source, Terms, Union
from records_service.search.sql import Arguments
from records_service.search_index.terms import BUCKETS
from shared.database import Conn, Record, fetch_planned
from shared.database.paging import planned_rows

MANY_IN_SAMPLE: Final = 220
"""Of so many matches in the first bucket there are more than `COUNTED_MAX` in all: of 10,000, 156
are expected there, and 220 would be five standard deviations away."""
MANY: Final = MANY_IN_SAMPLE * BUCKETS
NUMBERS_COUNTED: Final = 8_000
"""Numbers in the first bucket that are counted for an estimate."""


@dataclass(frozen=True, slots=True)
class Measured:
    """How often a condition is met, and where those that meet it are to be looked for."""

    way: Way
    is_few: bool
    matches: int = 0
    """As far as a sample tells how many these are that few meet."""
    estimate: Callable[[Conn], Awaitable[int]] | None = None
    """Tells how many these are that many meet, where that is wanted."""
    marked: Sequence[bool] = ()
    """Of each of the sources that were to be counted besides: whether it has few records."""


class Probe(NamedTuple):
    """What was counted on a way."""

    matches: int
    """In all buckets, as far as a sample tells."""
    is_many: bool
    part: float
    """Which part of the source they are, where they are many."""


async def measured(
    conn: Conn, query: Query, *, counts: bool, besides: Sequence[Source] = ()
) -> Measured:
    """How often the condition of a query is met.

    `counts`: whether an estimate is wanted of what many meet. `besides` are other sources to count.
    """
    ways = query.condition.ways or [Way(query.index.everything(), query.condition.sql, checks=True)]
    # If all ways are long, those of the first are counted that meet the rest as well.
    several = (isinstance(ways[0].source, Union) and ways[0].parts) or [ways[0]]
    arguments = Arguments(query.arguments)
    sources = [way.source for way in ways] if len(ways) > 1 else []
    columns = [
        (f"source_{number}", _first_rows(source, arguments))
        for number, source in enumerate(sources)
    ]
    columns += [
        (f"beside_{number}", _first_rows(source, arguments))
        for number, source in enumerate(besides)
    ]
    statement = _selected(columns) if columns else None
    are_many = " AND ".join(
        f"source_{number}[1] >= {_limit(source)}" for number, source in enumerate(sources)
    )
    statement = _selected(
        [
            (f"rest_{number}", _lazily(are_many, _first_matches(way, arguments)))
            for number, way in enumerate(several)
        ],
        statement,
    )
    follow = _what_follows(several, query, arguments, counts=counts, is_only=not sources)
    statement = _selected(follow, statement) if follow else statement
    [row] = await fetch_planned(conn, statement, *arguments)
    marked = [not _probe(row, f"beside_{n}", each).is_many for n, each in enumerate(besides)]
    found = [_probe(row, f"source_{number}", source) for number, source in enumerate(sources)]
    if not all(each.is_many for each in found):
        least = min(range(len(found)), key=lambda number: found[number].matches)
        return Measured(_short(ways[least]), True, found[least].matches, marked=marked)
    way = ways[0]
    met = [_probe(row, f"rest_{number}", each.source) for number, each in enumerate(several)]
    if not any(each.is_many for each in met):
        is_short = not any(each.checks for each in several)
        if row.get("whole") is not None:
            is_short = not _probe(row, "whole", way.source).is_many
        matches = sum(each.matches for each in met)
        return Measured(_short(way) if is_short else way, True, matches, marked=marked)
    estimate = partial(_estimates, query=query, row=row, ways=list(zip(several, met, strict=True)))
    return Measured(way, False, estimate=estimate if counts else None, marked=marked)


async def having(conn: Conn, workspace_id: str, groups: Sequence[Sequence[int]]) -> list[int]:
    """How many records have one of the terms of each group, as far as a sample tells.

    One look-up for all groups: planned one by one, 60 of them take longer than they are executed.
    """
    met = " AND ".join(["s.terms && g.terms::bigint[]"] * REPEATED)
    rows = await fetch_planned(
        conn,
        f"""
        SELECT (SELECT count(*)
                  FROM (SELECT 1 FROM search_records s WHERE s.workspace_id = $1 AND {met}
                         LIMIT {MANY_IN_SAMPLE}) AS few) AS found
          FROM unnest($2::text[]) WITH ORDINALITY AS g (terms, place)
         ORDER BY g.place
        """,  # noqa: S608 - constants
        workspace_id,
        [f"{{{','.join(map(str, terms))}}}" for terms in groups],
    )
    return [row["found"] * BUCKETS for row in rows]


def _short(way: Way) -> Way:
    return replace(way, source=way.source.short())


def _selected(columns: Sequence[tuple[str, str]], rows: str | None = None) -> str:
    """A SELECT of these columns, and of those of the one row that another SELECT has."""
    named = ", ".join(f"{expression} AS {name}" for name, expression in columns)
    if rows is None:
        return f"SELECT {named}"
    # OFFSET 0: merged into one, a subquery would be executed for each of its places.
    return f"SELECT *, {named} FROM ({rows} OFFSET 0) AS counted"  # noqa: S608


def _lazily(condition: str, subquery: str) -> str:
    return f"CASE WHEN {condition} THEN {subquery} END" if condition else subquery


def _limit(source: Source) -> int:
    """So many rows are many."""
    return MANY_IN_SAMPLE if source.can_be_sampled else MANY


def _times(source: Source) -> int:
    """How many records a row stands for."""
    return BUCKETS if source.can_be_sampled else 1


def _probe(row: Record, name: str, source: Source) -> Probe:
    count, last = row[name]
    part = count / max(last or 1, count)
    return Probe(count * _times(source), count >= _limit(source), part)


def _first_rows(source: Source, arguments: Arguments) -> str:
    """A subquery: how many rows a source has, up to its limit."""
    arguments.reads.clear()
    found = rows_found(source, "true", arguments, sampled=source.can_be_sampled)
    return _counted("1", found, _limit(source))


def _first_matches(way: Way, arguments: Arguments) -> str:
    """A subquery: how many rows of a way meet the rest, up to a limit, and where the last is."""
    arguments.reads.clear()
    condition = way.rest(arguments)
    if condition == "true":
        return _first_rows(way.source, arguments)
    # The last of these matches has a position among all rows of the source.
    found = (
        "(SELECT *, row_number() OVER () AS place"  # noqa: S608
        f" FROM ({_sample(way.source, arguments)}) AS s) AS s{_record(arguments)} WHERE {condition}"
    )
    return _counted("s.place", found, _limit(way.source))


def _counted(position: str, found: str, limit: int) -> str:
    return (
        "(SELECT ARRAY[count(*), max(place)] FROM"  # noqa: S608
        f" (SELECT {position} AS place FROM {found} LIMIT {limit}) AS few)"
    )


def _sample(source: Source, arguments: Arguments) -> str:
    return source.rows(
        arguments, with_terms="terms" in arguments.reads, sampled=source.can_be_sampled
    )


def _record(arguments: Arguments) -> str:
    return RECORD if "records" in arguments.reads else ""


def _what_follows(
    several: Sequence[Way], query: Query, arguments: Arguments, *, counts: bool, is_only: bool
) -> list[tuple[str, str]]:
    """What is counted by what was found on these ways."""
    columns = []
    for number, way in enumerate(several):
        source, found = way.source, f"rest_{number}[1]"
        arguments.reads.clear()
        if counts and source.is_counted:
            rows = f"({_sample(source, arguments)} LIMIT {NUMBERS_COUNTED})"
            counted = f"(SELECT count(*) FROM {rows} AS s)"  # noqa: S608
            columns.append((f"numbers_{number}", _lazily(f"{found} >= {_limit(source)}", counted)))
    [first, *others] = several
    if is_only and not others and first.checks and query.condition.ways:
        counted = _first_rows(first.source, arguments)
        columns.append(("whole", _lazily(f"rest_0[1] < {_limit(first.source)}", counted)))
    return columns


async def _estimates(
    conn: Conn, *, query: Query, row: Record, ways: Sequence[tuple[Way, Probe]]
) -> int:
    """How many records there are on all of these ways."""
    return sum(
        [
            await _estimate(conn, way, probe, row, number, query)
            if probe.is_many
            else probe.matches
            for number, (way, probe) in enumerate(ways)
        ]
    )


async def _estimate(
    conn: Conn, way: Way, probe: Probe, row: Record, number: int, query: Query
) -> int:
    """How many records meet a condition that more than `MANY` meet.

    That is how many rows the source has, and which part of them meets the rest.
    """
    source = way.source
    expected = row.get(f"numbers_{number}") or 0
    arguments = Arguments(query.arguments)
    rows = source.rows(arguments, with_terms=False, sampled=source.can_be_sampled)
    if isinstance(source, Terms):
        expected = await _entries(conn, rows, arguments)
    elif expected in (0, NUMBERS_COUNTED):
        # EXPLAIN plans with its arguments, also where it was prepared before.
        plan = await conn.fetchval(f"EXPLAIN (FORMAT JSON) {rows}", *arguments)
        expected = max(expected, planned_rows(plan))
    return max(int(expected * _times(source) * probe.part), MANY)


async def entries_of(conn: Conn, query: Query, source: Terms) -> int:
    """How many records a source has, by the entries that the index has for a sample of it."""
    arguments = Arguments(query.arguments)
    rows = source.rows(arguments, with_terms=False, sampled=True)
    return BUCKETS * await _entries(conn, rows, arguments)


async def _entries(conn: Conn, rows: str, arguments: Arguments) -> int:
    """How many entries the index of terms has for a sample of a source.

    PostgreSQL expects a part of the records of all workspaces, and knows no term of a workspace
    that is small among them. It counts the entries when it reads them, before any row: one row
    is asked for, of which it does not know when it plans.
    """
    first = f"SELECT s.record_id FROM ({rows}) AS s LIMIT (SELECT 1)"  # noqa: S608
    plan = await conn.fetchval(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {first}", *arguments)
    counted = _read_by_terms(orjson.loads(plan) if isinstance(plan, str) else plan)
    if counted is None:
        # A workspace that is read as a whole is a small one.
        [row] = await fetch_planned(
            conn,
            f"SELECT count(*) AS counted FROM ({rows} LIMIT {NUMBERS_COUNTED}) AS s",  # noqa: S608
            *arguments,
        )
        counted = row["counted"]
    return int(counted)


def _read_by_terms(plan: Any) -> float | None:
    """How many entries a plan has read from the index of terms; on Citus, in that of a node."""
    if isinstance(plan, Mapping):
        is_scan = plan.get("Node Type") == "Bitmap Index Scan"
        if is_scan and plan["Index Name"].startswith("search_records_by_term"):
            return float(plan["Actual Rows"])
        plan = list(plan.values())
    if isinstance(plan, list):
        return next((each for each in map(_read_by_terms, plan) if each is not None), None)
    return None
