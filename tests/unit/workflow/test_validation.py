from __future__ import annotations

from typing import Any

import pydantic
import pytest

from shared.errors import ValidationError
from workflow_service.definitions.model import ATTRIBUTES_MAX, WorkflowDraft
from workflow_service.definitions.validation import checked, keeping_ids, removed_states
from workflow_service.names.resolution import attribute_names, keeping_names, with_attribute_ids
from workflow_service.role_claims.claims import check_roles_exist, role_ids


def draft(**changes: Any) -> WorkflowDraft:
    body = {
        "alias": "lifecycle",
        "name": "Lifecycle",
        "defaultStateId": "state-draft",
        "states": [
            {"id": "state-draft", "alias": "draft"},
            {"id": "state-review"},
            {"id": "state-published", "alias": "live"},
        ],
        "transitions": [{"fromStateId": "state-draft", "toStateId": "state-review"}],
    }
    return WorkflowDraft.model_validate({**body, **changes})


def wrong(**changes: Any) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as raised:
        checked(draft(**changes))
    return [(violation.pointer, violation.message) for violation in raised.value.violations]


def test_states_named_by_alias_are_kept_by_id():
    parts = checked(draft(defaultStateId="draft", transitions=[{"from": "review", "to": "live"}]))
    assert parts.default_state_id == "state-draft"
    assert [(step.from_state_id, step.to_state_id) for step in parts.transitions] == [
        ("state-review", "state-published")
    ]


def test_a_state_id_is_used_once():
    states = [{"id": "state-draft"}, {"id": "state-review"}, {"id": "state-review", "alias": "r"}]
    assert wrong(states=states) == [
        ("/states/2/id", "State id 'state-review' is used more than once")
    ]


def test_what_messages_call_a_state_is_used_once():
    states = [{"id": "state-draft"}, {"id": "state-review"}, {"id": "state-x", "alias": "draft"}]
    assert wrong(states=states) == [
        ("/states/2/alias", "State alias 'draft' is used more than once")
    ]


def test_an_alias_is_no_other_states_id():
    states = [
        {"id": "state-draft"},
        {"id": "state-review", "alias": "state-draft"},
        {"id": "own", "alias": "own"},
    ]
    assert wrong(states=states, defaultStateId="own") == [
        ("/states/1/alias", "State alias 'state-draft' is the id of another state")
    ]


def test_every_state_that_is_named_exists_and_all_are_told():
    transitions = [
        {"fromStateId": "state-draft", "toStateId": "state-gone"},
        {"fromStateId": "lost", "toStateId": "state-draft"},
    ]
    assert wrong(defaultStateId="state-start", transitions=transitions) == [
        ("/defaultStateId", "Field 'defaultStateId' names unknown state 'state-start'"),
        (
            "/transitions/0/toStateId",
            "Field 'transitions.0.toStateId' names unknown state 'state-gone'",
        ),
        (
            "/transitions/1/fromStateId",
            "Field 'transitions.1.fromStateId' names unknown state 'lost'",
        ),
    ]


def test_a_step_is_defined_once_however_its_ends_are_spelled():
    transitions = [
        {"fromStateId": "state-draft", "toStateId": "state-published"},
        {"fromStateId": "state-published", "toStateId": "state-draft"},
        {"fromStateId": "draft", "toStateId": "live"},
    ]
    assert wrong(transitions=transitions) == [
        (
            "/transitions/2",
            "Transition from 'state-draft' to 'state-published' is defined more than once",
        )
    ]


def test_a_transition_id_is_used_once():
    transitions = [
        {"id": "tr-a", "fromStateId": "state-draft", "toStateId": "state-review"},
        {"id": "tr-a", "fromStateId": "state-review", "toStateId": "state-draft"},
    ]
    assert wrong(transitions=transitions) == [
        ("/transitions/1/id", "Transition id 'tr-a' is used more than once")
    ]


def test_a_transition_without_id_keeps_the_one_it_had():
    before = checked(draft()).transitions
    again = draft(
        transitions=[
            {"fromStateId": "state-review", "toStateId": "state-draft"},
            {"fromStateId": "state-draft", "toStateId": "state-review"},
        ]
    )
    kept = keeping_ids(again, checked(again), before).transitions
    assert kept[1].id == before[0].id
    assert kept[0].id.startswith("tr-")
    assert kept[0].id != before[0].id


def test_a_known_id_that_was_sent_for_another_step_is_not_used_twice():
    before = checked(draft()).transitions
    again = draft(
        transitions=[
            {"id": before[0].id, "fromStateId": "state-review", "toStateId": "state-draft"},
            {"fromStateId": "state-draft", "toStateId": "state-review"},
        ]
    )
    kept = keeping_ids(again, checked(again), before).transitions
    assert kept[0].id == before[0].id
    assert kept[1].id != before[0].id


def test_repeated_names_in_lists_count_once():
    states = [{"id": "s", "hidden": ["a", "b", "a"], "required": ["c", "c"], "readOnly": ["c"]}]
    parts = checked(draft(defaultStateId="s", states=states, transitions=[]))
    assert attribute_names(parts.states) == ["a", "b", "c"]
    state = with_attribute_ids(parts, {"a": "attr-a", "attr-a": "attr-a"}).states[0]
    assert (state.hidden, state.required, state.read_only) == (["attr-a", "b"], ["c"], ["c"])


def test_every_role_that_is_missing_is_told_where_it_is_named():
    steps = checked(
        draft(
            transitions=[
                {"from": "draft", "to": "live", "allowedRoleIds": ["role-a", "role-b"]},
                {"from": "live", "to": "draft", "allowedRoleIds": ["role-b"]},
            ]
        )
    ).transitions
    assert role_ids(steps) == ["role-a", "role-b"]
    check_roles_exist(steps, [])
    with pytest.raises(ValidationError) as raised:
        check_roles_exist(steps, ["role-b"])
    assert raised.value.message == "Unknown role 'role-b'"
    assert [violation.pointer for violation in raised.value.violations] == [
        "/transitions/0/allowedRoleIds/1",
        "/transitions/1/allowedRoleIds/0",
    ]


def test_the_removed_states_are_those_that_are_no_more():
    before = checked(draft()).states
    assert removed_states(before, before[1:]) == ["state-draft"]
    assert removed_states(before[1:], before) == []


@pytest.mark.parametrize("alias", ["\n", "in review", "", "é", "a" * 129])
def test_an_alias_keeps_to_the_rule_of_all_aliases(alias: str):
    for changes in ({"alias": alias}, {"states": [{"id": "state-draft", "alias": alias}]}):
        with pytest.raises(pydantic.ValidationError):
            draft(**changes)


def test_a_list_at_its_limit_is_kept_as_it_was_sent():
    """The id of a name that an attribute got meanwhile would make it longer than it may be."""
    names = [f"name-{number}" for number in range(ATTRIBUTES_MAX)]
    sent = draft(defaultStateId="s", states=[{"id": "s", "hidden": names}], transitions=[])
    known = checked(sent).states
    named = with_attribute_ids(checked(sent), {"name-7": "attr-7"})
    (state,) = keeping_names(sent, named, known).states
    assert state.hidden == names
