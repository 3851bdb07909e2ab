"""The SQL of names in workflows that no attribute had when they were saved."""

from __future__ import annotations

from collections.abc import Sequence

from shared.database import Conn


async def keep_unknown(
    conn: Conn, workspace_id: str, workflow_id: str, names: Sequence[str], model_version: int
) -> None:
    """Remember these names, and no others, as unknown in this workflow.

    `model_version` is that of the workspace's model when they were asked about.
    """
    await conn.execute(
        "DELETE FROM unknown_names WHERE workspace_id = $1 AND workflow_id = $2",
        workspace_id,
        workflow_id,
    )
    if names:
        await conn.execute(
            """INSERT INTO unknown_names (workspace_id, name, workflow_id, model_version)
               SELECT $1, name, $2, $3
                 FROM unnest($4::text[]) AS name
            RETURNING 1""",
            workspace_id,
            workflow_id,
            model_version,
            list(names),
        )


async def with_unknown(
    conn: Conn, workspace_id: str, names: Sequence[str], model_version: int
) -> list[str]:
    """The workflows in which one of these was unknown when the model was older than that."""
    rows = await conn.fetch(
        """SELECT DISTINCT workflow_id
             FROM unknown_names
            WHERE workspace_id = $1 AND name = ANY($2::text[]) AND model_version < $3
            ORDER BY workflow_id""",
        workspace_id,
        list(names),
        model_version,
    )
    return [row["workflow_id"] for row in rows]


async def is_unknown(
    conn: Conn, workspace_id: str, workflow_id: str, name: str, model_version: int
) -> bool:
    """Whether the name was unknown in it when the model was older than this version."""
    unknown: bool = await conn.fetchval(
        """SELECT EXISTS (SELECT FROM unknown_names
                           WHERE workspace_id = $1 AND name = $2 AND workflow_id = $3
                             AND model_version < $4)""",
        workspace_id,
        name,
        workflow_id,
        model_version,
    )
    return unknown


async def forget_unknown(
    conn: Conn, workspace_id: str, workflow_id: str, name: str, model_version: int
) -> None:
    """The name is known to this workflow now."""
    await conn.execute(
        """DELETE FROM unknown_names
            WHERE workspace_id = $1 AND name = $2 AND workflow_id = $3 AND model_version < $4""",
        workspace_id,
        name,
        workflow_id,
        model_version,
    )


async def doubt_all(conn: Conn) -> None:
    """The data model may count anew: whatever gets one of the names from now on is news."""
    await conn.execute("UPDATE unknown_names SET model_version = 0")
