"""The SQL that reads records for a change of the model, and remembers what schemas have lost."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from records_service.model_objects.search_store import ValueTable
from shared.database import Conn
from shared.database.listing import BEGINNING, Position

BATCH_BYTES_MAX: Final = 4 << 20
RECORDS_LOOKED_AT: Final = 1_000

_HELD_BY: Final[Mapping[ValueTable, str]] = {
    "records": "id AS record_id, NULL::text AS variant_id",
    "variants": "record_id, id AS variant_id",
}


async def entries_after(
    conn: Conn,
    workspace_id: str,
    attribute_id: str,
    after: Position | None,
    *,
    rows_max: int,
    table: ValueTable = "records",
) -> tuple[Position | None, str]:
    """What the next records or variants hold of an attribute, as JSON.

    That is `[[record id, variant id or null, entries], ...]`. At most `rows_max` rows are read,
    those without a value included, and some `BATCH_BYTES_MAX` bytes. Beside it, from where to go
    on; None at the end.
    """
    row = await conn.fetchrow(
        f"""
        WITH read AS (
            SELECT created_at, id, {_HELD_BY[table]}, (values -> $2)::text AS entries
              FROM {table}
             WHERE workspace_id = $1 AND (created_at, id) > ($3, $4)
             ORDER BY created_at, id
             LIMIT $5
        ), fitting AS (
            SELECT created_at, id, record_id, variant_id, entries,
                   coalesce(sum(octet_length(entries)) OVER (
                       ORDER BY created_at, id
                       ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS bytes_before
              FROM read
        ), batch AS (
            SELECT created_at, id, record_id, variant_id, entries
              FROM fitting
             WHERE bytes_before < $6
        )
        SELECT (SELECT '[' || coalesce(string_agg('[' || to_json(record_id) || ','
                                           || coalesce(to_json(variant_id)::text, 'null') || ','
                                           || entries || ']', ','), '') || ']'
                  FROM batch WHERE entries IS NOT NULL) AS held,
               last.created_at, last.id
          FROM (SELECT 1) AS always
          LEFT JOIN LATERAL (
               SELECT created_at, id FROM batch ORDER BY created_at DESC, id DESC LIMIT 1
          ) AS last ON true
        """,  # noqa: S608 - constants
        workspace_id,
        attribute_id,
        *(after or BEGINNING),
        rows_max,
        BATCH_BYTES_MAX,
    )
    assert row is not None
    return None if row["id"] is None else (row["created_at"], row["id"]), row["held"]


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
