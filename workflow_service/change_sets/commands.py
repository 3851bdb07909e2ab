"""Creates, changes, submits and deletes change sets."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import orjson

from shared.database import Conn, Database
from shared.errors import Conflict, PermissionDenied, ValidationError, truncated
from shared.http.messages import shown
from shared.http.versions import Versions, check_version
from shared.identity import Identity
from shared.ids import check_same_id, new_id
from workflow_service.change_sets import store
from workflow_service.change_sets.model import (
    CONTEXT_BYTES_MAX,
    ChangeSet,
    ChangeSetChanges,
    ChangeSetDraft,
    Source,
    Status,
)
from workflow_service.clients import Clients
from workflow_service.proposals import store as operations
from workflow_service.proposals.completing import completed
from workflow_service.proposals.model import Decision
from workflow_service.remarks import store as remarks

EDITABLE = (Status.DRAFT, Status.REVISION)


async def create(
    db: Database, clients: Clients, identity: Identity, draft: ChangeSetDraft
) -> ChangeSet:
    """A new draft. Raises `Conflict` for a taken id, and what `completed` raises."""
    _check_source(draft.source)
    proposed = await completed(clients, draft.operations)
    now = datetime.now(UTC)
    change_set = ChangeSet(
        workspace_id=identity.workspace_id,
        id=draft.id or new_id("cs"),
        title=draft.title,
        description=draft.description,
        status=Status.DRAFT,
        source=_source(draft.source),
        operations=len(proposed),
        attempt=0,
        version=1,
        created_at=now,
        updated_at=now,
        created_by=identity.id,
    )
    async with db.transaction() as conn:
        await store.insert(conn, change_set)
        await operations.replace_all(conn, change_set.workspace_id, change_set.id, proposed)
    return change_set


async def change(
    db: Database,
    clients: Clients,
    identity: Identity,
    change_set_id: str,
    changes: ChangeSetChanges,
    expected: Versions,
) -> ChangeSet:
    """Change a draft, or what is to be revised; fields that are not sent stay.

    Raises `NotFound`, `PermissionDenied`, `PreconditionFailed`, `Conflict` for another status, and
    what `completed` raises.
    """
    check_same_id(change_set_id, changes.id)
    sent = changes.model_fields_set
    source = changes.source if "source" in sent else None
    if source is not None:
        _check_source(source)
    async with db.acquire() as conn:
        await store.get(conn, identity.workspace_id, change_set_id)
    proposed = None
    if changes.operations is not None:
        proposed = await completed(clients, changes.operations)
    async with db.transaction() as conn:
        old = await locked(conn, identity, change_set_id, expected)
        check_author(identity, old)
        check_status(old, EDITABLE)
        new = changed(
            old,
            title=changes.title if "title" in sent else old.title,
            description=changes.description if "description" in sent else old.description,
            source=old.source if source is None else _source(source),
            operations=old.operations if proposed is None else len(proposed),
        )
        if proposed is not None:
            await operations.replace_all(conn, old.workspace_id, old.id, proposed)
            kept = [one.id for one in proposed]
            await remarks.forget_operations(conn, old.workspace_id, old.id, kept)
        await store.update(conn, old, new)
    return new


async def submit(
    db: Database, identity: Identity, change_set_id: str, expected: Versions
) -> ChangeSet:
    """Ask for approval; every operation waits to be decided, also one that was decided before.

    Raises `NotFound`, `PermissionDenied`, `PreconditionFailed`, `Conflict` for another status, or
    `ValidationError` without operations.
    """
    async with db.transaction() as conn:
        old = await locked(conn, identity, change_set_id, expected)
        check_author(identity, old)
        check_status(old, EDITABLE)
        if not old.operations:
            raise ValidationError.at(
                "/operations", "Field 'operations' expects at least one operation to submit"
            )
        await operations.decide(conn, old.workspace_id, old.id, Decision.PENDING)
        new = changed(old, status=Status.PENDING, submitted_at=datetime.now(UTC))
        await store.update(conn, old, new)
    return new


async def delete(db: Database, identity: Identity, change_set_id: str, expected: Versions) -> None:
    """Delete a draft, or what is to be revised. Raises what `submit` raises."""
    async with db.transaction() as conn:
        old = await locked(conn, identity, change_set_id, expected)
        check_author(identity, old)
        check_status(old, EDITABLE)
        await store.delete(conn, old)


async def locked(
    conn: Conn,
    identity: Identity,
    change_set_id: str,
    expected: Versions,
    statuses: tuple[Status, ...] = (),
) -> ChangeSet:
    """The change set, locked until the end of the transaction.

    Raises `NotFound`, `PreconditionFailed`, or `Conflict` for another status than these.
    """
    change_set = await store.get(conn, identity.workspace_id, change_set_id, lock=True)
    check_version("Change set", change_set_id, change_set.version, expected)
    if statuses:
        check_status(change_set, statuses)
    return change_set


def changed(old: ChangeSet, **fields: object) -> ChangeSet:
    """The next version of a change set."""
    now = max(datetime.now(UTC), old.updated_at)
    return replace(old, version=old.version + 1, updated_at=now, **fields)  # type: ignore[arg-type]


def check_author(identity: Identity, change_set: ChangeSet) -> None:
    """Raise `PermissionDenied` unless the caller made the change set, or is an administrator."""
    if change_set.created_by != identity.id and not identity.is_admin:
        raise PermissionDenied.because(
            "Only the author of a change set and administrators can do this"
        )


def check_status(change_set: ChangeSet, statuses: tuple[Status, ...]) -> None:
    """Raise `Conflict` unless the change set has one of these statuses."""
    if change_set.status not in statuses:
        names = " or ".join(map(shown, statuses))
        raise Conflict(
            f"Change set '{truncated(change_set.id)}' has the status {shown(change_set.status)}:"
            f" expected {names}"
        )


def _source(source: Source) -> dict[str, object]:
    return {"type": source.type, "name": source.name, "context": source.context}


def _check_source(source: Source) -> None:
    size = len(orjson.dumps(source.context))
    if size > CONTEXT_BYTES_MAX:
        raise ValidationError.at(
            "/source/context",
            f"Field 'context' may have at most {CONTEXT_BYTES_MAX} bytes of JSON, got {size}",
        )
