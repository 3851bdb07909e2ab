"""Reads everything that an identity contains, in one statement."""

from __future__ import annotations

from typing import Any

from auth_service.api_keys import store as api_keys
from auth_service.identities.model import key_identity, user_identity
from shared.database import Conn
from shared.errors import NotFound, Unauthorized
from shared.identity import Flag, Identity, Permission

LAST_USED_EVERY_S = 60


async def of_user(
    conn: Conn, workspace_id: str, user_id: str, issued_at: int | None = None
) -> Identity:
    """The user with the role that they hold now, whatever an older token says.

    `issued_at` is the token's, in epoch seconds. Raises `Unauthorized` for a user who is disabled
    or unknown, and for a token from before the user's sessions were ended.
    """
    row = await conn.fetchrow(
        """SELECT u.role_id, r.version, r.flags, w.record_limit
             FROM users AS u
             JOIN roles AS r ON r.workspace_id = u.workspace_id AND r.id = u.role_id
             JOIN workspaces AS w ON w.workspace_id = u.workspace_id
            WHERE u.workspace_id = $1 AND u.id = $2 AND u.active
              AND u.sessions_from <= coalesce($3, u.sessions_from)""",
        workspace_id,
        user_id,
        issued_at,
    )
    if row is None:
        raise Unauthorized("Invalid or expired token")
    return user_identity(
        workspace_id,
        user_id,
        role_id=row["role_id"],
        role_version=row["version"],
        flags=frozenset(map(Flag, row["flags"])),
        record_limit=row["record_limit"],
    )


async def of_key(conn: Conn, key_hash: bytes) -> Identity:
    """The key with this hash, noting that it was used.

    Raises `Unauthorized` for a key that was deactivated or never was. The one question that names
    no workspace: the key is what tells it.
    """
    row = await conn.fetchrow(
        """SELECT k.workspace_id, k.id, k.permissions, w.record_limit,
                  k.last_used_at IS NULL
                  OR k.last_used_at < clock_timestamp() - make_interval(secs => $2) AS unnoted
             FROM api_keys AS k
             JOIN workspaces AS w ON w.workspace_id = k.workspace_id
            WHERE k.key_hash = $1 AND k.active""",
        key_hash,
        LAST_USED_EVERY_S,
    )
    if row is None:
        raise Unauthorized("Invalid API key")
    if row["unnoted"]:
        await api_keys.note_use(conn, row["workspace_id"], row["id"], LAST_USED_EVERY_S)
    return key_identity(
        row["workspace_id"],
        row["id"],
        frozenset(map(Permission, row["permissions"])),
        row["record_limit"],
    )


async def about(conn: Conn, identity: Identity) -> dict[str, Any]:
    """What the caller is told about itself, and its workspace without the number of its records.

    Raises `NotFound` for one that was deleted a moment ago.
    """
    if identity.kind == "user":
        row = await conn.fetchrow(
            """SELECT u.id, u.name, u.email, u.role_id, w.name AS workspace_name, w.record_limit
                 FROM users AS u
                 JOIN workspaces AS w ON w.workspace_id = u.workspace_id
                WHERE u.workspace_id = $1 AND u.id = $2""",
            identity.workspace_id,
            identity.id,
        )
        if row is None:
            raise NotFound.of("User", identity.id)
        kind, more = "user", {"email": row["email"], "roleId": row["role_id"]}
    else:
        row = await conn.fetchrow(
            """SELECT k.id, k.name, k.permissions, w.name AS workspace_name, w.record_limit
                 FROM api_keys AS k
                 JOIN workspaces AS w ON w.workspace_id = k.workspace_id
                WHERE k.workspace_id = $1 AND k.id = $2""",
            identity.workspace_id,
            identity.id,
        )
        if row is None:
            raise NotFound.of("API key", identity.id)
        kind, more = "apiKey", {"permissions": row["permissions"]}
    return {
        "kind": kind,
        "id": row["id"],
        "name": row["name"],
        **more,
        "workspace": {
            "id": identity.workspace_id,
            "name": row["workspace_name"],
            "recordLimit": row["record_limit"],
        },
    }
