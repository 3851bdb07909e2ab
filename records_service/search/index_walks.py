"""Walks in the order of a page, to records that meet a condition which many meet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from records_service.attributes.model import AttributeType
from records_service.search.criteria import Searched
from records_service.search.index_joins import Sql
from records_service.search.index_numbers import first_number
from records_service.search.index_query import RECORD, Query, public_number
from records_service.search.index_sources import TERMS, Everything, Source
from records_service.search.sql import Arguments, seen
from records_service.search_index.terms import number_of
from shared.database.paging import Key, Place

WALKED_MAX: Final = 20_000
"""Rows that a walk looks at."""
_COLUMNS: Final = TERMS.replace("s.", "")


@dataclass(frozen=True, slots=True)
class Walk:
    """The CTEs that end with `wanted`, and an expression: how many rows were looked at in vain."""

    ctes: str
    arguments: Arguments
    walked: str


def walk_by_creation(place: Place, query: Query) -> Walk:
    """In the order of creation, which is that of the rows of the index."""
    arguments = Arguments(query.arguments)
    columns = "".join(f", s.created_at AS {key.column}" for key in query.keys)
    rows = (
        "(SELECT s.record_id, s.record_id AS id, s.created_at, s.schema_id, s.state_id,"  # noqa: S608
        f" {TERMS}{columns} FROM search_records s WHERE s.workspace_id = $1) AS s WHERE true"
    )
    names = "".join(f", {key.column}" for key in query.keys)
    inner = _bounded(place).select(
        f"record_id, id, created_at, schema_id, state_id, {_COLUMNS}{names}", rows, arguments
    )
    condition = query.condition.sql(arguments)
    record = RECORD if "records" in arguments.reads else ""
    outer = page_of(place).select(
        f"s.id, s.created_at{names}", f"({inner}) AS s{record} WHERE {condition}", arguments
    )
    return Walk(
        f"wanted AS MATERIALIZED ({outer})",
        arguments,
        in_vain("(SELECT count(*) FROM wanted)", place.rows, inner),
    )


def walk_by_number(place: Place, query: Query, target: Searched, lacking: Source) -> Walk:
    """First those with a number, in its order, then those without, in the order of creation.

    `lacking` is the source of those without; everything if they are many.
    """
    arguments = Arguments(query.arguments)
    [key] = query.keys
    needed = place.rows if place.after is not None else place.offset + place.rows
    firsts, walked = _with_number(place, query, target, needed, arguments)
    lasts, walked_lasts = without_value(
        place, query, lacking, needed, arguments, has_value=_has_number(query, target)
    )
    kind = "numeric" if target.type is AttributeType.NUMBER else "timestamptz"
    public = public_number(f"b.{key.column}", target)
    both = (
        f"(SELECT b.id, b.created_at, ({public})::{kind} AS {key.column}"  # noqa: S608
        " FROM (SELECT * FROM firsts UNION ALL SELECT * FROM lasts) AS b) AS both_parts WHERE true"
    )
    wanted = page_of(place).select(f"id, created_at, {key.column}", both, arguments)
    return Walk(
        f"firsts (id, created_at, {key.column}) AS MATERIALIZED ({firsts}),"
        f" lasts (id, created_at, {key.column}) AS MATERIALIZED ({lasts}),"
        f" wanted AS MATERIALIZED ({wanted})",
        arguments,
        f"greatest({walked}, {walked_lasts})",
    )


def _with_number(
    place: Place, query: Query, target: Searched, needed: int, arguments: Arguments
) -> tuple[str, str]:
    """A SELECT of those that have and show a number, and how many were looked at in vain."""
    after = place.after
    if after is not None and after[0] is None:
        return "SELECT NULL::text, NULL::timestamptz, NULL::float8 WHERE false", "0"
    [key] = query.keys
    bounded = replace(
        _bounded(place),
        order=(Key(key.column, float, key.descending), *place.order[1:]),
        after=None if after is None else (_raw(target, after[0]), *after[1:]),
    )
    named = arguments.name(query.number_key(target), "bigint")
    visible = seen(target.sight, arguments, "n.")
    rows = (
        f"(SELECT n.record_id AS id, n.created_at, n.number AS {key.column}"  # noqa: S608
        f" FROM search_numbers n WHERE n.workspace_id = $1"
        f" AND n.attribute_key = {named} AND n.entry = 0 AND {visible}) AS n WHERE true"
    )
    inner = bounded.select(f"id, created_at, {key.column}", rows, arguments)
    condition = query.condition.sql(arguments)
    record = RECORD if "records" in arguments.reads else ""
    source = (
        " CROSS JOIN LATERAL (SELECT s.record_id, s.created_at, s.schema_id, s.state_id,"  # noqa: S608
        f" {TERMS} FROM search_records s WHERE s.workspace_id = $1"
        f" AND s.created_at = n.created_at AND s.record_id = n.id OFFSET 0) AS s{record}"
        if condition != "true"
        else ""
    )
    order = ", ".join(f"n.{each.order}" for each in bounded.order)
    found = (
        f"SELECT n.id, n.created_at, n.{key.column} FROM ({inner}) AS n{source}"  # noqa: S608
        f" WHERE {condition} ORDER BY {order} LIMIT {needed}"
    )
    return found, in_vain("(SELECT count(*) FROM firsts)", needed, inner)


def _has_number(query: Query, target: Searched) -> Sql:
    """The condition that a row `s` has and shows a number."""

    def has_number(arguments: Arguments) -> str:
        visible = seen(target.sight, arguments, "s.")
        return f"{visible} AND {first_number(query.number_key(target), arguments)} IS NOT NULL"

    return has_number


def without_value(
    place: Place,
    query: Query,
    lacking: Source,
    needed: int,
    arguments: Arguments,
    *,
    has_value: Sql,
    found: str = "(SELECT count(*) FROM firsts)",
) -> tuple[str, str]:
    """A SELECT of the records without a value, and how many rows were looked at in vain.

    Nothing is read unless those with a value, of which so many were `found`, are too few.
    `has_value` is the condition that a row `s` has and shows one.
    """
    after = place.after
    creation = replace(
        _bounded(place),
        order=place.order[1:],
        after=after[1:] if after is not None and after[0] is None else None,
    )
    arguments.reads.clear()
    condition = query.condition.sql(arguments)
    other = has_value(arguments)
    short = f"{found} < {needed}"
    rows = f"({lacking.rows(arguments, with_terms=True)}) AS s WHERE {short}"
    walked = "0"
    if isinstance(lacking, Everything):
        inner = creation.select(
            f"record_id, created_at, schema_id, state_id, {_COLUMNS}",
            f"(SELECT s.record_id, s.record_id AS id, s.created_at, s.schema_id, s.state_id,"  # noqa: S608
            f" {TERMS} FROM search_records s WHERE s.workspace_id = $1 AND {short}) AS s"
            " WHERE true",
            arguments,
        )
        both = f"{found} + (SELECT count(*) FROM lasts)"  # noqa: S608
        walked = in_vain(both, needed, inner)
    else:
        position = ""
        if creation.after is not None:
            at, last = creation.after
            position = (
                f" AND (s.created_at, s.record_id) > ({arguments.name(at, 'timestamptz')},"
                f" {arguments.name(last, 'text')})"
            )
        inner = f"SELECT s.* FROM {rows}{position}"  # noqa: S608
    record = RECORD if "records" in arguments.reads else ""
    select = (
        f"SELECT s.record_id, s.created_at, NULL::float8 FROM ({inner}) AS s{record}"  # noqa: S608
        f" WHERE {condition} AND NOT ({other})"
        f" ORDER BY s.created_at, s.record_id LIMIT {needed}"
    )
    return select, walked


def _bounded(place: Place) -> Place:
    return replace(place, offset=0, limit=WALKED_MAX - 1)


def page_of(place: Place) -> Place:
    """The page among rows that all come after the position of the cursor."""
    return place if place.after is None else replace(place, after=None, offset=0)


def in_vain(found: str, needed: int, inner: str) -> str:
    """How many rows a walk has looked at, if `found` is less than was needed."""
    return (
        f"CASE WHEN {found} < {needed}"  # noqa: S608
        f" THEN (SELECT count(*) FROM ({inner}) AS looked_at) ELSE 0 END"
    )


def _raw(target: Searched, value: Any) -> float:
    """A position of a cursor as the index has it."""
    found = number_of(target.type, value if not isinstance(value, float) else Decimal(value))
    assert found is not None
    return found
