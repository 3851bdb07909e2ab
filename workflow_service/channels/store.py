"""The SQL of channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from shared.database import Conn, Record, mapping_constraints
from shared.database.listing import WHOLE, Narrowing, Piece, Position, read_piece
from shared.errors import Conflict, NotFound, truncated
from workflow_service.channels.model import KIND

TABLE: Final = "channels"


async def get(conn: Conn, workspace_id: str, channel_id: str, *, lock: bool = False) -> Record:
    """The row of a channel, with its configuration sealed; `NotFound`.

    Locked against changes until the end of the transaction, if asked for.
    """
    row = await conn.fetchrow(
        f"""
        SELECT workspace_id, id, alias, type, body, config, key, version, created_at, updated_at
          FROM channels
         WHERE workspace_id = $1 AND id = $2
        {"FOR NO KEY UPDATE" if lock else ""}
        """,  # noqa: S608 - constants
        workspace_id,
        channel_id,
    )
    if row is None:
        raise NotFound.of(KIND, channel_id)
    return row


async def check_exists(conn: Conn, workspace_id: str, channel_id: str) -> None:
    """Raise `NotFound` unless there is such a channel."""
    found = await conn.fetchval(
        "SELECT true FROM channels WHERE workspace_id = $1 AND id = $2", workspace_id, channel_id
    )
    if found is None:
        raise NotFound.of(KIND, channel_id)


async def is_active(conn: Conn, workspace_id: str, channel_id: str) -> bool:
    """Whether there is such a channel, and it can be synchronised."""
    found: bool | None = await conn.fetchval(
        "SELECT (body->>'active')::boolean FROM channels WHERE workspace_id = $1 AND id = $2",
        workspace_id,
        channel_id,
    )
    return bool(found)


async def page(
    conn: Conn, workspace_id: str, after: Position, narrowing: Narrowing = WHOLE
) -> Piece:
    """Rows of channels in order of creation after this one, and whether there are more."""
    return await read_piece(
        conn,
        TABLE,
        """workspace_id, id, alias, type, body::text AS body, config, key, version, created_at,
           updated_at""",
        "octet_length(body) + octet_length(config)",
        workspace_id,
        after,
        narrowing,
    )


async def insert(
    conn: Conn,
    workspace_id: str,
    channel_id: str,
    *,
    alias: str,
    type_name: str,
    body: Mapping[str, Any],
    config: str,
    key: bytes,
) -> Record:
    """Store a new channel; `Conflict` for a taken id or alias."""
    with mapping_constraints(
        {
            "channels_id_taken": lambda: Conflict.taken(KIND, channel_id),
            "channels_alias_taken": lambda: _alias_taken(alias),
        }
    ):
        row = await conn.fetchrow(
            """
            INSERT INTO channels (workspace_id, id, alias, type, body, config, key, version,
                                  created_at, updated_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, 1, now(), now())
            RETURNING workspace_id, id, alias, type, body, config, key, version, created_at,
                      updated_at
            """,
            workspace_id,
            channel_id,
            alias,
            type_name,
            body,
            config,
            key,
        )
    assert row is not None
    return row


async def update(
    conn: Conn,
    workspace_id: str,
    channel_id: str,
    *,
    alias: str,
    body: Mapping[str, Any],
    config: str,
) -> Record:
    """Store the next version of a channel that is locked; `Conflict` for a taken alias."""
    with mapping_constraints({"channels_alias_taken": lambda: _alias_taken(alias)}):
        row = await conn.fetchrow(
            """
            UPDATE channels
               SET alias = $3, body = $4, config = $5, version = version + 1,
                   updated_at = now()
             WHERE workspace_id = $1 AND id = $2
            RETURNING workspace_id, id, alias, type, body, config, key, version, created_at,
                      updated_at
            """,
            workspace_id,
            channel_id,
            alias,
            body,
            config,
        )
    assert row is not None
    return row


async def delete(conn: Conn, workspace_id: str, channel_id: str) -> None:
    """Delete a channel with all that belongs to it."""
    await conn.execute(
        "DELETE FROM channels WHERE workspace_id = $1 AND id = $2", workspace_id, channel_id
    )


def _alias_taken(alias: str) -> Conflict:
    return Conflict(f"Channel with alias '{truncated(alias)}' already exists")
