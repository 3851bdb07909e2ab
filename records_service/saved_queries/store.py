"""SQL: saved queries."""

from __future__ import annotations

from typing import Any

from records_service.saved_queries.model import TITLE, SavedQuery
from shared.database import Conn, mapping_constraints
from shared.errors import Conflict, NotFound

_COLUMNS = "id, name, description, query, created_by, created_at"


async def insert(conn: Conn, workspace_id: str, query: SavedQuery, *, queries_max: int) -> bool:
    """Save a query; False, with nothing saved, if the workspace has as many as it may.

    Raises `Conflict` for a taken id.
    """
    with mapping_constraints({"saved_queries_pkey": lambda: Conflict.taken(TITLE, query.id)}):
        saved = await conn.fetchval(
            """
            INSERT INTO saved_queries (workspace_id, id, name, description, query, created_by,
                                       created_at)
            SELECT $1, $2, $3, $4, $5, $6, $7
             WHERE (SELECT count(*) FROM saved_queries WHERE workspace_id = $1) < $8
            RETURNING id
            """,
            workspace_id,
            query.id,
            query.name,
            query.description,
            query.query,
            query.created_by,
            query.created_at,
            queries_max,
        )
    return saved is not None


async def find_all(conn: Conn, workspace_id: str) -> list[SavedQuery]:
    """All of the workspace, oldest first."""
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM saved_queries WHERE workspace_id = $1 ORDER BY created_at, id",  # noqa: S608
        workspace_id,
    )
    return [_query(row) for row in rows]


async def get(conn: Conn, workspace_id: str, query_id: str) -> SavedQuery:
    """The query, or `NotFound`."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM saved_queries WHERE workspace_id = $1 AND id = $2",  # noqa: S608
        workspace_id,
        query_id,
    )
    if row is None:
        raise NotFound.of(TITLE, query_id)
    return _query(row)


async def delete(conn: Conn, workspace_id: str, query_id: str) -> None:
    """Remove a query."""
    await conn.execute(
        "DELETE FROM saved_queries WHERE workspace_id = $1 AND id = $2", workspace_id, query_id
    )


def _query(row: Any) -> SavedQuery:
    return SavedQuery(**row)
