"""Workspaces in the database."""

from __future__ import annotations

from auth_service.workspaces.model import Workspace
from shared.database import Conn, Record, mapping_constraints
from shared.errors import Conflict, NotFound


async def insert(conn: Conn, workspace: Workspace) -> None:
    """Raises `Conflict` when the id is taken."""
    with mapping_constraints(
        {"workspaces_id_taken": lambda: Conflict.taken("Workspace", workspace.id)}
    ):
        await conn.execute(
            """INSERT INTO workspaces (workspace_id, name, record_limit, version, created_at,
                                       updated_at)
               VALUES ($1, $2, $3, $4, $5, $6)""",
            workspace.id,
            workspace.name,
            workspace.record_limit,
            workspace.version,
            workspace.created_at,
            workspace.updated_at,
        )


async def list_all(conn: Conn) -> list[tuple[Workspace, int]]:
    """Every workspace and how many users it has, oldest first."""
    rows = await conn.fetch(
        """SELECT w.workspace_id, w.name, w.record_limit, w.version, w.created_at, w.updated_at,
                  (SELECT count(*) FROM users AS u WHERE u.workspace_id = w.workspace_id) AS users
             FROM workspaces AS w
            ORDER BY w.created_at, w.workspace_id"""
    )
    return [(_workspace(row), row["users"]) for row in rows]


async def set_record_limit(conn: Conn, workspace_id: str, record_limit: int) -> Workspace:
    """Raises `NotFound`."""
    row = await conn.fetchrow(
        """UPDATE workspaces
              SET record_limit = $2, version = version + 1, updated_at = clock_timestamp()
            WHERE workspace_id = $1
        RETURNING workspace_id, name, record_limit, version, created_at, updated_at""",
        workspace_id,
        record_limit,
    )
    if row is None:
        raise NotFound.of("Workspace", workspace_id)
    return _workspace(row)


async def check_exists(conn: Conn, workspace_id: str) -> None:
    """Raises `NotFound`."""
    found = await conn.fetchval("SELECT true FROM workspaces WHERE workspace_id = $1", workspace_id)
    if found is None:
        raise NotFound.of("Workspace", workspace_id)


def _workspace(row: Record) -> Workspace:
    return Workspace(
        id=row["workspace_id"],
        name=row["name"],
        record_limit=row["record_limit"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
