"""Judges a draft as the PUT would, and asks records_service what it would do to records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.database import Database
from shared.http.retries import DRY_RUNNING
from shared.http.versions import Versions, check_version
from shared.ids import check_same_id
from workflow_service.clients import Clients
from workflow_service.definitions.model import WorkflowDraft
from workflow_service.definitions.validation import CheckedDraft, check_size
from workflow_service.names.resolution import resolve_names
from workflow_service.role_claims.claims import claim_roles, role_ids
from workflow_service.workflows import store
from workflow_service.workflows.commands import revised, revision


async def preview(
    db: Database,
    clients: Clients,
    workspace_id: str,
    workflow_id: str,
    draft: WorkflowDraft,
    *,
    expected: Versions = None,
) -> Mapping[str, Any]:
    """What saving the draft would do to records. Raises what that raises, except for `Conflict`."""
    check_same_id(workflow_id, draft.id)
    check_size(draft)
    async with db.acquire() as conn:
        known = await store.get(conn, workspace_id, workflow_id)
    check_version("Workflow", known.id, known.version, expected)
    named = await resolve_names(db, clients, workspace_id, draft, workflow_id)
    parts = revised(draft, named, known, restricted=clients.caller_is_restricted)
    await _check_roles(db, clients, workspace_id, parts, role_ids(known.transitions))
    new = revision(draft, parts, known).model_copy(update={"version": known.version + 1})
    return await clients.preview(workflow_id, new.definition())


async def _check_roles(
    db: Database,
    clients: Clients,
    workspace_id: str,
    parts: CheckedDraft,
    named_before: list[str],
) -> None:
    """As when the workflow is saved, but without a claim that stays."""
    if not role_ids(parts.transitions):
        return
    token = DRY_RUNNING.set(True)
    try:
        async with clients.slot(), db.transaction() as conn:
            await claim_roles(conn, clients, workspace_id, parts, named_before)
    finally:
        DRY_RUNNING.reset(token)
