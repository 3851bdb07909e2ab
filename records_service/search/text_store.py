"""The SQL of a full-text search by the index.

What few records have is ranked: all of it. Of what very many have, those in a sample are ranked,
one of 16 or of 256, and come first; the others follow in the order of their creation. The number of
the sample is the first part of a cursor, so all pages of a search have the same order.
"""

from __future__ import annotations

from typing import Any, Final

from records_service.records.store import Listing
from records_service.search import text_walk
from records_service.search.sql import Arguments
from records_service.search.store import read_wanted
from records_service.search.text_index import TextIndex
from records_service.search_texts.documents import SAMPLES
from shared.database import Conn, fetch_planned, paging
from shared.database.paging import Key, Place

KEYS: Final = (Key("level", int, descending=True), Key("rank", float, descending=True))
"""By what a page is sorted before the order of creation."""
MANY_IN_SAMPLE: Final = 150
"""Where a sample has so many, it is ranked, and not all."""
COUNTED_IN_SAMPLE: Final = 700
"""Where the first sample has fewer, all are counted: they are hardly more than can be told."""


async def page(conn: Conn, workspace_id: str, *, place: Place, index: TextIndex) -> Listing:
    """The records that the query finds, the best first.

    Raises `ValidationError` for a page of too many bytes whose limit was asked for; it is shorter
    where the limit is the default.
    """
    level = await _level(conn, index) if place.after is None else place.after[0]
    if level == text_walk.LEVEL:
        return await text_walk.page(conn, workspace_id, place=place, index=index)
    arguments = index.arguments(with_state=True)
    late = f"late AS MATERIALIZED ({index.behind(arguments)})"
    if level not in range(1, len(SAMPLES)):
        ranked, wanted, counted = _all(index, place, arguments)
    else:
        ranked, wanted, counted = _sampled(index, place, level, arguments)
    found, count, version, _ = await read_wanted(
        conn,
        workspace_id,
        place=place,
        ctes=f"{late}, {ranked}, {wanted}",
        columns=[key.column for key in KEYS],
        counted=counted if place.counts else "SELECT NULL::bigint",
        arguments=arguments,
    )
    part = place.part(found, [one.row["document"] for one in found])
    estimate = 0
    if count is not None and count < 0:
        count, estimate = paging.COUNTED_MAX + 1, -count
    return Listing(part, place.total_of(part, count, estimate), None, version)


async def facet_source(conn: Conn, index: TextIndex, arguments: Arguments) -> str:
    """A condition that a record `r` is among all that the query finds.

    Of a phrase that a walk looks for, among those that the first page has looked at.
    """
    if await _level(conn, index) == text_walk.LEVEL:
        walked = text_walk.matches(index, None, arguments)
        return f"r.id IN (WITH {walked} SELECT id FROM matches)"  # noqa: S608
    indexed = index.indexed(0, arguments, with_rank=False)
    late = index.behind(arguments, with_rank=False)
    return f"r.id IN (SELECT id FROM ({indexed}) AS i UNION ALL SELECT id FROM ({late}) AS l)"  # noqa: S608


async def _level(conn: Conn, index: TextIndex) -> int:
    """The sample in which there are enough, the smallest first.

    0 if there is none, or `text_walk.LEVEL` if it would take too long to look for all.
    """
    for level in range(len(SAMPLES) - 1, 0, -1):
        arguments = index.arguments(with_state=False)
        rows = index.indexed(level, arguments, with_rank=False)
        [row] = await fetch_planned(
            conn,
            f"SELECT count(*) AS found FROM ({rows} LIMIT {MANY_IN_SAMPLE}) AS few",  # noqa: S608
            *arguments,
        )
        if row["found"] == MANY_IN_SAMPLE:
            return level
    many = text_walk.CANDIDATES_MAX + 1
    return text_walk.LEVEL if await text_walk.candidates(conn, index, many) == many else 0


def _all(index: TextIndex, place: Place, arguments: Arguments) -> tuple[str, str, str]:
    rows = index.indexed(0, arguments)
    every = f"""
        every AS MATERIALIZED (
            SELECT 0 AS level, i.id, i.created_at, i.rank FROM ({rows}) AS i
             UNION ALL
            SELECT 0, late.id, late.created_at, late.rank FROM late
        )"""  # noqa: S608
    wanted = place.select("id, created_at, level, rank", "every WHERE true", arguments)
    return every, f"wanted AS MATERIALIZED ({wanted})", "SELECT count(*) FROM every"


def _sampled(
    index: TextIndex, place: Place, level: int, arguments: Arguments
) -> tuple[str, str, str]:
    rows = index.indexed(level, arguments)
    ranked = f"""
        ranked AS MATERIALIZED (
            SELECT i.id, i.created_at, 1 + i.rank AS rank FROM ({rows}) AS i
             UNION ALL
            SELECT late.id, late.created_at, 1 + late.rank FROM late WHERE late.level >= {level}
        )"""  # noqa: S608
    end = "ORDER BY rank DESC, created_at, id"
    size = arguments.name(place.rows, "bigint")
    walk, waiting = index.outside(level, arguments), f"late.level < {level}"
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
    others = f"""
        SELECT * FROM (
            (SELECT o.id, o.created_at FROM ({walk} AND {is_short}) AS o
              WHERE true {position.format("o")} ORDER BY o.created_at, o.id LIMIT {reach})
             UNION ALL
            (SELECT late.id, late.created_at FROM late
              WHERE {waiting} AND {is_short} {position.format("late")}
              ORDER BY late.created_at, late.id LIMIT {reach})
        ) AS both_parts
         ORDER BY created_at, id OFFSET {skipped} LIMIT {size}"""  # noqa: S608
    wanted = f"""
        best AS MATERIALIZED ({best}),
        others AS MATERIALIZED ({others}),
        wanted AS MATERIALIZED (
            SELECT {level} AS level, * FROM (
                SELECT id, created_at, rank FROM best
                 UNION ALL
                SELECT id, created_at, 0::float8 FROM others
            ) AS found
             {end} LIMIT {size}
        )"""  # noqa: S608
    counted = f"SELECT -{SAMPLES[level]} * count(*) FROM ranked"  # noqa: S608
    if level == 1 and place.counts:
        every = index.indexed(0, arguments, with_rank=False)
        limit = paging.COUNTED_MAX + 1
        counted = f"""
            SELECT CASE WHEN (SELECT count(*) FROM ranked) >= {COUNTED_IN_SAMPLE} THEN ({counted})
                   ELSE (SELECT count(*) FROM ({every} LIMIT {limit}) AS every)
                        + (SELECT count(*) FROM late) END"""  # noqa: S608
    return ranked, wanted, counted


def _after(after: tuple[Any, ...], arguments: Arguments) -> tuple[str, str]:
    """What comes after the position of a cursor: conditions for what is ranked and for the rest."""
    _, rank, created_at, record_id = after
    named = [arguments.name(created_at, "timestamptz"), arguments.name(record_id, "text")]
    if rank < 1:
        return "false", f"AND ({{0}}.created_at, {{0}}.id) > ({named[0]}, {named[1]})"
    ranked = arguments.name(rank, "float8")
    later = f"(created_at, id) > ({named[0]}, {named[1]})"
    return f"(rank < {ranked} OR rank = {ranked} AND {later})", ""
