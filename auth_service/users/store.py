"""Users in the database."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from auth_service.users.addresses import normalised
from auth_service.users.model import User
from shared.database import Conn, Record, mapping_constraints
from shared.errors import Conflict, NotFound, truncated


@dataclass(frozen=True, slots=True)
class Login:
    """A user and what their password must hash to."""

    user: User
    password_hash: str = field(repr=False)


# `sessions_from` is set to the next whole second: a token says in whole seconds when it was issued,
# and one of this very second may have been issued before the change.


class AddressTaken(Conflict):
    """The user's id is free, but somebody else logs in with the address."""


class FormerUser(Conflict):
    """The id belonged to a user who was deleted."""


async def insert(conn: Conn, user: User, password_hash: str) -> None:
    """Raises `Conflict` when the id is taken, `AddressTaken`, or `NotFound` without the role."""
    with mapping_constraints(
        {
            "users_id_taken": lambda: Conflict.taken("User", user.id),
            "users_have_a_role": lambda: NotFound.of("Role", user.role_id),
        }
    ):
        await conn.execute(
            """INSERT INTO users (workspace_id, id, email, name, role_id, password_hash, active,
                                  quick_login, version, created_at, updated_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)""",
            user.workspace_id,
            user.id,
            user.email,
            user.name,
            user.role_id,
            password_hash,
            user.active,
            user.quick_login,
            user.version,
            user.created_at,
            user.updated_at,
        )
    taken = AddressTaken(f"E-mail address '{truncated(user.email)}' is taken by another user")
    with mapping_constraints({"addresses_taken": lambda: taken}):
        await conn.execute(
            "INSERT INTO addresses (address, workspace_id, user_id) VALUES ($1, $2, $3)",
            normalised(user.email),
            user.workspace_id,
            user.id,
        )


async def check_not_former(conn: Conn, workspace_id: str, user_id: str) -> None:
    """Raises `FormerUser`. Asked after `insert`, which waits for a deletion that is under way."""
    former = await conn.fetchval(
        "SELECT true FROM former_users WHERE workspace_id = $1 AND id = $2", workspace_id, user_id
    )
    if former:
        raise FormerUser(
            f"User id '{truncated(user_id)}' belonged to a deleted user and is not given again"
        )


async def delete(conn: Conn, workspace_id: str, user_id: str) -> User:
    """Remove the user and the address, and keep the id. Raises `NotFound`."""
    row = await conn.fetchrow(
        """DELETE FROM users
            WHERE workspace_id = $1 AND id = $2
        RETURNING workspace_id, id, email, name, role_id, active, quick_login, version,
                  created_at, updated_at, sessions_from""",
        workspace_id,
        user_id,
    )
    user = _found(row, user_id)
    await conn.execute(
        "DELETE FROM addresses WHERE workspace_id = $1 AND user_id = $2", workspace_id, user_id
    )
    await conn.execute(
        """INSERT INTO former_users (workspace_id, id, deleted_at)
           VALUES ($1, $2, clock_timestamp())""",
        workspace_id,
        user_id,
    )
    return user


async def list_all(conn: Conn, workspace_id: str) -> list[User]:
    """All users, oldest first."""
    rows = await conn.fetch(
        """SELECT workspace_id, id, email, name, role_id, active, quick_login, version,
                  created_at, updated_at, sessions_from
             FROM users
            WHERE workspace_id = $1
            ORDER BY created_at, id""",
        workspace_id,
    )
    return [_user(row) for row in rows]


async def find_login(conn: Conn, address: str) -> Login | None:
    """Who logs in with this normalised address, also when disabled."""
    row = await conn.fetchrow(
        """SELECT u.workspace_id, u.id, u.email, u.name, u.role_id, u.active, u.quick_login,
                  u.version, u.created_at, u.updated_at, u.sessions_from, u.password_hash
             FROM addresses AS a
             JOIN users AS u ON u.workspace_id = a.workspace_id AND u.id = a.user_id
            WHERE a.address = $1""",
        address,
    )
    return None if row is None else Login(_user(row), row["password_hash"])


async def find_unchanged(conn: Conn, login: Login) -> User | None:
    """The user of this login, unless disabled or given another password since it was read."""
    row = await conn.fetchrow(
        """SELECT workspace_id, id, email, name, role_id, active, quick_login, version,
                  created_at, updated_at, sessions_from
             FROM users
            WHERE workspace_id = $1 AND id = $2 AND password_hash = $3 AND active""",
        login.user.workspace_id,
        login.user.id,
        login.password_hash,
    )
    return None if row is None else _user(row)


async def find(conn: Conn, workspace_id: str, user_id: str) -> User | None:
    """The user, also when disabled."""
    row = await conn.fetchrow(
        """SELECT workspace_id, id, email, name, role_id, active, quick_login, version,
                  created_at, updated_at, sessions_from
             FROM users
            WHERE workspace_id = $1 AND id = $2""",
        workspace_id,
        user_id,
    )
    return None if row is None else _user(row)


async def enable(conn: Conn, workspace_id: str, user_id: str) -> User:
    """Let the user log in again. Raises `NotFound`."""
    row = await conn.fetchrow(
        """UPDATE users
              SET active = true, version = version + 1, updated_at = clock_timestamp()
            WHERE workspace_id = $1 AND id = $2
        RETURNING workspace_id, id, email, name, role_id, active, quick_login, version,
                  created_at, updated_at, sessions_from""",
        workspace_id,
        user_id,
    )
    return _found(row, user_id)


async def disable(conn: Conn, workspace_id: str, user_id: str) -> User:
    """Lock the user out and end all sessions. Raises `NotFound`."""
    row = await conn.fetchrow(
        """UPDATE users
              SET active = false,
                  sessions_from = ceil(extract(epoch FROM clock_timestamp())),
                  version = version + 1,
                  updated_at = clock_timestamp()
            WHERE workspace_id = $1 AND id = $2
        RETURNING workspace_id, id, email, name, role_id, active, quick_login, version,
                  created_at, updated_at, sessions_from""",
        workspace_id,
        user_id,
    )
    return _found(row, user_id)


async def set_password(conn: Conn, workspace_id: str, user_id: str, password_hash: str) -> User:
    """Replace the password and end all sessions. Raises `NotFound`."""
    row = await conn.fetchrow(
        """UPDATE users
              SET password_hash = $3,
                  sessions_from = ceil(extract(epoch FROM clock_timestamp())),
                  version = version + 1,
                  updated_at = clock_timestamp()
            WHERE workspace_id = $1 AND id = $2
        RETURNING workspace_id, id, email, name, role_id, active, quick_login, version,
                  created_at, updated_at, sessions_from""",
        workspace_id,
        user_id,
        password_hash,
    )
    return _found(row, user_id)


async def set_role(conn: Conn, workspace_id: str, user_id: str, role_id: str) -> User:
    """Raises `NotFound` for the user or the role."""
    with mapping_constraints({"users_have_a_role": lambda: NotFound.of("Role", role_id)}):
        row = await conn.fetchrow(
            """UPDATE users
                  SET role_id = $3, version = version + 1, updated_at = clock_timestamp()
                WHERE workspace_id = $1 AND id = $2
            RETURNING workspace_id, id, email, name, role_id, active, quick_login, version,
                      created_at, updated_at, sessions_from""",
            workspace_id,
            user_id,
            role_id,
        )
    return _found(row, user_id)


async def end_all_sessions(conn: Conn) -> None:
    """Everybody has to log in again."""
    await conn.execute(
        "UPDATE users SET sessions_from = ceil(extract(epoch FROM clock_timestamp()))"
    )


async def page(conn: Conn, after: tuple[str, str], limit: int) -> list[User]:
    """Users of all workspaces, in the order of workspace and id, behind this one."""
    rows = await conn.fetch(
        """SELECT workspace_id, id, email, name, role_id, active, quick_login, version,
                  created_at, updated_at, sessions_from
             FROM users
            WHERE (workspace_id, id) > ($1, $2)
            ORDER BY workspace_id, id
            LIMIT $3""",
        *after,
        limit,
    )
    return [_user(row) for row in rows]


async def rehash(conn: Conn, login: Login, password_hash: str) -> None:
    """Keep the same password under another hash, unless it has been changed meanwhile."""
    await conn.execute(
        """UPDATE users
              SET password_hash = $3
            WHERE workspace_id = $1 AND id = $2 AND password_hash = $4""",
        login.user.workspace_id,
        login.user.id,
        password_hash,
        login.password_hash,
    )


async def tenants(conn: Conn) -> list[dict[str, Any]]:
    """Every workspace with those of its users whom a login screen may offer."""
    rows = await conn.fetch(
        """SELECT w.workspace_id, w.name,
                  coalesce(
                      jsonb_agg(
                          jsonb_build_object(
                              'id', u.id, 'name', u.name, 'email', u.email, 'roleId', u.role_id)
                          ORDER BY u.created_at, u.id)
                          FILTER (WHERE u.id IS NOT NULL),
                      '[]') AS users
             FROM workspaces AS w
             LEFT JOIN users AS u
                    ON u.workspace_id = w.workspace_id AND u.quick_login AND u.active
            GROUP BY w.workspace_id
            ORDER BY w.created_at, w.workspace_id"""
    )
    return [{"id": row["workspace_id"], "name": row["name"], "users": row["users"]} for row in rows]


def _found(row: Record | None, user_id: str) -> User:
    if row is None:
        raise NotFound.of("User", user_id)
    return _user(row)


def _user(row: Record) -> User:
    return User(
        workspace_id=row["workspace_id"],
        id=row["id"],
        email=row["email"],
        name=row["name"],
        role_id=row["role_id"],
        active=row["active"],
        quick_login=row["quick_login"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        sessions_from=row["sessions_from"],
    )
