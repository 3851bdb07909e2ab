"""Decides whether a caller may make a transition, and lists all reasons why not.

The order is fixed: is the step defined, may the role take it, is the record complete enough for the
target state. A refused transition names the first that fails, the listing names all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from shared.errors import TransitionError, truncated
from shared.http.numbers import plain_number
from shared.identity import ADMIN_ROLE, Identity
from workflow_service.definitions.model import Transition, Workflow, label_of_id


class Gate(StrEnum):
    """What can keep a defined step from being taken."""

    ROLE = "ROLE"
    COMPLETENESS = "COMPLETENESS"


@dataclass(frozen=True, slots=True)
class ClosedGate:
    """One gate that is closed, and why. The last two are the completeness gate's."""

    code: Gate
    message: str
    score: int | None = None
    minimum: int | float | None = None


Scores = Mapping[str, int]
"""What a record has reached: state id -> its score for that state."""


def gating_role(identity: Identity) -> str:
    """The role that a gate checks: a user's own role; an API key counts as `role-admin`."""
    return ADMIN_ROLE if identity.kind == "api_key" else identity.role_id or ""


def check_step(workflow: Workflow, start: str, target: str, role_id: str, scores: Scores) -> None:
    """Raise `TransitionError` with the first reason why this step may not be taken now."""
    refused = refusal(workflow, start, target, role_id, scores)
    if refused is not None:
        raise TransitionError(refused if isinstance(refused, str) else refused.message)


def refusal(
    workflow: Workflow, start: str, target: str, role_id: str, scores: Scores
) -> ClosedGate | str | None:
    """The first reason why this step may not be taken: a gate, or that there is no such step."""
    step = _step(workflow, start, target)
    if step is None:
        return (
            f"Transition from '{_label(workflow, start)}' to '{_label(workflow, target)}'"
            " is not allowed"
        )
    return next(iter(closed_gates(workflow, step, role_id, scores)), None)


def closed_gates(
    workflow: Workflow, step: Transition, role_id: str, scores: Scores
) -> tuple[ClosedGate, ...]:
    """Everything that keeps this role from taking this step; empty when nothing does."""
    return tuple(
        closed
        for closed in (
            _closed_to_role(workflow, step, role_id),
            _closed_to_score(workflow, step, scores),
        )
        if closed is not None
    )


def steps_from(workflow: Workflow, start: str) -> tuple[Transition, ...]:
    """Every transition that leaves this state, in the order of the definition."""
    state = workflow.state_named(start)
    state_id = state.id if state is not None else start
    return tuple(step for step in workflow.transitions if step.from_state_id == state_id)


def _step(workflow: Workflow, start: str, target: str) -> Transition | None:
    state = workflow.state_named(target)
    if state is None:
        return None
    return next(
        (step for step in steps_from(workflow, start) if step.to_state_id == state.id), None
    )


def _closed_to_role(workflow: Workflow, step: Transition, role_id: str) -> ClosedGate | None:
    if not step.allowed_role_ids or role_id in step.allowed_role_ids:
        return None
    start, target = _label(workflow, step.from_state_id), _label(workflow, step.to_state_id)
    return ClosedGate(
        Gate.ROLE,
        f"Role '{truncated(role_id)}' is not allowed to transition from '{start}' to '{target}'",
    )


def _closed_to_score(workflow: Workflow, step: Transition, scores: Scores) -> ClosedGate | None:
    minimum = step.requires_completeness
    # The caller sends a score for every state; a missing score counts as 0.
    score = scores.get(step.to_state_id, 0)
    if minimum is None or score >= minimum:
        return None
    return ClosedGate(
        Gate.COMPLETENESS,
        f"Completeness score {score}% does not meet minimum {plain_number(minimum)}%"
        f" for transition to '{_label(workflow, step.to_state_id)}'",
        score=score,
        minimum=plain_number(minimum),
    )


def _label(workflow: Workflow, name: str) -> str:
    state = workflow.state_named(name)
    return truncated(state.label if state is not None else label_of_id(name))
