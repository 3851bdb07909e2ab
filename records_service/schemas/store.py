"""SQL: what uses a schema."""

from __future__ import annotations

from records_service.model_objects import store as model_objects
from records_service.schemas.model import SCHEMA
from shared.database import Conn
from shared.errors import Conflict


async def check_free(conn: Conn, workspace_id: str, schema_id: str, alias: str) -> None:
    """Raise `Conflict` when a schema has this id or alias; an insert raises the same later."""
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
        raise model_objects.alias_taken(SCHEMA, alias)


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


async def pointing_to(conn: Conn, workspace_id: str, schema_id: str) -> list[str]:
    """The attributes with a relation to this schema, or with a field that is one."""
    rows = await conn.fetch(
        """
        SELECT id FROM attributes
         WHERE workspace_id = $1
           AND (body->>'targetSchemaId' = $2
                OR jsonb_path_exists(body, '$.attributes.**.targetSchemaId ? (@ == $id)',
                                     jsonb_build_object('id', $2::text)))
        """,
        workspace_id,
        schema_id,
    )
    return [row["id"] for row in rows]
