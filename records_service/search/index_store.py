"""The SQL of a search by the index.

How often a condition is met decides how its page is read (`index_measure`):

- What few records meet is read as a set, all of it, and sorted: the total is exact.
- What many meet is walked to in the order of the page, which finds a page of it within some
  thousand rows; the total is an estimate. A walk is bounded: where it ends too early, because what
  it looks for is elsewhere in the order, the set is read after all.
"""

from __future__ import annotations

from collections.abc import Sequence

from records_service.records.store import Listing
from records_service.search import index_walks
from records_service.search.criteria import Searched
from records_service.search.index_measure import Measured, measured
from records_service.search.index_query import Query, expression, knows_order, rows_found
from records_service.search.index_sources import Everything, Source
from records_service.search.index_walks import Walk, walk_by_creation, walk_by_number
from records_service.search.score_walk import walk_by_score
from records_service.search.scored import Scored
from records_service.search.sort_walk import may_be_walked, set_by_row, walk_by_row
from records_service.search.sql import Arguments
from records_service.search.store import read_wanted
from records_service.search.value_walk import walk_by_value
from shared.database import Conn, paging
from shared.database.paging import Place, Total


async def page(
    conn: Conn, workspace_id: str, *, place: Place, query: Query
) -> tuple[Listing, Measured]:
    """The records that meet the condition of a query, in order, and how to find all.

    Raises `ValidationError` for a page of too many bytes whose limit was asked for; it is shorter
    where the limit is the default.
    """
    target = _walked_by(query)
    lacking = [] if target is None else [_lacking(query, target)]
    met = await measured(conn, query, counts=place.counts, besides=lacking)
    for is_thorough in (False, True):
        if met.is_few:
            break
        walk = await _walk(conn, place, query, met, lacking, is_thorough=is_thorough)
        if walk is None:
            break
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
            total = place.total_of(part, counted, met.estimate)
            return Listing(part, total, None, version), met
    arguments = Arguments(query.arguments)
    view = None if target is None else query.index.sort_view(target, query.sort[0].scope)
    if target is not None and view is not None and may_be_walked(place, met.matches):
        source, _ = all_found(met, arguments)
        ctes = set_by_row(place, query, target, source, met.matches, arguments)
    else:
        names = ", ".join(("id", "created_at", *(key.column for key in query.keys)))
        every = _set(query, met, arguments)
        wanted = place.select(names, "met WHERE true", arguments)
        ctes = f"met AS MATERIALIZED ({every}), wanted AS MATERIALIZED ({wanted})"
    found, counted, version, _ = await read_wanted(
        conn,
        workspace_id,
        place=place,
        ctes=ctes,
        columns=[key.column for key in query.keys],
        counted="SELECT count(*) FROM met" if place.counts else "SELECT NULL::bigint",
        arguments=arguments,
    )
    part = place.part(found, [one.row["document"] for one in found])
    total = None if counted is None else Total(counted)
    return Listing(part, total, None, version), met


def all_found(met: Measured, arguments: Arguments) -> tuple[str, str]:
    """What follows FROM: all rows `s` that meet the condition, with a row `r` if that is read.

    And what of the condition the source does not say.
    """
    condition = met.way.rest(arguments)
    return rows_found(met.way.source, condition, arguments), condition


def _set(query: Query, met: Measured, arguments: Arguments) -> str:
    """A SELECT of all that meet the condition, with the columns of the order."""
    sorted_by = "".join(
        f", {expression(query, sort, key, arguments)} AS {key.column}"
        for sort, key in zip(query.sort, query.keys, strict=True)
    )
    found, _ = all_found(met, arguments)
    return f"SELECT s.record_id AS id, s.created_at{sorted_by} FROM {found}"  # noqa: S608


def _walked_by(query: Query) -> Searched | None:
    """The attribute by which the page is walked, if it is walked in such an order."""
    target = query.sort[0].target if len(query.sort) == 1 else None
    if isinstance(target, Searched) and knows_order(query.index, query.sort[0]):
        return target
    return None


def _lacking(query: Query, target: Searched) -> Source:
    """Where the records are found that have no place in the order of an attribute."""
    if query.index.sort_view(target, query.sort[0].scope) is not None:
        return query.index.others(target)
    return query.index.lacking(target)


async def _walk(
    conn: Conn,
    place: Place,
    query: Query,
    met: Measured,
    lacking: Sequence[Source],
    *,
    is_thorough: bool,
) -> Walk | None:
    """A walk in the order of the page; None where the index is not in that order.

    `is_thorough`: after a walk in vain. None if there is no other.
    """
    target = _walked_by(query)
    if target is not None:
        [source], [is_few] = lacking, met.marked
        without = source.short() if is_few else Everything()
        if query.index.is_by_options(target):
            return await walk_by_value(
                conn, place, query, target, met.way.source, without, is_thorough=is_thorough
            )
        is_stored = query.index.sort_view(target, query.sort[0].scope) is not None
        walk = walk_by_row if is_stored else walk_by_number
        return None if is_thorough else walk(place, query, target, without)
    if is_thorough:
        return None
    if not query.sort or (len(query.sort) == 1 and query.sort[0].target == "createdAt"):
        return walk_by_creation(place, query)
    scored = query.sort[0].target
    if len(query.sort) == 1 and isinstance(scored, Scored) and scored.is_walked:
        return walk_by_score(place, query, scored)
    return None
