"""The SQL of the operations of change sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from shared.database import Conn, Record, to_json
from shared.database.paging import Key, Order, Part, Place, Total
from shared.errors import NotFound
from shared.process.offload import in_thread
from workflow_service.proposals.model import Decision, Operation, StoredChange

IN_ORDER: Final[Order] = (Key("place", int), Key("id", str))
_COLUMNS: Final = """
    id, place, type, status, schema_id, entity_id, variant_id, parent_id, changes, made, ratings
"""
_OPERATIONS: Final = f"""
    SELECT {_COLUMNS} FROM change_set_operations WHERE workspace_id = $1 AND change_set_id = $2
"""  # noqa: S608 - constants


async def _parsed(rows: Sequence[Record]) -> list[Operation]:
    """Beside the event loop: 20 MiB of small values take half a second."""
    return await in_thread(lambda: [parsed(row) for row in rows])


def parsed(row: Record) -> Operation:
    """The operation in a row of `_COLUMNS`."""
    fields = {name: row[name] for name in Operation.__dataclass_fields__}
    changes = [StoredChange.read(one) for one in row["changes"]]
    return Operation(**{**fields, "changes": changes})


async def all_of(
    conn: Conn, workspace_id: str, change_set_id: str, status: Decision | None = None
) -> list[Operation]:
    """All operations in their order, or those with this status."""
    rows = await conn.fetch(
        f"""
        {_OPERATIONS}
           AND ($3::text IS NULL OR status = $3)
         ORDER BY place
        """,
        workspace_id,
        change_set_id,
        status,
    )
    return await _parsed(rows)


async def first_of(
    conn: Conn, workspace_id: str, change_set_id: str, limit: int
) -> list[Operation]:
    """The first operations, in their order."""
    rows = await conn.fetch(
        f"""
        {_OPERATIONS}
         ORDER BY place
         LIMIT $3
        """,
        workspace_id,
        change_set_id,
        limit,
    )
    return [parsed(row) for row in rows]


async def before(
    conn: Conn, workspace_id: str, change_set_id: str, operations: Sequence[Operation]
) -> list[Operation]:
    """The operations on the same records before the last of these that are to come, in order."""
    entity_ids = {one.entity_id for one in operations if one.entity_id is not None}
    if not entity_ids:
        return []
    rows = await conn.fetch(
        f"""
        {_OPERATIONS}
           AND entity_id = ANY($3::text[]) AND place < $4 AND status IN ('pending', 'approved')
         ORDER BY place
        """,
        workspace_id,
        change_set_id,
        sorted(entity_ids),
        max(one.place for one in operations),
    )
    return await _parsed(rows)


async def some_of(
    conn: Conn, workspace_id: str, change_set_id: str, ids: Sequence[str]
) -> list[Operation]:
    """Those of these operations that exist, in their order."""
    rows = await conn.fetch(
        f"""
        SELECT {_COLUMNS} FROM change_set_operations
         WHERE workspace_id = $1 AND change_set_id = $2 AND id = ANY($3::text[])
         ORDER BY place
        """,  # noqa: S608 - constants
        workspace_id,
        change_set_id,
        list(ids),
    )
    return [parsed(row) for row in rows]


async def judged_of(conn: Conn, workspace_id: str, change_set_id: str) -> list[Operation]:
    """The operations that were rejected or rated, in their order."""
    rows = await conn.fetch(
        f"""
        {_OPERATIONS}
           AND (status = 'rejected' OR ratings <> '{{}}')
         ORDER BY place
        """,
        workspace_id,
        change_set_id,
    )
    return [parsed(row) for row in rows]


async def one_of(conn: Conn, workspace_id: str, change_set_id: str, operation_id: str) -> Operation:
    """The operation, or `NotFound`."""
    row = await conn.fetchrow(
        f"""
        SELECT {_COLUMNS} FROM change_set_operations
         WHERE workspace_id = $1 AND change_set_id = $2 AND id = $3
        """,  # noqa: S608 - constants
        workspace_id,
        change_set_id,
        operation_id,
    )
    if row is None:
        raise NotFound.of("Operation", operation_id)
    return parsed(row)


async def page(
    conn: Conn, workspace_id: str, change_set_id: str, status: str | None, place: Place
) -> tuple[Part[Record], Total | None]:
    """Rows for `parsed`, in their order, and how many there are in all."""
    arguments: list[Any] = [workspace_id, change_set_id]
    source = "change_set_operations WHERE workspace_id = $1 AND change_set_id = $2"
    if status is not None:
        arguments.append(status)
        source += " AND status = $3"
    selected = place.select(_COLUMNS, source, arguments)
    rows = await conn.fetch(
        f"""
        SELECT wanted.*, head.counted
          FROM ({place.count(source)}) head (counted)
          LEFT JOIN ({selected}) wanted ON true
         ORDER BY wanted.place, wanted.id
        """,  # noqa: S608 - constants
        *arguments,
    )
    part = place.part([row for row in rows if row["id"] is not None])
    return part, await place.total(conn, part, rows[0]["counted"], source, arguments)


async def replace_all(
    conn: Conn, workspace_id: str, change_set_id: str, operations: Sequence[Operation]
) -> None:
    """These are the operations now, in their order; one with a known id keeps its ratings."""
    await conn.execute(
        """
        DELETE FROM change_set_operations
         WHERE workspace_id = $1 AND change_set_id = $2 AND id <> ALL($3::text[])
        """,
        workspace_id,
        change_set_id,
        [one.id for one in operations],
    )
    await conn.execute(
        """
        INSERT INTO change_set_operations AS known
               (workspace_id, change_set_id, id, place, type, status, schema_id, entity_id,
                variant_id, parent_id, changes, made)
        SELECT $1, $2, n.id, n.place, n.type, 'pending', n.schema_id, n.entity_id, n.variant_id,
               n.parent_id, n.changes, n.made
          FROM unnest($3::text[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::text[],
                      $9::text[], $10::jsonb[], $11::text[])
            AS n (id, place, type, schema_id, entity_id, variant_id, parent_id, changes, made)
            ON CONFLICT (workspace_id, change_set_id, id)
            DO UPDATE SET place = excluded.place, type = excluded.type, status = excluded.status,
                          schema_id = excluded.schema_id, entity_id = excluded.entity_id,
                          variant_id = excluded.variant_id, parent_id = excluded.parent_id,
                          changes = excluded.changes, made = excluded.made
        """,
        workspace_id,
        change_set_id,
        [one.id for one in operations],
        [one.place for one in operations],
        [one.type for one in operations],
        [one.schema_id for one in operations],
        [one.entity_id for one in operations],
        [one.variant_id for one in operations],
        [one.parent_id for one in operations],
        [to_json([change.document() for change in one.changes]) for one in operations],
        [one.made for one in operations],
    )


async def decide(
    conn: Conn,
    workspace_id: str,
    change_set_id: str,
    decision: Decision,
    *,
    operation_id: str | None = None,
    of: Decision | None = None,
) -> None:
    """Note a decision about one operation, or about all; `of` leaves those of another status."""
    await conn.execute(
        """
        UPDATE change_set_operations SET status = $3
         WHERE workspace_id = $1 AND change_set_id = $2
           AND ($4::text IS NULL OR id = $4) AND ($5::text IS NULL OR status = $5)
        """,
        workspace_id,
        change_set_id,
        decision,
        operation_id,
        of,
    )


async def counts(conn: Conn, workspace_id: str, change_set_id: str) -> dict[str, int]:
    """Status -> how many operations have it."""
    rows = await conn.fetch(
        """
        SELECT status, count(*) AS number FROM change_set_operations
         WHERE workspace_id = $1 AND change_set_id = $2
         GROUP BY status
        """,
        workspace_id,
        change_set_id,
    )
    return {row["status"]: row["number"] for row in rows}


async def rate(
    conn: Conn,
    workspace_id: str,
    change_set_id: str,
    operation_id: str,
    ratings: Mapping[str, str],
) -> None:
    """Add these ratings, attribute id -> rating, in the place of earlier ones."""
    await conn.execute(
        """
        UPDATE change_set_operations SET ratings = ratings || $4
         WHERE workspace_id = $1 AND change_set_id = $2 AND id = $3
        """,
        workspace_id,
        change_set_id,
        operation_id,
        dict(ratings),
    )


async def note_applied(
    conn: Conn, workspace_id: str, change_set_id: str, results: Sequence[Mapping[str, Any]]
) -> None:
    """Note what was applied, and which records and variants came of it."""
    await conn.execute(
        """
        UPDATE change_set_operations o
           SET status = 'applied', entity_id = done.entity_id, variant_id = done.variant_id
          FROM unnest($3::text[], $4::text[], $5::text[]) AS done (id, entity_id, variant_id)
         WHERE o.workspace_id = $1 AND o.change_set_id = $2 AND o.id = done.id
        """,
        workspace_id,
        change_set_id,
        [one["id"] for one in results],
        [one["entityId"] for one in results],
        [one["variantId"] for one in results],
    )
