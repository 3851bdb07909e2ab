"""SQL: the deleted attributes whose values are being removed, and what was written meanwhile."""

from __future__ import annotations

from collections.abc import Collection

from records_service.model_objects.search_store import VALUE_TABLES, ValueTable
from records_service.value_removal.model import Removal
from shared.database import Conn


async def insert(
    conn: Conn, workspace_id: str, attribute_id: str, schema_ids: Collection[str]
) -> None:
    """Remember that values are to be removed. The caller holds the model lock."""
    await conn.execute(
        """
        INSERT INTO attribute_removals (workspace_id, attribute_id, schema_ids, last_change)
        SELECT $1, $2, $3, coalesce((SELECT max(id) FROM audit WHERE workspace_id = $1), 0)
        RETURNING 1
        """,
        workspace_id,
        attribute_id,
        list(schema_ids),
    )


async def find_oldest(conn: Conn, workspace_id: str) -> Removal | None:
    """The removal that was requested first, if there is any."""
    row = await conn.fetchrow(
        """
        SELECT attribute_id, schema_ids, last_change, schemas_done, after_created_at, after_id
          FROM attribute_removals
         WHERE workspace_id = $1
         ORDER BY requested_at, attribute_id
         LIMIT 1
        """,
        workspace_id,
    )
    if row is None:
        return None
    return Removal(
        row["attribute_id"],
        row["schema_ids"],
        row["last_change"],
        row["schemas_done"],
        None if row["after_id"] is None else (row["after_created_at"], row["after_id"]),
    )


async def update(conn: Conn, workspace_id: str, removal: Removal) -> None:
    """Store how far it is."""
    await conn.execute(
        """
        UPDATE attribute_removals
           SET last_change = $3, schemas_done = $4, after_created_at = $5, after_id = $6
         WHERE workspace_id = $1 AND attribute_id = $2
        """,
        workspace_id,
        removal.attribute_id,
        removal.last_change,
        removal.schemas_done,
        *(removal.after or (None, None)),
    )


async def written_since(
    conn: Conn, workspace_id: str, last_change: int, *, rows_max: int
) -> tuple[dict[ValueTable, list[str]], int | None]:
    """What the next entries of the history are about, and the last of these; None at the end."""
    row = await conn.fetchrow(
        """
        SELECT coalesce(array_agg(DISTINCT record_id) FILTER (WHERE variant_id IS NULL), '{}')
                   AS records,
               coalesce(array_agg(DISTINCT variant_id) FILTER (WHERE variant_id IS NOT NULL), '{}')
                   AS variants,
               CASE WHEN count(*) = $3 THEN max(id) END AS last
          FROM (SELECT id, record_id, variant_id FROM audit
                 WHERE workspace_id = $1 AND id > $2
                 ORDER BY id
                 LIMIT $3::bigint) AS next
        """,
        workspace_id,
        last_change,
        rows_max,
    )
    assert row is not None
    return {table: row[table] for table in VALUE_TABLES}, row["last"]


async def delete(conn: Conn, workspace_id: str, attribute_id: str) -> None:
    """No record has a value of the attribute any more."""
    await conn.execute(
        "DELETE FROM attribute_removals WHERE workspace_id = $1 AND attribute_id = $2",
        workspace_id,
        attribute_id,
    )
