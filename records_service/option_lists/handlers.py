"""Option lists and their values over HTTP."""

from __future__ import annotations

from aiohttp import web

from records_service.option_lists import commands, store
from records_service.option_lists.model import (
    OPTION_LIST,
    OptionListAnswer,
    OptionListDraft,
    OptionValue,
    OptionValueAnswer,
    OptionValueDraft,
)
from records_service.parts.answers import answer, created, shown
from records_service.parts.model import Part
from shared.errors import Conflict, NotFound, PreconditionFailed
from shared.identity import Flag, Permission
from shared.postgres import DATABASE
from shared.versions import entity_tag, if_match
from shared.web import Routes, identity_of, json_response, no_content, read_body

routes = Routes(tag="Option lists", examples={"id": "ol-colors", "valueId": "val-red"})


@routes.get(
    "/api/v1/option-lists",
    permission=Permission.READ,
    answers=list[OptionListAnswer],
    summary="List option lists with their values",
)
async def list_option_lists(request: web.Request) -> web.StreamResponse:
    """All of them, oldest first; values in ascending `sortOrder`."""
    async with request.app[DATABASE].acquire() as conn:
        found = await store.every(conn, identity_of(request).workspace_id)
    return json_response([shown(part, OptionListAnswer) for part in found])


@routes.post(
    "/api/v1/option-lists",
    permission=Permission.UPDATE_MODEL,
    body=OptionListDraft,
    answers=OptionListAnswer,
    status=201,
    summary="Create an option list",
    errors=(Conflict,),
)
async def create_option_list(request: web.Request) -> web.StreamResponse:
    """Values may have parents when the list is hierarchical."""
    workspace_id = _managed_workspace(request)
    draft = await read_body(request, OptionListDraft)
    return created(
        OPTION_LIST, await commands.create(request.app, workspace_id, draft), OptionListAnswer
    )


@routes.get(
    "/api/v1/option-lists/{id}",
    permission=Permission.READ,
    answers=OptionListAnswer,
    summary="Get an option list",
    errors=(NotFound,),
)
async def get_option_list(request: web.Request) -> web.StreamResponse:
    """With its values."""
    async with request.app[DATABASE].acquire() as conn:
        part = await store.get(conn, identity_of(request).workspace_id, request.match_info["id"])
    return answer(part, OptionListAnswer)


@routes.put(
    "/api/v1/option-lists/{id}",
    permission=Permission.UPDATE_MODEL,
    body=OptionListDraft,
    answers=OptionListAnswer,
    summary="Replace an option list",
    errors=(NotFound, Conflict, PreconditionFailed),
)
async def replace_option_list(request: web.Request) -> web.StreamResponse:
    """The full object; a value that records have cannot be left out."""
    workspace_id = _managed_workspace(request)
    draft = await read_body(request, OptionListDraft)
    part = await commands.replace(
        request.app, workspace_id, request.match_info["id"], draft, if_match(request)
    )
    return answer(part, OptionListAnswer)


@routes.delete(
    "/api/v1/option-lists/{id}",
    permission=Permission.DELETE_MODEL,
    summary="Delete an option list",
    errors=(NotFound, Conflict, PreconditionFailed),
)
async def delete_option_list(request: web.Request) -> web.StreamResponse:
    """Refused while an attribute chooses from it."""
    workspace_id = _managed_workspace(request)
    await commands.delete(request.app, workspace_id, request.match_info["id"], if_match(request))
    return no_content()


@routes.post(
    "/api/v1/option-lists/{id}/values",
    permission=Permission.UPDATE_MODEL,
    body=OptionValueDraft,
    answers=OptionValueAnswer,
    status=201,
    summary="Add a value",
    errors=(NotFound, Conflict, PreconditionFailed),
)
async def add_value(request: web.Request) -> web.StreamResponse:
    """Without `sortOrder` it goes to the end."""
    workspace_id = _managed_workspace(request)
    draft = await read_body(request, OptionValueDraft)
    value, option_list = await commands.add_value(
        request.app, workspace_id, request.match_info["id"], draft, if_match(request)
    )
    return _value_answer(value, option_list, status=201)


@routes.put(
    "/api/v1/option-lists/{id}/values/{valueId}",
    permission=Permission.UPDATE_MODEL,
    body=OptionValueDraft,
    answers=OptionValueAnswer,
    summary="Replace a value",
    errors=(NotFound, Conflict, PreconditionFailed),
)
async def replace_value(request: web.Request) -> web.StreamResponse:
    """The full value; records that have it keep it."""
    workspace_id = _managed_workspace(request)
    draft = await read_body(request, OptionValueDraft)
    value, option_list = await commands.replace_value(
        request.app,
        workspace_id,
        request.match_info["id"],
        request.match_info["valueId"],
        draft,
        if_match(request),
    )
    return _value_answer(value, option_list)


@routes.delete(
    "/api/v1/option-lists/{id}/values/{valueId}",
    permission=Permission.DELETE_MODEL,
    summary="Remove a value",
    errors=(NotFound, Conflict, PreconditionFailed),
)
async def remove_value(request: web.Request) -> web.StreamResponse:
    """Its children go with it; refused while a record has one of them."""
    workspace_id = _managed_workspace(request)
    await commands.remove_value(
        request.app,
        workspace_id,
        request.match_info["id"],
        request.match_info["valueId"],
        if_match(request),
    )
    return no_content()


def _value_answer(
    value: OptionValue, option_list: Part, *, status: int = 200
) -> web.StreamResponse:
    """A value; the version that counts is its list's."""
    headers = {"ETag": entity_tag(option_list.version)}
    return json_response(value.shown(), status=status, headers=headers)


def _managed_workspace(request: web.Request) -> str:
    identity = identity_of(request)
    identity.require_flag(Flag.MANAGE_OPTION_LISTS)
    return identity.workspace_id
