"""Assignments of records to categories over HTTP."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from records_service.catalogs.assignments import commands
from records_service.catalogs.assignments.listing import rendered_page
from records_service.catalogs.assignments.model import (
    AssignmentAnswer,
    AssignmentRequest,
    CategoryRecordsQuery,
)
from records_service.catalogs.categories.handlers import ROLE as VIEW
from records_service.catalogs.categories.reading import read_category
from records_service.context import context_of
from records_service.records.model import RecordPage
from records_service.records.store import ORDERS
from shared.database.paging import page_response, place_of
from shared.errors import NotFound
from shared.http import NAMES_BODY, Routes, json_response, read_body, read_query
from shared.identity import Permission

ROLE = "`canView` and `canAssign` on the catalog"

routes = Routes(
    tag="Categories",
    examples={"id": "ctg-jackets"},
    parameters={"id": "Id of the category."},
)


@routes.get(
    "/api/v1/categories/{id}/entities",
    permission=Permission.READ,
    role=VIEW,
    query=CategoryRecordsQuery,
    answers=RecordPage,
    summary="List the records of a category",
    errors=(NotFound,),
)
async def list_category_records(request: web.Request) -> web.StreamResponse:
    """One page of the records in the category, oldest first.

    With `includeSubcategories=true` also those in the categories below it, each record once. What
    `GET /records` says about the size of a page holds here as well.
    """
    context = await context_of(request)
    asked = read_query(request, CategoryRecordsQuery)
    category = await read_category(context, request.match_info["id"])
    place = place_of(
        context.workspace_id,
        request.path,
        asked,
        ORDERS["createdAt"],
        besides={"attributes", "scope"},
    )
    page, items = await rendered_page(context, category.id, asked, place)
    return page_response(place, items, page.part, page.total, last=page.last)


@routes.post(
    "/api/v1/categories/{id}/assign",
    permission=Permission.UPDATE_DATA,
    role=ROLE,
    body=AssignmentRequest,
    body_bytes_max=NAMES_BODY,
    answers=AssignmentAnswer,
    summary="Assign records to a category",
    success="What was asked.",
    errors=(NotFound,),
)
async def assign_records(request: web.Request) -> web.StreamResponse:
    """Puts records into the category; those that are in it stay.

    A record may be in any number of categories and catalogs. `entityIds` takes up to 1,000. If one
    does not exist, nothing is changed.
    """
    context = await context_of(request)
    asked = await read_body(request, AssignmentRequest)
    category_id, record_ids = request.match_info["id"], asked.named()
    changed = await commands.assign(context, category_id, record_ids)
    return json_response(_answer(category_id, asked, record_ids, changed))


@routes.post(
    "/api/v1/categories/{id}/unassign",
    permission=Permission.DELETE_DATA,
    role=ROLE,
    body=AssignmentRequest,
    body_bytes_max=NAMES_BODY,
    answers=AssignmentAnswer,
    summary="Take records out of a category",
    success="What was asked.",
    errors=(NotFound,),
)
async def unassign_records(request: web.Request) -> web.StreamResponse:
    """Takes records out of the category. They stay in the categories below it.

    With `entityId`, a record that is not in the category is 404; of `entityIds`, those that are not
    in it are left as they are. If a record does not exist, nothing is changed.
    """
    context = await context_of(request)
    asked = await read_body(request, AssignmentRequest)
    category_id, record_ids = request.match_info["id"], asked.named()
    changed = await commands.unassign(
        context, category_id, record_ids, must_be_there=asked.single is not None
    )
    return json_response(_answer(category_id, asked, record_ids, changed))


def _answer(
    category_id: str, asked: AssignmentRequest, record_ids: list[str], changed: int
) -> dict[str, Any]:
    if asked.single is not None:
        return {"categoryId": category_id, "entityId": asked.single}
    return {"categoryId": category_id, "entityIds": record_ids, "changed": changed}
