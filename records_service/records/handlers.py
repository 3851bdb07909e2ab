"""Records over HTTP."""

from __future__ import annotations

import orjson
from aiohttp import web

from records_service.context import base_context_of, context_of
from records_service.records import commands, store
from records_service.records.listing import read_again, read_page
from records_service.records.model import (
    RecordAnswer,
    RecordChanges,
    RecordDraft,
    RecordFilter,
    RecordPage,
    ValueChange,
)
from records_service.records.rendering import answer
from shared.database.paging import page_response, place_of
from shared.errors import Conflict, LimitExceeded, NotFound, PreconditionFailed
from shared.http import Routes, json_response, no_content, read_body, read_query
from shared.identity import Permission
from shared.ids import check_same_id

routes = Routes(
    tag="Records",
    about="Products: their values, their schema and, if that has a workflow, their state.",
    examples={"id": "ent-coastal-wb", "attr": "price"},
    parameters={"id": "Id of the record.", "attr": "Id or alias of the attribute."},
)


@routes.get(
    "/api/v1/records",
    permission=Permission.READ,
    query=RecordFilter,
    answers=RecordPage,
    summary="List records",
)
async def list_records(request: web.Request) -> web.StreamResponse:
    """One page of records, filtered and sorted; by default the oldest come first.

    A page has at most 16 MB. Without `limit`, it may be shorter than usual; its `limit` says how
    many records it has. An explicit `limit` that would exceed the size is refused. The next page
    begins at `nextCursor`, or at `offset` + `limit`. Attributes that are hidden from the caller are
    left out.
    """
    context = await context_of(request)
    query_string = request.rel_url.raw_query_string
    page = await read_again(context, query_string)
    if page is None:
        asked = read_query(request, RecordFilter)
        place = place_of(
            context.workspace_id,
            request.path,
            asked,
            store.ORDERS[asked.order],
            besides={"attributes", "scope"},
        )
        page = await read_page(context, asked, place, query_string)
    items, listing = orjson.Fragment(page.items), page.listing
    return page_response(page.place, items, listing.part, listing.total, last=page.last)


@routes.internal_get("/internal/usage")
async def count_records(request: web.Request) -> web.StreamResponse:
    """How many records the caller's workspace has."""
    context = base_context_of(request)
    async with context.database.acquire() as conn:
        return json_response({"records": await store.count_all(conn, context.workspace_id)})


@routes.post(
    "/api/v1/records",
    permission=Permission.UPDATE_DATA,
    role="`write` on each attribute in the body, and on one at least",
    body=RecordDraft,
    answers=RecordAnswer,
    status=201,
    summary="Create a record",
    errors=(NotFound, Conflict, LimitExceeded),
)
async def create_record(request: web.Request) -> web.StreamResponse:
    """Creates a record. It starts in the default state of its workflow."""
    context = await context_of(request)
    draft = await read_body(request, RecordDraft)
    created = await commands.create(context, draft)
    return await answer(
        context, created, status=201, location=f"/api/v1/records/{created.record.id}"
    )


@routes.put(
    "/api/v1/records/{id}",
    permission=Permission.UPDATE_DATA,
    role="`write` on each attribute in the body",
    body=RecordChanges,
    answers=RecordAnswer,
    summary="Update a record",
    errors=(NotFound, Conflict, PreconditionFailed),
)
async def update_record(request: web.Request) -> web.StreamResponse:
    """Replaces all values of each attribute in the body; other attributes are not changed."""
    context = await context_of(request)
    changes = await read_body(request, RecordChanges)
    check_same_id(request.match_info["id"], changes.id)
    return await answer(context, await commands.update(context, request.match_info["id"], changes))


@routes.patch(
    "/api/v1/records/{id}/values/{attr}",
    permission=Permission.UPDATE_DATA,
    role="`write` on the attribute",
    body=ValueChange,
    answers=RecordAnswer,
    summary="Set an attribute in one scope",
    errors=(NotFound, Conflict, PreconditionFailed),
)
async def set_value(request: web.Request) -> web.StreamResponse:
    """Sets the value of one attribute in one scope; null removes it. Other scopes stay."""
    context = await context_of(request)
    change = await read_body(request, ValueChange)
    record_id, name = request.match_info["id"], request.match_info["attr"]
    return await answer(context, await commands.set_value(context, record_id, name, change))


@routes.delete(
    "/api/v1/records/{id}",
    permission=Permission.DELETE_DATA,
    role="one that can write an attribute of the schema and sees all of them",
    summary="Delete a record",
    errors=(NotFound, PreconditionFailed),
)
async def delete_record(request: web.Request) -> web.StreamResponse:
    """Deletes the record. Its history stays. Relations that point to it are no longer shown."""
    context = await context_of(request)
    await commands.delete(context, request.match_info["id"])
    return no_content()
