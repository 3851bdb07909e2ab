"""Reactions to events of roles and workflows."""

from __future__ import annotations

from collections.abc import Mapping

from records_service.permissions import store as roles
from records_service.workflow_copies import commands as workflow_copies
from shared.database import Conn
from shared.events import Event, EventType
from shared.messaging.consuming import Handler


async def forget_role(conn: Conn, event: Event) -> None:
    """A role was changed or deleted: it is loaded from auth_service when it is needed next."""
    await roles.delete(conn, event.workspace_id, event.subject, event.version)


async def keep_workflow(conn: Conn, event: Event) -> None:
    """A workflow was made or changed."""
    await workflow_copies.upsert(conn, event.workspace_id, event.data["definition"])


async def forget_workflow(conn: Conn, event: Event) -> None:
    """A workflow was deleted."""
    await workflow_copies.delete(conn, event.workspace_id, event.subject, event.version)


REACTIONS: Mapping[str, Handler] = {
    EventType.ROLE_UPDATED: forget_role,
    EventType.ROLE_DELETED: forget_role,
    EventType.WORKFLOW_CREATED: keep_workflow,
    EventType.WORKFLOW_UPDATED: keep_workflow,
    EventType.WORKFLOW_DELETED: forget_workflow,
}
