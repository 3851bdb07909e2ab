"""Roles in the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from auth_service.permissions.model import Role
from shared.database import Conn, Record, mapping_constraints
from shared.database.listing import WHOLE, Narrowing, Piece, Position, read_piece
from shared.errors import Conflict, NotFound
from shared.identity import Flag

HOLDERS_MAX: Final = 1_000


async def next_version(conn: Conn, workspace_id: str, role_id: str) -> int:
    """The version for the change that begins here. Changes of the same role wait here in turn."""
    version: int = await conn.fetchval(
        """INSERT INTO role_versions AS known (workspace_id, role_id, version)
           VALUES ($1, $2, 1)
               ON CONFLICT (workspace_id, role_id)
               DO UPDATE SET version = known.version + 1
        RETURNING known.version""",
        workspace_id,
        role_id,
    )
    return version


async def lock(conn: Conn, workspace_id: str, role_id: str) -> None:
    """Wait until a change of the role in progress ends, and keep others waiting until commit."""
    await conn.execute(
        """SELECT FROM role_versions
            WHERE workspace_id = $1 AND role_id = $2
              FOR NO KEY UPDATE""",
        workspace_id,
        role_id,
    )


async def insert(conn: Conn, role: Role) -> None:
    """Raises `Conflict` when the id is taken."""
    with mapping_constraints({"roles_id_taken": lambda: Conflict.taken("Role", role.id)}):
        await conn.execute(
            """INSERT INTO roles (workspace_id, id, name, description, flags, schema_permissions,
                                  catalog_permissions, version, created_at, updated_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)""",
            role.workspace_id,
            role.id,
            role.name,
            role.description,
            sorted(role.flags),
            list(role.schema_permissions),
            list(role.catalog_permissions),
            role.version,
            role.created_at,
            role.updated_at,
        )


async def update(conn: Conn, role: Role) -> None:
    """Write everything that a revision can change."""
    await conn.execute(
        """UPDATE roles
              SET name = $3, description = $4, flags = $5, schema_permissions = $6,
                  catalog_permissions = $7, version = $8, updated_at = $9
            WHERE workspace_id = $1 AND id = $2""",
        role.workspace_id,
        role.id,
        role.name,
        role.description,
        sorted(role.flags),
        list(role.schema_permissions),
        list(role.catalog_permissions),
        role.version,
        role.updated_at,
    )


async def delete(conn: Conn, workspace_id: str, role_id: str, claims: int) -> bool:
    """Delete the role; False if workflows have claimed it more than `claims` times.

    Raises `Conflict` while a user has the role, including a user who is just being created.
    """
    with mapping_constraints({"users_have_a_role": lambda: Conflict.in_use("Role", role_id)}):
        tag = await conn.execute(
            "DELETE FROM roles WHERE workspace_id = $1 AND id = $2 AND claims = $3",
            workspace_id,
            role_id,
            claims,
        )
    return tag != "DELETE 0"


async def holders_of(conn: Conn, workspace_id: str, role_id: str) -> list[str]:
    """The ids of the first users who have the role, at most `HOLDERS_MAX`."""
    rows = await conn.fetch(
        "SELECT id FROM users WHERE workspace_id = $1 AND role_id = $2 ORDER BY id LIMIT $3",
        workspace_id,
        role_id,
        HOLDERS_MAX,
    )
    return [row["id"] for row in rows]


async def get(conn: Conn, workspace_id: str, role_id: str) -> Role:
    """Raises `NotFound`."""
    role = await find(conn, workspace_id, role_id)
    if role is None:
        raise NotFound.of("Role", role_id)
    return role


async def find(conn: Conn, workspace_id: str, role_id: str) -> Role | None:
    """The role, if there is one."""
    row = await conn.fetchrow(
        """SELECT workspace_id, id, name, description, flags, schema_permissions,
                  catalog_permissions, version, created_at, updated_at
             FROM roles
            WHERE workspace_id = $1 AND id = $2""",
        workspace_id,
        role_id,
    )
    return None if row is None else _role(row)


async def page(
    conn: Conn, workspace_id: str, after: Position, narrowing: Narrowing = WHOLE
) -> Piece:
    """Roles for `parsed` in order of creation after this one, and whether there are more."""
    return await read_piece(
        conn,
        "roles",
        """workspace_id, id, name, description, flags,
           schema_permissions::text AS schema_permissions,
           catalog_permissions::text AS catalog_permissions,
           version, created_at, updated_at""",
        "octet_length(schema_permissions) + octet_length(catalog_permissions)",
        workspace_id,
        after,
        narrowing,
    )


async def claim(conn: Conn, workspace_id: str, role_ids: Sequence[str]) -> set[str]:
    """Claim these roles for a workflow that is about to name them; returns the existing ones."""
    rows = await conn.fetch(
        """  WITH named AS (
                  SELECT id
                    FROM roles
                   WHERE workspace_id = $1 AND id = ANY($2::text[])
                   ORDER BY id
                     FOR NO KEY UPDATE)
           UPDATE roles
              SET claims = claims + 1
             FROM named
            WHERE roles.workspace_id = $1 AND roles.id = named.id
        RETURNING roles.id""",
        workspace_id,
        list(role_ids),
    )
    return {row["id"] for row in rows}


async def claims_of(conn: Conn, workspace_id: str, role_id: str) -> int:
    """How often workflows have claimed this role; 0 for a role that does not exist."""
    claims: int | None = await conn.fetchval(
        "SELECT claims FROM roles WHERE workspace_id = $1 AND id = $2", workspace_id, role_id
    )
    return claims or 0


async def has_been(conn: Conn, workspace_id: str, role_id: str) -> bool:
    """Whether there is, or was, a role with this id."""
    known: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM role_versions WHERE workspace_id = $1 AND role_id = $2)",
        workspace_id,
        role_id,
    )
    return known


async def version_of(conn: Conn, workspace_id: str, role_id: str) -> int | None:
    """The version of the role, if there is one."""
    version: int | None = await conn.fetchval(
        "SELECT version FROM roles WHERE workspace_id = $1 AND id = $2", workspace_id, role_id
    )
    return version


def parsed(row: Record) -> Role:
    """The role of a row whose permissions are text."""
    return _role(
        {
            **row,
            "schema_permissions": orjson.loads(row["schema_permissions"]),
            "catalog_permissions": orjson.loads(row["catalog_permissions"]),
        }
    )


def _role(row: Record | Mapping[str, Any]) -> Role:
    return Role(
        workspace_id=row["workspace_id"],
        id=row["id"],
        name=row["name"],
        description=row["description"],
        flags=frozenset(map(Flag, row["flags"])),
        schema_permissions=row["schema_permissions"],
        catalog_permissions=row["catalog_permissions"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
