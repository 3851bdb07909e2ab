"""Transitions over HTTP."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from records_service.chunked_response import response_in_pieces
from records_service.completeness.scoring import MissingPlaces, is_much
from records_service.context import context_of
from records_service.records.model import RecordAnswer
from records_service.records.rendering import answer
from records_service.transitions import commands
from records_service.transitions.model import AvailableTransitionAnswer, TransitionRequest
from shared.errors import NotFound, PreconditionFailed, TransitionError
from shared.http import TEXT_BODY, Routes, read_body, to_json
from shared.identity import Permission

routes = Routes(
    tag="Records",
    examples={"id": "ent-coastal-wb"},
    parameters={"id": "Id of the record."},
)


@routes.post(
    "/api/v1/records/{id}/transition",
    permission=Permission.UPDATE_DATA,
    role="one that the transition allows",
    body=TransitionRequest,
    body_bytes_max=TEXT_BODY,
    answers=RecordAnswer,
    summary="Move a record to another lifecycle state",
    errors=(NotFound, TransitionError, PreconditionFailed),
)
async def transition_record(request: web.Request) -> web.StreamResponse:
    """Moves the record to another lifecycle state.

    Checked in this order: the transition is defined, the role may make it, the completeness score
    is high enough.
    """
    context = await context_of(request)
    asked = await read_body(request, TransitionRequest)
    record_id = request.match_info["id"]
    moved = await commands.transition(context, record_id, asked.to_state_id, asked.comment)
    return await answer(context, moved)


@routes.get(
    "/api/v1/records/{id}/transitions",
    permission=Permission.READ,
    answers=list[AvailableTransitionAnswer],
    summary="List the transitions from the current state",
    errors=(NotFound,),
)
async def list_transitions(request: web.Request) -> web.StreamResponse:
    """The transitions from the current state: whether each is allowed, and if not, every reason."""
    context = await context_of(request)
    found = await commands.available(context, request.match_info["id"])
    places = MissingPlaces(found.access.visible, found.resolution)
    return await response_in_pieces(
        request,
        context,
        b"[",
        found.steps,
        lambda step: to_json(_transition(step, places)),
        b"]",
        is_large=is_much(found.loaded, len(found.steps)),
    )


def _transition(step: dict[str, Any], places: MissingPlaces) -> dict[str, Any]:
    """A transition without the names of attributes that are hidden from the caller."""
    reasons = [_reason(reason, places) for reason in step["reasons"]]
    return {
        "toStateId": step["toStateId"],
        "name": step.get("name"),
        "allowed": step["allowed"],
        "reason": reasons[0]["message"] if reasons else None,
        "reasons": reasons,
    }


def _reason(reason: dict[str, Any], places: MissingPlaces) -> dict[str, Any]:
    missing = reason.get("missing")
    visible = None if missing is None else [each for each in missing if each in places.visible]
    return {
        "code": reason["code"],
        "message": reason["message"],
        "score": reason.get("score"),
        "minimum": reason.get("minimum"),
        "missing": None if visible is None else [places.visible[each] for each in visible],
        "missingIn": None if visible is None else [places.of(each) for each in visible],
    }
