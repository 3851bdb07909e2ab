"""How a completeness score is counted, and which entry of an attribute applies in a scope."""

from __future__ import annotations

import pytest

from records_service.attributes.model import AttributeType, Guard, GuardOperator
from records_service.values import completeness as module
from records_service.values.completeness import Resolution, completeness, holds, is_empty
from records_service.values.entries import completed, resolve
from tests.unit.records.model_builders import an_attribute

LANGUAGE, MARKET = "dim-language", "dim-market"
EN, DA = {LANGUAGE: "seg-en"}, {LANGUAGE: "seg-da"}
DEFAULTS = {LANGUAGE: "seg-en", MARKET: "seg-dk"}


def entry(value, **scope):
    names = {"language": LANGUAGE, "market": MARKET}
    return {
        "scope": {names[name]: f"seg-{segment}" for name, segment in scope.items()},
        "value": value,
    }


def scored(required, attributes, values, scope):
    return completeness(required, Resolution(attributes, values, scope))


ENTRIES = [
    entry("everywhere"),
    entry("Danish", language="da"),
    entry("Denmark", market="dk"),
    entry("Danish in Denmark", language="da", market="dk"),
]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({LANGUAGE: "seg-da", MARKET: "seg-dk"}, "Danish in Denmark"),
        ({LANGUAGE: "seg-da", MARKET: "seg-se"}, "Danish"),
        ({LANGUAGE: "seg-en", MARKET: "seg-dk"}, "Denmark"),
        ({LANGUAGE: "seg-en", MARKET: "seg-se"}, "everywhere"),
    ],
)
def test_the_entry_that_names_most_of_the_scope_holds(scope, expected):
    assert resolve(ENTRIES, scope, [LANGUAGE, MARKET]) == expected


@pytest.mark.parametrize(
    ("order", "expected"), [([LANGUAGE, MARKET], "Danish"), ([MARKET, LANGUAGE], "Denmark")]
)
def test_a_tie_goes_to_the_dimension_that_the_attribute_lists_first(order, expected):
    both = [entry("Denmark", market="dk"), entry("Danish", language="da")]
    assert resolve(both, {LANGUAGE: "seg-da", MARKET: "seg-dk"}, order) == expected


def test_an_unnamed_dimension_falls_back_to_its_default_segment():
    only_english = [entry("Windbreaker", language="en")]
    assert resolve(only_english, completed({}, DEFAULTS), [LANGUAGE]) == "Windbreaker"


def test_a_named_segment_without_an_entry_does_not_fall_back_to_the_default_segment():
    only_english = [entry("Windbreaker", language="en")]
    assert resolve(only_english, completed(DA, DEFAULTS), [LANGUAGE]) is None


def test_the_score_is_rounded_down_so_that_no_gate_opens_early():
    attributes = {name: an_attribute(name) for name in ("attr-a", "attr-b", "attr-c")}
    found = scored(
        list(attributes.values()), attributes, {"attr-a": [entry("x")], "attr-b": [entry("y")]}, {}
    )
    assert (found.score, found.filled, found.missing, found.required) == (
        66,
        ("attr-a", "attr-b"),
        ("attr-c",),
        3,
    )


def test_a_record_of_which_nothing_is_asked_is_complete():
    assert scored([], {}, {}, {}).score == 100


def test_an_attribute_whose_guard_fails_does_not_count():
    guarded = an_attribute("attr-size", guards=(Guard("attr-kind", GuardOperator.EQUALS, "shoe"),))
    attributes = {"attr-size": guarded, "attr-kind": an_attribute("attr-kind")}
    shirt, shoe = {"attr-kind": [entry("shirt")]}, {"attr-kind": [entry("shoe")]}
    assert scored([guarded], attributes, shirt, {}).required == 0
    assert scored([guarded], attributes, shoe, {}).missing == ("attr-size",)


def test_a_translation_that_is_missing_lowers_the_score_of_its_language_alone():
    name = an_attribute("attr-name", dimension_ids=(LANGUAGE,))
    values = {"attr-name": [entry("Windbreaker", language="en")]}
    attributes = {"attr-name": name}
    assert scored([name], attributes, values, completed(EN, DEFAULTS)).score == 100
    assert scored([name], attributes, values, completed(DA, DEFAULTS)).score == 0


@pytest.mark.parametrize(
    ("value", "empty"),
    [(None, True), ("", True), ([], True), ({}, True), (0, False), (False, False), ("x", False)],
)
def test_zero_and_false_are_values(value, empty):
    assert is_empty(value) is empty


@pytest.mark.parametrize(
    ("operator", "expected", "value", "held"),
    [
        (GuardOperator.EQUALS, 1, 1, True),
        (GuardOperator.EQUALS, 1, True, False),
        (GuardOperator.EQUALS, "red", ["blue", "red"], True),
        (GuardOperator.NOT_EQUALS, "red", None, True),
        (GuardOperator.NOT_EQUALS, "red", "red", False),
        (GuardOperator.IS_EMPTY, None, "", True),
        (GuardOperator.IS_NOT_EMPTY, None, 0, True),
        (GuardOperator.IN, ["red", "blue"], "blue", True),
        (GuardOperator.IN, ["red", "blue"], "green", False),
        (GuardOperator.IN, "red", "red", False),
    ],
)
def test_guards(operator, expected, value, held):
    assert holds(Guard("attr-x", operator, expected), lambda _: value) is held


def test_the_type_of_an_attribute_does_not_matter_for_being_filled():
    flag = an_attribute("attr-flag", kind=AttributeType.BOOLEAN)
    assert scored([flag], {"attr-flag": flag}, {"attr-flag": [entry(False)]}, {}).score == 100


def test_each_value_is_resolved_once_however_many_guards_and_states_ask(monkeypatch):
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return resolve(*arguments)

    monkeypatch.setattr(module, "resolve", counted)
    guards = tuple(Guard("attr-kind", GuardOperator.EQUALS, "shoe") for _ in range(20))
    attributes = {
        name: an_attribute(name, guards=guards) for name in (f"attr-{n}" for n in range(5))
    } | {"attr-kind": an_attribute("attr-kind")}
    found = Resolution(attributes, {"attr-kind": [entry("shoe")]}, {})
    for _ in range(10):
        assert completeness(list(attributes.values()), found).required == 6
    assert len(calls) == 6
