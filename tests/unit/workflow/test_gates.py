from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.errors import TransitionError
from shared.identity import ALL_PERMISSIONS, Identity
from tests.kit import identities
from workflow_service.definitions.model import State, Transition, Workflow
from workflow_service.transitions.gates import (
    ClosedGate,
    Gate,
    check_step,
    closed_gates,
    gating_role,
    steps_from,
)


def workflow(*transitions: Transition, states: tuple[State, ...] | None = None) -> Workflow:
    now = datetime.now(UTC)
    named = states or tuple(
        State(id=f"state-{name}", alias=name) for name in ("draft", "review", "published")
    )
    return Workflow(
        id="wf-x",
        alias="x",
        name="X",
        default_state_id=named[0].id,
        states=list(named),
        transitions=list(transitions),
        created_at=now,
        updated_at=now,
        version=1,
    )


def step(start: str, target: str, *roles: str, minimum: float | None = None) -> Transition:
    return Transition(
        id=f"tr-{start}-{target}",
        from_state_id=f"state-{start}",
        to_state_id=f"state-{target}",
        allowed_role_ids=list(roles),
        requires_completeness=minimum,
    )


def refusal(of: Workflow, start: str, target: str, role="role-editor", score=0) -> str:
    scores = {f"state-{name}": score for name in ("draft", "review", "published")}
    try:
        check_step(of, start, target, role, scores)
    except TransitionError as error:
        return error.message
    return ""


def test_an_ungated_step_is_open_to_everybody():
    assert refusal(workflow(step("draft", "review")), "state-draft", "state-review") == ""


def test_a_step_that_is_not_defined_is_told_with_aliases():
    flow = workflow(step("draft", "review"))
    assert (
        refusal(flow, "state-review", "state-draft")
        == "Transition from 'review' to 'draft' is not allowed"
    )


@pytest.mark.parametrize(
    ("target", "printed"), [("state-nowhere", "nowhere"), ("nowhere", "nowhere"), ("", "")]
)
def test_a_state_nobody_knows_is_an_undefined_step(target: str, printed: str):
    assert (
        refusal(workflow(), "state-draft", target)
        == f"Transition from 'draft' to '{printed}' is not allowed"
    )


def test_states_may_be_named_by_alias():
    flow = workflow(step("draft", "review", "role-chief"))
    assert refusal(flow, "draft", "review", "role-chief") == ""


def test_a_state_without_alias_is_printed_as_its_id_without_prefix():
    states = (State(id="state-a", name="First"), State(id="b", name="Second"))
    flow = workflow(states=states)
    assert refusal(flow, "state-a", "b") == "Transition from 'a' to 'b' is not allowed"
    assert refusal(flow, "b", "state-a") == "Transition from 'b' to 'a' is not allowed"


def test_the_role_gate_comes_before_the_completeness_gate():
    flow = workflow(step("draft", "review", "role-chief", minimum=80))
    assert (
        refusal(flow, "state-draft", "state-review")
        == "Role 'role-editor' is not allowed to transition from 'draft' to 'review'"
    )
    assert (
        refusal(flow, "state-draft", "state-review", "role-chief", score=79)
        == "Completeness score 79% does not meet minimum 80% for transition to 'review'"
    )
    assert refusal(flow, "state-draft", "state-review", "role-chief", score=80) == ""


def test_an_undefined_step_comes_before_the_gates():
    flow = workflow(step("draft", "review", "role-chief", minimum=100))
    assert (
        refusal(flow, "state-draft", "state-published")
        == "Transition from 'draft' to 'published' is not allowed"
    )


@pytest.mark.parametrize(
    ("minimum", "printed"), [(80, "80"), (80.0, "80"), (99.5, "99.5"), (100, "100")]
)
def test_the_minimum_is_printed_as_people_write_it(minimum: float, printed: str):
    flow = workflow(step("draft", "review", minimum=minimum))
    assert refusal(flow, "state-draft", "state-review", score=12) == (
        f"Completeness score 12% does not meet minimum {printed}% for transition to 'review'"
    )


def test_a_minimum_of_zero_is_no_gate():
    flow = workflow(step("draft", "review", minimum=0))
    assert refusal(flow, "state-draft", "state-review") == ""


def test_a_gate_without_a_score_stays_closed():
    gated = step("draft", "review", minimum=1)
    with pytest.raises(TransitionError):
        check_step(workflow(gated), "state-draft", "state-review", "role-x", {})


def test_the_role_list_binds_administrators_too():
    flow = workflow(step("draft", "review", "role-editor"))
    assert (
        refusal(flow, "state-draft", "state-review", "role-admin")
        == "Role 'role-admin' is not allowed to transition from 'draft' to 'review'"
    )


@pytest.mark.parametrize(
    ("who", "role"),
    [
        (identities.user(role="role-editor"), "role-editor"),
        (identities.admin(), "role-admin"),
        (identities.api_key(), "role-admin"),
        (Identity("user", "user-x", "ws-x", permissions=ALL_PERMISSIONS), ""),
    ],
)
def test_a_key_stands_at_the_gate_as_an_administrator(who: Identity, role: str):
    assert gating_role(who) == role


def test_all_reasons_are_told_with_what_would_open_the_gate():
    gated = step("draft", "review", "role-chief", minimum=80)
    scores = {"state-review": 50}
    assert closed_gates(workflow(gated), gated, "role-editor", scores) == (
        ClosedGate(
            Gate.ROLE, "Role 'role-editor' is not allowed to transition from 'draft' to 'review'"
        ),
        ClosedGate(
            Gate.COMPLETENESS,
            "Completeness score 50% does not meet minimum 80% for transition to 'review'",
            score=50,
            minimum=80,
        ),
    )


def test_the_steps_are_those_of_the_state_in_the_order_of_the_definition():
    steps = (step("review", "draft"), step("draft", "published"), step("draft", "review"))
    assert steps_from(workflow(*steps), "state-draft") == steps[1:]
    assert steps_from(workflow(*steps), "state-nowhere") == ()
