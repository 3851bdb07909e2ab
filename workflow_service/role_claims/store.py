"""The SQL behind claims of roles: saves and questions that wait for each other."""

from __future__ import annotations

from shared.database import Conn


async def naming_roles(conn: Conn, workspace_id: str) -> None:
    """Announce the save of a workflow that names roles, for `naming_role` to wait for.

    Several such saves may be in progress at the same time.
    """
    await conn.execute(
        "SELECT pg_advisory_xact_lock_shared(hashtextextended('name roles ' || $1, 0))",
        workspace_id,
    )


async def naming_role(conn: Conn, workspace_id: str, role_id: str, limit: int) -> list[str]:
    """The ids of workflows that name the role in a gate, after all saves in progress have ended.

    Until the end of the transaction, no other save of a workflow that names roles begins.
    """
    await conn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('name roles ' || $1, 0))", workspace_id
    )
    rows = await conn.fetch(
        """SELECT id
             FROM workflows
            WHERE workspace_id = $1
              AND jsonb_path_exists(body, '$.transitions[*].allowedRoleIds[*] ? (@ == $id)',
                                    jsonb_build_object('id', $2::text))
            ORDER BY id
            LIMIT $3""",
        workspace_id,
        role_id,
        limit,
    )
    return [row["id"] for row in rows]
