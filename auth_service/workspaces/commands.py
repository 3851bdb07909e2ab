"""Creates and changes workspaces; used only by the administration command."""

from __future__ import annotations

from datetime import UTC, datetime

from auth_service.roles import commands as roles
from auth_service.source import SOURCE
from auth_service.workspaces import store
from auth_service.workspaces.model import Workspace
from shared.database import Database
from shared.events import Event, EventType
from shared.messaging import outbox


async def create(db: Database, workspace_id: str, name: str, record_limit: int) -> Workspace:
    """A workspace with its built-in role. Raises `Conflict` when the id is taken."""
    now = datetime.now(UTC)
    workspace = Workspace(
        id=workspace_id,
        name=name,
        record_limit=record_limit,
        version=1,
        created_at=now,
        updated_at=now,
    )
    async with db.transaction() as conn:
        await store.insert(conn, workspace)
        await outbox.stage(conn, _workspace_event(EventType.WORKSPACE_CREATED, workspace))
        await roles.create_built_in(conn, workspace_id, now)
    return workspace


async def set_record_limit(db: Database, workspace_id: str, record_limit: int) -> Workspace:
    """How many records it may hold from now on; those that it holds stay."""
    async with db.transaction() as conn:
        workspace = await store.set_record_limit(conn, workspace_id, record_limit)
        await outbox.stage(conn, _workspace_event(EventType.WORKSPACE_UPDATED, workspace))
    return workspace


def _workspace_event(event_type: str, workspace: Workspace) -> Event:
    return Event(
        type=event_type,
        source=SOURCE,
        workspace_id=workspace.id,
        subject=workspace.id,
        data={
            "workspaceId": workspace.id,
            "version": workspace.version,
            "recordLimit": workspace.record_limit,
        },
    )
