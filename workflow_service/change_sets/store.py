"""The SQL of change sets, their messages and annotations, and how many have each status."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from shared.database import Conn, Record, mapping_constraints
from shared.database.paging import Key, Order, Part, Place, Total
from shared.errors import Conflict, NotFound
from workflow_service.change_sets.model import ChangeSet, Status

IN_ORDER: Final[Order] = (Key("created_at", datetime), Key("id", str))
_COLUMNS: Final = """
    workspace_id, id, title, description, status, source, operations, attempt, version, created_at,
    updated_at, created_by, submitted_at, applied_at, applied_by
"""

_ON_RECORD: Final = """
    id = ANY(ARRAY(SELECT change_set_id FROM change_set_operations
                    WHERE workspace_id = $1 AND entity_id = {argument}))
"""
"""Read first: a record has few change sets, whatever the workspace has."""


def parsed(row: Record) -> ChangeSet:
    """The change set in a row of `_COLUMNS`."""
    fields = {name: row[name] for name in ChangeSet.__dataclass_fields__}
    return ChangeSet(**{**fields, "status": Status(row["status"])})


async def get(
    conn: Conn, workspace_id: str, change_set_id: str, *, lock: bool = False
) -> ChangeSet:
    """The change set, or `NotFound`; locked until the end of the transaction, if asked for."""
    row = await conn.fetchrow(
        f"""
        SELECT {_COLUMNS} FROM change_sets
         WHERE workspace_id = $1 AND id = $2
        {"FOR UPDATE" if lock else ""}
        """,  # noqa: S608 - constants
        workspace_id,
        change_set_id,
    )
    if row is None:
        raise NotFound.of("Change set", change_set_id)
    return parsed(row)


async def page(
    conn: Conn,
    workspace_id: str,
    *,
    status: str | None,
    source_type: str | None,
    entity_id: str | None,
    place: Place,
) -> tuple[Part[Record], Total | None]:
    """Rows for `parsed`, oldest first, and how many there are in all."""
    arguments: list[Any] = [workspace_id]
    where = ["workspace_id = $1"]
    for column, value in (("status", status), ("source_type", source_type)):
        if value is not None:
            arguments.append(value)
            where.append(f"{column} = ${len(arguments)}")
    if entity_id is not None:
        arguments.append(entity_id)
        where.append(_ON_RECORD.format(argument=f"${len(arguments)}"))
    source = f"change_sets WHERE {' AND '.join(where)}"
    selected = place.select(_COLUMNS, source, arguments)
    rows = await conn.fetch(
        f"""
        SELECT wanted.*, head.counted
          FROM ({place.count(source)}) head (counted)
          LEFT JOIN ({selected}) wanted ON true
         ORDER BY wanted.created_at, wanted.id
        """,  # noqa: S608 - conditions are the fragments above, values are arguments
        *arguments,
    )
    part = place.part([row for row in rows if row["id"] is not None])
    return part, await place.total(conn, part, rows[0]["counted"], source, arguments)


async def insert(conn: Conn, change_set: ChangeSet) -> None:
    """Store a new change set; `Conflict` for a taken id."""
    with mapping_constraints(
        {"change_sets_id_taken": lambda: Conflict.taken("Change set", change_set.id)}
    ):
        await conn.execute(
            """
            INSERT INTO change_sets
                   (workspace_id, id, title, description, status, source_type, source, operations,
                    version, created_at, updated_at, created_by)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $11)
            """,
            change_set.workspace_id,
            change_set.id,
            change_set.title,
            change_set.description,
            change_set.status,
            change_set.source["type"],
            change_set.source,
            change_set.operations,
            change_set.version,
            change_set.created_at,
            change_set.created_by,
        )
    await _count(conn, change_set.workspace_id, {change_set.status: 1})


async def update(conn: Conn, old: ChangeSet, new: ChangeSet) -> None:
    """Store what has changed of a change set that this transaction has locked."""
    await conn.execute(
        """
        UPDATE change_sets
           SET title = $3, description = $4, status = $5, source_type = $6, source = $7,
               operations = $8, attempt = $9, version = $10, updated_at = $11, submitted_at = $12,
               applied_at = $13, applied_by = $14
         WHERE workspace_id = $1 AND id = $2
        """,
        new.workspace_id,
        new.id,
        new.title,
        new.description,
        new.status,
        new.source["type"],
        new.source,
        new.operations,
        new.attempt,
        new.version,
        new.updated_at,
        new.submitted_at,
        new.applied_at,
        new.applied_by,
    )
    if new.status is not old.status:
        await _count(conn, new.workspace_id, {old.status: -1, new.status: 1})


async def delete(conn: Conn, change_set: ChangeSet) -> None:
    """Delete a change set, and with it all that belongs to it."""
    await conn.execute(
        "DELETE FROM change_sets WHERE workspace_id = $1 AND id = $2",
        change_set.workspace_id,
        change_set.id,
    )
    await _count(conn, change_set.workspace_id, {change_set.status: -1})


async def _count(conn: Conn, workspace_id: str, more: dict[Status, int]) -> None:
    """In one order, so that no two transactions wait for each other; at their end, to be short."""
    statuses = sorted(more)
    await conn.execute(
        """
        INSERT INTO change_set_counts AS known (workspace_id, status, number)
        SELECT $1, n.status, n.number
          FROM unnest($2::text[], $3::bigint[]) AS n (status, number)
            ON CONFLICT (workspace_id, status)
            DO UPDATE SET number = known.number + excluded.number
        """,
        workspace_id,
        statuses,
        [more[status] for status in statuses],
    )


async def counts(conn: Conn, workspace_id: str) -> dict[str, int]:
    """Status -> how many change sets have it."""
    rows = await conn.fetch(
        "SELECT status, number FROM change_set_counts WHERE workspace_id = $1", workspace_id
    )
    return {row["status"]: row["number"] for row in rows}


async def wait_idle(conn: Conn, seconds: float) -> None:
    """Let this transaction be open for as long as another service works."""
    milliseconds = f"{seconds * 1000:.0f}ms"
    await conn.fetchval(
        "SELECT set_config('idle_in_transaction_session_timeout', $1, true)", milliseconds
    )
