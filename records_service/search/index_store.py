"""The SQL of a search by the index.

How often a condition is met decides how its page is read, and PostgreSQL cannot tell it. So it is
measured first, in the first of the buckets into which a hash of their ids puts the records:

- What few records meet is read as a set, all of it, and sorted: the total is exact.
- What many meet is walked to in the order of the page, which finds a page of it within some
  thousand rows; the total is an estimate. A walk is bounded: where it ends too early, because what
  it looks for is elsewhere in the order, the set is read after all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from records_service import paging
from records_service.paging import Place, Total, planned_rows
from records_service.records.store import Listing
from records_service.search import index_walks
from records_service.search.criteria import Searched
from records_service.search.index_joins import Way
from records_service.search.index_query import RECORD, Query, expression, rows_found
from records_service.search.index_sources import MANY_ROWS, Everything, Terms
from records_service.search.index_walks import Walk, walk_by_creation, walk_by_number
from records_service.search.sql import Arguments
from records_service.search.store import read_wanted
from records_service.search_index.terms import BUCKETS
from shared.database import Conn, fetch_planned

MANY_IN_SAMPLE: Final = 220
"""Of so many matches in the first bucket there are more than `COUNTED_MAX` in all: of 10,000, 156
are expected there, and 220 would be five standard deviations away."""
MANY: Final = MANY_IN_SAMPLE * BUCKETS
LOOKED_AT: Final = 400
"""Rows of a source that tell which part of it meets the rest of a condition."""


@dataclass(frozen=True, slots=True)
class Measured:
    """How often a condition is met, and where those that meet it are to be looked for."""

    way: Way
    is_few: bool
    estimate: int
    rows: int
    """How many records are on the way, before what remains to be checked; `MANY` for more."""


async def page(
    conn: Conn, workspace_id: str, *, place: Place, query: Query
) -> tuple[Listing, Measured]:
    """The records that meet the condition of a query, in order, and how to find all.

    Raises `ValidationError` for a page of too many bytes whose limit was asked for; it is shorter
    where the limit is the default.
    """
    measured = await _measured(conn, query, place.counts)
    if not measured.is_few and (walk := await _walk(conn, place, query)) is not None:
        found, _, version, walked = await read_wanted(
            conn,
            workspace_id,
            place=place,
            ctes=walk.ctes,
            columns=[key.column for key in query.keys],
            counted="SELECT NULL::bigint",
            arguments=walk.arguments,
            walked=walk.walked,
        )
        if walked < index_walks.WALKED_MAX:
            part = place.part(found, [one.row["document"] for one in found])
            counted = paging.COUNTED_MAX + 1 if place.counts else None
            total = place.total_of(part, counted, measured.estimate)
            return Listing(part, total, None, version), measured
    arguments = Arguments(query.arguments)
    met = _set(query, measured, arguments)
    names = ", ".join(("id", "created_at", *(key.column for key in query.keys)))
    wanted = place.select(names, "met WHERE true", arguments)
    found, counted, version, _ = await read_wanted(
        conn,
        workspace_id,
        place=place,
        ctes=f"met AS MATERIALIZED ({met}), wanted AS MATERIALIZED ({wanted})",
        columns=[key.column for key in query.keys],
        counted="SELECT count(*) FROM met" if place.counts else "SELECT NULL::bigint",
        arguments=arguments,
    )
    part = place.part(found, [one.row["document"] for one in found])
    total = None if counted is None else Total(counted)
    return Listing(part, total, None, version), measured


async def _measured(conn: Conn, query: Query, counts: bool) -> Measured:
    ways = query.condition.ways or [Way(query.index.everything(), query.condition.sql, checks=True)]
    rows = [MANY]
    if len(ways) > 1 or (ways[0].checks and query.condition.ways and not ways[0].parts):
        rows = await _counted(conn, [Way(each.source, _always) for each in ways], query)
    least = min(range(len(rows)), key=rows.__getitem__)
    way = ways[least]
    if rows[least] < MANY:
        return Measured(way, True, 0, rows[least])
    several = way.parts or [way]
    found = await _counted(conn, several, query)
    if max(found) < MANY:
        return Measured(way, True, sum(found), MANY if way.checks and not way.parts else sum(found))
    estimates = [await _estimate(conn, each, query) for each in several] if counts else [0]
    return Measured(way, False, sum(estimates), MANY)


def _always(_: Arguments) -> str:
    return "true"


async def _counted(conn: Conn, ways: Sequence[Way], query: Query) -> list[int]:
    """How many records are found on each of these ways, by a sample, and up to `MANY`."""
    arguments = Arguments(query.arguments)
    counts, times = [], []
    for number, way in enumerate(ways):
        is_sampled = way.source.can_be_sampled
        limit = MANY_IN_SAMPLE if is_sampled else MANY
        times.append(BUCKETS if is_sampled else 1)
        arguments.reads.clear()
        condition = way.rest(arguments)
        found = rows_found(way.source, condition, arguments, sampled=is_sampled)
        counts.append(
            f"(SELECT count(*) FROM (SELECT 1 FROM {found} LIMIT {limit}) AS few) AS of_{number}"  # noqa: S608
        )
    [row] = await fetch_planned(conn, f"SELECT {', '.join(counts)}", *arguments)
    return [row[f"of_{number}"] * each for number, each in enumerate(times)]


async def _estimate(conn: Conn, way: Way, query: Query) -> int:
    """How many records meet a condition that more than `MANY` meet.

    PostgreSQL estimates the rows of the source, and some of those tell how many meet the rest.
    """
    if isinstance(way.source, Terms) and len(way.source.groups) > 1:
        # All terms of a record are of one bucket, which PostgreSQL does not know.
        way = Way(Terms(way.source.groups[:1]), query.condition.sql)
    arguments = Arguments(query.arguments)
    is_sampled = way.source.can_be_sampled
    rows = way.source.rows(arguments, with_terms=False, sampled=is_sampled)
    [row] = await fetch_planned(conn, f"EXPLAIN (FORMAT JSON) {rows}", *arguments)
    expected = planned_rows(row[0]) * (BUCKETS if is_sampled else 1)
    arguments = Arguments(query.arguments)
    condition = way.rest(arguments)
    if condition != "true":
        rows = way.source.rows(arguments, with_terms="terms" in arguments.reads, sampled=is_sampled)
        record = RECORD if "records" in arguments.reads else ""
        [row] = await fetch_planned(
            conn,
            f"SELECT count(*) FILTER (WHERE {condition}) AS met, count(*) AS looked_at"  # noqa: S608
            f" FROM (SELECT * FROM ({rows}) AS s LIMIT {LOOKED_AT}) AS s{record}",
            *arguments,
        )
        expected = expected * row["met"] // max(row["looked_at"], 1)
    return max(expected, MANY)


def all_found(measured: Measured, arguments: Arguments) -> str:
    """What follows FROM: all rows `s` that meet the condition, with a row `r` if that is read."""
    arguments.rows_expected = MANY_ROWS if measured.rows >= MANY else measured.rows
    condition = measured.way.rest(arguments)
    return rows_found(measured.way.source, condition, arguments)


def _set(query: Query, measured: Measured, arguments: Arguments) -> str:
    """A SELECT of all that meet the condition, with the columns of the order."""
    sorted_by = "".join(
        f", {expression(query, sort, key, arguments)} AS {key.column}"
        for sort, key in zip(query.sort, query.keys, strict=True)
    )
    found = all_found(measured, arguments)
    return f"SELECT s.record_id AS id, s.created_at{sorted_by} FROM {found}"  # noqa: S608


async def _walk(conn: Conn, place: Place, query: Query) -> Walk | None:
    """A walk in the order of the page; None where the index is not in that order."""
    if not query.sort:
        return walk_by_creation(place, query)
    if len(query.sort) > 1:
        return None
    [sort] = query.sort
    if sort.target == "createdAt":
        return walk_by_creation(place, query)
    if not isinstance(sort.target, Searched) or query.index.number_key(sort.target) is None:
        return None
    lacking = query.index.lacking(sort.target)
    [frequency] = await _counted(conn, [Way(lacking, _always)], query)
    return walk_by_number(place, query, sort.target, lacking if frequency < MANY else Everything())
