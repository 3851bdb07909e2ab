"""The SQL that reads records for a change of the model, and remembers what schemas have lost."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from shared.database import Conn
from shared.database.listing import BEGINNING, Position

BATCH_BYTES_MAX: Final = 4 << 20
RECORDS_LOOKED_AT: Final = 1_000


async def entries_after(
    conn: Conn, workspace_id: str, attribute_id: str, after: Position | None, *, rows_max: int
) -> tuple[Position | None, str]:
    """What the next records hold of an attribute, as JSON `[[record id, entries], ...]`.

    At most `rows_max` records, those without a value included, and some `BATCH_BYTES_MAX` bytes.
    Beside it, from where to go on; None at the end.
    """
    row = await conn.fetchrow(
        """
        WITH read AS (
            SELECT created_at, id, (values -> $2)::text AS entries
              FROM records
             WHERE workspace_id = $1 AND (created_at, id) > ($3, $4)
             ORDER BY created_at, id
             LIMIT $5
        ), fitting AS (
            SELECT created_at, id, entries,
                   coalesce(sum(octet_length(entries)) OVER (
                       ORDER BY created_at, id
                       ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS bytes_before
              FROM read
        ), batch AS (
            SELECT created_at, id, entries FROM fitting WHERE bytes_before < $6
        )
        SELECT (SELECT '[' || coalesce(string_agg('[' || to_json(id) || ',' || entries || ']', ','),
                                       '') || ']'
                  FROM batch WHERE entries IS NOT NULL) AS held,
               last.created_at, last.id
          FROM (SELECT 1) AS always
          LEFT JOIN LATERAL (
               SELECT created_at, id FROM batch ORDER BY created_at DESC, id DESC LIMIT 1
          ) AS last ON true
        """,
        workspace_id,
        attribute_id,
        *(after or BEGINNING),
        rows_max,
        BATCH_BYTES_MAX,
    )
    assert row is not None
    return None if row["id"] is None else (row["created_at"], row["id"]), row["held"]


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
    """Remember that a schema has lost these attributes, as far as its records may have values.

    The caller holds the model lock, so no record is written meanwhile. A schema may have a million
    records: if the first ones do not tell, values are assumed (docs/adr/0028).
    """
    held = await conn.fetch(
        """
        WITH first AS MATERIALIZED (
            SELECT values
              FROM records
             WHERE workspace_id = $1 AND schema_id = $2
             ORDER BY created_at, id
             LIMIT $4::bigint + 1
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
