"""How often a condition is met, and on which way those that meet it are found.

PostgreSQL cannot tell. So matches are counted in the first of the buckets into which a hash of
their ids puts the records, up to a number that tells that there are more than are counted exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from records_service.search.index_joins import Way
from records_service.search.index_query import RECORD, Query, rows_found
from records_service.search.index_sources import Numbers, Source, Terms
from records_service.search.sql import Arguments
from records_service.search_index.terms import BUCKETS
from shared.database import Conn, fetch_planned
from shared.database.paging import planned_rows

MANY_IN_SAMPLE: Final = 220
"""Of so many matches in the first bucket there are more than `COUNTED_MAX` in all: of 10,000, 156
are expected there, and 220 would be five standard deviations away."""
MANY: Final = MANY_IN_SAMPLE * BUCKETS
LOOKED_AT: Final = 400
"""Rows of a source that tell which part of it meets the rest of a condition."""
NUMBERS_COUNTED: Final = 8_000
"""Numbers in the first bucket that are counted for an estimate."""


@dataclass(frozen=True, slots=True)
class Measured:
    """How often a condition is met, and where those that meet it are to be looked for."""

    way: Way
    is_few: bool
    estimate: int
    rows: int
    """How many records are on the way, before what remains to be checked; `MANY` for more."""
    marked: Sequence[int] = ()
    """How many records each of the sources has that were to be counted besides."""


class Probe(NamedTuple):
    """What was counted on a way."""

    matches: int
    """In all buckets, as far as a sample tells; `MANY` for more."""
    part: float
    """Which part of the source they are, where they are many."""


async def measured(
    conn: Conn, query: Query, *, counts: bool, besides: Sequence[Source] = ()
) -> Measured:
    """How often the condition of a query is met.

    `counts`: whether an estimate is wanted of what many meet. `besides` are other sources to count.
    """
    ways = query.condition.ways or [Way(query.index.everything(), query.condition.sql, checks=True)]
    others = [Way(each, _always) for each in besides]
    rows = [MANY]
    marked: list[int] = []
    if len(ways) > 1 or (ways[0].checks and query.condition.ways and not ways[0].parts):
        found = await probed(conn, [*(Way(way.source, _always) for way in ways), *others], query)
        rows = [each.matches for each in found[: len(ways)]]
        marked, others = [each.matches for each in found[len(ways) :]], []
    least = min(range(len(rows)), key=rows.__getitem__)
    way = ways[least]
    if rows[least] < MANY:
        return Measured(way, True, 0, rows[least], marked)
    several = way.parts or [way]
    found = await probed(conn, [*several, *others], query)
    marked = marked or [each.matches for each in found[len(several) :]]
    matches = [each.matches for each in found[: len(several)]]
    if max(matches) < MANY:
        known = MANY if way.checks and not way.parts else sum(matches)
        return Measured(way, True, sum(matches), known, marked)
    estimate = 0
    if counts:
        for each, probe in zip(several, found, strict=False):
            estimate += (
                await _estimate(conn, each, probe.part, query)
                if probe.matches >= MANY
                else probe.matches
            )
    return Measured(way, False, estimate, MANY, marked)


def _always(_: Arguments) -> str:
    return "true"


async def probed(conn: Conn, ways: Sequence[Way], query: Query) -> list[Probe]:
    """How many records are found on each of these ways, by a sample, and up to `MANY`."""
    arguments = Arguments(query.arguments)
    counts, times = [], []
    for number, way in enumerate(ways):
        is_sampled = way.source.can_be_sampled
        limit = MANY_IN_SAMPLE if is_sampled else MANY
        times.append(BUCKETS if is_sampled else 1)
        arguments.reads.clear()
        condition = way.rest(arguments)
        if condition == "true":
            found = rows_found(way.source, condition, arguments, sampled=is_sampled)
            position = "1"
        else:
            # The last of these matches has a position among all rows of the source.
            rows = way.source.rows(
                arguments, with_terms="terms" in arguments.reads, sampled=is_sampled
            )
            record = RECORD if "records" in arguments.reads else ""
            found = (
                f"(SELECT *, row_number() OVER () AS place FROM ({rows}) AS s) AS s{record}"  # noqa: S608
                f" WHERE {condition}"
            )
            position = "s.place"
        counts.append(
            f"(SELECT ARRAY[count(*), max(place)] FROM"  # noqa: S608
            f" (SELECT {position} AS place FROM {found} LIMIT {limit}) AS few) AS of_{number}"
        )
    [row] = await fetch_planned(conn, f"SELECT {', '.join(counts)}", *arguments)
    probes = []
    for number, each in enumerate(times):
        count, last = row[f"of_{number}"]
        probes.append(Probe(count * each, count / max(last or 1, count)))
    return probes


async def _estimate(conn: Conn, way: Way, part: float, query: Query) -> int:
    """How many records meet a condition that more than `MANY` meet.

    That is how many rows the source has, and which part of them meets the rest.
    """
    if isinstance(way.source, Terms) and len(way.source.groups) > 1:
        # All terms of a record are of one bucket, which PostgreSQL does not know.
        way = Way(Terms(way.source.groups[:1]), query.condition.sql)
        part = await _part(conn, way, query)
    arguments = Arguments(query.arguments)
    is_sampled = way.source.can_be_sampled
    rows = way.source.rows(arguments, with_terms=False, sampled=is_sampled)
    expected = 0
    if isinstance(way.source, Numbers):
        [row] = await fetch_planned(
            conn,
            f"SELECT count(*) AS counted FROM ({rows} LIMIT {NUMBERS_COUNTED}) AS s",  # noqa: S608
            *arguments,
        )
        expected = row["counted"]
    if expected in (0, NUMBERS_COUNTED):
        [row] = await fetch_planned(conn, f"EXPLAIN (FORMAT JSON) {rows}", *arguments)
        expected = max(expected, planned_rows(row[0]))
    return max(int(expected * (BUCKETS if is_sampled else 1) * part), MANY)


async def _part(conn: Conn, way: Way, query: Query) -> float:
    """Which part of the rows of a source meets the rest, by some of its rows."""
    arguments = Arguments(query.arguments)
    is_sampled = way.source.can_be_sampled
    condition = way.rest(arguments)
    rows = way.source.rows(arguments, with_terms="terms" in arguments.reads, sampled=is_sampled)
    record = RECORD if "records" in arguments.reads else ""
    [row] = await fetch_planned(
        conn,
        f"SELECT count(*) FILTER (WHERE {condition}) AS met, count(*) AS looked_at"  # noqa: S608
        f" FROM (SELECT * FROM ({rows}) AS s LIMIT {LOOKED_AT}) AS s{record}",
        *arguments,
    )
    return float(row["met"] / max(row["looked_at"], 1))
