"""Reactions to events of roles, users, API keys and workflows."""

from __future__ import annotations

from collections.abc import Mapping

from records_service.permissions import store as roles
from records_service.workflow_copies import commands as workflow_copies
from shared.database import Conn
from shared.events import Event, EventType
from shared.messaging.consuming import Handler


async def delete_role(conn: Conn, event: Event) -> None:
    """A role was changed or deleted: it is loaded from auth_service when it is needed next."""
    await roles.delete(conn, event.workspace_id, event.subject, event.version)


async def know_user(conn: Conn, event: Event) -> None:
    """A user has another role, or was disabled, enabled or deleted: jobs of theirs heed it."""
    active = event.type not in (EventType.USER_DISABLED, EventType.USER_DELETED)
    known = roles.KnownCaller(active, event.data["roleId"])
    await roles.upsert_caller(conn, event.workspace_id, "user", event.subject, event.version, known)


async def end_key(conn: Conn, event: Event) -> None:
    """An API key was deactivated or deleted: jobs that were begun with it end."""
    ended = roles.KnownCaller(active=False, role_id=None)
    await roles.upsert_caller(
        conn, event.workspace_id, "api_key", event.subject, event.version, ended
    )


async def upsert_workflow(conn: Conn, event: Event) -> None:
    """A workflow was made or changed."""
    await workflow_copies.upsert(conn, event.workspace_id, event.data["definition"])


async def delete_workflow(conn: Conn, event: Event) -> None:
    """A workflow was deleted."""
    await workflow_copies.delete(conn, event.workspace_id, event.subject, event.version)


REACTIONS: Mapping[str, Handler] = {
    EventType.ROLE_UPDATED: delete_role,
    EventType.ROLE_DELETED: delete_role,
    EventType.USER_UPDATED: know_user,
    EventType.USER_DISABLED: know_user,
    EventType.USER_DELETED: know_user,
    EventType.KEY_DEACTIVATED: end_key,
    EventType.KEY_DELETED: end_key,
    EventType.WORKFLOW_CREATED: upsert_workflow,
    EventType.WORKFLOW_UPDATED: upsert_workflow,
    EventType.WORKFLOW_DELETED: delete_workflow,
}
