"""Claims in auth_service the roles that the gates of a workflow name.

A claimed role is not deleted before auth_service has asked this service whether a workflow names it
(docs/adr/0023).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from shared.database import Conn
from shared.errors import (
    ValidationError,
    Violation,
    truncated,
)
from workflow_service.clients import Clients
from workflow_service.definitions.model import (
    Transition,
)
from workflow_service.definitions.validation import (
    CheckedDraft,
)
from workflow_service.role_claims import store


def role_ids(transitions: Iterable[Transition]) -> list[str]:
    """Every role that some transition names, once, sorted."""
    return sorted({role_id for step in transitions for role_id in step.allowed_role_ids})


def check_roles_exist(transitions: Sequence[Transition], missing: Iterable[str]) -> None:
    """Raise `ValidationError` naming each place with a role that does not exist."""
    unknown = set(missing)
    ValidationError.check(
        Violation(
            f"/transitions/{place}/allowedRoleIds/{nth}", f"Unknown role '{truncated(role_id)}'"
        )
        for place, step in enumerate(transitions)
        for nth, role_id in enumerate(step.allowed_role_ids)
        if role_id in unknown
    )


async def claim_roles(
    conn: Conn,
    clients: Clients,
    workspace_id: str,
    parts: CheckedDraft,
    named_before: Collection[str] = (),
) -> None:
    """Let auth_service know that the roles at the gates are named, before this is committed.

    Whoever deletes one waits for this transaction's end (docs/adr/0023). Raises `ValidationError`
    for a role that does not exist. One that was named before may be gone by now: it opens nothing,
    and keeps nobody from saving.
    """
    named = role_ids(parts.transitions)
    if not named:
        return
    await store.naming_roles(conn, workspace_id)
    missing = await clients.missing_roles(named)
    check_roles_exist(parts.transitions, [one for one in missing if one not in named_before])
