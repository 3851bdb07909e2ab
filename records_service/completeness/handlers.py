"""Completeness over HTTP."""

from __future__ import annotations

from aiohttp import web

from records_service.completeness.answering import completeness_response
from records_service.completeness.model import CompletenessAnswer, CompletenessQuery
from records_service.context import context_of
from records_service.records.loading import load_record
from shared.errors import NotFound
from shared.http import Routes, read_query
from shared.identity import Permission

routes = Routes(
    tag="Records",
    examples={"id": "ent-coastal-wb"},
    parameters={"id": "Id of the record."},
)


@routes.get(
    "/api/v1/records/{id}/completeness",
    permission=Permission.READ,
    query=CompletenessQuery,
    answers=CompletenessAnswer,
    summary="Get the completeness of a record",
    errors=(NotFound,),
)
async def get_completeness(request: web.Request) -> web.StreamResponse:
    """The share of required attributes that have a value, for each lifecycle state.

    Attributes that are hidden from the caller, or whose guards refer to hidden attributes, are
    neither counted nor named. The completeness that a transition requires counts all attributes.
    """
    context = await context_of(request)
    asked = read_query(request, CompletenessQuery)
    loaded = await load_record(context, request.match_info["id"])
    return await completeness_response(request, context, loaded, asked)
