"""Creates, replaces and deletes workflows, each in one transaction with its event."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
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
from shared.messaging import news, outbox
from workflow_service.clients import Clients
from workflow_service.references import store as references
from workflow_service.workflows import store
from workflow_service.workflows.counting import check_counting, required_names
from workflow_service.workflows.model import Workflow, WorkflowDraft
from workflow_service.workflows.validation import (
    CheckedDraft,
    attribute_names,
    check_roles_exist,
    check_size,
    keeping_ids,
    keeping_names,
    removed_states,
    role_ids,
    sound,
    with_attribute_ids,
)
from workflow_service.workflows.withholding import check_withheld

log = structlog.get_logger(__name__)
SOURCE = "/workflow_service"
REFERENCES_MAX = 10_000
ATTEMPTS_MAX = 5


class _Named(Exception):
    """A name without an attribute may have got one since it was looked up; judge again."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """A draft with ids, and what nothing had yet of the names in it."""

    parts: CheckedDraft
    unreadable: Sequence[str]
    """The required names that the author may not make completeness count."""
    unreadable_required: Sequence[str]
    required: Sequence[str]
    """The ids of all attributes that count in every state that does not hide them."""
    unknown: Sequence[str]
    model_version: int
    heard: int
    """The number of model events handled before the names were looked up."""


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
        judged = await _judged(db, clients, workspace_id, draft)
        _check_counting(judged)
        workflow = _drafted(draft, workflow_id, judged.parts, created_at=now, updated_at=now)
        place = clients.place() if role_ids(judged.parts.transitions) else nullcontext()
        with suppress(_Named):
            async with place, db.transaction() as conn:
                await _claim_roles(conn, clients, workspace_id, judged.parts)
                stored = await store.insert(conn, workspace_id, workflow)
                await _keep_unknown(conn, workspace_id, workflow_id, judged)
                await outbox.stage(
                    conn, workflow_event(EventType.WORKFLOW_CREATED, workspace_id, stored)
                )
                await sizes.check(conn, workspace_id, bound)
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
        with suppress(_Named):
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
    judged = await _judged(db, clients, workspace_id, draft, workflow_id)
    retired_at: int | None = None
    try:
        async with clients.place(), db.transaction() as conn:
            known = await store.get_locked(conn, workspace_id, workflow_id)
            check_version("Workflow", known.id, known.version, expected)
            parts = keeping_names(draft, judged.parts, known.states)
            if clients.caller_is_restricted:
                check_withheld(parts.states, known.states)
                _check_counting(replace(judged, parts=parts), known)
            await _claim_roles(conn, clients, workspace_id, parts, role_ids(known.transitions))
            removed = removed_states(known.states, parts.states)
            if removed:
                retired_at = known.version
                await clients.retire_states(workflow_id, removed, known.version + 1)
            workflow = _drafted(
                draft,
                workflow_id,
                keeping_ids(draft, parts, known.transitions),
                created_at=known.created_at,
                updated_at=datetime.now(UTC),
            )
            stored = await store.update(conn, workspace_id, workflow)
            await _keep_unknown(conn, workspace_id, workflow_id, judged)
            await outbox.stage(
                conn, workflow_event(EventType.WORKFLOW_UPDATED, workspace_id, stored)
            )
            await sizes.check(conn, workspace_id, bound)
    except BaseException:
        if retired_at is not None:
            await asyncio.shield(_reinstate(db, clients, workspace_id, workflow_id, retired_at))
        raise
    return stored


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


async def refer(db: Database, workspace_id: str, schema_id: str, workflow_id: str) -> Workflow:
    """Register that a schema will be saved with this workflow, so that it cannot be deleted."""
    async with db.transaction() as conn:
        await references.register(conn, workspace_id, schema_id, workflow_id)
        return await store.get(conn, workspace_id, workflow_id)


async def _judged(
    db: Database,
    clients: Clients,
    workspace_id: str,
    draft: WorkflowDraft,
    workflow_id: str | None = None,
) -> _Judged:
    """The parts of the draft, with every attribute named by its id where there is one.

    `workflow_id` is None for a new workflow.
    """
    parts = sound(draft)
    async with db.acquire() as conn:
        heard = await news.count(conn, workspace_id)
    meaning = await clients.meaning(
        attribute_names(parts.states), required_names(parts.states), workflow_id
    )
    parts = with_attribute_ids(parts, meaning.ids)
    ids = set(meaning.ids.values())
    unknown = [name for name in attribute_names(parts.states) if name not in ids]
    return _Judged(
        parts,
        [meaning.ids.get(name, name) for name in meaning.unreadable],
        meaning.unreadable_required,
        meaning.required,
        unknown,
        meaning.model_version,
        heard,
    )


def _check_counting(judged: _Judged, known: Workflow | None = None) -> None:
    """`known` is the stored workflow, None for a new one. Raises `PermissionDenied`."""
    check_counting(
        judged.parts,
        () if known is None else known.states,
        () if known is None else known.transitions,
        judged.unreadable,
        judged.unreadable_required,
        judged.required,
    )


async def _keep_unknown(conn: Conn, workspace_id: str, workflow_id: str, judged: _Judged) -> None:
    """Raises `_Named`."""
    await store.keep_unknown(conn, workspace_id, workflow_id, judged.unknown, judged.model_version)
    if judged.unknown and await news.count_held(conn, workspace_id) != judged.heard:
        raise _Named


async def _claim_roles(
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


async def _delete(
    db: Database,
    workspace_id: str,
    workflow_id: str,
    expected: Versions,
    stale: Sequence[references.Reference] = (),
) -> None:
    """Delete the workflow with these references; if it has others, nothing is deleted."""
    async with db.transaction() as conn:
        if stale:
            await references.release(conn, stale)
        if expected is not None:
            known = await store.get_locked(conn, workspace_id, workflow_id)
            check_version("Workflow", known.id, known.version, expected)
        gone = await store.delete(conn, workspace_id, workflow_id)
        await outbox.stage(conn, workflow_event(EventType.WORKFLOW_DELETED, workspace_id, gone))


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
        async with clients.place(), db.transaction() as conn:
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
