"""SQL of a page of the options of a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from records_service.option_lists.filters import OptionValueFilter
from records_service.option_lists.grams import grams_sought
from records_service.option_lists.value_store import VALUE, value_in
from shared.database import Conn, Record
from shared.database.paging import COUNTED_MAX, Key, Order, Part, Place, Total, estimated

IN_ORDER: Final[Order] = (Key("sort_order", float), Key("label", str), Key("id", str))
WALKED_MAX: Final = 20_000
"""How many options are read in order where very many have what is asked for."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """`condition` is on the columns of `option_values`; `arguments` begin with the list."""

    condition: str
    arguments: Sequence[Any]
    grams: Sequence[Sequence[int]]
    """For each bucket, the parts of the text in the names; none without such a text."""


async def page(
    conn: Conn, workspace_id: str, list_id: str, filter_: OptionValueFilter, place: Place
) -> tuple[Part[Record], Total | None]:
    """Rows for `shown` in the order of the list, and how many there are in all.

    Up to `COUNTED_MAX` options with a text in their names are found by its parts and sorted. More
    than that are read in order until the page is full, unless they are all far behind.
    """
    asked = _asked(workspace_id, list_id, filter_)
    if not asked.grams:
        source, arguments = f"option_values WHERE {asked.condition}", list(asked.arguments)
        wanted = place.select(VALUE, source, arguments)
        rows, counted = await _read(
            conn, place, f"WITH wanted AS MATERIALIZED ({wanted})", arguments, place.count(source)
        )
        part = place.part(rows)
        return part, await place.total(conn, part, counted, source, asked.arguments)
    arguments = list(asked.arguments)
    found = _by_grams(asked, arguments)
    wanted = place.select(VALUE, "found WHERE true", arguments)
    with_found = (
        f"WITH found AS MATERIALIZED ({found} LIMIT {COUNTED_MAX + 1}), wanted AS ({wanted})"
    )
    rows, counted = await _read(conn, place, with_found, arguments, "SELECT count(*) FROM found")
    if counted is None or counted > COUNTED_MAX:
        rows = await _of_very_many(conn, asked, place)
    part = place.part(rows)
    if not place.counts:
        return part, None
    if counted is not None and not place.is_exact(part, counted):
        estimate = await estimated(conn, f"option_values WHERE {asked.condition}", asked.arguments)
        return part, place.total_of(part, counted, estimate)
    return part, place.total_of(part, counted)


def shown(row: Record) -> dict[str, Any]:
    """The public object in a row of `page`."""
    return value_in(row).to_public()


def position(row: Record) -> list[Any]:
    """Where this row is in the order of the list."""
    return [row[key.column] for key in IN_ORDER]


def _asked(workspace_id: str, list_id: str, filter_: OptionValueFilter) -> _Asked:
    condition = "workspace_id = $1 AND list_id = $2"
    arguments: list[Any] = [workspace_id, list_id]
    if filter_.parent_id == "":
        condition += " AND parent_id IS NULL"
    elif filter_.parent_id is not None:
        arguments.append(filter_.parent_id)
        condition += f" AND parent_id = ${len(arguments)}"
    if filter_.external_key is not None:
        arguments.append(filter_.external_key)
        condition += f" AND external_key = ${len(arguments)}"
    if filter_.query is None:
        return _Asked(condition, arguments, ())
    arguments.append(filter_.query)
    text = f"lower(${len(arguments)})"
    condition += f""" AND (
        position({text} IN lower(label)) > 0 OR position({text} IN lower(alias)) > 0
        OR position({text} IN lower(external_key)) > 0
        OR EXISTS (SELECT FROM jsonb_each_text(labels) AS l (language, label)
                    WHERE position({text} IN lower(l.label)) > 0))"""
    return _Asked(condition, arguments, grams_sought(workspace_id, list_id, filter_.query))


def _by_grams(asked: _Asked, arguments: list[Any]) -> str:
    """A SELECT of what has the parts of the text; its arguments are appended.

    A bucket is read when those before it had too few. Options without parts are none of them yet.
    """
    arguments.append([f"{{{','.join(map(str, each))}}}" for each in asked.grams])
    return f"""
        SELECT each.* FROM unnest(${len(arguments)}::text[]) AS bucket (grams)
         CROSS JOIN LATERAL (
               SELECT {VALUE} FROM option_values
                WHERE {asked.condition} AND grams @> bucket.grams::integer[]) AS each
         UNION ALL
        SELECT {VALUE} FROM option_values WHERE {asked.condition} AND grams IS NULL"""  # noqa: S608


async def _of_very_many(conn: Conn, asked: _Asked, place: Place) -> list[Record]:
    """The rows of a page of what very many options have."""
    arguments = list(asked.arguments)
    begin = ""
    if place.after is not None:
        arguments += place.after
        names = ", ".join(f"${len(arguments) - back}" for back in (2, 1, 0))
        begin = f" AND ({place.columns}) > ({names})"
    first = f"""(
        SELECT * FROM option_values WHERE workspace_id = $1 AND list_id = $2{begin}
         ORDER BY {place.order_by} LIMIT {WALKED_MAX}) AS first WHERE {asked.condition}"""  # noqa: S608
    rows: list[Record] = await conn.fetch(place.select(VALUE, first, arguments), *arguments)
    if len(rows) < place.rows:
        arguments = list(asked.arguments)
        found = _by_grams(asked, arguments)
        wanted = place.select(VALUE, "found WHERE true", arguments)
        rows = await conn.fetch(f"WITH found AS ({found}) {wanted}", *arguments)
    return rows


async def _read(
    conn: Conn, place: Place, tables: str, arguments: Sequence[Any], count: str
) -> tuple[list[Record], int | None]:
    """The rows of `wanted`, one of these `tables`, and what is counted beside them."""
    found = await conn.fetch(
        f"""
        {tables}
        SELECT w.*, head.counted
          FROM ({count}) AS head (counted)
          LEFT JOIN wanted w ON true
         ORDER BY {place.order_by}
        """,  # noqa: S608 - constants, values are arguments
        *arguments,
    )
    return [row for row in found if row["id"] is not None], found[0]["counted"]
