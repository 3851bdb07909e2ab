"""What reviewers decide about a change set, and what they say of it."""

from __future__ import annotations

from datetime import UTC, datetime

from shared.database import Conn, Database
from shared.errors import PermissionDenied, ValidationError, truncated
from shared.http.versions import Versions
from shared.identity import Identity
from shared.ids import new_id
from workflow_service.applications.commands import settle
from workflow_service.change_sets import store as change_sets
from workflow_service.change_sets.commands import changed, check_status, locked
from workflow_service.change_sets.model import ChangeSet, Status
from workflow_service.clients import Clients
from workflow_service.proposals import store as operations
from workflow_service.proposals.completing import visible_attributes
from workflow_service.proposals.model import Decision, Operation
from workflow_service.remarks import store
from workflow_service.remarks.model import Annotation, Message
from workflow_service.reviews.model import AnnotationDraft, MessageDraft, RatingDraft

APPROVING = (Status.PENDING,)
REJECTING = (Status.PENDING, Status.APPROVED)
DECIDING = (Status.PENDING, Status.APPROVED, Status.REJECTED)


async def decide(
    db: Database,
    clients: Clients,
    identity: Identity,
    change_set_id: str,
    decision: Decision,
    expected: Versions,
    operation_id: str | None = None,
) -> ChangeSet:
    """Approve or reject one operation, or all that are left to decide.

    Approving all leaves those that were rejected before; rejecting all is about all. The change set
    is approved once every operation is decided and one is approved, and rejected if none is. One
    that is approved can be decided anew until it is applied.

    Raises `NotFound`, `PermissionDenied`, `PreconditionFailed`, or `Conflict` for another status,
    and for a change set that was applied meanwhile.
    """
    statuses: tuple[Status, ...] = DECIDING
    if operation_id is None:
        statuses = APPROVING if decision is Decision.APPROVED else REJECTING
    async with clients.slot(), db.transaction() as conn:
        old = await locked(conn, identity, change_set_id, expected)
        workspace_id, of = old.workspace_id, None
        if operation_id is not None:
            concerned = [await operations.one_of(conn, workspace_id, old.id, operation_id)]
            check_status(old, statuses)
        else:
            check_status(old, statuses)
            of = Decision.PENDING if decision is Decision.APPROVED else None
            concerned = await operations.all_of(conn, workspace_id, old.id, status=of)
        await clients.inspect("decide", [one.about() for one in concerned])
        now = old
        if old.status is Status.APPROVED:
            now = await settle(conn, clients, old)
        if now.status is old.status:
            await operations.decide(
                conn, workspace_id, old.id, decision, operation_id=operation_id, of=of
            )
            now = changed(now, status=await _status(conn, old))
            await change_sets.update(conn, old, now)
    if now.status in (Status.APPLIED, Status.PARTIAL):
        check_status(now, statuses)
    return now


async def _status(conn: Conn, change_set: ChangeSet) -> Status:
    """What the decisions about its operations make of a change set."""
    counts = await operations.counts(conn, change_set.workspace_id, change_set.id)
    if counts.get(Decision.PENDING, 0):
        return Status.PENDING
    return Status.APPROVED if counts.get(Decision.APPROVED, 0) else Status.REJECTED


async def request_revision(
    db: Database, identity: Identity, change_set_id: str, text: str | None, expected: Versions
) -> ChangeSet:
    """Send a change set that waits for approval back to its author.

    Raises `NotFound`, `PreconditionFailed`, `Conflict` for another status.
    """
    async with db.transaction() as conn:
        old = await locked(conn, identity, change_set_id, expected, APPROVING)
        if text is not None:
            message = _message(identity, text)
            await store.add_message(conn, old.workspace_id, old.id, message)
        new = changed(old, status=Status.REVISION)
        await change_sets.update(conn, old, new)
    return new


async def rate(
    db: Database,
    clients: Clients,
    identity: Identity,
    change_set_id: str,
    operation_id: str,
    draft: RatingDraft,
    expected: Versions,
) -> ChangeSet:
    """Rate the changes of one attribute, in the place of an earlier rating.

    Raises `PreconditionFailed`, `NotFound` for the change set or the operation, `ValidationError`
    for an attribute that it does not change, as far as the caller sees.
    """
    async with db.acquire() as conn:
        operation = await _operation(conn, identity, change_set_id, operation_id)
    attribute_id, _ = await _named(clients, operation, draft.attribute)
    async with db.transaction() as conn:
        old = await locked(conn, identity, change_set_id, expected)
        ratings = {attribute_id: draft.rating}
        await operations.rate(conn, old.workspace_id, old.id, operation_id, ratings)
        new = changed(old)
        await change_sets.update(conn, old, new)
    return new


async def annotate(
    db: Database,
    clients: Clients,
    identity: Identity,
    change_set_id: str,
    operation_id: str,
    draft: AnnotationDraft,
) -> Annotation:
    """Add a remark about a piece of a proposed text.

    Raises what `rate` raises, `Conflict` for a taken id, `LimitExceeded` for too many.
    """
    if draft.start is not None and draft.end is not None and draft.end < draft.start:
        raise ValidationError.at(
            "/end", f"Field 'end' expects at least {draft.start} (field 'start'), got {draft.end}"
        )
    async with db.acquire() as conn:
        operation = await _operation(conn, identity, change_set_id, operation_id)
    attribute_id, alias = await _named(clients, operation, draft.attribute)
    annotation = Annotation(
        id=draft.id or new_id("ann"),
        operation_id=operation_id,
        attribute_id=attribute_id,
        attribute=alias,
        text=draft.text,
        start=draft.start,
        stop=draft.end,
        comment=draft.comment,
        created_by=identity.id,
        created_at=datetime.now(UTC),
    )
    async with db.transaction() as conn:
        known = await locked(conn, identity, change_set_id, None)
        await store.add_annotation(conn, known.workspace_id, known.id, annotation)
    return annotation


async def remove_annotation(
    db: Database, identity: Identity, change_set_id: str, annotation_id: str
) -> None:
    """Remove a remark. Raises `NotFound`, or `PermissionDenied` if it is somebody else's."""
    workspace_id = identity.workspace_id
    async with db.transaction() as conn:
        await change_sets.get(conn, workspace_id, change_set_id)
        author = await store.author_of_annotation(conn, workspace_id, change_set_id, annotation_id)
        if author != identity.id and not identity.is_admin:
            raise PermissionDenied.because(
                "Only the author of an annotation and administrators can remove it"
            )
        await store.delete_annotation(conn, workspace_id, change_set_id, annotation_id)


async def post_message(
    db: Database, identity: Identity, change_set_id: str, draft: MessageDraft
) -> Message:
    """Add a message. Raises `NotFound`, `Conflict` for a taken id, `LimitExceeded` for too many."""
    message = _message(identity, draft.text, draft.id)
    async with db.transaction() as conn:
        known = await locked(conn, identity, change_set_id, None)
        await store.add_message(conn, known.workspace_id, known.id, message)
    return message


def _message(identity: Identity, text: str, message_id: str | None = None) -> Message:
    return Message(message_id or new_id("msg"), text, identity.id, datetime.now(UTC))


async def _operation(
    conn: Conn, identity: Identity, change_set_id: str, operation_id: str
) -> Operation:
    known = await change_sets.get(conn, identity.workspace_id, change_set_id)
    return await operations.one_of(conn, known.workspace_id, known.id, operation_id)


async def _named(clients: Clients, operation: Operation, name: str) -> tuple[str, str]:
    """Id and alias of an attribute that the operation changes, as the caller sees it."""
    seen = (await visible_attributes(clients, [operation]))[operation.id]
    for attribute_id, alias in seen.items():
        if name in (attribute_id, alias):
            return attribute_id, alias
    raise ValidationError.at(
        "/attribute",
        f"Operation '{truncated(operation.id)}' has no change of attribute '{truncated(name)}'",
    )
