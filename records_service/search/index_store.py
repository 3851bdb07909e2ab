"""The SQL of a search by the index.

How often a condition is met decides how its page is read, and PostgreSQL cannot tell it. So it is
measured first, on the sixteenth of the records that is in the first bucket:

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
from records_service.search.index_joins import Way
from records_service.search.index_query import Query, expression, rows_found
from records_service.search.index_sources import Everything, Source
from records_service.search.index_walks import Walk, walk_by_creation, walk_by_number
from records_service.search.sql import Arguments
from records_service.search.store import read_wanted
from records_service.search_index.terms import BUCKETS
from shared.database import Conn, fetch_planned

MANY_IN_SAMPLE: Final = 800
"""Of so many matches in the first bucket there are more than `COUNTED_MAX` in all: in 16 buckets
12,800 are expected, and to have so many in one by chance, 10,000 would be seven standard deviations
away."""
MANY: Final = MANY_IN_SAMPLE * BUCKETS
COUNTED_IN_SAMPLE: Final = 3_000
"""Up to so many matches are counted in the first bucket to estimate the total."""


@dataclass(frozen=True, slots=True)
class Measured:
    """How often a condition is met, and where those that meet it are to be looked for."""

    way: Way
    is_few: bool
    estimate: int
    has_few_rows: bool = False
    """Whether few records are on the way, before what remains to be checked."""


async def page(
    conn: Conn, workspace_id: str, *, place: Place, query: Query
) -> tuple[Listing, Measured]:
    """The records that meet the condition of a query, in order, and how to find all.

    Raises `ValidationError` for a page of too many bytes whose limit was asked for; it is shorter
    where the limit is the default.
    """
    measured = await _measured(conn, query)
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


async def _measured(conn: Conn, query: Query) -> Measured:
    ways = query.condition.ways or [Way(Everything(), query.condition.sql)]
    way = ways[0]
    if len(ways) > 1:
        frequencies = await _counted(conn, [Way(each.source, _always) for each in ways], query)
        least = min(range(len(ways)), key=frequencies.__getitem__)
        way = ways[least]
        if frequencies[least] < MANY:
            return Measured(way, True, 0, has_few_rows=True)
    if way.parts:
        frequencies = await _counted(conn, way.parts, query)
        return Measured(way, max(frequencies) < MANY, sum(frequencies))
    [met] = await _counted(conn, [way], query, COUNTED_IN_SAMPLE)
    return Measured(way, met < MANY, met)


def _always(_: Arguments) -> str:
    return "true"


async def _counted(
    conn: Conn, ways: Sequence[Way], query: Query, in_sample: int = MANY_IN_SAMPLE
) -> list[int]:
    """How many records are found on each of these ways: few exactly or nearly, others estimated.

    In samples that an index finds, up to `in_sample` are counted.
    """
    arguments = Arguments(query.arguments)
    counts, limits = [], []
    for number, way in enumerate(ways):
        is_sampled = way.source.can_be_sampled
        limit = MANY_IN_SAMPLE if is_sampled else MANY
        if way.source.has_buckets:
            limit = in_sample
        limits.append(limit)
        arguments.reads.clear()
        condition = way.rest(arguments)
        found = rows_found(way.source, condition, arguments, sampled=is_sampled)
        counts.append(
            f"(SELECT count(*) FROM (SELECT 1 FROM {found} LIMIT {limit}) AS few) AS of_{number}"  # noqa: S608
        )
    [row] = await fetch_planned(conn, f"SELECT {', '.join(counts)}", *arguments)
    found_on = []
    for number, (way, limit) in enumerate(zip(ways, limits, strict=True)):
        met: int = row[f"of_{number}"]
        times = BUCKETS if way.source.can_be_sampled else 1
        estimate = met * times
        if met == limit and in_sample == COUNTED_IN_SAMPLE:
            estimate = max(estimate, await _estimate(conn, way.source, query.arguments) * times)
        found_on.append(estimate)
    return found_on


async def _estimate(conn: Conn, source: Source, known: Arguments) -> int:
    """How many rows PostgreSQL expects of a source, or of its first bucket."""
    arguments = Arguments(known)
    rows = source.rows(arguments, with_terms=False, sampled=source.can_be_sampled)
    [row] = await fetch_planned(conn, f"EXPLAIN (FORMAT JSON) {rows}", *arguments)
    return planned_rows(row[0])


def all_found(measured: Measured, arguments: Arguments) -> str:
    """What follows FROM: all rows `s` that meet the condition, with a row `r` if that is read."""
    arguments.joins_sets = not measured.has_few_rows
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
    if isinstance(sort.target, str) or query.index.number_key(sort.target) is None:
        return None
    lacking = query.index.lacking(sort.target)
    [frequency] = await _counted(conn, [Way(lacking, _always)], query)
    return walk_by_number(place, query, sort.target, lacking if frequency < MANY else Everything())
