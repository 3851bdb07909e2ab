"""Creates and changes users; used only by the administration command.

The gateways hear of every change as an event, and then ask again who the user is: a disabled user
is out, and a changed role acts, also with tokens that were handed out before.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Final

from auth_service.source import SOURCE
from auth_service.users import store
from auth_service.users.addresses import check_address
from auth_service.users.model import User
from auth_service.workspaces import store as workspaces
from shared.database import Conn, Database
from shared.events import Event, EventType
from shared.messaging import outbox

TOLD_AT_ONCE: Final = 500


async def create(
    db: Database,
    *,
    workspace_id: str,
    user_id: str,
    email: str,
    name: str,
    role_id: str,
    password_hash: str,
    quick_login: bool,
) -> User:
    """Raises `Conflict` (id), `AddressTaken`, `FormerUser`, or `NotFound` (workspace or role)."""
    now = datetime.now(UTC)
    user = User(
        workspace_id=workspace_id,
        id=user_id,
        email=check_address(email),
        name=name,
        role_id=role_id,
        active=True,
        quick_login=quick_login,
        version=1,
        created_at=now,
        updated_at=now,
    )
    async with db.transaction() as conn:
        await workspaces.check_exists(conn, workspace_id)
        await store.insert(conn, user, password_hash)
        await store.check_not_former(conn, workspace_id, user_id)
        await outbox.stage(conn, _user_event(EventType.USER_CREATED, user))
    return user


async def disable(db: Database, workspace_id: str, user_id: str) -> User:
    """End all sessions of the user and refuse new ones."""
    async with db.transaction() as conn:
        user = await store.disable(conn, workspace_id, user_id)
        await outbox.stage(conn, _user_event(EventType.USER_DISABLED, user))
    return user


async def delete(db: Database, workspace_id: str, user_id: str) -> User:
    """Delete the user and end all sessions. Raises `NotFound`.

    The e-mail address is free again. The id is not: the history and the API keys that the user
    made go on naming it, and must not come to name somebody else.
    """
    async with db.transaction() as conn:
        user = await store.delete(conn, workspace_id, user_id)
        deleted = replace(user, version=user.version + 1)
        await outbox.stage(conn, _user_event(EventType.USER_DELETED, deleted))
    return user


async def enable(db: Database, workspace_id: str, user_id: str) -> User:
    """Let a disabled user log in again; sessions from before stay ended."""
    async with db.transaction() as conn:
        user = await store.enable(conn, workspace_id, user_id)
        await outbox.stage(conn, _user_event(EventType.USER_UPDATED, user))
    return user


async def set_password(db: Database, workspace_id: str, user_id: str, password_hash: str) -> User:
    """Replace the password and end all sessions of the user."""
    async with db.transaction() as conn:
        user = await store.set_password(conn, workspace_id, user_id, password_hash)
        await outbox.stage(conn, _user_event(EventType.USER_UPDATED, user))
    return user


async def set_role(db: Database, workspace_id: str, user_id: str, role_id: str) -> User:
    """Another role, which acts at once."""
    async with db.transaction() as conn:
        user = await store.set_role(conn, workspace_id, user_id, role_id)
        await outbox.stage(conn, _user_event(EventType.USER_UPDATED, user))
    return user


async def tell_all(conn: Conn) -> int:
    """Tell of every user as they are now, in the transaction of the caller; how many they are."""
    told, after = 0, ("", "")
    while users := await store.page(conn, after, TOLD_AT_ONCE):
        for _, of_one in groupby(users, key=lambda user: user.workspace_id):
            events = [
                _user_event(
                    EventType.USER_UPDATED if user.active else EventType.USER_DISABLED, user
                )
                for user in of_one
            ]
            await outbox.stage(conn, *events)
        told += len(users)
        after = (users[-1].workspace_id, users[-1].id)
    return told


def _user_event(event_type: str, user: User) -> Event:
    return Event(
        type=event_type,
        source=SOURCE,
        workspace_id=user.workspace_id,
        subject=user.id,
        data={"userId": user.id, "version": user.version, "roleId": user.role_id},
    )
