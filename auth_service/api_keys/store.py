"""API keys in the database."""

from __future__ import annotations

from auth_service.api_keys.model import ApiKey
from shared.database import Conn, Record, mapping_constraints
from shared.database.listing import Piece, Position, read_piece
from shared.errors import Conflict, NotFound
from shared.identity import Permission


async def insert(conn: Conn, key: ApiKey) -> None:
    """Raises `Conflict` when the id is taken."""
    with mapping_constraints({"api_keys_id_taken": lambda: Conflict.taken("API key", key.id)}):
        await conn.execute(
            """INSERT INTO api_keys (workspace_id, id, name, permissions, key_hash, active, version,
                                     created_by, created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)""",
            key.workspace_id,
            key.id,
            key.name,
            list(key.permissions),
            key.key_hash,
            key.active,
            key.version,
            key.created_by,
            key.created_at,
        )


async def page(conn: Conn, workspace_id: str, after: Position) -> Piece:
    """Keys for `of_row` in order of creation after this one, and whether there are more."""
    return await read_piece(
        conn,
        "api_keys",
        """workspace_id, id, name, permissions, key_hash, active, version, created_by, created_at,
           last_used_at""",
        "octet_length(id) + octet_length(name)",
        workspace_id,
        after,
    )


async def list_all(conn: Conn, workspace_id: str) -> list[ApiKey]:
    """Every key of the workspace, oldest first; for the operator, who reads nothing beside it."""
    rows = await conn.fetch(
        """SELECT workspace_id, id, name, permissions, key_hash, active, version, created_by,
                  created_at, last_used_at
             FROM api_keys
            WHERE workspace_id = $1
            ORDER BY created_at, id""",
        workspace_id,
    )
    return [of_row(row) for row in rows]


async def find(conn: Conn, workspace_id: str, key_id: str) -> ApiKey | None:
    """The key, or None."""
    row = await conn.fetchrow(
        """SELECT workspace_id, id, name, permissions, key_hash, active, version, created_by,
                  created_at, last_used_at
             FROM api_keys
            WHERE workspace_id = $1 AND id = $2""",
        workspace_id,
        key_id,
    )
    return None if row is None else of_row(row)


async def get_locked(conn: Conn, workspace_id: str, key_id: str) -> ApiKey:
    """The key, which nobody else changes until the transaction ends. Raises `NotFound`."""
    row = await conn.fetchrow(
        """SELECT workspace_id, id, name, permissions, key_hash, active, version, created_by,
                  created_at, last_used_at
             FROM api_keys
            WHERE workspace_id = $1 AND id = $2
              FOR UPDATE""",
        workspace_id,
        key_id,
    )
    if row is None:
        raise NotFound.of("API key", key_id)
    return of_row(row)


async def deactivate(conn: Conn, workspace_id: str, key_id: str, version: int) -> None:
    """From `version` on it opens nothing."""
    await conn.execute(
        """UPDATE api_keys
              SET active = false, version = $3
            WHERE workspace_id = $1 AND id = $2""",
        workspace_id,
        key_id,
        version,
    )


async def note_use(conn: Conn, workspace_id: str, key_id: str, every_s: float) -> None:
    """Set the time of last use, unless it was set less than `every_s` seconds ago.

    Of many gateways that ask at the same moment one writes.
    """
    await conn.execute(
        """UPDATE api_keys
              SET last_used_at = clock_timestamp()
            WHERE workspace_id = $1 AND id = $2
              AND (last_used_at IS NULL
                   OR last_used_at < clock_timestamp() - make_interval(secs => $3))""",
        workspace_id,
        key_id,
        every_s,
    )


async def delete(conn: Conn, workspace_id: str, key_id: str) -> None:
    """As if it had never been."""
    await conn.execute(
        "DELETE FROM api_keys WHERE workspace_id = $1 AND id = $2", workspace_id, key_id
    )


def of_row(row: Record) -> ApiKey:
    """The key of a row."""
    return ApiKey(
        workspace_id=row["workspace_id"],
        id=row["id"],
        name=row["name"],
        permissions=tuple(map(Permission, row["permissions"])),
        key_hash=row["key_hash"],
        active=row["active"],
        version=row["version"],
        created_by=row["created_by"],
        created_at=row["created_at"],
        last_used_at=row["last_used_at"],
    )
