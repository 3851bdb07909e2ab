"""The SQL that is the same for every kind of part; table names are constants of `Kind`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import asyncpg

from records_service.parts.model import Kind, Part
from shared.errors import Conflict, NotFound
from shared.postgres import Conn

_COLUMNS = "id, alias, body, version, created_at, updated_at"


async def every(conn: Conn, kind: Kind, workspace_id: str) -> list[Part]:
    """All parts of a kind, oldest first."""
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM {kind.table} WHERE workspace_id = $1 ORDER BY created_at, id",  # noqa: S608
        workspace_id,
    )
    return [Part(**row) for row in rows]


async def get(conn: Conn, kind: Kind, workspace_id: str, part_id: str) -> Part:
    """One part, or `NotFound`."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM {kind.table} WHERE workspace_id = $1 AND id = $2",  # noqa: S608
        workspace_id,
        part_id,
    )
    if row is None:
        raise NotFound.of(kind.title, part_id)
    return Part(**row)


async def unknown(conn: Conn, kind: Kind, workspace_id: str, part_ids: Iterable[str]) -> str | None:
    """The first of these ids that no part of this kind has, or None."""
    asked = list(dict.fromkeys(part_ids))
    if not asked:
        return None
    rows = await conn.fetch(
        f"SELECT id FROM {kind.table} WHERE workspace_id = $1 AND id = ANY($2::text[])",  # noqa: S608
        workspace_id,
        asked,
    )
    known = {row["id"] for row in rows}
    return next((part_id for part_id in asked if part_id not in known), None)


async def insert(
    conn: Conn, kind: Kind, workspace_id: str, part_id: str, alias: str, body: Mapping[str, Any]
) -> Part:
    """A new part; `Conflict` for a taken id or alias."""
    try:
        row = await conn.fetchrow(
            f"""
            INSERT INTO {kind.table} (workspace_id, id, alias, body, version,
                                      created_at, updated_at)
            VALUES ($1, $2, $3, $4, 1, clock_timestamp(), clock_timestamp())
            RETURNING {_COLUMNS}
            """,  # noqa: S608
            workspace_id,
            part_id,
            alias,
            body,
        )
    except asyncpg.UniqueViolationError as error:
        raise _conflict(error, kind, part_id, alias) from error
    assert row is not None
    return Part(**row)


async def replace(
    conn: Conn, kind: Kind, workspace_id: str, part_id: str, alias: str, body: Mapping[str, Any]
) -> Part:
    """The next version of a part; `NotFound`, or `Conflict` for a taken alias."""
    try:
        row = await conn.fetchrow(
            f"""
            UPDATE {kind.table}
               SET alias = $3, body = $4, version = version + 1, updated_at = clock_timestamp()
             WHERE workspace_id = $1 AND id = $2
            RETURNING {_COLUMNS}
            """,  # noqa: S608
            workspace_id,
            part_id,
            alias,
            body,
        )
    except asyncpg.UniqueViolationError as error:
        raise _conflict(error, kind, part_id, alias) from error
    if row is None:
        raise NotFound.of(kind.title, part_id)
    return Part(**row)


async def delete(conn: Conn, kind: Kind, workspace_id: str, part_id: str) -> Part:
    """Remove a part; what it was, or `NotFound`."""
    row = await conn.fetchrow(
        f"DELETE FROM {kind.table} WHERE workspace_id = $1 AND id = $2 RETURNING {_COLUMNS}",  # noqa: S608
        workspace_id,
        part_id,
    )
    if row is None:
        raise NotFound.of(kind.title, part_id)
    return Part(**row)


def _conflict(
    error: asyncpg.UniqueViolationError, kind: Kind, part_id: str, alias: str
) -> Exception:
    if error.constraint_name == f"{kind.table}_id_taken":
        return Conflict.taken(kind.title, part_id)
    if error.constraint_name == f"{kind.table}_alias_taken":
        return Conflict(f"{kind.title} with alias '{alias}' already exists")
    return error
