"""A full-text search for words that very many records have together, but seldom as it is asked.

Such is a phrase of two frequent words: the index knows the words of a record and not their order,
and to look at all that have both would take seconds. So a page looks at some thousand records, in
the order of their creation. If that does not fill it, its cursor goes on from there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from records_service.records.store import Listing
from records_service.search.sql import Arguments
from records_service.search.store import read_wanted
from records_service.search.text_index import TextIndex
from records_service.search.text_samples import Part
from records_service.search_texts.documents import SAMPLES
from shared.database import Conn, fetch_planned
from shared.database.paging import Place, Total

LEVEL: Final = len(SAMPLES)
"""What stands for such a search in the place of a sample."""
LOOKED_AT: Final = 20_000
"""Records, for one page."""
_ALL: Final = -1
_END: Final = -1.0
"""The rank that stands for the last record that was looked at."""


async def _candidates(conn: Conn, index: TextIndex) -> int:
    """About how many records have all words."""
    arguments = index.arguments(with_state=False)
    part = Part(len(SAMPLES) - 1)
    rows = index.candidates(part, arguments)
    [row] = await fetch_planned(conn, f"SELECT count(*) AS found FROM ({rows}) AS few", *arguments)  # noqa: S608
    return part.of_all(row["found"])


async def page(conn: Conn, workspace_id: str, *, place: Place, index: TextIndex) -> Listing:
    """The next records that the query finds, oldest first; fewer than wanted before the end.

    Raises `ValidationError` for a page of too many bytes whose limit was asked for.
    """
    arguments = index.arguments(with_state=True)
    size = arguments.name(place.rows, "bigint")
    offset = arguments.name(place.offset if place.after is None else 0, "bigint")
    ctes = f"""
        {matches(index, place, arguments)},
        page_found AS MATERIALIZED (
            SELECT m.id, m.created_at FROM matches m
             ORDER BY m.created_at, m.id OFFSET {offset} LIMIT {size}
        ), wanted AS MATERIALIZED (
            SELECT {LEVEL} AS level, 0::float8 AS rank, f.id, f.created_at FROM page_found f
             UNION ALL
            SELECT {LEVEL}, {_END}::float8, u.id, u.created_at FROM until u
             WHERE (SELECT count(*) FROM page_found) < {size}
        )"""  # noqa: S608
    rows, found, version, looked_at = await read_wanted(
        conn,
        workspace_id,
        place=place,
        ctes=ctes,
        columns=["level", "rank"],
        counted="SELECT count(*) FROM matches" if place.counts else "SELECT NULL::bigint",
        walked=f"""
            SELECT CASE WHEN (SELECT count(*) FROM walked) < {LOOKED_AT} THEN {_ALL}
                   ELSE (SELECT count(*) FROM candidates) END""",  # noqa: S608
        arguments=arguments,
    )
    end = rows.pop() if rows and rows[-1].row["rank"] == _END else None
    part = place.part(rows, [one.row["document"] for one in rows])
    last = None
    if end is not None and not part.has_more:
        part = replace(part, has_more=True)
        last = (LEVEL, 0.0, end.row["created_at"], end.row["id"])
    total = None
    if found is not None:
        is_all = looked_at == _ALL and place.after is None
        of_all = await _candidates(conn, index)
        total = (
            Total(found) if is_all else _estimated(place, len(part.rows), found, looked_at, of_all)
        )
    return Listing(part, total, None, version, last=last)


def matches(index: TextIndex, place: Place | None, arguments: Arguments) -> str:
    """CTEs: records that are `walked`, the `matches` among them, and `until`: the last of them.

    They begin after the position of a page, or with the oldest. `until` is empty if none follow.
    """
    after = late_after = ""
    if place is not None and place.after is not None:
        at = arguments.name(place.after[2], "timestamptz")
        position = f"({at}, {arguments.name(place.after[3], 'text')})"
        after = f" AND (t.created_at, t.record_id) > {position}"
        late_after = f" AND (l.created_at, l.id) > {position}"
    met = index.met("c", arguments)
    late = index.behind(arguments, with_rank=False)
    return f"""
        walked AS MATERIALIZED ({index.walked(after, LOOKED_AT, arguments)}),
        candidates AS MATERIALIZED (SELECT id, created_at FROM walked WHERE is_candidate),
        until AS MATERIALIZED (
            SELECT l.id, l.created_at FROM walked l
             WHERE (SELECT count(*) FROM walked) = {LOOKED_AT}
             ORDER BY l.created_at DESC, l.id DESC LIMIT 1
        ), matches AS MATERIALIZED (
            SELECT m.id, m.created_at FROM candidates c CROSS JOIN LATERAL ({met} OFFSET 0) AS m
             UNION ALL
            SELECT l.id, l.created_at FROM ({late}) AS l
             WHERE (SELECT coalesce((l.created_at, l.id) <= (u.created_at, u.id), true)
                      FROM (SELECT 1) AS one LEFT JOIN until u ON true){late_after}
        )"""  # noqa: S608


def _estimated(place: Place, shown: int, found: int, looked_at: int, of_all: int) -> Total:
    """As many of all as of those that were looked at."""
    here: Any = place.offset + shown
    return Total(max(found * of_all // max(looked_at, 1), found, here), True)
