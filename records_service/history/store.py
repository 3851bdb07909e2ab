"""Reads the history; the statements that change records write it (records/store.py)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

import orjson

from records_service.history.model import Entry
from shared.database import Conn, Record, paging
from shared.database.paging import Key, Order, Part, Place, Total

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
) -> tuple[Part[Record], Total | None]:
    """Rows for `entry`, newest first, and how many there are in all.

    The history of one record is in the order of its versions, that of a workspace in the order of
    times, which no record's go back in. Entries without a version are from before versions were
    stored: they come first, in the order of their ids.
    `with_variant` adds the entries of a variant with this id. `latest_since` leaves out earlier
    records that had the id of this one, which was created then, `visible` updates that changed none
    of these attributes. Raises `ValidationError` for a page of too many bytes whose limit was asked
    for; it is shorter where the limit is the default.
    """
    where = ["workspace_id = $1"]
    arguments: list[Any] = [workspace_id]
    if action is not None:
        where.append(_OF_ACTION[action])
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
        where.append(
            "(action <> 'update' OR EXISTS (SELECT FROM json_array_elements(changes) AS change"
            f" WHERE change ->> 'attributeId' = ANY(${len(arguments)}::text[])))"
        )
    source = f"audit WHERE {' AND '.join(where)}"
    # The changes of the entries before the page are not looked at.
    columns = place.columns if place.order is OF_A_WORKSPACE else f"{place.columns}, at"
    wanted = place.select(columns, source, arguments)
    arguments.append(paging.PAGE_BYTES_MAX)
    bytes_max = f"${len(arguments)}::bigint"
    rows = await conn.fetch(
        f"""
        WITH wanted AS MATERIALIZED (
            {wanted}
        ), entry AS (
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
               head.counted
          FROM ({place.count(source)}) head (counted)
          LEFT JOIN entry e ON true
         ORDER BY {place.order_by}
        """,  # noqa: S608 - conditions are the fixed fragments above, values are arguments
        *arguments,
    )
    found = [row for row in rows if row["id"] is not None]
    part = place.part(found, [row["changes"] for row in found])
    return part, await place.total(conn, part, rows[0]["counted"], source, arguments)


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
