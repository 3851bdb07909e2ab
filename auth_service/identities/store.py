"""Reads everything that an identity contains, in one statement."""

from __future__ import annotations

from auth_service.api_keys import store as api_keys
from auth_service.identities.model import key_identity, user_identity
from shared.database import Conn
from shared.errors import Unauthorized
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
