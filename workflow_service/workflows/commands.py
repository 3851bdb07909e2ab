"""Creates, replaces and deletes workflows, each in one transaction with its event."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime

import structlog
from aiohttp import web

from shared.database import Conn, Database, sizes
from shared.database.sizes import Bound
from shared.errors import (
    ApiError,
    Conflict,
    ServiceUnavailable,
    UpstreamTimeout,
)
from shared.events import Event, EventType
from shared.http.versions import Versions, check_version
from shared.ids import check_same_id, new_id
from shared.messaging import outbox
from workflow_service.author_rights.counting import check_counting
from workflow_service.author_rights.withholding import check_withheld
from workflow_service.clients import Clients
from workflow_service.definitions.model import Workflow, WorkflowDraft
from workflow_service.definitions.validation import (
    CheckedDraft,
    check_size,
    keeping_ids,
    keeping_naming,
    removed_states,
    unsaid_naming,
)
from workflow_service.names.resolution import (
    NamedDraft,
    StaleNames,
    keep_unknown,
    keeping_names,
    resolve_names,
)
from workflow_service.references import store as references
from workflow_service.references.model import Reference
from workflow_service.role_claims.claims import claim_roles, role_ids
from workflow_service.workflows import store

log = structlog.get_logger(__name__)
SOURCE = "/workflow_service"
REFERENCES_MAX = 10_000
TOLD_AT_ONCE = 20
ATTEMPTS_MAX = 5

WORKFLOWS_MAX = web.AppKey("workflows_max", Bound)


async def create(
    db: Database,
    clients: Clients,
    workspace_id: str,
    draft: WorkflowDraft,
    *,
    bound: Bound,
) -> Workflow:
    """Create a workflow, and stage its event."""
    check_size(draft)
    workflow_id = draft.id or new_id("wf")
    now = datetime.now(UTC)
    for _ in range(ATTEMPTS_MAX):
        named = await resolve_names(db, clients, workspace_id, draft)
        _check_counting(named)
        workflow = _drafted(draft, workflow_id, named.parts, created_at=now, updated_at=now)
        slot = clients.slot() if role_ids(named.parts.transitions) else nullcontext()
        with suppress(StaleNames):
            async with slot, db.transaction() as conn:
                await claim_roles(conn, clients, workspace_id, named.parts)
                stored, growth = await store.insert(conn, workspace_id, workflow)
                await keep_unknown(conn, workspace_id, workflow_id, named)
                await outbox.stage(
                    conn, workflow_event(EventType.WORKFLOW_CREATED, workspace_id, stored)
                )
                await sizes.add(conn, workspace_id, store.TABLE, growth, bound)
            return stored
    raise _busy()


async def update(
    db: Database,
    clients: Clients,
    workspace_id: str,
    workflow_id: str,
    draft: WorkflowDraft,
    *,
    bound: Bound,
    expected: Versions = None,
) -> Workflow:
    """Replace the whole definition. A state may only go when no record is in it.

    Whoever revises a workflow holds its row until the commit, so states are retired in
    records_service by one revision at a time, and taken back if that revision does not come about.
    Where it dies before it can do so, the comparison does.
    """
    check_same_id(workflow_id, draft.id)
    check_size(draft)
    async with db.acquire() as conn:
        await store.get(conn, workspace_id, workflow_id)
    for _ in range(ATTEMPTS_MAX):
        with suppress(StaleNames):
            return await _update(db, clients, workspace_id, workflow_id, draft, bound, expected)
    raise _busy()


async def _update(
    db: Database,
    clients: Clients,
    workspace_id: str,
    workflow_id: str,
    draft: WorkflowDraft,
    bound: Bound,
    expected: Versions,
) -> Workflow:
    named = await resolve_names(db, clients, workspace_id, draft, workflow_id)
    retired_at: int | None = None
    try:
        async with clients.slot(), db.transaction() as conn:
            known = await store.get_locked(conn, workspace_id, workflow_id)
            check_version("Workflow", known.id, known.version, expected)
            parts = revised(draft, named, known, restricted=clients.caller_is_restricted)
            await claim_roles(conn, clients, workspace_id, parts, role_ids(known.transitions))
            removed = removed_states(known.states, parts.states)
            if removed:
                retired_at = known.version
                await clients.retire_states(workflow_id, removed, known.version + 1)
            workflow = revision(draft, parts, known)
            stored, growth = await store.update(conn, workspace_id, workflow)
            await keep_unknown(conn, workspace_id, workflow_id, named)
            await outbox.stage(
                conn, workflow_event(EventType.WORKFLOW_UPDATED, workspace_id, stored)
            )
            await sizes.add(conn, workspace_id, store.TABLE, growth, bound)
    except BaseException:
        if retired_at is not None:
            await asyncio.shield(_reinstate(db, clients, workspace_id, workflow_id, retired_at))
        raise
    return stored


def revised(
    draft: WorkflowDraft, named: NamedDraft, known: Workflow, *, restricted: bool
) -> CheckedDraft:
    """The parts of a new version; raises `PermissionDenied` for an author with a role."""
    parts = keeping_naming(keeping_names(draft, named.parts, known.states), known.states)
    if restricted:
        check_withheld(parts.states, known.states)
        _check_counting(replace(named, parts=parts), known)
    return parts


def revision(draft: WorkflowDraft, parts: CheckedDraft, known: Workflow) -> Workflow:
    """The new version of a workflow, without its number; raises `ValidationError` for its size."""
    return _drafted(
        draft.model_copy(update=unsaid_naming(draft, known)),
        known.id,
        keeping_ids(draft, parts, known.transitions),
        created_at=known.created_at,
        updated_at=datetime.now(UTC),
    )


async def delete(
    db: Database,
    clients: Clients,
    workspace_id: str,
    workflow_id: str,
    expected: Versions = None,
) -> None:
    """Remove a workflow that no schema is bound to."""
    try:
        await _delete(db, workspace_id, workflow_id, expected)
    except Conflict:
        # The schemas may be deleted already, and their events not handled yet.
        async with db.acquire() as conn:
            known = await references.list_all(conn, workspace_id, workflow_id, REFERENCES_MAX)
        if await _is_bound(clients, workflow_id):
            raise
        # A reference that was registered since then stays, and prevents the deletion.
        await _delete(db, workspace_id, workflow_id, expected, known)


async def refer(db: Database, workspace_id: str, schema_id: str, name: str) -> Workflow:
    """Register that a schema will be saved with this workflow, so that it cannot be deleted."""
    async with db.transaction() as conn:
        workflow_id = await store.id_of(conn, workspace_id, name)
        await references.register(conn, workspace_id, schema_id, workflow_id)
        return await store.get(conn, workspace_id, workflow_id)


def _check_counting(named: NamedDraft, known: Workflow | None = None) -> None:
    """`known` is the stored workflow, None for a new one. Raises `PermissionDenied`."""
    check_counting(
        named.parts,
        () if known is None else known.states,
        () if known is None else known.transitions,
        named.unreadable,
        named.unreadable_required,
        named.required,
    )


async def _delete(
    db: Database,
    workspace_id: str,
    workflow_id: str,
    expected: Versions,
    stale: Sequence[Reference] = (),
) -> None:
    """Delete the workflow with these references; if it has others, nothing is deleted."""
    async with db.transaction() as conn:
        if stale:
            await references.release(conn, workspace_id, stale)
        if expected is not None:
            known = await store.get_locked(conn, workspace_id, workflow_id)
            check_version("Workflow", known.id, known.version, expected)
        gone, growth = await store.delete(conn, workspace_id, workflow_id)
        await outbox.stage(conn, workflow_event(EventType.WORKFLOW_DELETED, workspace_id, gone))
        await sizes.add(conn, workspace_id, store.TABLE, growth)


async def _is_bound(clients: Clients, workflow_id: str) -> bool:
    try:
        return await clients.binds(workflow_id)
    except (ServiceUnavailable, UpstreamTimeout):
        # As far as anybody can say now, the workflow is in use.
        return True


async def _reinstate(
    db: Database, clients: Clients, workspace_id: str, workflow_id: str, version: int
) -> None:
    """Let records enter the states again that were retired for a revision that was not saved.

    `version` is the version that the revision was to replace. If another one is stored, nothing is
    done: then the commit took effect although its answer was lost, or a later revision has retired
    states of its own.
    """
    try:
        async with clients.slot(), db.transaction() as conn:
            known = await store.get_locked(conn, workspace_id, workflow_id)
            if known.version == version:
                await clients.reinstate_states(workflow_id)
    except ApiError as error:
        # The comparison finds them, as it finds those of a process that died.
        log.warning("states_stay_retired", workflow_id=workflow_id, error=error.message)


def _busy() -> ServiceUnavailable:
    return ServiceUnavailable("The attributes that this workflow names are being changed by others")


def _drafted(
    draft: WorkflowDraft,
    workflow_id: str,
    parts: CheckedDraft,
    *,
    created_at: datetime,
    updated_at: datetime,
) -> Workflow:
    workflow = Workflow(
        id=workflow_id,
        alias=draft.alias,
        name=draft.name,
        labels=draft.labels,
        external_key=draft.external_key,
        description=draft.description,
        default_state_id=parts.default_state_id,
        states=list(parts.states),
        transitions=list(parts.transitions),
        created_at=created_at,
        updated_at=updated_at,
        version=0,
    )
    check_size(workflow)
    return workflow


async def tell_all(conn: Conn) -> int:
    """Tell of every workflow as it is now, in the transaction of the caller; how many they are."""
    told, after = 0, ("", "")
    while found := await store.page_of_all(conn, after, TOLD_AT_ONCE):
        for workspace_id, workflow in found:
            event = workflow_event(EventType.WORKFLOW_UPDATED, workspace_id, workflow)
            await outbox.stage(conn, event)
        told += len(found)
        after = (found[-1][0], found[-1][1].id)
    return told


def workflow_event(event_type: str, workspace_id: str, workflow: Workflow) -> Event:
    """The event of a changed workflow, with its definition."""
    return Event(
        type=event_type,
        source=SOURCE,
        workspace_id=workspace_id,
        subject=workflow.id,
        data={
            "workflowId": workflow.id,
            "version": workflow.version,
            "definition": workflow.definition(),
        },
    )
