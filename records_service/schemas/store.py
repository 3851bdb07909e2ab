"""SQL: what uses a schema, and moving its records when its workflow changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from records_service.model_objects import store as parts
from records_service.schemas.model import SCHEMA
from shared.database import Conn
from shared.errors import Conflict


@dataclass(frozen=True, slots=True)
class Moved:
    """A record that was taken to another state."""

    id: str
    version: int
    from_state_id: str | None


async def check_free(conn: Conn, workspace_id: str, schema_id: str, alias: str) -> None:
    """Raise `Conflict` when a schema has this id or alias; who inserts one is told so anyway."""
    row = await conn.fetchrow(
        """
        SELECT bool_or(id = $2) AS id_taken, bool_or(alias = $3) AS alias_taken FROM schemas
         WHERE workspace_id = $1 AND (id = $2 OR alias = $3)
        """,
        workspace_id,
        schema_id,
        alias,
    )
    assert row is not None
    if row["id_taken"]:
        raise Conflict.taken(SCHEMA.title, schema_id)
    if row["alias_taken"]:
        raise parts.alias_taken(SCHEMA, alias)


async def has_records(conn: Conn, workspace_id: str, schema_id: str) -> bool:
    """Whether a record has this schema."""
    held: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM records WHERE workspace_id = $1 AND schema_id = $2)",
        workspace_id,
        schema_id,
    )
    return held


async def required_under(conn: Conn, workspace_id: str, workflow_id: str) -> set[str]:
    """The ids of the required attributes of the schemas with this workflow."""
    rows = await conn.fetch(
        """
        SELECT id FROM attributes
         WHERE workspace_id = $1
           AND body->'validation'->'required' = 'true'
           AND id IN (SELECT jsonb_path_query(s.body, '$.attributeGroups[*].attributeIds[*]')
                             #>> '{}'
                        FROM schemas s
                       WHERE s.workspace_id = $1 AND s.body->>'workflowId' = $2)
        """,
        workspace_id,
        workflow_id,
    )
    return {row["id"] for row in rows}


async def is_target(conn: Conn, workspace_id: str, schema_id: str) -> bool:
    """Whether a relation points to this schema."""
    used: bool = await conn.fetchval(
        """
        SELECT EXISTS (SELECT FROM attributes
                        WHERE workspace_id = $1 AND body->>'targetSchemaId' = $2)
        """,
        workspace_id,
        schema_id,
    )
    return used


async def move_records(
    conn: Conn,
    workspace_id: str,
    schema_id: str,
    user_id: str,
    known_state_ids: Sequence[str],
    to_state_id: str | None,
) -> list[Moved]:
    """Take every record whose state is not among the known ones to another, with its history."""
    rows = await conn.fetch(
        """
        WITH lost AS (
            SELECT id, state_id
              FROM records
             WHERE workspace_id = $1 AND schema_id = $2
               AND (state_id IS NULL OR state_id <> ALL($4::text[]))
               AND state_id IS DISTINCT FROM $5
               FOR UPDATE
        ), moved AS (
            UPDATE records r
               SET state_id = $5, version = r.version + 1,
                   updated_at = date_trunc('milliseconds', clock_timestamp()), updated_by = $3
              FROM lost
             WHERE r.workspace_id = $1 AND r.id = lost.id
            RETURNING r.id, r.version, r.updated_at, lost.state_id AS from_state_id
        ), audited AS (
            INSERT INTO audit (workspace_id, record_id, schema_id, action, user_id, at, changes,
                               from_state_id, to_state_id)
            SELECT $1, id, $2, 'transition', $3, updated_at, '[]', from_state_id, $5 FROM moved
        )
        SELECT id, version, from_state_id FROM moved
        """,
        workspace_id,
        schema_id,
        user_id,
        list(known_state_ids),
        to_state_id,
    )
    return [Moved(**row) for row in rows]
