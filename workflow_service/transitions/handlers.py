"""Decisions about transitions, for records_service."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from shared.http import (
    Routes,
    asked_on_behalf_of,
    json_response,
    read_body,
)
from workflow_service.definitions.model import Transition
from workflow_service.transitions import gates
from workflow_service.transitions.definition_cache import DEFINITIONS
from workflow_service.transitions.model import StepQuestion, StepsQuestion

routes = Routes(tag="Internal")


@routes.internal_post("/internal/workflows/{id}/evaluate", body=StepQuestion)
async def evaluate(request: web.Request) -> web.StreamResponse:
    """Decides whether the caller may make this transition; without a target, lists all of them.

    A score counts only for the definition that it was computed from. If the definition has another
    version by now, the answer is the current definition instead of a decision.
    """
    identity = asked_on_behalf_of(request)
    asked = await read_body(request, StepQuestion)
    workflow = await request.app[DEFINITIONS].current(
        request.app, identity.workspace_id, request.match_info["id"]
    )
    if workflow.version != asked.definition_version:
        return json_response({"stale": True, "definition": workflow.definition()})
    role_id = asked.role_id or gates.gating_role(identity)
    if asked.to_state_id is not None:
        gates.check_step(workflow, asked.from_state_id, asked.to_state_id, role_id, asked.scores)
        return json_response({"allowed": True})
    return json_response(
        {
            **({} if asked.role_id is None else {"roleId": asked.role_id}),
            "transitions": [
                _step_answer(step, gates.closed_gates(workflow, step, role_id, asked.scores))
                for step in gates.steps_from(workflow, asked.from_state_id)
            ],
        }
    )


@routes.internal_post("/internal/workflows/{id}/evaluate-many", body=StepsQuestion)
async def evaluate_many(request: web.Request) -> web.StreamResponse:
    """Decides for many records whether the caller may move them to one state.

    The answer has the first reason of each that may not be moved, as `evaluate` would word it, and
    null for the others.
    """
    identity = asked_on_behalf_of(request)
    asked = await read_body(request, StepsQuestion)
    workflow = await request.app[DEFINITIONS].current(
        request.app, identity.workspace_id, request.match_info["id"]
    )
    if workflow.version != asked.definition_version:
        return json_response({"stale": True, "definition": workflow.definition()})
    role_id, target = gates.gating_role(identity), asked.to_state_id
    return json_response(
        {
            "refusals": [
                _refusal(
                    gates.refusal(
                        workflow, step.from_state_id, target, role_id, {target: step.score}
                    )
                )
                for step in asked.steps
            ]
        }
    )


def _refusal(refused: gates.ClosedGate | str | None) -> dict[str, Any] | None:
    if isinstance(refused, str):
        return {"code": "UNDEFINED", "message": refused}
    return None if refused is None else _reason(refused)


def _step_answer(step: Transition, closed: tuple[gates.ClosedGate, ...]) -> dict[str, Any]:
    answer: dict[str, Any] = {"toStateId": step.to_state_id}
    if step.name is not None:
        answer["name"] = step.name
    answer["allowed"] = not closed
    answer["reasons"] = [_reason(gate) for gate in closed]
    return answer


def _reason(gate: gates.ClosedGate) -> dict[str, Any]:
    reason: dict[str, Any] = {"code": gate.code, "message": gate.message}
    if gate.code is gates.Gate.COMPLETENESS:
        reason |= {"score": gate.score, "minimum": gate.minimum}
    return reason
