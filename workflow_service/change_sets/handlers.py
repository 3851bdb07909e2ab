"""Change sets over HTTP: what an author does with them, and how they are read."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from shared.database import DATABASE
from shared.database.paging import page_response, place_of
from shared.errors import Conflict, NotFound, PreconditionFailed
from shared.http import (
    Routes,
    identity_of,
    json_response,
    no_content,
    read_body,
    read_query,
    versioned_response,
)
from shared.http.versions import if_match
from shared.identity import Permission
from workflow_service.change_sets import commands, store
from workflow_service.change_sets.model import (
    ChangeSet,
    ChangeSetAnswer,
    ChangeSetChanges,
    ChangeSetDraft,
    ChangeSetFilter,
    ChangeSetPage,
    ChangeSetStats,
    Status,
)
from workflow_service.change_sets.reading import whole
from workflow_service.clients import Clients

CHANGE_SET = "cs-spring-prices"
AUTHOR = "that of the author, or `role-admin`"

routes = Routes(
    tag="Change sets",
    about="Change sets: what people, programs and agents propose to change, for people to decide.",
    examples={"id": CHANGE_SET},
    parameters={"id": "Id of the change set."},
)

_STATS = {
    Status.DRAFT: "draft",
    Status.PENDING: "pending",
    Status.APPROVED: "approved",
    Status.APPLIED: "applied",
    Status.REJECTED: "rejected",
    Status.REVISION: "revisionRequested",
    Status.PARTIAL: "partiallyApplied",
}


@routes.get(
    "/api/v1/change-sets",
    permission=Permission.READ,
    query=ChangeSetFilter,
    answers=ChangeSetPage,
    summary="List change sets",
)
async def list_change_sets(request: web.Request) -> web.StreamResponse:
    """One page of change sets without their operations, oldest first."""
    asked = read_query(request, ChangeSetFilter)
    workspace_id = identity_of(request).workspace_id
    place = place_of(workspace_id, request.path, asked, store.IN_ORDER)
    async with request.app[DATABASE].acquire() as conn:
        part, total = await store.page(
            conn,
            workspace_id,
            status=asked.status,
            source_type=asked.source_type,
            entity_id=asked.entity_id,
            place=place,
        )
    items = [store.parsed(row).public() for row in part.rows]
    last = (part.rows[-1]["created_at"], part.rows[-1]["id"]) if part.rows else ()
    return page_response(place, items, part, total, last=last)


@routes.get(
    "/api/v1/change-sets/stats",
    permission=Permission.READ,
    answers=ChangeSetStats,
    summary="Count change sets by status",
)
async def count_change_sets(request: web.Request) -> web.StreamResponse:
    """How many change sets of the workspace have each status."""
    async with request.app[DATABASE].acquire() as conn:
        counts = await store.counts(conn, identity_of(request).workspace_id)
    return json_response({name: counts.get(status, 0) for status, name in _STATS.items()})


@routes.post(
    "/api/v1/change-sets",
    permission=Permission.UPDATE_DATA,
    role="`read` on each attribute that is proposed",
    body=ChangeSetDraft,
    answers=ChangeSetAnswer,
    status=201,
    summary="Create a change set",
    errors=(Conflict, NotFound),
)
async def create_change_set(request: web.Request) -> web.StreamResponse:
    """Creates a draft, which changes nothing until it is submitted, approved and applied.

    Where `oldValue` is left out, the value of now is noted. It is compared when the change set is
    applied, so that nobody's later change is overwritten unseen.
    """
    identity = identity_of(request)
    draft = await read_body(request, ChangeSetDraft)
    clients = Clients(request, identity.token)
    change_set = await commands.create(request.app[DATABASE], clients, identity, draft)
    location = f"/api/v1/change-sets/{change_set.id}"
    return await answer(request, clients, change_set, status=201, location=location)


@routes.get(
    "/api/v1/change-sets/{id}",
    permission=Permission.READ,
    answers=ChangeSetAnswer,
    summary="Get a change set",
    errors=(NotFound,),
)
async def get_change_set(request: web.Request) -> web.StreamResponse:
    """One change set with its first 500 operations, messages and annotations.

    Each change has the value of now (`currentValue`) beside `oldValue` and `newValue`. What is
    hidden from the caller is left out.
    """
    identity = identity_of(request)
    async with request.app[DATABASE].acquire() as conn:
        change_set = await store.get(conn, identity.workspace_id, request.match_info["id"])
    return await answer(request, Clients(request, identity.token), change_set)


@routes.put(
    "/api/v1/change-sets/{id}",
    permission=Permission.UPDATE_DATA,
    role=AUTHOR + "; `read` on each attribute that is proposed",
    body=ChangeSetChanges,
    answers=ChangeSetAnswer,
    summary="Change a draft",
    errors=(Conflict, NotFound, PreconditionFailed),
)
async def replace_change_set(request: web.Request) -> web.StreamResponse:
    """Changes a draft, or a change set that is to be revised. Fields that are left out stay.

    `operations` is the whole new list. A `status` that is sent is ignored.
    """
    identity = identity_of(request)
    changes = await read_body(request, ChangeSetChanges)
    clients = Clients(request, identity.token)
    change_set = await commands.change(
        request.app[DATABASE],
        clients,
        identity,
        request.match_info["id"],
        changes,
        if_match(request.headers),
    )
    return await answer(request, clients, change_set)


@routes.delete(
    "/api/v1/change-sets/{id}",
    permission=Permission.DELETE_DATA,
    role=AUTHOR,
    summary="Delete a draft",
    errors=(Conflict, NotFound, PreconditionFailed),
)
async def delete_change_set(request: web.Request) -> web.StreamResponse:
    """Deletes a draft, or a change set that is to be revised."""
    identity = identity_of(request)
    expected = if_match(request.headers)
    await commands.delete(request.app[DATABASE], identity, request.match_info["id"], expected)
    return no_content()


@routes.post(
    "/api/v1/change-sets/{id}/submit",
    permission=Permission.UPDATE_DATA,
    role=AUTHOR,
    answers=ChangeSetAnswer,
    summary="Submit a change set for approval",
    errors=(Conflict, NotFound, PreconditionFailed),
)
async def submit_change_set(request: web.Request) -> web.StreamResponse:
    """From now on reviewers decide about the operations, and the author cannot change them."""
    identity = identity_of(request)
    change_set = await commands.submit(
        request.app[DATABASE], identity, request.match_info["id"], if_match(request.headers)
    )
    return await answer(request, Clients(request, identity.token), change_set)


async def answer(
    request: web.Request,
    clients: Clients,
    change_set: ChangeSet,
    *,
    status: int = 200,
    location: str | None = None,
    more: dict[str, Any] | None = None,
) -> web.StreamResponse:
    """The answer with a whole change set, and its version as `ETag`."""
    body = await whole(request.app[DATABASE], clients, change_set)
    return versioned_response(
        body | (more or {}), change_set.version, status=status, location=location
    )
