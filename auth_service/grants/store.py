"""Grants in the database, and what their subjects may do now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from auth_service.grants.model import ActingQuestion, Lent, SubjectKind
from auth_service.identities.model import key_identity, user_identity
from shared.database import Conn, mapping_constraints
from shared.errors import NotFound
from shared.identity import Flag, Identity, Permission

_SUBJECTS: Final[Mapping[SubjectKind, str]] = {
    "user": """
        SELECT u.active, u.role_id, r.version, r.flags, w.record_limit,
               g.subject_id IS NOT NULL AS granted
          FROM users AS u
          JOIN roles AS r ON r.workspace_id = u.workspace_id AND r.id = u.role_id
          JOIN workspaces AS w ON w.workspace_id = u.workspace_id
          LEFT JOIN grants AS g
                 ON g.workspace_id = u.workspace_id AND g.kind = 'user'
                AND g.subject_id = u.id AND g.service = $3
         WHERE u.workspace_id = $1 AND u.id = $2""",
    "api_key": """
        SELECT k.active, k.permissions, w.record_limit, g.subject_id IS NOT NULL AS granted
          FROM api_keys AS k
          JOIN workspaces AS w ON w.workspace_id = k.workspace_id
          LEFT JOIN grants AS g
                 ON g.workspace_id = k.workspace_id AND g.kind = 'api_key'
                AND g.subject_id = k.id AND g.service = $3
         WHERE k.workspace_id = $1 AND k.id = $2""",
}
"""A user or an API key with what they may do, and whether the service ($3) has their grant."""


async def insert(conn: Conn, subject: Identity, service: str) -> None:
    """Let the service act for the subject; again: nothing. `NotFound` if it was just deleted."""
    with mapping_constraints(
        {
            "grants_of_users": lambda: NotFound.of("User", subject.id),
            "grants_of_api_keys": lambda: NotFound.of("API key", subject.id),
        }
    ):
        await conn.execute(
            """INSERT INTO grants (workspace_id, service, kind, subject_id)
               VALUES ($1, $2, $3, $4)
                   ON CONFLICT DO NOTHING""",
            subject.workspace_id,
            service,
            subject.kind,
            subject.id,
        )


async def lent(conn: Conn, asked: ActingQuestion, service: str) -> Lent:
    """Who is asked for, with the rights of this moment, or why the service may not act for them."""
    row = await conn.fetchrow(_SUBJECTS[asked.kind], asked.workspace_id, asked.id, service)
    if row is None:
        return "deleted"
    if not row["granted"]:
        return "noGrant"
    if not row["active"]:
        return "disabled"
    if asked.kind == "api_key":
        permissions = frozenset(map(Permission, row["permissions"]))
        return key_identity(asked.workspace_id, asked.id, permissions, row["record_limit"])
    return user_identity(
        asked.workspace_id,
        asked.id,
        role_id=row["role_id"],
        role_version=row["version"],
        flags=frozenset(map(Flag, row["flags"])),
        record_limit=row["record_limit"],
    )
