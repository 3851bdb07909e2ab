"""The SQL of names in roles that nothing had when they were saved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from auth_service.permissions.model import Role, RoleNames
from shared.database import Conn

Kind: TypeAlias = Literal["schema", "attribute"]
"""Of what has a name."""


async def keep_unknown(conn: Conn, role: Role, unknown: RoleNames, model_version: int) -> None:
    """Remember these names, and no others, as unknown in this role.

    `model_version` is that of the workspace's model when they were asked about.
    """
    await conn.execute(
        "DELETE FROM unknown_names WHERE workspace_id = $1 AND role_id = $2",
        role.workspace_id,
        role.id,
    )
    names = [
        *(("schema", name) for name in sorted(unknown.schemas)),
        *(("attribute", name) for name in sorted(unknown.attributes)),
    ]
    if names:
        await conn.execute(
            """INSERT INTO unknown_names (workspace_id, kind, name, role_id, model_version)
               SELECT $1, asked.kind, asked.name, $2, $3
                 FROM unnest($4::text[], $5::text[]) AS asked (kind, name)""",
            role.workspace_id,
            role.id,
            model_version,
            [kind for kind, _ in names],
            [name for _, name in names],
        )


async def unknown_of(conn: Conn, workspace_id: str, role_id: str) -> RoleNames:
    """The names in this role that nothing had when it was stored."""
    rows = await conn.fetch(
        "SELECT kind, name FROM unknown_names WHERE workspace_id = $1 AND role_id = $2",
        workspace_id,
        role_id,
    )
    return RoleNames(
        frozenset(row["name"] for row in rows if row["kind"] == "schema"),
        frozenset(row["name"] for row in rows if row["kind"] == "attribute"),
    )


async def roles_with_unknown(
    conn: Conn, workspace_id: str, kind: Kind, names: Sequence[str], model_version: int
) -> list[str]:
    """The roles in which one of these was unknown when the model was older than this version."""
    rows = await conn.fetch(
        """SELECT DISTINCT role_id
             FROM unknown_names
            WHERE workspace_id = $1 AND kind = $2 AND name = ANY($3::text[]) AND model_version < $4
            ORDER BY role_id""",
        workspace_id,
        kind,
        list(names),
        model_version,
    )
    return [row["role_id"] for row in rows]


async def is_unknown(conn: Conn, role: Role, kind: Kind, name: str, model_version: int) -> bool:
    """Whether the name was unknown in this role when the model was older than this version."""
    unknown: bool = await conn.fetchval(
        """SELECT EXISTS (SELECT FROM unknown_names
                           WHERE workspace_id = $1 AND kind = $2 AND name = $3 AND role_id = $4
                             AND model_version < $5)""",
        role.workspace_id,
        kind,
        name,
        role.id,
        model_version,
    )
    return unknown


async def forget_unknown(conn: Conn, role: Role, kind: Kind, name: str, model_version: int) -> None:
    """The name is known to this role now."""
    await conn.execute(
        """DELETE FROM unknown_names
            WHERE workspace_id = $1 AND kind = $2 AND name = $3 AND role_id = $4
              AND model_version < $5""",
        role.workspace_id,
        kind,
        name,
        role.id,
        model_version,
    )


async def doubt_all(conn: Conn) -> None:
    """The data model may count anew: whatever gets one of the names from now on is news."""
    await conn.execute("UPDATE unknown_names SET model_version = 0")
