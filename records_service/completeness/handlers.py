"""Completeness over HTTP."""

from __future__ import annotations

import orjson
from aiohttp import web

from records_service.blueprint.blueprint import Blueprint
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
from records_service.values.entries import (
    Scope,
    UnknownDimension,
    UnusableScope,
    dimension_ids_by_name,
    with_ids,
)
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
    scope = _asked_scope(asked.scope, loaded.blueprint)
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


def _asked_scope(text: str | None, blueprint: Blueprint) -> Scope:
    """The scope of a query string, or `ValidationError` naming what is wrong with it."""
    if text is None:
        return {}
    expected = 'Field \'scope\' expects a JSON object such as {"dim-language": "seg-en"}'
    try:
        scope = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ValidationError.at("/scope", f"{expected}, got '{truncated(text)}'") from None
    if not isinstance(scope, dict):
        raise ValidationError.at("/scope", f"{expected}, got '{truncated(text)}'")
    dimensions = blueprint.dimensions
    try:
        return with_ids(scope, dimension_ids_by_name(dimensions, dimensions), dimensions)
    except UnknownDimension as unknown:
        raise ValidationError.at(
            "/scope", f"Unknown dimension '{truncated(unknown.args[0])}'"
        ) from None
    except UnusableScope as fault:
        raise ValidationError.at("/scope", str(fault)) from None
