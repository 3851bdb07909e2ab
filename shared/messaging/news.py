"""Counter of received events per workspace, to notice one that arrives while an answer is saved.

A service asks another one, saves the answer, and changes it later when an event says so. An event
that arrives after the question and before the commit would find nothing to change. So events are
counted per workspace, and the count is compared:

    before the question                 counted = await news.count(conn, workspace_id)
    in the transaction that saves       if await news.count_held(conn, workspace_id) != counted:
                                            ask again
    for each event, before its effect   await news.hear(conn, workspace_id), and commit

`hear` waits for the transactions that hold the counter: they have committed when the effect begins,
so the effect finds what they saved. A transaction that reads the counter later sees the new count.

`hear` is committed before the effect, because the effect takes locks that a saving transaction
holds while it waits for the counter: in one transaction, the two could deadlock.
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
    """The number of events received for this workspace."""
    heard: int | None = await conn.fetchval(
        "SELECT heard FROM news WHERE workspace_id = $1", workspace_id
    )
    return heard or 0


async def count_held(conn: Conn, workspace_id: str) -> int:
    """As `count`, and `hear` waits until this transaction ends. Several may hold the counter."""
    await conn.execute(
        "INSERT INTO news (workspace_id, heard) VALUES ($1, 0) ON CONFLICT DO NOTHING", workspace_id
    )
    heard: int = await conn.fetchval(
        "SELECT heard FROM news WHERE workspace_id = $1 FOR SHARE", workspace_id
    )
    return heard


async def hear(conn: Conn, workspace_id: str) -> None:
    """Count an event, in a transaction of its own before that of its effect."""
    await conn.execute(
        """INSERT INTO news AS known (workspace_id, heard)
           VALUES ($1, 1)
               ON CONFLICT (workspace_id) DO UPDATE SET heard = known.heard + 1""",
        workspace_id,
    )
