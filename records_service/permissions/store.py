"""This service's copy of the roles: newest version wins, whichever way it came."""

from __future__ import annotations

from typing import Any

from shared.postgres import Conn


async def find(conn: Conn, workspace_id: str, role_id: str) -> dict[str, Any] | None:
    """The role document as it was last heard of."""
    document: dict[str, Any] | None = await conn.fetchval(
        "SELECT document FROM roles WHERE workspace_id = $1 AND id = $2", workspace_id, role_id
    )
    return document


async def keep(
    conn: Conn, workspace_id: str, role_id: str, version: int, document: dict[str, Any]
) -> None:
    """Remember this version unless a newer one is known."""
    await conn.execute(
        """
        INSERT INTO roles AS known (workspace_id, id, version, document)
        VALUES ($1, $2, $3, $4)
            ON CONFLICT (workspace_id, id)
            DO UPDATE SET version = excluded.version, document = excluded.document
                    WHERE known.version < excluded.version
        """,
        workspace_id,
        role_id,
        version,
        document,
    )


async def forget(conn: Conn, workspace_id: str, role_id: str, version: int) -> None:
    """The role was deleted at this version."""
    await conn.execute(
        "DELETE FROM roles WHERE workspace_id = $1 AND id = $2 AND version <= $3",
        workspace_id,
        role_id,
        version,
    )
