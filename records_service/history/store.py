"""Reads the history; the statements that change records write it (records/store.py)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

from records_service.history.model import Entry
from shared.database import Conn, Record, paging
from shared.database.paging import Key, Order, Part, Place, Total, estimated
from shared.errors import ValidationError

OF_A_RECORD: Final[Order] = (
    Key("version", int, descending=True, nullable=True),
    Key("id", int, descending=True),
)
OF_A_WORKSPACE: Final[Order] = (Key("at", datetime, descending=True), *OF_A_RECORD)
_OF_ACTION: Final[Mapping[str, str]] = {
    "create": "action = 'create'",
    "update": "action = 'update'",
    "delete": "action = 'delete'",
    "transition": "action = 'transition'",
}
"""As constants, because the index of rare actions has only some of them."""
_RARE: Final = frozenset({"delete", "transition"})
"""The actions that an index knows."""
WALKED_MAX: Final = 10_000
"""Entries that are looked at for one page, of which no index knows what is asked for."""
_AHEAD: Final = 4
"""How many times as many entries as a page has are looked at first: mostly that is enough."""
_OF_THIS_LIFE = """
    CASE WHEN version IS NULL
         THEN id > coalesce((SELECT max(id) FROM audit
                              WHERE workspace_id = $1 AND record_id = {record_id}
                                AND variant_id IS NULL AND action = 'delete'), 0)
         ELSE version > coalesce((SELECT last_version FROM record_lives
                                   WHERE workspace_id = $1 AND record_id = {record_id}), 0) END"""
"""Later than the last deletion of a record with this id, which is told by its version."""


async def page(
    conn: Conn,
    workspace_id: str,
    *,
    record_id: str | None = None,
    with_variant: bool = False,
    latest_since: datetime | None = None,
    visible: Collection[str] | None = None,
    user_id: str | None = None,
    action: str | None = None,
    place: Place,
) -> tuple[Part[Record], Total | None, Sequence[Any]]:
    """Rows for `entry`, newest first, how many there are in all, and where the next page begins.

    The history of one record is in the order of its versions, that of a workspace in the order of
    times, which no record's go back in. Entries without a version are from before versions were
    stored: they come first, in the order of their ids.
    `with_variant` adds the entries of a variant with this id. `latest_since` leaves out earlier
    records that had the id of this one, which was created then, `visible` updates that changed none
    of these attributes. A page has fewer entries than asked for, and leads on, where `WALKED_MAX`
    were looked at. Raises `ValidationError` for a page of too many bytes whose limit was asked
    for; it is shorter where the limit is the default.
    """
    where = ["workspace_id = $1"]
    arguments: list[Any] = [workspace_id]
    filters: list[str] = []
    if action is not None:
        (where if action in _RARE else filters).append(_OF_ACTION[action])
    for column, value in (("record_id", record_id), ("user_id", user_id)):
        if value is not None:
            arguments.append(value)
            where.append(f"{column} = ${len(arguments)}")
            if column == "record_id" and with_variant:
                where[-1] = f"({where[-1]} OR variant_id = ${len(arguments)})"
    if latest_since is not None:
        arguments.append(record_id)
        where.append(_OF_THIS_LIFE.format(record_id=f"${len(arguments)}"))
        arguments.append(latest_since)
        where.append(f"at >= (SELECT ${len(arguments)}::timestamptz)")  # Leads to the partitions.
    if visible is not None:
        arguments.append(list(visible))
        filters.append(
            "(action <> 'update' OR EXISTS (SELECT FROM json_array_elements(changes) AS change"
            f" WHERE change ->> 'attributeId' = ANY(${len(arguments)}::text[])))"
        )
    source = f"audit WHERE {' AND '.join(where)}"
    # The changes of the entries before the page are not looked at.
    columns = place.columns if place.order is OF_A_WORKSPACE else f"{place.columns}, at"
    if not filters:
        rows = await _read(conn, place, _all_of(place, columns, source, arguments))
        found = [row for row in rows if row["id"] is not None]
        part = place.part(found, [row["changes"] for row in found])
        total = await place.total(conn, part, rows[0]["counted"], source, arguments)
        return part, total, position(part.rows[-1], place.order) if part.rows else ()
    meets = " AND ".join(filters)
    return await _page_of_walk(conn, place, columns, source, meets, arguments)


async def _page_of_walk(
    conn: Conn, place: Place, columns: str, source: str, meets: str, arguments: Sequence[Any]
) -> tuple[Part[Record], Total | None, Sequence[Any]]:
    """As `page`, of entries that meet a condition of which no index knows."""
    near = min(_AHEAD * (place.offset + place.rows), WALKED_MAX)
    for width in (near, WALKED_MAX):
        lead = _walked(place, columns, source, meets, arguments, width)
        rows = await _read(conn, place, lead)
        found = [row for row in rows if row["id"] is not None]
        if len(found) > place.limit or rows[0]["stop_id"] is None:
            break
    part = place.part(found, [row["changes"] for row in found])
    last = position(part.rows[-1], place.order) if part.rows else []
    if rows[0]["stop_id"] is not None and not part.has_more:
        if place.offset and place.after is None and not found:
            raise ValidationError.at(
                "/offset",
                f"Field 'offset' leads beyond the first {WALKED_MAX} entries, of which those that"
                f" are asked for are counted: expected the 'cursor' of a page, got {place.offset}",
            )
        part = Part(part.rows, part.limit, has_more=True)
        last = [rows[0][f"stop_{key.column}"] for key in place.order]
    return part, await _total(conn, place, part, source, meets, arguments), last


async def _total(
    conn: Conn, place: Place, part: Part[Any], source: str, meets: str, arguments: Sequence[Any]
) -> Total | None:
    """How many entries meet a condition of which no index knows: an estimate among many others."""
    if not place.counts:
        return None
    here = place.offset + len(part.rows)
    if place.after is None and part.rows and not part.has_more:
        return Total(here)
    counted: int | None = await conn.fetchval(
        f"""
        SELECT CASE WHEN count(*) <= {paging.COUNTED_MAX} THEN count(*) FILTER (WHERE {meets}) END
          FROM (SELECT action, changes FROM {source} LIMIT {paging.COUNTED_MAX + 1}) AS first
        """,  # noqa: S608 - constants
        *arguments,
    )
    if counted is not None:
        return Total(counted)
    expected = await estimated(conn, f"{source} AND {meets}", arguments)
    return Total(max(here + part.has_more, expected), is_estimate=True)


class _Lead(NamedTuple):
    """What leads to the entries of a page."""

    parts: str
    """Parts of a statement: `wanted` are the entries, `stop` is the last that was looked at, if a
    walk ended before the entries did."""
    total: str
    """A SELECT of how many there are in all, None where it does not tell."""
    arguments: Sequence[Any]


async def _read(conn: Conn, place: Place, lead: _Lead) -> Sequence[Record]:
    """The entries, at least one row; `stop` and the total are in each."""
    bytes_max = f"${len(lead.arguments) + 1}::bigint"
    return await conn.fetch(
        f"""
        WITH {lead.parts}, entry AS (
            SELECT a.*
              FROM wanted w
             CROSS JOIN LATERAL (
                   SELECT id, record_id, variant_id, version, action, user_id, at, changes,
                          from_state_id, to_state_id, comment, change_set_id
                     FROM audit
                    -- The time leads to the partition.
                    WHERE workspace_id = $1 AND id = w.id AND at = w.at
                    LIMIT 1  -- One by one, as in records/store.py.
             ) a
        )
        SELECT e.id, e.record_id, e.variant_id, e.version, e.action, e.user_id, e.at,
               -- The first is always there, as in records/store.py.
               CASE WHEN sum(octet_length(e.changes::text)) OVER (ORDER BY {place.order_by})
                         <= {bytes_max}
                      OR sum(octet_length(e.changes::text)) OVER (ORDER BY {place.order_by})
                         = octet_length(e.changes::text)
                    THEN e.changes::text END AS changes,
               e.from_state_id, e.to_state_id, e.comment, e.change_set_id,
               head.counted, stop.*
          FROM ({lead.total}) head (counted)
          LEFT JOIN stop ON true
          LEFT JOIN entry e ON true
         ORDER BY {place.order_by}
        """,  # noqa: S608 - conditions are the fixed fragments above, values are arguments
        *lead.arguments,
        paging.PAGE_BYTES_MAX,
    )


def _all_of(place: Place, columns: str, source: str, arguments: Sequence[Any]) -> _Lead:
    """Every entry is one of the list: an index leads to those of the page."""
    given = list(arguments)
    wanted = place.select(columns, source, given)
    return _Lead(
        f"wanted AS MATERIALIZED ({wanted}), stop AS (SELECT NULL AS stop_id WHERE false)",
        place.count(source),
        given,
    )


def _walked(
    place: Place, columns: str, source: str, meets: str, arguments: Sequence[Any], width: int
) -> _Lead:
    """No index knows which entries meet this: so many are looked at, and the page ends there."""
    given = list(arguments)
    looked_at = f"{columns}, action, changes"
    walked = replace(place, limit=width - 1, offset=0).select(looked_at, source, given)
    offset = 0 if place.after is not None else place.offset
    stop = ", ".join(f"{key.column} AS stop_{key.column}" for key in place.order)
    parts = f"""
        walked AS MATERIALIZED ({walked}),
        wanted AS MATERIALIZED (
            SELECT {columns} FROM walked WHERE {meets}
             ORDER BY {place.order_by} OFFSET {offset} LIMIT {place.rows}
        ), stop AS (
            SELECT {stop} FROM walked ORDER BY {place.order_by} OFFSET {width - 1} LIMIT 1
        )"""  # noqa: S608 - constants and numbers
    return _Lead(parts, "SELECT NULL::bigint", given)


async def is_variant(conn: Conn, workspace_id: str, entity_id: str) -> bool:
    """Whether a variant has, or had, this id."""
    found: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM audit WHERE workspace_id = $1 AND variant_id = $2)",
        workspace_id,
        entity_id,
    )
    return found


def position(row: Record, order: Order) -> list[Any]:
    """Where this row is in the order."""
    return [row[key.column] for key in order]


def entry(row: Record) -> Entry:
    """What a row says; its changes are text."""
    fields = {name: row[name] for name in Entry.__dataclass_fields__}
    return Entry(**{**fields, "changes": orjson.loads(row["changes"])})
