"""SQL: attributes whose values are being reserved or released."""

from __future__ import annotations

from records_service.schema_walks.model import Meanwhile, Walk
from records_service.uniqueness.model import Check, Phase
from shared.database import Conn


async def insert(conn: Conn, workspace_id: str, check: Check) -> None:
    """Remember what is to be done. The caller holds the model lock."""
    await conn.execute(
        """
        INSERT INTO unique_checks (workspace_id, attribute_id, phase, schema_ids, schemas_done,
                                   after_created_at, after_id, last_change)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        workspace_id,
        check.attribute_id,
        check.phase,
        list(check.walk.schema_ids),
        check.walk.done,
        *(check.walk.after or (None, None)),
        check.meanwhile.since,
    )


async def find(conn: Conn, workspace_id: str, attribute_id: str) -> Check | None:
    """What is left to do for this attribute, if anything is."""
    row = await conn.fetchrow(
        """
        SELECT attribute_id, phase, schema_ids, schemas_done, after_created_at, after_id,
               last_change, complete_until, duplicates
          FROM unique_checks
         WHERE workspace_id = $1 AND attribute_id = $2
        """,
        workspace_id,
        attribute_id,
    )
    if row is None:
        return None
    after = None if row["after_id"] is None else (row["after_created_at"], row["after_id"])
    return Check(
        row["attribute_id"],
        Phase(row["phase"]),
        Walk(row["schema_ids"], row["schemas_done"], after),
        Meanwhile(row["last_change"], row["complete_until"]),
        row["duplicates"],
    )


async def update(conn: Conn, workspace_id: str, check: Check) -> None:
    """Store how far it is."""
    await conn.execute(
        """
        UPDATE unique_checks
           SET phase = $3, schemas_done = $4, after_created_at = $5, after_id = $6,
               last_change = $7, complete_until = $8, duplicates = $9
         WHERE workspace_id = $1 AND attribute_id = $2
        """,
        workspace_id,
        check.attribute_id,
        check.phase,
        check.walk.done,
        *(check.walk.after or (None, None)),
        check.meanwhile.since,
        check.meanwhile.until,
        check.duplicates,
    )


async def delete(conn: Conn, workspace_id: str, attribute_id: str) -> None:
    """Nothing is left to do."""
    await conn.execute(
        "DELETE FROM unique_checks WHERE workspace_id = $1 AND attribute_id = $2",
        workspace_id,
        attribute_id,
    )
