"""The answer that tells how complete a record or a variant is."""

from __future__ import annotations

from aiohttp import web

from records_service.chunked_response import response_in_pieces
from records_service.completeness.model import CompletenessQuery
from records_service.completeness.scoring import (
    MissingPlaces,
    is_much,
    resolution,
    score,
    score_fields,
)
from records_service.context import Context
from records_service.records.loading import LoadedRecord
from records_service.records.projection import scope_of
from shared.errors import ValidationError, truncated
from shared.http import to_json


async def completeness_response(
    request: web.Request,
    context: Context,
    loaded: LoadedRecord,
    asked: CompletenessQuery,
    **more: str,
) -> web.StreamResponse:
    """The completeness of these values for each state of the workflow, with `more` fields.

    Of a variant, `loaded` is its record with the values that hold for the variant. Raises
    `ValidationError` for a scope or state that does not exist.
    """
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
        **more,
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
