"""Reviews of change sets over HTTP: operations by page, decisions of people, and remarks."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from shared.database import DATABASE, Record, to_json
from shared.database.listing import ListQuery, list_response
from shared.database.paging import Part, fitting, page_response, place_of
from shared.errors import Conflict, LimitExceeded, NotFound, PreconditionFailed
from shared.http import (
    TEXT_BODY,
    Routes,
    identity_of,
    json_response,
    no_content,
    read_body,
    read_query,
)
from shared.http.responses import versioned_response
from shared.http.versions import if_match
from shared.identity import Permission
from workflow_service.change_sets import store
from workflow_service.change_sets.handlers import CHANGE_SET, answer
from workflow_service.change_sets.model import ChangeSetAnswer
from workflow_service.clients import Clients
from workflow_service.proposals import store as operations
from workflow_service.proposals.completing import with_values_of_now
from workflow_service.proposals.model import Decision, OperationFilter, OperationPage
from workflow_service.remarks import store as remarks
from workflow_service.remarks.model import AnnotationAnswer, Message, MessageAnswer
from workflow_service.reviews import commands
from workflow_service.reviews.feedback import feedback_of
from workflow_service.reviews.model import (
    AnnotationDraft,
    Feedback,
    MessageDraft,
    RatingDraft,
    RevisionAnswer,
    RevisionRequest,
)

WRITER = "`write` on each attribute that is changed; for deletions, what deleting a record needs"

routes = Routes(
    tag="Change sets",
    examples={"id": CHANGE_SET, "opId": "op-price", "annotationId": "ann-too-low"},
    parameters={
        "id": "Id of the change set.",
        "opId": "Id of the operation.",
        "annotationId": "Id of the annotation.",
    },
)


@routes.post(
    "/api/v1/change-sets/{id}/approve",
    user_only=True,
    role=WRITER,
    answers=ChangeSetAnswer,
    summary="Approve a change set",
    errors=(Conflict, NotFound, PreconditionFailed),
)
async def approve_change_set(request: web.Request) -> web.StreamResponse:
    """Approves all operations that are not decided yet. Rejected ones stay rejected."""
    return await _decide(request, Decision.APPROVED)


@routes.post(
    "/api/v1/change-sets/{id}/reject",
    user_only=True,
    role=WRITER,
    answers=ChangeSetAnswer,
    summary="Reject a change set",
    errors=(Conflict, NotFound, PreconditionFailed),
)
async def reject_change_set(request: web.Request) -> web.StreamResponse:
    """Rejects all operations, also those that were approved and not applied yet."""
    return await _decide(request, Decision.REJECTED)


@routes.post(
    "/api/v1/change-sets/{id}/operations/{opId}/approve",
    user_only=True,
    role=WRITER,
    answers=ChangeSetAnswer,
    summary="Approve an operation",
    errors=(Conflict, NotFound, PreconditionFailed),
)
async def approve_operation(request: web.Request) -> web.StreamResponse:
    """Approves one operation, also one that was rejected, until the change set is applied.

    Once every operation is decided, the change set is approved, if one of them is.
    """
    return await _decide(request, Decision.APPROVED, request.match_info["opId"])


@routes.post(
    "/api/v1/change-sets/{id}/operations/{opId}/reject",
    user_only=True,
    role=WRITER,
    answers=ChangeSetAnswer,
    summary="Reject an operation",
    errors=(Conflict, NotFound, PreconditionFailed),
)
async def reject_operation(request: web.Request) -> web.StreamResponse:
    """Rejects one operation, also one that was approved, until the change set is applied.

    Once every operation is decided, the change set is rejected, if all of them are.
    """
    return await _decide(request, Decision.REJECTED, request.match_info["opId"])


@routes.post(
    "/api/v1/change-sets/{id}/request-revision",
    user_only=True,
    body=RevisionRequest,
    body_bytes_max=TEXT_BODY,
    answers=RevisionAnswer,
    summary="Send a change set back to its author",
    errors=(Conflict, LimitExceeded, NotFound, PreconditionFailed),
)
async def request_revision(request: web.Request) -> web.StreamResponse:
    """The author can change it then and submit it again. The answer has what reviewers said."""
    identity = identity_of(request)
    asked = RevisionRequest()
    if request.body_exists:
        asked = await read_body(request, RevisionRequest)
    db, clients = request.app[DATABASE], Clients(request, identity.token)
    change_set = await commands.request_revision(
        db, identity, request.match_info["id"], asked.text, if_match(request.headers)
    )
    feedback = await feedback_of(db, clients, change_set)
    return versioned_response({**change_set.public(), "feedback": feedback}, change_set.version)


@routes.get(
    "/api/v1/change-sets/{id}/feedback",
    permission=Permission.READ,
    answers=Feedback,
    summary="Get what reviewers said of a change set",
    errors=(NotFound,),
)
async def get_feedback(request: web.Request) -> web.StreamResponse:
    """The rejected operations, ratings, annotations and messages, without what is hidden."""
    identity = identity_of(request)
    db = request.app[DATABASE]
    async with db.acquire() as conn:
        change_set = await store.get(conn, identity.workspace_id, request.match_info["id"])
    return json_response(await feedback_of(db, Clients(request, identity.token), change_set))


@routes.post(
    "/api/v1/change-sets/{id}/operations/{opId}/rate",
    user_only=True,
    role="`read` on the attribute",
    body=RatingDraft,
    body_bytes_max=TEXT_BODY,
    answers=ChangeSetAnswer,
    summary="Rate the change of an attribute",
    errors=(NotFound, PreconditionFailed),
)
async def rate_change(request: web.Request) -> web.StreamResponse:
    """Says whether the proposed values of one attribute are good or bad; a later rating counts."""
    identity = identity_of(request)
    draft = await read_body(request, RatingDraft)
    clients = Clients(request, identity.token)
    change_set = await commands.rate(
        request.app[DATABASE],
        clients,
        identity,
        request.match_info["id"],
        request.match_info["opId"],
        draft,
        if_match(request.headers),
    )
    return await answer(request, clients, change_set)


@routes.post(
    "/api/v1/change-sets/{id}/operations/{opId}/annotate",
    user_only=True,
    role="`read` on the attribute",
    body=AnnotationDraft,
    body_bytes_max=TEXT_BODY,
    answers=AnnotationAnswer,
    status=201,
    summary="Annotate a piece of a proposed text",
    errors=(Conflict, LimitExceeded, NotFound),
)
async def annotate_change(request: web.Request) -> web.StreamResponse:
    """Adds a remark about a piece of a proposed text.

    A change set may have 1,000 of them, with 2 MiB of text in all.
    """
    identity = identity_of(request)
    draft = await read_body(request, AnnotationDraft)
    annotation = await commands.annotate(
        request.app[DATABASE],
        Clients(request, identity.token),
        identity,
        request.match_info["id"],
        request.match_info["opId"],
        draft,
    )
    return json_response(annotation.public(), status=201)


@routes.delete(
    "/api/v1/change-sets/{id}/annotations/{annotationId}",
    user_only=True,
    role="that of the author of the annotation, or `role-admin`",
    summary="Remove an annotation",
    errors=(NotFound,),
)
async def remove_annotation(request: web.Request) -> web.StreamResponse:
    """Removes a remark of one's own; administrators can remove all."""
    identity = identity_of(request)
    await commands.remove_annotation(
        request.app[DATABASE],
        identity,
        request.match_info["id"],
        request.match_info["annotationId"],
    )
    return no_content()


@routes.get(
    "/api/v1/change-sets/{id}/messages",
    permission=Permission.READ,
    query=ListQuery,
    answers=list[MessageAnswer],
    summary="List the messages of a change set",
    errors=(NotFound,),
)
async def list_messages(request: web.Request) -> web.StreamResponse:
    """All messages, oldest first, or a page of them."""
    asked = read_query(request, ListQuery)
    identity = identity_of(request)
    async with request.app[DATABASE].acquire() as conn:
        known = await store.get(conn, identity.workspace_id, request.match_info["id"])
    read = partial(remarks.page_of_messages, change_set_id=known.id, narrowing=asked.narrowing())
    return await list_response(request, read, _message, asked)


def _message(row: Record) -> bytes:
    message = Message(row["id"], row["text"], row["created_by"], row["created_at"])
    return to_json(message.public())


@routes.post(
    "/api/v1/change-sets/{id}/messages",
    permission=Permission.UPDATE_DATA,
    body=MessageDraft,
    body_bytes_max=TEXT_BODY,
    answers=MessageAnswer,
    status=201,
    summary="Post a message about a change set",
    errors=(Conflict, LimitExceeded, NotFound),
)
async def post_message(request: web.Request) -> web.StreamResponse:
    """Adds a message for the author and the reviewers. A change set may have 1,000 of them."""
    identity = identity_of(request)
    draft = await read_body(request, MessageDraft)
    message = await commands.post_message(
        request.app[DATABASE], identity, request.match_info["id"], draft
    )
    return json_response(message.public(), status=201)


@routes.get(
    "/api/v1/change-sets/{id}/operations",
    permission=Permission.READ,
    query=OperationFilter,
    answers=OperationPage,
    summary="List the operations of a change set",
    errors=(NotFound,),
)
async def list_operations(request: web.Request) -> web.StreamResponse:
    """One page of operations in their order, with the values of now, without what is hidden."""
    asked = read_query(request, OperationFilter)
    identity = identity_of(request)
    workspace_id, change_set_id = identity.workspace_id, request.match_info["id"]
    place = place_of(workspace_id, request.path, asked, operations.IN_ORDER)
    async with request.app[DATABASE].acquire() as conn:
        await store.get(conn, workspace_id, change_set_id)
        part, total = await operations.page(conn, workspace_id, change_set_id, asked.status, place)
        found = [operations.parsed(row) for row in part.rows]
        before = await operations.before(conn, workspace_id, change_set_id, found)
    items = await with_values_of_now(Clients(request, identity.token), found, before)
    shown = fitting(
        [*items, *[None] * (len(found) - len(items))], limit_is_asked=place.limit_is_asked
    )
    if shown < len(found):
        part = Part(part.rows[:shown], shown, has_more=True)
    last = (found[shown - 1].place, found[shown - 1].id) if found else ()
    return page_response(place, items, part, total, last=last)


async def _decide(
    request: web.Request, decision: Decision, operation_id: str | None = None
) -> web.StreamResponse:
    identity = identity_of(request)
    clients = Clients(request, identity.token)
    change_set = await commands.decide(
        request.app[DATABASE],
        clients,
        identity,
        request.match_info["id"],
        decision,
        if_match(request.headers),
        operation_id,
    )
    return await answer(request, clients, change_set)
