from __future__ import annotations

from typing import Any

import pytest

from records_service.attributes import patterns
from records_service.attributes.definition import (
    body_of,
    changes_of_form,
    check_no_self_guard,
    with_ids,
)
from records_service.attributes.model import AttributeDraft
from records_service.attributes.patterns import checked_size
from shared.errors import ValidationError


def draft(kind: str = "text", **more: Any) -> AttributeDraft:
    return AttributeDraft.model_validate({"alias": "x", "name": "X", "type": kind, **more})


def faults(kind: str = "text", **more: Any) -> list[tuple[str, str]]:
    try:
        body_of(draft(kind, **more))
    except ValidationError as error:
        return [(violation.pointer, violation.message) for violation in error.violations]
    return []


def test_what_is_left_out_has_a_default():
    assert body_of(draft()) == {
        "name": "X",
        "type": "text",
        "dimensionIds": [],
        "validation": {},
        "guards": [],
        "inheritable": True,
        "multiple": False,
    }


RULES = {"maxLength": 5, "pattern": "a", "min": 1, "max": 1, "unique": True}
BELONGING = {"text": {"maxLength", "pattern", "unique"}, "number": {"min", "max", "unique"}}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "kind", ["text", "number", "boolean", "datetime", "media", "option", "relation", "complex"]
)
def test_a_rule_belongs_to_certain_types(kind: str, rule: str):
    more = {"optionListId": "ol-x"} if kind == "option" else {}
    misplaced = (f"/validation/{rule}", f"'{rule}' does not belong to attributes of type '{kind}'")
    expected = [] if rule in BELONGING.get(kind, ()) else [misplaced]
    assert faults(kind, validation={rule: RULES[rule]}, **more) == expected


def test_every_type_may_be_required():
    assert faults("complex", validation={"required": True}) == []


def test_a_rule_that_is_switched_off_belongs_anywhere():
    assert faults("boolean", validation={"unique": False, "pattern": None}) == []


def test_min_is_not_above_max():
    assert faults("number", validation={"min": 1234567, "max": 2.5}) == [
        ("/validation/min", "Rule 'min' is 1234567, above 'max' 2.5")
    ]
    assert faults("number", validation={"min": 2, "max": 2}) == []


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "missing ): ("),
        ("(?=a)", "invalid perl operator: (?="),
        (r"(a)\1", r"invalid escape sequence: \1"),
        ("a{1001}", "invalid repetition size: {1001}"),
        ("[é-a]", "invalid character class range: é-a"),
    ],
)
def test_a_pattern_is_one_that_re2_takes(pattern: str, reason: str):
    assert faults(validation={"pattern": pattern}) == [
        ("/validation/pattern", f"Rule 'pattern' is not an RE2 pattern: {reason}")
    ]


@pytest.mark.parametrize(
    ("pattern", "came"), [(r"\pL{1,10}", "11973"), (r"(\pL\pM\pN\pS\pP){1,90}", "many more")]
)
def test_a_pattern_compiles_to_a_program_of_bounded_size(pattern: str, came: str):
    assert faults(validation={"pattern": r"\pL{1,8}"}) == []
    message = "Field 'validation.pattern' must compile to at most 10000 instructions of RE2"
    assert faults(validation={"pattern": pattern}) == [
        ("/validation/pattern", f"{message}, got {came}")
    ]


def test_the_patterns_of_one_attribute_are_bounded_together():
    fields = [
        {"alias": f"f{n}", "type": "text", "validation": {"pattern": rf"{n}\pL{{1,8}}"}}
        for n in range(200)
    ]
    size = checked_size(r"0\pL{1,8}")
    fitting = 100_000 // size
    assert faults("complex", attributes=fields[: fitting - 1]) == []
    found = faults("complex", attributes=fields)
    assert [pointer for pointer, _ in found] == [f"/attributes/{fitting}/validation/pattern"]
    assert found[0][1].startswith(
        f"Field 'attributes.{fitting}.validation.pattern' and the patterns before it in this"
        " attribute must compile to at most 100000 instructions of RE2, got 10"
    )


def test_few_patterns_are_compiled_where_many_are_too_large(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []
    monkeypatch.setattr(
        patterns, "checked_size", lambda text: asked.append(text) or checked_size(text)
    )
    fields = [
        {"alias": f"f{n}", "type": "text", "validation": {"pattern": rf"x{n}(\pL\pM){{1,90}}"}}
        for n in range(200)
    ]
    assert len(faults("complex", attributes=fields)) == len(asked) <= 3


def test_a_pattern_that_hangs_others_is_fine():
    assert faults(validation={"pattern": "(a+)+$"}) == []


def test_options_come_from_a_list_and_nothing_else_does():
    assert faults("option") == [
        ("/optionListId", "Field 'optionListId' is required for type 'option'")
    ]
    assert faults("text", optionListId="ol-x") == [
        ("/optionListId", "'optionListId' does not belong to attributes of type 'text'")
    ]


def test_only_some_types_take_several_values():
    assert faults("relation", multiple=True) == []
    for kind in ("text", "number", "datetime"):
        assert faults(kind, multiple=True) == []
    assert faults("boolean", multiple=True) == [
        ("/multiple", "'multiple' does not belong to attributes of type 'boolean'")
    ]


def test_only_relations_have_a_target():
    assert faults("relation", targetSchemaId="schema-x") == []
    assert faults("media", targetSchemaId="schema-x") == [
        ("/targetSchemaId", "'targetSchemaId' does not belong to attributes of type 'media'")
    ]


def test_only_complex_attributes_have_fields():
    field = {"alias": "width", "type": "number"}
    assert faults("complex", attributes=[field]) == []
    assert faults("text", attributes=[field]) == [
        ("/attributes", "'attributes' does not belong to attributes of type 'text'")
    ]
    assert faults("text", attributes=[]) == []


def test_the_fields_of_a_complex_attribute_are_judged_too():
    told = faults(
        "complex",
        attributes=[
            {"alias": "a", "type": "complex", "attributes": [{"alias": "c", "type": "option"}]},
            {"alias": "b", "type": "text", "validation": {"unique": True}},
            {"alias": "b", "type": "number", "validation": {"pattern": "x"}},
            {"alias": "c", "type": "option"},
        ],
    )
    assert told == [
        (
            "/attributes/0/attributes/0/optionListId",
            "Field 'optionListId' is required for type 'option'",
        ),
        ("/attributes/1/validation/unique", "A field of a complex value cannot be unique"),
        ("/attributes/2/alias", "Alias 'b' is used twice"),
        (
            "/attributes/2/validation/pattern",
            "'pattern' does not belong to attributes of type 'number'",
        ),
        ("/attributes/3/optionListId", "Field 'optionListId' is required for type 'option'"),
    ]


def test_guards_have_what_their_operator_needs():
    told = faults(
        guards=[
            {"attributeId": "attr-a", "operator": "equals"},
            {"attributeId": "attr-a", "operator": "in", "value": "x"},
            {"attributeId": "attr-a", "operator": "isEmpty"},
            {"attributeId": "attr-a", "operator": "notEquals", "value": False},
            {"attributeId": "attr-a", "operator": "in", "value": ["x"]},
        ]
    )
    assert told == [
        ("/guards/0/value", "Field 'value' is required for 'equals'"),
        ("/guards/1/value", "Field 'value' of a guard 'in' must be an array"),
    ]


@pytest.mark.parametrize("name", ["attr-x", "x"])
def test_an_attribute_cannot_guard_itself(name: str):
    told = faults(id="attr-x", guards=[{"attributeId": name, "operator": "isEmpty"}])
    assert told == [("/guards/0/attributeId", "An attribute cannot guard itself")]


def test_nor_by_an_alias_that_is_found_to_be_its_own():
    with pytest.raises(ValidationError, match="An attribute cannot guard itself"):
        check_no_self_guard("attr-x", {"guards": [{"attributeId": "attr-x"}]})


def test_all_that_is_wrong_is_told_at_once():
    assert len(faults("boolean", validation=RULES, optionListId="ol-x", multiple=True)) == 7


def test_names_become_ids():
    body = body_of(
        draft(
            "complex",
            dimensionIds=["language", "dim-market"],
            guards=[{"attributeId": "other", "operator": "isEmpty"}],
            attributes=[
                {"alias": "color", "type": "option", "optionListId": "colors"},
                {"alias": "width", "type": "number"},
            ],
        )
    )
    found = with_ids(
        body,
        {
            "dimensions": {"language": "dim-language", "dim-market": "dim-market"},
            "attributes": {"other": "attr-other"},
            "option_lists": {"colors": "ol-colors"},
            "schemas": {},
        },
    )
    assert found["dimensionIds"] == ["dim-language", "dim-market"]
    assert found["guards"] == [{"attributeId": "attr-other", "operator": "isEmpty"}]
    assert [field.get("optionListId") for field in found["attributes"]] == ["ol-colors", None]


def test_one_dimension_under_two_names_is_refused():
    body = body_of(draft(dimensionIds=["language", "dim-language"]))
    ids = {"dimensions": {"language": "dim-language", "dim-language": "dim-language"}}
    with pytest.raises(ValidationError, match="Field 'dimensionIds' names 'dim-language' twice"):
        with_ids(body, ids)


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        (draft(), draft("number"), ["type"]),
        (draft(dimensionIds=["a"]), draft(dimensionIds=["a", "b"]), ["dimensionIds"]),
        (draft(dimensionIds=["a", "b"]), draft(dimensionIds=["b", "a"]), []),
        (draft("media"), draft("media", multiple=True), ["multiple"]),
        (draft("option", optionListId="a"), draft("option", optionListId="b"), ["optionListId"]),
        (draft("relation"), draft("relation", targetSchemaId="a"), ["targetSchemaId"]),
        (draft(), draft(name="Other", validation={"maxLength": 3}, description="d"), []),
        (
            draft("complex", attributes=[{"alias": "a", "type": "text"}]),
            draft("complex", attributes=[{"alias": "a", "type": "number"}]),
            ["attributes"],
        ),
        (
            draft("complex", attributes=[{"alias": "a", "type": "text"}]),
            draft("complex", attributes=[]),
            ["attributes"],
        ),
        (
            draft("complex", attributes=[{"alias": "a", "type": "text"}]),
            draft(
                "complex",
                attributes=[
                    {"alias": "b", "type": "text"},
                    {"alias": "a", "type": "text", "name": "A", "validation": {"maxLength": 1}},
                ],
            ),
            [],
        ),
    ],
)
def test_what_decides_how_values_are_stored(
    old: AttributeDraft, new: AttributeDraft, changed: list[str]
):
    assert changes_of_form(body_of(old), body_of(new)) == changed
