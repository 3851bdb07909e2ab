"""The SQL of a search by the index.

How often a condition is met decides how its page is read (`index_measure`):

- What few records meet is read as a set, all of it, and sorted: the total is exact.
- What many meet is walked to in the order of the page, which finds a page of it within some
  thousand rows; the total is an estimate. A walk is bounded: where it ends too early, because what
  it looks for is elsewhere in the order, the set is read after all.
- Sorted by several keys, it is a page of those that a walk by the first key tells (`sort_groups`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from records_service.records.store import Listed, Listing, count_all
from records_service.search import index_walks
from records_service.search.beside import beside
from records_service.search.criteria import Searched
from records_service.search.index_measure import Measured, entries_of, measured
from records_service.search.index_query import Query, expression, knows_order, rows_found
from records_service.search.index_sources import Everything, Source
from records_service.search.index_walks import Walk, walk_by_creation, walk_by_number
from records_service.search.score_walk import walk_by_score
from records_service.search.scored import Scored
from records_service.search.sort_groups import (
    by_first_key,
    place_by_first_key,
    tells_groups,
    up_to,
    with_value,
)
from records_service.search.sort_walk import (
    SET_WALKED_MIN,
    is_within_reach,
    is_worth_a_walk,
    set_by_row,
    walk_by_row,
)
from records_service.search.sql import Arguments
from records_service.search.store import read_wanted
from records_service.search.value_walk import walk_by_value
from shared.database import Conn, Database, fetch_planned, paging
from shared.database.paging import Part, Place, Total


async def page(
    conn: Conn, database: Database, workspace_id: str, *, place: Place, query: Query
) -> tuple[Listing, Measured]:
    """The records that meet the condition of a query, in order, and how to find all.

    How many very many are is estimated by another connection meanwhile, if one is free. Raises
    `ValidationError` for a page of too many bytes whose limit was asked for; it is shorter where
    the limit is the default.
    """
    first = by_first_key(query)
    target = _walked_by(first)
    lacking = [] if target is None else [_lacking(first, target)]
    met = await measured(conn, query, counts=place.counts, besides=lacking)
    if not met.is_few:
        read = partial(_of_many, conn, database, workspace_id, place, query, met, lacking)
        if met.estimate is None:
            listing = await read()
        else:
            async with beside(database, conn, met.estimate) as estimate:
                listing = await read()
                if listing is not None:
                    total = place.total_of(listing.part, _many(place), await estimate())
                    listing = replace(listing, total=total)
        if listing is not None:
            return listing, met
    part, counted, version = await _read_set(conn, workspace_id, place, query, met)
    return Listing(part, None if counted is None else Total(counted), None, version), met


async def _of_many(
    conn: Conn,
    database: Database,
    workspace_id: str,
    place: Place,
    query: Query,
    met: Measured,
    lacking: Sequence[Source],
) -> Listing | None:
    """The page of what many meet, without a total; None if it is not found within reason."""
    if len(query.sort) > 1:
        return await _by_first_key(conn, database, workspace_id, place, query, met, lacking)
    for is_thorough in (False, True):
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
            return Listing(part, None, None, version)
    return None


async def _by_first_key(
    conn: Conn,
    database: Database,
    workspace_id: str,
    place: Place,
    query: Query,
    met: Measured,
    lacking: Sequence[Source],
) -> Listing | None:
    """The page among those that the first of several keys tells; None if it does not."""
    if not tells_groups(query):
        return None
    begin = place_by_first_key(place)
    values: list[Any] = [None]
    if begin is not None:
        found = await _values_from(conn, begin, by_first_key(query), met, lacking)
        if found is None:
            return None
        if len(found) == begin.rows and found[-1] is not None:
            among = up_to(query, place, found[-1])
            found_by = await measured(conn, among, counts=False)
            if found_by.is_few:
                value = found[0] if place.after is None else place.after[0]
                may_fill = place.after is not None or found[-1] == value
                if found_by.matches >= SET_WALKED_MIN and may_fill:
                    # Where one value fills the page, the order by the other keys leads to it.
                    listing = await _with_value(conn, database, workspace_id, place, query, value)
                    if listing is not None and len(listing.part.rows) == listing.part.limit:
                        return listing
                part, _, version = await _read_set(conn, workspace_id, place, among, found_by)
                if not part.rows:
                    # All of them have gone meanwhile.
                    return None
                return Listing(replace(part, has_more=True), None, None, version)
        values = [*(place.after or ())[:1], *found[:1]]
    return await _with_one_value(conn, database, workspace_id, place, query, values)


async def _values_from(
    conn: Conn, place: Place, query: Query, met: Measured, lacking: Sequence[Source]
) -> list[Any] | None:
    """By what the records of a page are sorted; None where no walk finds them."""
    [key] = query.keys
    order = ", ".join(f"w.{each.order}" for each in place.order)
    for is_thorough in (False, True):
        walk = await _walk(conn, place, query, met, lacking, is_thorough=is_thorough)
        if walk is None:
            break
        rows = await fetch_planned(
            conn,
            f"WITH {walk.ctes} SELECT ({walk.walked}) AS walked, w.id, w.{key.column} AS value"  # noqa: S608
            f" FROM (SELECT 1 AS one) AS one LEFT JOIN wanted w ON true ORDER BY {order}",
            *walk.arguments,
        )
        if rows[0]["walked"] < index_walks.WALKED_MAX:
            return [row["value"] for row in rows if row["id"] is not None]
    return None


async def _with_one_value(
    conn: Conn,
    database: Database,
    workspace_id: str,
    place: Place,
    query: Query,
    values: Sequence[Any],
) -> Listing | None:
    """The page of those with the first of these values of the first key that any have.

    It ends where they end, and the next one begins with the next value. None where the index does
    not tell who has a value, and for a page by offset.
    """
    for number, value in enumerate(values, 1):
        listing = await _with_value(conn, database, workspace_id, place, query, value)
        if listing is None:
            return None
        if listing.part.rows:
            return listing
        if number == len(values):
            # Those that had it have gone meanwhile, or came before the page.
            is_at_end = place.after is not None and place.after[0] == value
            return listing if is_at_end else None
    return None


async def _with_value(
    conn: Conn, database: Database, workspace_id: str, place: Place, query: Query, value: Any
) -> Listing | None:
    """The page among those with this value of the first key, as far as they fill it.

    None where the index does not tell who has it, and for a page by offset.
    """
    group = with_value(query, place, value)
    if group is None or (place.after is None and place.offset):
        return None
    listing, _ = await page(conn, database, workspace_id, place=group.place, query=group.query)
    part, last = listing.part, listing.last
    if last is None and part.rows:
        last = tuple(part.rows[-1].row[key.column] for key in group.place.order)
    # Those without a value come last.
    has_more = part.has_more or (value is not None and bool(part.rows))
    place_of_last = None if last is None else (value, *last)
    return replace(listing, part=replace(part, has_more=has_more), last=place_of_last)


async def _read_set(
    conn: Conn, workspace_id: str, place: Place, query: Query, met: Measured
) -> tuple[Part[Listed], int | None, int]:
    """The page of all that meet a condition, how many these are, and the version of the model."""
    arguments = Arguments(query.arguments)
    target = _walked_by(query)
    view = None if target is None else query.index.sort_view(target, query.sort[0].scope)
    if (
        target is not None
        and view is not None
        and is_worth_a_walk(place, met.matches)
        and is_within_reach(place, met.matches, await _among(conn, workspace_id, query, target))
    ):
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
    return place.part(found, [one.row["document"] for one in found]), counted, version


async def _among(conn: Conn, workspace_id: str, query: Query, target: Searched) -> int:
    """How many records show an attribute, and may have a value in its order."""
    if query.index.others(target).groups[0]:
        return await entries_of(conn, query, query.index.showing(target))
    return await count_all(conn, workspace_id)


def _many(place: Place) -> int | None:
    """What is told to be counted of very many records."""
    return paging.COUNTED_MAX + 1 if place.counts else None


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
