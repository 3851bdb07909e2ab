"""Searches over HTTP."""

from __future__ import annotations

from aiohttp import web

from records_service.context import context_of
from records_service.records.model import RecordPage
from records_service.search.model import SearchBody
from records_service.search.searching import search
from shared.errors import UpstreamTimeout
from shared.http import Routes, read_body
from shared.identity import Permission

routes = Routes(
    tag="Search",
    about="Finds records by the values of their attributes.",
)


@routes.post(
    "/api/v1/search",
    permission=Permission.READ,
    body=SearchBody,
    answers=RecordPage,
    summary="Search records by criteria",
    errors=(UpstreamTimeout,),
)
async def search_records(request: web.Request) -> web.StreamResponse:
    """One page of the records that meet the criteria, oldest first or as `sort` says.

    A criterion without a scope matches if a value in any scope does; `notEquals` and `notIn` match
    if none equals, also records without a value. With a scope, the value that holds there is
    compared. `contains`, `startsWith` and `endsWith` ignore case and accents; `equals` is exact.
    Numbers may be sent as strings. Records in which an attribute is hidden from the caller take no
    part in a criterion on it; an attribute that the caller sees nowhere is unknown.
    """
    context = await context_of(request)
    asked = await read_body(request, SearchBody)
    return await search(context, request.path, asked, asked, asked.sort)
