"""SQL: walks through the columns that hold sealed secrets."""

from __future__ import annotations

from shared.database import Conn, Record
from workflow_service.secrets.columns import SealedColumn


async def page(conn: Conn, where: SealedColumn, after: tuple[str, str], limit: int) -> list[Record]:
    """The next rows that have a secret, in the order of workspace and id."""
    return await conn.fetch(
        f"""
        SELECT workspace_id, id, {where.column} AS sealed
          FROM {where.table}
         WHERE (workspace_id, id) > ($1, $2) AND {where.column} IS NOT NULL
         ORDER BY workspace_id, id
         LIMIT $3
        """,  # noqa: S608 - names of the code
        *after,
        limit,
    )


async def replace(
    conn: Conn, where: SealedColumn, workspace_id: str, owner_id: str, old: str, new: str
) -> bool:
    """Put a secret that is sealed anew into its place, unless another came there meanwhile."""
    status = await conn.execute(
        f"""
        UPDATE {where.table} SET {where.column} = $4
         WHERE workspace_id = $1 AND id = $2 AND {where.column} = $3
        """,  # noqa: S608 - names of the code
        workspace_id,
        owner_id,
        old,
        new,
    )
    return status == "UPDATE 1"
