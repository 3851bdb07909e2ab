"""The SQL of a full-text search by the index.

What few records have is ranked: all of it. Of what very many have, some hundred are ranked and come
first, a part of a sample; the others follow in the order of their creation. The number of the part
is the first of a cursor, so all pages of a search have the same order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from records_service.records.store import Listing
from records_service.search import text_walk
from records_service.search.beside import beside
from records_service.search.sql import Arguments
from records_service.search.store import read_wanted
from records_service.search.text_index import ANYTHING, ASKED, TextIndex
from records_service.search.text_samples import MEASURED, Part
from records_service.search_texts.documents import SAMPLES
from shared.database import Conn, Database, fetch_planned, paging
from shared.database.paging import Key, Place

KEYS: Final = (Key("level", int, descending=True), Key("rank", float, descending=True))
"""By what a page is sorted before the order of creation."""
MANY_IN_SAMPLE: Final = 150
"""Where a sample or a part of it has so many, some of it is ranked, and not all."""
CANDIDATES_MAX: Final = 2_500
"""If a sample has so many that have all words, and not enough are found among them, not all that
have the words are looked at."""
COUNTED_MAX: Final = 14_000
"""Where fewer are estimated, all are counted: 10,000 records are so many fewer that chance does not
make up for it."""
FOUND_MAX: Final = COUNTED_MAX // SAMPLES[1]
"""So many are looked for in a part: if the first sample has as many, not all are counted."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of a query before its page is read."""

    number: int
    """That of the part to rank. 0 if there is none that has enough, or `text_walk.LEVEL` if it
    would take too long to look at all candidates."""
    are_all_counted: bool = False


async def page(
    conn: Conn, database: Database, workspace_id: str, *, place: Place, index: TextIndex
) -> Listing:
    """The records that the query finds, the best first.

    Where a part is ranked and all are counted, another connection counts them meanwhile, if one
    is free. Raises `ValidationError` for a page of too many bytes whose limit was asked for; it is
    shorter where the limit is the default.
    """
    measured = await _measured(conn, index) if place.after is None else Measured(place.after[0])
    if measured.number == text_walk.LEVEL:
        index.expect(ANYTHING)
        return await text_walk.page(conn, workspace_id, place=place, index=index)
    exact = None
    if place.counts and measured.are_all_counted:
        async with beside(database, conn, partial(_count, index=index)) as counting:
            found, count = await _page(conn, workspace_id, place, index, measured)
            exact = await counting()
    else:
        found, count = await _page(conn, workspace_id, place, index, measured)
    estimate = -count if count is not None and count < 0 else 0
    if exact is None and 0 < estimate < COUNTED_MAX:
        exact = await _count(conn, index)
    if exact is not None:
        count = exact
    elif estimate:
        count = paging.COUNTED_MAX + 1
    return replace(found, total=place.total_of(found.part, count, estimate))


async def _page(
    conn: Conn, workspace_id: str, place: Place, index: TextIndex, measured: Measured
) -> tuple[Listing, int | None]:
    """The page of all that is found, or by a sample, and how many there are.

    That is an estimate if it is negative, and None where it is not wanted.
    """
    while True:
        expected = index.expected
        arguments = index.arguments(with_state=expected.is_behind)
        late = f"late AS MATERIALIZED ({index.behind(arguments)})"
        part = Part.numbered(measured.number)
        if part is None:
            ctes, counted = _all(index, place, arguments)
        else:
            ctes, counted = _in_part(index, place, part, arguments)
        found, count, version, told = await read_wanted(
            conn,
            workspace_id,
            place=place,
            ctes=f"{late}, {ctes}",
            columns=[key.column for key in KEYS],
            counted=counted if place.counts else "SELECT NULL::bigint",
            walked=ASKED,
            arguments=arguments,
        )
        if index.is_right(expected, told):
            part_of_list = place.part(found, [one.row["document"] for one in found])
            return Listing(part_of_list, None, None, version), count


async def _count(conn: Conn, index: TextIndex) -> int:
    """How many there are, one more than is told exactly at most."""
    while True:
        expected = index.expected
        arguments = index.arguments(with_state=expected.is_behind)
        limit = paging.COUNTED_MAX + 1
        [row] = await fetch_planned(
            conn,
            f"""
            SELECT (SELECT count(*) FROM ({index.found(arguments)} LIMIT {limit}) AS every)
                   + (SELECT count(*) FROM ({index.behind(arguments, with_rank=False)}) AS late)
                   AS found, {ASKED} AS told
            """,  # noqa: S608
            *arguments,
        )
        if index.is_right(expected, row["told"]):
            found: int = row["found"]
            return found


async def facet_source(conn: Conn, index: TextIndex, arguments: Arguments) -> str:
    """A condition that a record `r` is among all that the query finds.

    Of a phrase that a walk looks for, among those that the first page has looked at.
    """
    measured = await _measured(conn, index)
    index.expect(ANYTHING)
    if measured.number == text_walk.LEVEL:
        walked = text_walk.matches(index, None, arguments)
        return f"r.id IN (WITH {walked} SELECT id FROM matches)"  # noqa: S608
    indexed = index.found(arguments)
    late = index.behind(arguments, with_rank=False)
    return f"r.id IN (SELECT id FROM ({indexed}) AS i UNION ALL SELECT id FROM ({late}) AS l)"  # noqa: S608


async def _measured(conn: Conn, index: TextIndex) -> Measured:
    """Which part has enough, the smallest first."""
    while True:
        expected = index.expected
        arguments = index.arguments(with_state=False)
        [row] = await fetch_planned(conn, _choice(index, arguments), *arguments)
        if index.is_right(expected, row["told"]):
            break
    match row["part"]:
        case None:
            return Measured(0)
        case [number, found]:
            part = MEASURED[number]
            return Measured(part.for_page(found).number, part.of_all(found) < COUNTED_MAX)
        case _:
            return Measured(text_walk.LEVEL)


def _choice(index: TextIndex, arguments: Arguments) -> str:
    """A SELECT of the part and how many were found in it; NULL for none, its number for a walk."""
    ctes, choices = [], []
    for number, part in enumerate(MEASURED):
        some = index.some(part, CANDIDATES_MAX, arguments)
        ctes.append(
            f"""found_{number} AS MATERIALIZED (
                    SELECT count(*) AS found FROM ({some} LIMIT {FOUND_MAX}) AS few)"""  # noqa: S608
        )
        choices.append(
            f"""WHEN (SELECT found FROM found_{number}) >= {MANY_IN_SAMPLE}
                THEN ARRAY[{number}, (SELECT found FROM found_{number})]"""  # noqa: S608
        )
        if part.is_whole:
            candidates = f"{index.candidates(part, arguments)} LIMIT {CANDIDATES_MAX}"
            choices.append(
                f"""WHEN (SELECT count(*) FROM ({candidates}) AS few) = {CANDIDATES_MAX}
                    THEN ARRAY[{len(MEASURED)}]"""  # noqa: S608
            )
    return f"""
        WITH {", ".join(ctes)}
        SELECT CASE {" ".join(choices)} END AS part, {ASKED} AS told
        """


def _all(index: TextIndex, place: Place, arguments: Arguments) -> tuple[str, str]:
    ranked = index.ranked(None, arguments)
    every = f"""
        every AS MATERIALIZED (
            SELECT 0 AS level, i.id, i.created_at, i.rank FROM ({ranked}) AS i
             UNION ALL
            SELECT 0, late.id, late.created_at, late.rank FROM late
        )"""  # noqa: S608
    wanted = place.select("id, created_at, level, rank", "every WHERE true", arguments)
    return f"{every}, wanted AS MATERIALIZED ({wanted})", "SELECT count(*) FROM every"


def _in_part(index: TextIndex, place: Place, part: Part, arguments: Arguments) -> tuple[str, str]:
    waiting = part.outside("late.level", "late.id")
    end = "ORDER BY rank DESC, created_at, id"
    size = arguments.name(place.rows, "bigint")
    if place.after is None:
        offset = arguments.name(place.offset, "bigint")
        best = f"SELECT * FROM ranked {end} OFFSET {offset} LIMIT {size}"  # noqa: S608
        skipped = f"greatest(0, {offset} - (SELECT count(*) FROM ranked))"  # noqa: S608
        reach = f"{offset} + {size}"
        position = ""
    else:
        best, position = _after(place.after, arguments)
        best = f"SELECT * FROM ranked WHERE {best} {end} LIMIT {size}"  # noqa: S608
        skipped, reach = "0", size
    is_short = f"(SELECT count(*) FROM best) < {size}"  # noqa: S608
    ctes = f"""
        found AS MATERIALIZED ({index.ranked(part, arguments)}),
        ranked AS MATERIALIZED (
            SELECT id, created_at, 1 + rank AS rank FROM found
             UNION ALL
            SELECT late.id, late.created_at, 1 + late.rank FROM late WHERE NOT {waiting}
        ), best AS MATERIALIZED ({best}), others AS MATERIALIZED (
            SELECT * FROM (
                (SELECT o.id, o.created_at
                   FROM ({index.outside(part, arguments)} AND {is_short}) AS o
                  WHERE true {position.format("o")} ORDER BY o.created_at, o.id LIMIT {reach})
                 UNION ALL
                (SELECT late.id, late.created_at FROM late
                  WHERE {waiting} AND {is_short} {position.format("late")}
                  ORDER BY late.created_at, late.id LIMIT {reach})
            ) AS both_parts
             ORDER BY created_at, id OFFSET {skipped} LIMIT {size}
        ), wanted AS MATERIALIZED (
            SELECT {part.number} AS level, * FROM (
                SELECT id, created_at, rank FROM best
                 UNION ALL
                SELECT id, created_at, 0::float8 FROM others
            ) AS shown
             {end} LIMIT {size}
        )"""  # noqa: S608
    found = "(SELECT count(*) FROM found)"
    late = "(SELECT count(*) FROM late)"
    return ctes, f"SELECT -({found} * {part.of_all(1_000)} / 1000 + {late})"


def _after(after: tuple[Any, ...], arguments: Arguments) -> tuple[str, str]:
    """What comes after the position of a cursor: conditions for what is ranked and for the rest."""
    _, rank, created_at, record_id = after
    named = [arguments.name(created_at, "timestamptz"), arguments.name(record_id, "text")]
    if rank < 1:
        return "false", f"AND ({{0}}.created_at, {{0}}.id) > ({named[0]}, {named[1]})"
    ranked = arguments.name(rank, "float8")
    later = f"(created_at, id) > ({named[0]}, {named[1]})"
    return f"(rank < {ranked} OR rank = {ranked} AND {later})", ""
