"""The SQL that reads records for a change of the model, and remembers what schemas have lost."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from shared.database import Conn

RECORDS_LOOKED_AT: Final = 1_000


async def has_variants(conn: Conn, workspace_id: str, schema_id: str) -> bool:
    """Whether a record of this schema has a variant."""
    held: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM variants WHERE workspace_id = $1 AND schema_id = $2)",
        workspace_id,
        schema_id,
    )
    return held


async def has_records(conn: Conn, workspace_id: str, schema_id: str) -> bool:
    """Whether a record has this schema."""
    held: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM records WHERE workspace_id = $1 AND schema_id = $2)",
        workspace_id,
        schema_id,
    )
    return held


async def remember_lost(
    conn: Conn, workspace_id: str, schema_id: str, attribute_ids: Collection[str]
) -> None:
    """Remember that a schema has lost these attributes, as far as there may be values of them.

    The caller holds the model lock, so no record is written meanwhile. A schema may have a million
    records, and as many variants: if the first ones do not tell, values are assumed
    (docs/adr/0028).
    """
    held = await conn.fetch(
        """
        WITH first AS MATERIALIZED (
            (SELECT values
               FROM records
              WHERE workspace_id = $1 AND schema_id = $2
              ORDER BY created_at, id
              LIMIT $4::bigint + 1)
            UNION ALL
            (SELECT values
               FROM variants
              WHERE workspace_id = $1 AND schema_id = $2
              ORDER BY created_at, id
              LIMIT $4::bigint + 1)
        ), held AS MATERIALIZED (
            SELECT DISTINCT key AS id FROM first CROSS JOIN jsonb_object_keys(values) AS key
        )
        SELECT gone.id
          FROM unnest($3::text[]) AS gone (id)
         WHERE gone.id IN (SELECT id FROM held) OR (SELECT count(*) FROM first) > $4::bigint
        """,
        workspace_id,
        schema_id,
        list(attribute_ids),
        RECORDS_LOOKED_AT,
    )
    await conn.execute(
        """
        INSERT INTO lost_attributes (workspace_id, attribute_id, schema_id)
        SELECT $1, lost.id, $2 FROM unnest($3::text[]) AS lost (id)
            ON CONFLICT DO NOTHING
        """,
        workspace_id,
        schema_id,
        [row["id"] for row in held],
    )


async def forget_lost(
    conn: Conn, workspace_id: str, schema_id: str, attribute_ids: Collection[str]
) -> None:
    """The schema has these attributes now."""
    await conn.execute(
        """
        DELETE FROM lost_attributes
         WHERE workspace_id = $1 AND schema_id = $2 AND attribute_id = ANY($3::text[])
        """,
        workspace_id,
        schema_id,
        list(attribute_ids),
    )


async def forget_schema(conn: Conn, workspace_id: str, schema_id: str) -> None:
    """The schema is deleted, so no record has it."""
    await conn.execute(
        "DELETE FROM lost_attributes WHERE workspace_id = $1 AND schema_id = $2",
        workspace_id,
        schema_id,
    )


async def forget_attribute(conn: Conn, workspace_id: str, attribute_id: str) -> None:
    """The attribute is deleted, and its values go with it."""
    await conn.execute(
        "DELETE FROM lost_attributes WHERE workspace_id = $1 AND attribute_id = $2",
        workspace_id,
        attribute_id,
    )
