"""What auth_service does when its database was restored (shared/database/restored.py)."""

from __future__ import annotations

from collections.abc import Sequence

from auth_service.names import store as names
from auth_service.users import commands as users
from auth_service.users import store as user_store
from shared.database import Conn
from shared.database.incarnations import Incarnation


async def repair(conn: Conn, _begun: Incarnation) -> Sequence[str]:
    """End all sessions, and tell everybody's role and state again.

    Nothing here knows which key or user was locked out after the backup: an operator has to.
    """
    await names.doubt_all(conn)
    await user_store.end_all_sessions(conn)
    told = await users.tell_all(conn)
    return [
        f"all sessions have ended; users that are told of again: {told}",
        (
            "whatever was deactivated, deleted or narrowed after the backup (users, passwords,"
            " roles, API keys) is again as it was: look through list-users and list-keys of"
            " python -m auth_service admin before the gateways start"
        ),
    ]
