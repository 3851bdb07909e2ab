"""What a move does in a database of the target.

`sigma_moves.arrivals` has a row for each workspace on its way: `coming` while rows are copied that
nobody may rely on, `there` in the transaction that opens the workspace.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from deploy.workspaces import comparing, fence
from deploy.workspaces.databases import (
    Database,
    advance_numbers,
    columns_of,
    copy,
    delete_rows,
    quoted,
    uncommitted,
)
from deploy.workspaces.tables import RECORDS, WORKFLOW, Moves
from workflow_service.webhooks.store import CHANGED_CHANNEL

COMING, THERE = "coming", "there"
_ARRIVALS = """
    CREATE TABLE IF NOT EXISTS sigma_moves.arrivals (
        workspace_id text PRIMARY KEY, state text NOT NULL)
"""


async def state_of(target: Database, workspace_id: str) -> str | None:
    """COMING, THERE, or None where no move of this workspace has begun."""
    if await target.conn.fetchval("SELECT to_regclass('sigma_moves.arrivals')") is None:
        return None
    state: str | None = await target.conn.fetchval(
        "SELECT state FROM sigma_moves.arrivals WHERE workspace_id = $1", workspace_id
    )
    return state


async def expect(target: Database, workspace_id: str) -> None:
    """Note that rows are coming; repeatable."""
    await fence.prepare(target.conn)
    await target.conn.execute(_ARRIVALS)
    await target.conn.execute(
        f"INSERT INTO sigma_moves.arrivals VALUES ($1, '{COMING}') ON CONFLICT DO NOTHING",
        workspace_id,
    )


async def forget(target: Database, workspace_id: str) -> None:
    """Forget the row: the move is over."""
    if await state_of(target, workspace_id) is not None:
        await target.conn.execute(
            "DELETE FROM sigma_moves.arrivals WHERE workspace_id = $1", workspace_id
        )


async def remove(target: Database, workspace_id: str) -> int:
    """Remove what has come of a workspace that does not come; how many rows."""
    async with target.conn.transaction():
        await _as_replica(target)
        rows = await delete_rows(target.conn, target.tables, workspace_id)
        await forget(target, workspace_id)
    return rows


@asynccontextmanager
async def opening(target: Database) -> AsyncIterator[None]:
    """A transaction that the caller commits after `bring`, together with those of the others."""
    async with uncommitted(target):
        await _as_replica(target)
        yield


async def bring(source: Database, target: Database, workspace_id: str) -> int:
    """Copy what is moved at the end, in the open transaction; how many rows. Nobody writes them.

    Raises `Failed` if something else arrived than was sent.
    """
    replaced = [table for table in target.tables if table.replaced]
    await delete_rows(target.conn, replaced, workspace_id)
    ours = [table.name for table in target.tables if table.moves is Moves.AT_THE_END]
    for table in ours:
        columns = await columns_of(source.conn, table)
        names = ", ".join(f'"{name}"' for name in columns)
        await copy(
            source.conn,
            f"SELECT {names} FROM {table} WHERE workspace_id = {quoted(workspace_id)}",
            target.conn,
            table,
            columns,
        )
    rows = await comparing.compare(source.service, source.conn, target.conn, ours, workspace_id)
    await advance_numbers(target.conn, target.tables, workspace_id)
    if target.service == RECORDS:
        # The messages of their turns are in the source's broker.
        await target.conn.execute(
            "UPDATE jobs SET lost_at = now() WHERE workspace_id = $1", workspace_id
        )
    if target.service == WORKFLOW:
        await tell_of_webhooks(target, workspace_id)
    await target.conn.execute(
        f"UPDATE sigma_moves.arrivals SET state = '{THERE}' WHERE workspace_id = $1", workspace_id
    )
    return rows


async def tell_of_webhooks(database: Database, workspace_id: str) -> None:
    """Let the one process that sends look at the workspace's webhooks, after the commit."""
    await database.conn.execute(
        "SELECT pg_notify($2, workspace_id || ' ' || id) FROM webhooks WHERE workspace_id = $1",
        workspace_id,
        CHANGED_CHANNEL,
    )


async def _as_replica(target: Database) -> None:
    """Foreign keys and triggers were applied at the source."""
    await target.conn.execute("SET LOCAL session_replication_role = replica")
