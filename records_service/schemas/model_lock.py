"""Only one change of a workspace's model at a time, and no record write across one.

See docs/adr/0002: the lock is the workspace's row in `models`, held by raising its version.
"""

from __future__ import annotations

from shared.postgres import Conn


async def take(conn: Conn, workspace_id: str) -> int:
    """Raise the model's version and hold its row to the end of the transaction; the new version.

    First statement of every transaction that changes the model: who takes another lock before this
    one could wait for a writer that waits for him.
    """
    version: int = await conn.fetchval(
        """
        INSERT INTO models AS m (workspace_id, version)
        VALUES ($1, 1)
            ON CONFLICT (workspace_id)
            DO UPDATE SET version = m.version + 1
        RETURNING version
        """,
        workspace_id,
    )
    return version
