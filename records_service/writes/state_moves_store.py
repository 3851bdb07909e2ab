"""SQL: the moves of schemas whose records are not all in the states of their workflow yet."""

from __future__ import annotations

from dataclasses import dataclass

from records_service.workflow_copies.moves import StateMoves
from shared.database import Conn
from shared.database.listing import BEGINNING, Position


@dataclass(frozen=True, slots=True)
class Moving:
    """Moves of a schema's records, how far they are, and who bound the schema to its workflow."""

    moves: StateMoves
    user_id: str
    after: Position | None
    is_done: bool


async def find(conn: Conn, workspace_id: str, schema_id: str) -> Moving | None:
    """The moves of the schema, if they are not finished."""
    row = await conn.fetchrow(
        """
        SELECT moves, user_id, after_created_at, after_id, is_done
          FROM state_moves
         WHERE workspace_id = $1 AND schema_id = $2
        """,
        workspace_id,
        schema_id,
    )
    if row is None:
        return None
    after = None if row["after_id"] is None else (row["after_created_at"], row["after_id"])
    return Moving(row["moves"], row["user_id"], after, row["is_done"])


async def insert(conn: Conn, workspace_id: str, schema_id: str, moving: Moving) -> None:
    """Remember what is to be moved. The caller holds the model lock."""
    await conn.execute(
        """
        INSERT INTO state_moves (workspace_id, schema_id, moves, user_id, after_created_at,
                                 after_id, is_done)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        workspace_id,
        schema_id,
        moving.moves,
        moving.user_id,
        *(moving.after or (None, None)),
        moving.is_done,
    )


async def update(conn: Conn, workspace_id: str, schema_id: str, after: Position | None) -> None:
    """All records up to this position are moved; None: all."""
    await conn.execute(
        """
        UPDATE state_moves
           SET after_created_at = $3, after_id = $4, is_done = ($4::text IS NULL)
         WHERE workspace_id = $1 AND schema_id = $2
        """,
        workspace_id,
        schema_id,
        *(after or (None, None)),
    )


async def delete(conn: Conn, workspace_id: str, schema_id: str) -> None:
    """There is nothing to move any more."""
    await conn.execute(
        "DELETE FROM state_moves WHERE workspace_id = $1 AND schema_id = $2",
        workspace_id,
        schema_id,
    )


async def unmoved_after(
    conn: Conn,
    workspace_id: str,
    schema_id: str,
    moves: StateMoves,
    after: Position | None,
    *,
    rows_max: int,
) -> tuple[int, list[str], Position | None]:
    """How many of the next records of a schema were looked at, and which of them are to be moved.

    With them comes from where to go on, if anywhere.

    The index that has the records in this order has their states, too.
    """
    rows = await conn.fetch(
        """
        SELECT created_at, id, $6::jsonb ? coalesce(state_id, '') AS is_unmoved
          FROM records
         WHERE workspace_id = $1
           AND (schema_id, created_at, id) > ($2, $3, $4)
           AND schema_id <= $2
         ORDER BY schema_id, created_at, id
         LIMIT $5
        """,
        workspace_id,
        schema_id,
        *(after or BEGINNING),
        rows_max,
        moves,
    )
    last = (rows[-1]["created_at"], rows[-1]["id"]) if len(rows) == rows_max else None
    return len(rows), [row["id"] for row in rows if row["is_unmoved"]], last
