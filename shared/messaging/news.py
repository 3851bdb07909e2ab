"""Tells whoever asked another service something whether news came before they could save it.

Who asks, saves the answer, and wants to hear later what would change it, has a gap: news that comes
after the question and before the commit finds nothing to change. So each workspace has a counter:

    before the question                 counted = await news.count(conn, workspace_id)
    in the transaction that saves       if await news.count_held(conn, workspace_id) != counted:
                                            ask again
    for each event, before its effect   await news.hear(conn, workspace_id), and commit

`hear` waits for those who hold the counter: they are committed when the effect begins, which finds
what they saved. Whoever looks at the counter after it finds that it has changed.

It is committed first because the effect takes locks that those who save hold while they wait for
the counter: with both in one transaction, each could wait for the other.
"""

from __future__ import annotations

from typing import Final

from shared.database import Conn

SCHEMA: Final = """
CREATE TABLE news (
    workspace_id text   PRIMARY KEY,
    heard        bigint NOT NULL
);
"""
"""For a migration."""


async def count(conn: Conn, workspace_id: str) -> int:
    """How much news has been heard of this workspace."""
    heard: int | None = await conn.fetchval(
        "SELECT heard FROM news WHERE workspace_id = $1", workspace_id
    )
    return heard or 0


async def count_held(conn: Conn, workspace_id: str) -> int:
    """As `count`; and no more is heard until the end of this transaction. Several may hold it."""
    await conn.execute(
        "INSERT INTO news (workspace_id, heard) VALUES ($1, 0) ON CONFLICT DO NOTHING", workspace_id
    )
    heard: int = await conn.fetchval(
        "SELECT heard FROM news WHERE workspace_id = $1 FOR SHARE", workspace_id
    )
    return heard


async def hear(conn: Conn, workspace_id: str) -> None:
    """News came. In a transaction of its own, before that of its effect."""
    await conn.execute(
        """INSERT INTO news AS known (workspace_id, heard)
           VALUES ($1, 1)
               ON CONFLICT (workspace_id) DO UPDATE SET heard = known.heard + 1""",
        workspace_id,
    )
