# ruff: noqa: S608 - constants and numbers of parameters
"""A walk in the stored order of an attribute, to records that meet a condition which many meet.

First come the records with a value, then those without, in the order of creation: those that have
a row which says so, and those that do not show the attribute. What is behind is sorted by its
values, in the same statement.

Also a page of a set of records, as few meet a condition: where they are some thousand, the first of
them are found sooner by walking along the order than by looking up the place of each.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from records_service.search import index_walks
from records_service.search.criteria import Searched
from records_service.search.index_query import RECORD, Query
from records_service.search.index_sources import TERMS, Source, Terms
from records_service.search.index_walks import Walk, in_vain, without_value
from records_service.search.score_sources import rows_behind
from records_service.search.sort_sources import is_text, place_in, public
from records_service.search.sql import Arguments, seen, sort_key
from records_service.search.text_index import BEHIND
from records_service.search_index.terms import number_of
from shared.database.paging import Place

SET_WALKED_MIN: Final = 1_000
"""Records of a set of which the first are looked for by a walk."""
SET_TIMES_PAGE: Final = 4
"""So many times as many as are wanted, at least."""
ROWS_EACH: Final = 15
"""Rows of a walk for each record of a set: to look at them takes as long as to look up its place,
0.5 and 8 us."""
_ROWS_MAX: Final = 30_000
_SET_MAX: Final = 20_000
"""PostgreSQL hashes a set that it knows to be no larger, and would compare with each, otherwise."""
_SQL_KINDS = {Decimal: "numeric", bool: "bool", str: 'text COLLATE "C"'}


def walk_by_row(place: Place, query: Query, target: Searched, others: Source) -> Walk:
    """The page. `others` is the source of those that do not show the attribute; or everything."""
    arguments = Arguments(query.arguments)
    [key], [sort] = query.keys, query.sort
    needed = _needed(place)
    view = query.index.sort_view(target, sort.scope)
    rows = (
        "SELECT n.record_id, n.created_at, n.number, n.text FROM search_sorts n"
        f" WHERE n.workspace_id = $1 AND n.view = {arguments.name(view, 'bigint')}"
        f" AND {seen(target.sight, arguments, 'n.')} AND n.record_id NOT IN ({BEHIND})"
    )
    arguments.reads.clear()
    condition = query.condition.sql(arguments)
    record = RECORD if "records" in arguments.reads else ""
    joined = (
        " CROSS JOIN LATERAL (SELECT s.record_id, s.created_at, s.schema_id, s.state_id,"
        f" {TERMS} FROM search_records s WHERE s.workspace_id = $1"
        f" AND s.created_at = n.created_at AND s.record_id = n.record_id OFFSET 0) AS s{record}"
    )
    column = _column(target)
    # Downwards the rows come group by group, which PostgreSQL does not know to be an order: sorting
    # would read all that a walk may look at.
    order = "" if key.descending else f"ORDER BY n.{column}, n.created_at, n.record_id"
    inner = _with_value(
        place,
        target,
        f"{rows} AND {_has_value(target)}",
        column,
        arguments,
        index_walks.WALKED_MAX,
    )
    firsts = (
        f"SELECT n.record_id, n.created_at, {public('n', target)} FROM ({inner}) AS n{joined}"
        f" WHERE {condition} {order} LIMIT {needed}"
    )
    found = "(SELECT count(*) FROM firsts)"
    is_later = place.after is not None and place.after[0] is None
    later = _later(place.after, arguments) if place.after is not None and is_later else ""
    none = (
        f"{rows} AND n.number = 'NaN' AND n.text = '' AND {found} < {needed}{later}"
        f" ORDER BY n.created_at, n.record_id LIMIT {index_walks.WALKED_MAX}"
    )
    nones = (
        f"SELECT n.record_id, n.created_at FROM ({none}) AS n{joined} WHERE {condition}"
        f" ORDER BY n.created_at, n.record_id LIMIT {needed}"
    )
    walked = [
        in_vain(found, needed, inner),
        in_vain(f"{found} + (SELECT count(*) FROM nones)", needed, none),
    ]
    ctes = [
        f"firsts (id, created_at, value) AS MATERIALIZED ({firsts})",
        f"nones (id, created_at) AS MATERIALIZED ({nones})",
    ]
    names = ["nones"]
    if not (isinstance(others, Terms) and not others.groups[0]):
        lasts, walked_lasts = without_value(
            place, query, others, needed, arguments, has_value=_shows(target), found=found
        )
        ctes.append(f"lasts (id, created_at, value) AS MATERIALIZED ({lasts})")
        walked.append(walked_lasts)
        names.append("lasts")
    value = sort_key(sort, key.column, arguments)[1]
    late = f"SELECT s.record_id, s.created_at, {value} AS value {rows_behind(BEHIND)} OFFSET 0"
    late = f"SELECT n.record_id, n.created_at, n.value FROM ({late}) AS n{joined} WHERE {condition}"
    ctes.append(f"late (id, created_at, value) AS MATERIALIZED ({late})")
    kind = _SQL_KINDS.get(key.kind, "timestamptz")
    every = " UNION ALL ".join(
        [
            f"SELECT id, created_at, value::{kind} AS {key.column} FROM firsts",
            f"SELECT id, created_at, value::{kind} FROM late",
            *(f"SELECT id, created_at, NULL::{kind} FROM {name}" for name in names),
        ]
    )
    wanted = place.select(
        f"id, created_at, {key.column}", f"({every}) AS every WHERE true", arguments
    )
    ctes.append(f"wanted AS MATERIALIZED ({wanted})")
    return Walk(", ".join(ctes), arguments, f"greatest({', '.join(walked)})")


def is_worth_a_walk(place: Place, matches: int) -> bool:
    """Whether a walk to the page of a set of so many records may be shorter than looking up all."""
    has_value = place.after is None or place.after[0] is not None
    is_near = SET_TIMES_PAGE * _needed(place) <= matches
    return SET_WALKED_MIN <= matches <= _SET_MAX and has_value and is_near


def is_within_reach(place: Place, matches: int, records: int) -> bool:
    """Whether such a walk is expected to end, if a set is spread evenly over so many records."""
    return _needed(place) * records <= matches * _rows_max(matches)


def _rows_max(matches: int) -> int:
    return min(max(matches, 1) * ROWS_EACH, _ROWS_MAX)


def set_by_row(
    place: Place,
    query: Query,
    target: Searched,
    source: str,
    matches: int,
    arguments: Arguments,
) -> str:
    """CTEs: `met`, all of a set that `source` finds, and `wanted`, the page.

    If the rows at which the walk looks do not fill the page, the places of all are looked up.
    """
    [key], [sort] = query.keys, query.sort
    needed = _needed(place)
    view = query.index.sort_view(target, sort.scope)
    assert view is not None
    rows = (
        "SELECT n.record_id, n.created_at, n.number, n.text FROM search_sorts n"
        f" WHERE n.workspace_id = $1 AND n.view = {arguments.name(view, 'bigint')}"
        f" AND {seen(target.sight, arguments, 'n.')} AND n.record_id NOT IN ({BEHIND})"
        f" AND {_has_value(target)}"
    )
    rows_max = _rows_max(matches)
    # Not a condition alone: of that PostgreSQL makes a join, in a loop over what it takes for few.
    is_in_set = f"(n.record_id IN (SELECT m.record_id FROM met m LIMIT {_SET_MAX})) IS TRUE"
    first_of_set = _downwards if key.descending else _upwards
    walked = first_of_set(place, target, rows, is_in_set, rows_max, arguments)
    kind = _SQL_KINDS.get(key.kind, "timestamptz")
    value = sort_key(sort, key.column, arguments)[1]
    late = f"SELECT s.record_id, s.created_at, {value} AS value {rows_behind(BEHIND)} OFFSET 0"
    looked_up = place_in(view, sort, key, arguments)
    visible = seen(target.sight, arguments, "s.")
    is_filled = f"(SELECT count(*) FROM firsts) = {needed}"
    every = " UNION ALL ".join(
        f"SELECT id, created_at, value::{kind} AS {key.column} FROM {each}"
        for each in ("firsts", "late", "others")
    )
    wanted = place.select(
        f"id, created_at, {key.column}", f"({every}) AS every WHERE true", arguments
    )
    return f"""
        met AS MATERIALIZED (
            SELECT s.record_id, s.created_at, s.schema_id, s.state_id FROM {source}
        ), {walked}, firsts (id, created_at, value) AS MATERIALIZED (
            SELECT * FROM walked WHERE (SELECT count(*) FROM walked) = {needed}
                -- Or some of the set were not looked for.
                AND (SELECT count(*) FROM met) <= {_SET_MAX}
        ), late (id, created_at, value) AS MATERIALIZED (
            SELECT n.record_id, n.created_at, n.value FROM ({late}) AS n
             WHERE {is_filled} AND {is_in_set}
        ), others (id, created_at, value) AS MATERIALIZED (
            SELECT s.record_id, s.created_at, CASE WHEN {visible} THEN {looked_up} END
              FROM met s WHERE NOT {is_filled}
        ), wanted AS MATERIALIZED ({wanted})"""


def _upwards(
    place: Place,
    target: Searched,
    rows: str,
    is_in_set: str,
    rows_max: int,
    arguments: Arguments,
) -> str:
    """A CTE `walked`: the first rows of a set."""
    column = _column(target)
    inner = _with_value(place, target, rows, column, arguments, rows_max)
    return f"""walked AS MATERIALIZED (
            SELECT n.record_id, n.created_at, {public("n", target)} AS value FROM ({inner}) AS n
             WHERE {is_in_set}
             ORDER BY n.{column}, n.created_at, n.record_id LIMIT {_needed(place)}
        )"""


def _downwards(
    place: Place,
    target: Searched,
    rows: str,
    is_in_set: str,
    rows_max: int,
    arguments: Arguments,
) -> str:
    """CTEs that end with `walked`: the first rows of a set.

    The walk reads the index backwards, where equal values come newest first, and stops anywhere
    among those of the last value that it finds. Of that value, and of the one of a cursor, rows are
    read forwards.
    """
    column, needed, after = _column(target), _needed(place), place.after
    forwards = f"ORDER BY n.created_at, n.record_id LIMIT {rows_max}"
    backwards = f"ORDER BY n.{column} DESC, n.created_at DESC, n.record_id DESC LIMIT"
    same, below, is_reached = f"{rows} AND false", "", "true"
    if after is not None:
        at = arguments.name(_raw(target, after[0]), "text" if column == "text" else "float8")
        same = f"{rows} AND n.{column} = {at}{_later(after, arguments)} {forwards}"
        below = f" AND n.{column} < {at}"
        is_reached = f"(SELECT count(*) FROM same_value) < {rows_max}"
    last = f"(SELECT min(n.{column}) FROM below n)"
    return f"""same_value AS MATERIALIZED ({same}), below AS MATERIALIZED (
            SELECT n.* FROM ({rows}{below} {backwards} {rows_max}) AS n
             WHERE {is_reached} AND {is_in_set} {backwards} {needed}
        ), last_value AS MATERIALIZED (
            SELECT n.* FROM ({rows} AND n.{column} = {last} {forwards}) AS n
             WHERE {is_in_set} ORDER BY n.created_at, n.record_id LIMIT {needed}
        ), walked AS MATERIALIZED (
            SELECT n.record_id, n.created_at, {public("n", target)} AS value FROM (
                SELECT * FROM same_value n WHERE {is_in_set}
                 UNION ALL
                SELECT * FROM below n WHERE n.{column} > {last}
                 UNION ALL
                SELECT * FROM last_value
            ) AS n
             ORDER BY n.{column} DESC, n.created_at, n.record_id LIMIT {needed}
        )"""


def _needed(place: Place) -> int:
    """So many of the first records after the position make the page."""
    return place.rows if place.after is not None else place.offset + place.rows


def _column(target: Searched) -> str:
    """What of a row tells its place in the order."""
    return "text" if is_text(target) else "number"


def _has_value(target: Searched) -> str:
    """The condition that a row of the order has a value."""
    return "n.number = 0" if is_text(target) else "n.text = '' AND n.number < 'NaN'"


def _with_value(
    place: Place, target: Searched, rows: str, column: str, arguments: Arguments, rows_max: int
) -> str:
    """A SELECT of the first rows with a value that come after the position, in order."""
    end = f"LIMIT {rows_max}"
    [key, *_] = place.order
    after = place.after
    if after is not None and after[0] is None:
        return f"{rows} AND false"
    at = None
    if after is not None:
        kind = "text" if column == "text" else "float8"
        at = arguments.name(_raw(target, after[0]), kind)
    if not key.descending:
        order = f"ORDER BY n.{column}, n.created_at, n.record_id {end}"
        if after is None or at is None:
            return f"{rows} {order}"
        same = f"({rows} AND n.{column} = {at}{_later(after, arguments)} {order})"
        rest = f"({rows} AND n.{column} > {at} {order})"
        order = order.replace("n.", "")
        return f"SELECT * FROM ({same} UNION ALL {rest}) AS n {order}"
    # The index has equal values in the order of creation: one group after the other.
    order = f"ORDER BY n.created_at, n.record_id {end}"
    same = ""
    below = ""
    if after is not None and at is not None:
        first = f"{rows} AND n.{column} = {at}{_later(after, arguments)} {order}"
        same = f"(SELECT * FROM ({first}) AS n) UNION ALL "
        below = f" AND n.{column} < {at}"
    last = f"SELECT n.{column} FROM ({rows}{{}}) AS n ORDER BY n.{column} DESC LIMIT 1"
    groups = (
        f"WITH RECURSIVE groups (value) AS ((SELECT ({last.format(below)}))"
        f" UNION ALL SELECT ({last.format(f' AND n.{column} < g.value')}) FROM groups g"
        " WHERE g.value IS NOT NULL)"
        " SELECT n.* FROM groups AS g CROSS JOIN LATERAL"
        f" ({rows} AND n.{column} = g.value {order}) AS n {end}"
    )
    return f"SELECT * FROM ({same}({groups})) AS n {end}"


def _later(after: tuple[Any, ...], arguments: Arguments) -> str:
    """The condition that a row comes after a position, among those with the same value."""
    at, last = after[-2:]
    return (
        f" AND (n.created_at, n.record_id) > ({arguments.name(at, 'timestamptz')},"
        f" {arguments.name(last, 'text')})"
    )


def _shows(target: Searched) -> Callable[[Arguments], str]:
    """The condition that a row `s` shows the attribute, or is sorted by its values."""

    def shows(arguments: Arguments) -> str:
        visible = seen(target.sight, arguments, "s.")
        return f"{visible} OR s.record_id IN ({BEHIND})"

    return shows


def _raw(target: Searched, value: Any) -> Any:
    """A position of a cursor as the rows have it."""
    if isinstance(value, (str, bool)):
        return value if isinstance(value, str) else float(value)
    return number_of(target.type, value)
