"""Completeness over HTTP."""

from __future__ import annotations

from aiohttp import web

from records_service.chunked_response import response_in_pieces
from records_service.completeness.model import CompletenessAnswer, CompletenessQuery
from records_service.completeness.scoring import (
    MissingPlaces,
    is_much,
    resolution,
    score,
    score_fields,
)
from records_service.context import context_of
from records_service.records.loading import load_record
from records_service.records.projection import scope_of
from shared.errors import NotFound, ValidationError, truncated
from shared.http import Routes, read_query, to_json
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
    schema, record = loaded.schema, loaded.record
    scope = scope_of(asked.scope, loaded.blueprint) if asked.scope is not None else {}
    state_id = record.state_id
    if asked.state_id is not None:
        state = schema.workflow.state_named(asked.state_id) if schema.workflow else None
        if state is None:
            raise ValidationError.at(
                "/stateId",
                f"Unknown state '{truncated(asked.state_id)}' for schema"
                f" '{truncated(schema.definition.id)}'",
            )
        state_id = state.id
    access = schema.access(context.role, record.state_id)
    states = schema.workflow.states if schema.workflow else ()
    is_large = is_much(loaded, len(states))
    found = await resolution(context, loaded, scope)
    asked_for = await context.run(is_large, score, schema, found, state_id, access)
    places = MissingPlaces(access.visible, found)
    head = {
        "entityId": record.id,
        "stateId": state_id,
        "required": asked_for.required,
        **score_fields(asked_for, places),
    }

    def of_state(each: str) -> bytes:
        scored = score(schema, found, each, access)
        return to_json({"stateId": each, **score_fields(scored, places)})

    return await response_in_pieces(
        request,
        context,
        to_json(head).removesuffix(b"}") + b',"states":[',
        states,
        of_state,
        b"]}",
        is_large=is_large,
    )
