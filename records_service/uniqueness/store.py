"""SQL: attributes whose values are being reserved or released, and what records hold of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from records_service.model_objects.search_store import ValueTable
from records_service.uniqueness.model import Check, Phase
from shared.database import Conn
from shared.database.listing import BEGINNING, Position

BATCH_BYTES_MAX: Final = 4 << 20

_HELD_BY: Final[Mapping[ValueTable, str]] = {
    "records": "id AS record_id, NULL::text AS variant_id",
    "variants": "record_id, id AS variant_id",
}


async def insert(conn: Conn, workspace_id: str, check: Check) -> None:
    """Remember what is to be done. The caller holds the model lock.

    `last_change` is that of this moment.
    """
    await conn.execute(
        """
        INSERT INTO unique_checks (workspace_id, attribute_id, phase, schema_ids, schemas_done,
                                   after_created_at, after_id, last_change)
        SELECT $1, $2, $3, $4, $5, $6, $7,
               coalesce((SELECT max(id) FROM audit WHERE workspace_id = $1), 0)
        RETURNING 1
        """,
        workspace_id,
        check.attribute_id,
        check.phase,
        list(check.schema_ids),
        check.schemas_done,
        *(check.after or (None, None)),
    )


async def find(conn: Conn, workspace_id: str, attribute_id: str) -> Check | None:
    """What is left to do for this attribute, if anything is."""
    row = await conn.fetchrow(
        """
        SELECT attribute_id, phase, schema_ids, last_change, schemas_done, after_created_at,
               after_id, duplicates
          FROM unique_checks
         WHERE workspace_id = $1 AND attribute_id = $2
        """,
        workspace_id,
        attribute_id,
    )
    if row is None:
        return None
    return Check(
        row["attribute_id"],
        Phase(row["phase"]),
        row["schema_ids"],
        row["last_change"],
        row["schemas_done"],
        None if row["after_id"] is None else (row["after_created_at"], row["after_id"]),
        row["duplicates"],
    )


async def update(conn: Conn, workspace_id: str, check: Check) -> None:
    """Store how far it is."""
    await conn.execute(
        """
        UPDATE unique_checks
           SET phase = $3, last_change = $4, schemas_done = $5, after_created_at = $6,
               after_id = $7, duplicates = $8
         WHERE workspace_id = $1 AND attribute_id = $2
        """,
        workspace_id,
        check.attribute_id,
        check.phase,
        check.last_change,
        check.schemas_done,
        *(check.after or (None, None)),
        check.duplicates,
    )


async def delete(conn: Conn, workspace_id: str, attribute_id: str) -> None:
    """Nothing is left to do."""
    await conn.execute(
        "DELETE FROM unique_checks WHERE workspace_id = $1 AND attribute_id = $2",
        workspace_id,
        attribute_id,
    )


async def entries_after(
    conn: Conn,
    workspace_id: str,
    attribute_id: str,
    schema_id: str,
    after: Position | None,
    *,
    rows_max: int,
    table: ValueTable = "records",
) -> tuple[str, int, int, Position | None]:
    """What the next records or variants of a schema hold of an attribute, as JSON.

    That is `[[record id, variant id or null, entries], ...]`. At most `rows_max` rows are read,
    those without a value included, and some `BATCH_BYTES_MAX` bytes. With it come how many rows
    were read, how many of them have a value, and from where to go on; None at the end.
    """
    row = await conn.fetchrow(
        f"""
        WITH read AS (
            SELECT created_at, id, {_HELD_BY[table]}, (values -> $2)::text AS entries
              FROM {table}
             WHERE workspace_id = $1
               AND (schema_id, created_at, id) > ($3, $4, $5)
               AND schema_id <= $3
             ORDER BY schema_id, created_at, id
             LIMIT $6
        ), fitting AS (
            SELECT created_at, id, record_id, variant_id, entries,
                   coalesce(sum(octet_length(entries)) OVER (
                       ORDER BY created_at, id
                       ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS bytes_before
              FROM read
        ), batch AS (
            SELECT created_at, id, record_id, variant_id, entries
              FROM fitting
             WHERE bytes_before < $7
        )
        SELECT (SELECT '[' || coalesce(string_agg('[' || to_json(record_id) || ','
                                           || coalesce(to_json(variant_id)::text, 'null') || ','
                                           || entries || ']', ','), '') || ']'
                  FROM batch WHERE entries IS NOT NULL) AS held,
               (SELECT count(*) FROM batch) AS looked_at,
               (SELECT count(*) FROM batch WHERE entries IS NOT NULL) AS having,
               last.created_at, last.id
          FROM (SELECT 1) AS always
          LEFT JOIN LATERAL (
               SELECT created_at, id FROM batch ORDER BY created_at DESC, id DESC LIMIT 1
          ) AS last ON true
        """,  # noqa: S608 - constants
        workspace_id,
        attribute_id,
        schema_id,
        *(after or BEGINNING),
        rows_max,
        BATCH_BYTES_MAX,
    )
    assert row is not None
    last = None if row["id"] is None else (row["created_at"], row["id"])
    return row["held"], row["looked_at"], row["having"], last


async def entries_of(
    conn: Conn,
    workspace_id: str,
    attribute_id: str,
    record_ids: Collection[str],
    variant_ids: Collection[str],
) -> str:
    """What these records and variants hold of an attribute, as in `entries_after`."""
    held: str = await conn.fetchval(
        """
        SELECT '[' || coalesce(string_agg('[' || to_json(record_id) || ','
                                          || coalesce(to_json(variant_id)::text, 'null') || ','
                                          || entries || ']', ','), '') || ']'
          FROM (SELECT id AS record_id, NULL AS variant_id, (values -> $2)::text AS entries
                  FROM records
                 WHERE workspace_id = $1 AND id = ANY($3::text[]) AND values ? $2
                 UNION ALL
                SELECT record_id, id, (values -> $2)::text
                  FROM variants
                 WHERE workspace_id = $1 AND id = ANY($4::text[]) AND values ? $2) AS one
        """,
        workspace_id,
        attribute_id,
        list(record_ids),
        list(variant_ids),
    )
    return held
