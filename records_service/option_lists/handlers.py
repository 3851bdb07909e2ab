"""Option lists and their options over HTTP."""

from __future__ import annotations

from functools import partial

from aiohttp import hdrs, web

from records_service.context import base_context_of, context_of
from records_service.lists import LISTS
from records_service.model_objects import store as model_objects
from records_service.model_objects.answers import answer, created, rendered_as
from records_service.model_objects.model import ModelObject
from records_service.option_lists import commands, page_store, store
from records_service.option_lists.filters import OptionValueFilter, OptionValuePage
from records_service.option_lists.model import (
    OPTION_LIST,
    OptionListAnswer,
    OptionListDraft,
    OptionValue,
    OptionValueAnswer,
    OptionValueDraft,
)
from shared.database import DATABASE, Conn, Record
from shared.database.listing import NamedListQuery, list_response
from shared.database.paging import Part, Total, page_response, place_of
from shared.errors import Conflict, LimitExceeded, NotFound, PreconditionFailed
from shared.http import (
    SMALL_BODY,
    Routes,
    identity_of,
    no_content,
    read_body,
    read_query,
    versioned_response,
)
from shared.http.versions import entity_tag
from shared.identity import Flag, Permission
from shared.ids import check_same_id

routes = Routes(
    tag="Option lists",
    about="The options, such as colours, that attributes of type `option` choose from.",
    examples={"id": "ol-colors", "valueId": "val-red"},
    parameters={"id": "Id of the option list.", "valueId": "Id of the option."},
)


@routes.get(
    "/api/v1/option-lists",
    permission=Permission.READ,
    query=NamedListQuery,
    answers=list[OptionListAnswer],
    summary="List option lists with their options",
)
async def list_option_lists(request: web.Request) -> web.StreamResponse:
    """All option lists of the workspace, oldest first; options in ascending `sortOrder`.

    Of a list of more than 500 options, only their number is there: `valuesComplete` is false. Read
    them page by page at `/option-lists/{id}/values`.
    """
    asked = read_query(request, NamedListQuery)
    read = partial(store.page, narrowing=asked.narrowing())
    return await list_response(request, read, rendered_as(OptionListAnswer), asked)


@routes.post(
    "/api/v1/option-lists",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_OPTION_LISTS,
    body=OptionListDraft,
    answers=OptionListAnswer,
    status=201,
    summary="Create an option list",
    errors=(Conflict, LimitExceeded),
)
async def create_option_list(request: web.Request) -> web.StreamResponse:
    """Creates an option list. Options may have a parent when the list is hierarchical."""
    draft = await read_body(request, OptionListDraft)
    return created(
        OPTION_LIST, await commands.create(base_context_of(request), draft), OptionListAnswer
    )


@routes.get(
    "/api/v1/option-lists/{id}",
    permission=Permission.READ,
    answers=OptionListAnswer,
    summary="Get an option list",
    errors=(NotFound,),
)
async def get_option_list(request: web.Request) -> web.StreamResponse:
    """One option list with its options. Its version is in the `ETag` header."""
    async with request.app[DATABASE].acquire() as conn:
        option_list = await store.get(
            conn, identity_of(request).workspace_id, request.match_info["id"]
        )
    return answer(option_list, OptionListAnswer)


@routes.put(
    "/api/v1/option-lists/{id}",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_OPTION_LISTS,
    body=OptionListDraft,
    answers=OptionListAnswer,
    summary="Replace an option list",
    errors=(NotFound, Conflict, PreconditionFailed, LimitExceeded),
)
async def replace_option_list(request: web.Request) -> web.StreamResponse:
    """Replaces the whole list; without `values` its options stay.

    An option that records use cannot be left out. The options of a list with more than 10,000 can
    only be changed one by one or in bulk.
    """
    draft = await read_body(request, OptionListDraft)
    check_same_id(request.match_info["id"], draft.id)
    option_list = await commands.replace(await context_of(request), request.match_info["id"], draft)
    return answer(option_list, OptionListAnswer)


@routes.delete(
    "/api/v1/option-lists/{id}",
    permission=Permission.DELETE_MODEL,
    flag=Flag.MANAGE_OPTION_LISTS,
    summary="Delete an option list",
    errors=(NotFound, Conflict, PreconditionFailed),
)
async def delete_option_list(request: web.Request) -> web.StreamResponse:
    """Deletes the list with its options. Refused while an attribute uses it.

    The options of a large list are removed afterwards. Until then, no list can be created under its
    id; its alias is free at once.
    """
    await commands.delete(base_context_of(request), request.match_info["id"])
    return no_content()


@routes.get(
    "/api/v1/option-lists/{id}/values",
    permission=Permission.READ,
    query=OptionValueFilter,
    answers=OptionValuePage,
    summary="List the options of a list",
    errors=(NotFound,),
)
async def list_options(request: web.Request) -> web.StreamResponse:
    """One page of the options of a list, in ascending `sortOrder`, then by label.

    The `ETag` is the list's version.
    """
    asked = read_query(request, OptionValueFilter)
    context, list_id = base_context_of(request), request.match_info["id"]
    place = place_of(context.workspace_id, request.path, asked, page_store.IN_ORDER)

    async def read(conn: Conn) -> tuple[ModelObject, Part[Record], Total | None]:
        option_list = await model_objects.get(conn, OPTION_LIST, context.workspace_id, list_id)
        return (
            option_list,
            *await page_store.page(conn, context.workspace_id, list_id, asked, place),
        )

    option_list, part, total = await context.app[LISTS].read(
        context.database, context.workspace_id, read
    )
    items = [page_store.shown(row) for row in part.rows]
    last = page_store.position(part.rows[-1]) if part.rows else ()
    response = page_response(place, items, part, total, last=last)
    response.headers[hdrs.ETAG] = entity_tag(option_list.version)
    return response


@routes.post(
    "/api/v1/option-lists/{id}/values",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_OPTION_LISTS,
    body=OptionValueDraft,
    body_bytes_max=SMALL_BODY,
    answers=OptionValueAnswer,
    status=201,
    summary="Add an option to a list",
    errors=(NotFound, Conflict, PreconditionFailed, LimitExceeded),
)
async def add_option(request: web.Request) -> web.StreamResponse:
    """Adds an option. Without `sortOrder` it is the last one. The `ETag` is the list's version."""
    draft = await read_body(request, OptionValueDraft)
    value, option_list = await commands.add_value(
        base_context_of(request), request.match_info["id"], draft
    )
    return _value_answer(value, option_list, status=201)


@routes.put(
    "/api/v1/option-lists/{id}/values/{valueId}",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_OPTION_LISTS,
    body=OptionValueDraft,
    body_bytes_max=SMALL_BODY,
    answers=OptionValueAnswer,
    summary="Replace an option of a list",
    errors=(NotFound, Conflict, PreconditionFailed, LimitExceeded),
)
async def replace_option(request: web.Request) -> web.StreamResponse:
    """Replaces the option; records that use it keep it. The `ETag` is the list's version."""
    draft = await read_body(request, OptionValueDraft)
    check_same_id(request.match_info["valueId"], draft.id)
    value, option_list = await commands.replace_value(
        base_context_of(request), request.match_info["id"], request.match_info["valueId"], draft
    )
    return _value_answer(value, option_list)


@routes.delete(
    "/api/v1/option-lists/{id}/values/{valueId}",
    permission=Permission.DELETE_MODEL,
    flag=Flag.MANAGE_OPTION_LISTS,
    summary="Remove an option from a list",
    errors=(NotFound, Conflict, PreconditionFailed),
)
async def remove_option(request: web.Request) -> web.StreamResponse:
    """Removes the option and the options below it. Refused while a record uses one of them."""
    await commands.remove_value(
        await context_of(request), request.match_info["id"], request.match_info["valueId"]
    )
    return no_content()


def _value_answer(
    value: OptionValue, option_list: ModelObject, *, status: int = 200
) -> web.StreamResponse:
    """A value; the version that counts is its list's."""
    return versioned_response(value.to_public(), option_list.version, status=status)
