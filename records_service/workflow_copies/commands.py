"""Changes the local copy of a workflow, under the workspace's model lock.

Whoever holds that lock keeps record writes waiting, so "no record is in this state" stays true
until the commit, and whoever waited then sees the state retired.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from records_service.model_objects.commands import take_lock
from records_service.workflow_copies import store
from records_service.workflow_copies.model import Retirement
from shared.database import Conn, Database
from shared.errors import Conflict


async def retire(
    db: Database,
    workspace_id: str,
    workflow_id: str,
    state_ids: Sequence[str],
    version: int,
    *,
    tells: bool,
) -> None:
    """Let no record enter these states, which `version` lacks; `Conflict` when one is in them.

    `tells` is whether the caller may know which one: the message crosses to another service.
    """
    async with db.transaction() as conn:
        await take_lock(conn, workspace_id)
        used = await store.state_in_use(conn, workspace_id, workflow_id, state_ids)
        if used is not None:
            state_id, holder = used
            message = Conflict.in_use("State", state_id).message
            told = f"{message}: {holder}, and maybe others, are in it"
            raise Conflict(told if tells else message)
        await store.retire(conn, workspace_id, workflow_id, state_ids, version)


async def reinstate(db: Database, workspace_id: str, workflow_id: str) -> None:
    """Let records enter all states of the workflow again."""
    async with db.transaction() as conn:
        await take_lock(conn, workspace_id)
        await store.reinstate(conn, workspace_id, workflow_id)


async def reinstate_claimed(db: Database, retirement: Retirement) -> bool:
    """End this retirement, whose revision is dead; False when it was not there any more.

    The word of that may be late: the next revision retires states for the same version, and those
    stay retired.
    """
    async with db.transaction() as conn:
        await take_lock(conn, retirement.workspace_id)
        return await store.reinstate_claimed(conn, retirement)


async def upsert(conn: Conn, workspace_id: str, definition: dict[str, Any]) -> None:
    """Take over a definition, unless it is old news."""
    if await store.is_newer(conn, workspace_id, definition["id"], definition["version"]):
        await take_lock(conn, workspace_id)
        await store.upsert(conn, workspace_id, definition)


async def delete(conn: Conn, workspace_id: str, workflow_id: str, version: int) -> None:
    """The workflow is gone."""
    await take_lock(conn, workspace_id)
    await store.delete(conn, workspace_id, workflow_id, version)
