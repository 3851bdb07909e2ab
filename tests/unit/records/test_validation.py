"""Every rule of a value, and the words in which it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from records_service.attributes.model import (
    Attribute,
    AttributeType,
    SubAttribute,
    Validation,
)
from records_service.dimensions.model import Dimension, Segment
from records_service.values.types import compile_check
from records_service.values.validation import Faults
from shared.errors import VIOLATIONS_MAX, ValidationError, Violation
from tests.unit.records.model_builders import a_dimension, an_attribute, an_option_list

DIMENSIONS = {
    "dim-language": a_dimension("dim-language", "en", "da"),
    "dim-market": a_dimension("dim-market", "dk", "se"),
}
COLORS = {"ol-colors": an_option_list("ol-colors", "red", "blue")}

TEXT = an_attribute("attr-name", validation=Validation(max_length=5))
SKU = an_attribute("attr-sku", validation=Validation(pattern=r"^[A-Z]{2}-\d{3}$"))
PRICE = an_attribute(
    "attr-price",
    kind=AttributeType.NUMBER,
    validation=Validation(min=0, max=100),
    dimension_ids=("dim-market",),
)
FLAG = an_attribute("attr-flag", kind=AttributeType.BOOLEAN)
SINCE = an_attribute("attr-since", kind=AttributeType.DATETIME)
IMAGE = an_attribute("attr-image", kind=AttributeType.MEDIA)
COLOR = an_attribute("attr-color", kind=AttributeType.OPTION, option_list_id="ol-colors")
COLORS_SEVERAL = an_attribute(
    "attr-colors", kind=AttributeType.OPTION, option_list_id="ol-colors", multiple=True
)
RELATED = an_attribute("attr-related", kind=AttributeType.RELATION, multiple=True)
NUTRITION = an_attribute(
    "attr-nutrition",
    kind=AttributeType.COMPLEX,
    attributes=(
        SubAttribute(
            alias="kcal",
            name="kcal",
            type=AttributeType.NUMBER,
            validation=Validation(required=True),
            option_list_id=None,
            multiple=False,
        ),
        SubAttribute(
            alias="note",
            name="note",
            type=AttributeType.TEXT,
            validation=Validation(),
            option_list_id=None,
            multiple=False,
        ),
    ),
)


def check(attribute: Attribute, entries: Any) -> tuple[Any, list[Violation]]:
    faults = Faults()
    stored = compile_check(attribute, DIMENSIONS, COLORS)(entries, "/values/x", faults)
    return stored, faults.found


def everywhere(value: Any) -> list[dict[str, Any]]:
    return [{"scope": {}, "value": value}]


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        (TEXT, 1, "Attribute 'name' expects type 'string', got 'number'"),
        (TEXT, "123456", "Value for 'name' exceeds maximum length 5"),
        (SKU, "nope", r"Value for 'sku' does not match pattern '^[A-Z]{2}-\d{3}$'"),
        (SKU, "AB-123\n", r"Value for 'sku' does not match pattern '^[A-Z]{2}-\d{3}$'"),
        (PRICE, "12", "Attribute 'price' expects type 'number', got 'string'"),
        (PRICE, True, "Attribute 'price' expects type 'number', got 'boolean'"),
        (PRICE, [1], "Attribute 'price' expects type 'number', got 'array'"),
        (PRICE, -1, "Value for 'price' must be at least 0"),
        (PRICE, 101, "Value for 'price' must be at most 100"),
        (FLAG, 1, "Attribute 'flag' expects type 'boolean', got 'number'"),
        (FLAG, {}, "Attribute 'flag' expects type 'boolean', got 'object'"),
        (SINCE, 2024, "Attribute 'since' expects type 'string', got 'number'"),
        (
            SINCE,
            "soon",
            "Value for 'since' must be an ISO 8601 date and time, got 'soon'",
        ),
        *(
            (
                SINCE,
                text,
                f"Value for 'since' must be an ISO 8601 date and time, got '{text}'",
            )
            for text in (
                "2026-W10",
                "2026-03-08x10:00",
                "2026-03-08T",
                "2026-02-30",
                "2026-03-08\n",
            )
        ),
        (IMAGE, 5, "Attribute 'image' expects type 'string', got 'number'"),
        (IMAGE, {"url": 5}, "Attribute 'image' expects type 'string', got 'number'"),
        (IMAGE, {"alt": "A"}, "Field 'image.url' is required"),
        (
            IMAGE,
            "ftp://example.org/a.png",
            "Value for 'image' must be an absolute http or https URL, got 'ftp://example.org/a.png'",
        ),
        (
            IMAGE,
            "http:///a.png",
            "Value for 'image' must be an absolute http or https URL, got 'http:///a.png'",
        ),
        *(
            (
                IMAGE,
                url,
                f"Value for 'image' must be an absolute http or https URL, got '{url}'",
            )
            for url in ("http://example.org:http/a", "http://example.org:99999/a", "http://[::1/a")
        ),
        (IMAGE, {"url": "https://example.org/a.png", "size": 3}, "Unknown field 'size' in 'image'"),
        (COLOR, "green", "Value 'green' for 'color' is not in option list 'ol-colors'"),
        (COLOR, 7, "Attribute 'color' expects type 'string', got 'number'"),
        (COLOR, ["red"], "Attribute 'color' takes one value, got an array"),
        (COLORS_SEVERAL, ["red", "val-red"], "Value for 'colors' has a duplicate item"),
        (RELATED, [3], "Attribute 'related' expects type 'string', got 'number'"),
        (NUTRITION, "x", "Attribute 'nutrition' expects type 'object', got 'string'"),
        (NUTRITION, {}, "Field 'nutrition.kcal' is required"),
        (
            NUTRITION,
            {"kcal": "many"},
            "Attribute 'nutrition.kcal' expects type 'number', got 'string'",
        ),
        (NUTRITION, {"kcal": 1, "salt": 2}, "Unknown attribute 'nutrition.salt'"),
    ],
)
def test_a_value_that_breaks_a_rule_is_refused_in_these_words(attribute, value, message):
    _, violations = check(attribute, everywhere(value))
    assert [violation.message for violation in violations] == [message]


@pytest.mark.parametrize(
    ("attribute", "value", "stored"),
    [
        (TEXT, "æøå", "æøå"),
        (SKU, "AB-123", "AB-123"),
        (PRICE, 0, 0),
        (PRICE, 99.95, 99.95),
        (FLAG, False, False),
        (SINCE, "2026-03-08", "2026-03-08"),
        (SINCE, "20260308T100000Z", "20260308T100000Z"),
        (SINCE, "2026-03-08 10:00+01:00", "2026-03-08 10:00+01:00"),
        (SINCE, "2026-03-08T10:00:00.123Z", "2026-03-08T10:00:00.123Z"),
        (IMAGE, "https://example.org/a.png", "https://example.org/a.png"),
        (
            IMAGE,
            {"url": "https://example.org/a.png", "alt": "front"},
            {"url": "https://example.org/a.png", "alt": "front"},
        ),
        (COLOR, "red", "val-red"),
        (COLOR, "val-red", "val-red"),
        (COLORS_SEVERAL, "red", ["val-red"]),
        (COLORS_SEVERAL, ["red", "blue"], ["val-red", "val-blue"]),
        (RELATED, "ent-a", ["ent-a"]),
        (NUTRITION, {"kcal": 12, "note": None}, {"kcal": 12}),
        (NUTRITION, [{"kcal": 1}, {"kcal": 2}], [{"kcal": 1}, {"kcal": 2}]),
    ],
)
def test_a_value_that_keeps_the_rules_is_stored(attribute, value, stored):
    assert check(attribute, everywhere(value)) == (everywhere(stored), [])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("x", "Values of 'price' must be an array of {scope, value} entries, got string"),
        (["x"], "Entry 0 of 'price' must be an object {scope, value}"),
        ([{"scope": {}}], "Entry 0 of 'price' must be an object {scope, value}"),
        ([{"scope": "seg-dk", "value": 1}], "Scope of 'price' must be an object, got string"),
        (
            [{"scope": {"dim-moon": "seg-x"}, "value": 1}],
            "Unknown dimension 'dim-moon' in a scope of 'price': expected dim-market",
        ),
        (
            [{"scope": {"dim-language": "seg-en"}, "value": 1}],
            "Attribute 'price' does not vary by dimension 'dim-language'",
        ),
        (
            [{"scope": {"dim-market": "seg-xx"}, "value": 1}],
            "Unknown segment 'seg-xx' of dimension 'dim-market': expected seg-dk, seg-se",
        ),
        (
            [{"scope": {"dim-market": ["seg-dk"]}, "value": 1}],
            "Segment of dimension 'dim-market' must be a string, got array",
        ),
        (
            [{"scope": {"dim-market": None}, "value": 1}],
            "Segment of dimension 'dim-market' must be a string, got null",
        ),
        (
            [{"scope": {"market": "xx"}, "value": 1}],
            "Unknown segment 'xx' of dimension 'dim-market': expected seg-dk, seg-se",
        ),
        (
            [{"scope": {"language": "en"}, "value": 1}],
            "Attribute 'price' does not vary by dimension 'language'",
        ),
        (
            [{"scope": {"market": "dk", "dim-market": "seg-dk"}, "value": 1}],
            "Dimension 'dim-market' is named twice in one scope",
        ),
        (
            [
                {"scope": {"market": "dk"}, "value": 1},
                {"scope": {"dim-market": "seg-dk"}, "value": 2},
            ],
            "Attribute 'price' has two entries for one scope",
        ),
        (
            [{"scope": {}, "value": 1}, {"value": 2}],
            "Attribute 'price' has two entries for one scope",
        ),
    ],
)
def test_entries_and_scopes_that_are_refused(entries, message):
    _, violations = check(PRICE, entries)
    assert [violation.message for violation in violations] == [message]


def test_messages_repeat_little_of_a_long_alias_or_pattern():
    long = "x" * 128
    field = SubAttribute(
        alias=long,
        name=long,
        type=AttributeType.NUMBER,
        validation=Validation(required=True),
        option_list_id=None,
        multiple=False,
    )
    pattern = Validation(pattern=f"^{'y' * 500}$")
    for attribute, value in (
        (an_attribute("attr-long", long, validation=pattern), "z"),
        (an_attribute("attr-long", long), 5),
        (an_attribute("attr-long", long, AttributeType.COMPLEX, attributes=(field,)), {}),
        (an_attribute("attr-long", long, AttributeType.COMPLEX, attributes=(field,)), {long: "z"}),
    ):
        messages = [fault.message for fault in check(attribute, everywhere(value))[1]]
        assert messages
        for message in messages:
            assert "x" * 101 not in message
            assert "y" * 101 not in message


def test_a_scoped_attribute_may_also_hold_everywhere():
    entries = [{"scope": {}, "value": 1}, {"scope": {"dim-market": "seg-se"}, "value": 2}]
    assert check(PRICE, entries) == (entries, [])


@pytest.mark.parametrize(
    "scope",
    [{"market": "dk"}, {"dim-market": "dk"}, {"market": "seg-dk"}, {"dim-market": "seg-dk"}],
)
def test_a_scope_may_name_by_alias_and_is_stored_by_ids(scope):
    stored, faults = check(PRICE, [{"scope": scope, "value": 1}])
    assert (stored, faults) == ([{"scope": {"dim-market": "seg-dk"}, "value": 1}], [])


@pytest.mark.parametrize("alias", ["market", "dim-language"])
def test_an_alias_in_a_scope_that_is_an_id_means_that_id(alias):
    # Denmark's alias is the id of Sweden; the market's alias may be the id of the language.
    market = Dimension(
        id="dim-market",
        alias=alias,
        name="Market",
        default_segment_id="seg-dk",
        segments=(Segment("seg-dk", "seg-se", "Denmark"), Segment("seg-se", "se", "Sweden")),
    )
    check_entries = compile_check(PRICE, {**DIMENSIONS, "dim-market": market}, {})
    faults = Faults()
    stored = check_entries([{"scope": {alias: "seg-se"}, "value": 1}], "/values/x", faults)
    messages = [fault.message for fault in faults.found]
    if alias == "market":
        assert (stored[0]["scope"], messages) == ({"dim-market": "seg-se"}, [])
    else:
        refused = "Attribute 'price' does not vary by dimension 'dim-language'"
        assert (stored, messages) == ([], [refused])


def test_null_stands_for_no_entry():
    entries = [{"scope": {}, "value": None}, {"scope": {"dim-market": "seg-se"}, "value": 2}]
    assert check(PRICE, entries) == (entries[1:], [])


def test_all_that_is_wrong_is_told_with_its_place():
    entries = [
        {"scope": {}, "value": -1},
        {"scope": {"dim-market": "seg-dk"}, "value": "x"},
    ]
    _, violations = check(PRICE, entries)
    assert [(violation.pointer, violation.message) for violation in violations] == [
        ("/values/x/0/value", "Value for 'price' must be at least 0"),
        ("/values/x/1/value", "Attribute 'price' expects type 'number', got 'string'"),
    ]


def test_a_pattern_that_would_hang_a_backtracking_engine_is_decided():
    evil = an_attribute("attr-evil", validation=Validation(pattern=r"^(a+)+$"))
    _, violations = check(evil, everywhere("a" * 10_000 + "!"))
    assert [violation.message for violation in violations] == [
        "Value for 'evil' does not match pattern '^(a+)+$'"
    ]


def test_too_many_entries_are_refused_unread():
    _, violations = check(PRICE, [{"value": "x"}] * 1_001)
    assert [violation.message for violation in violations] == [
        "Values of 'price' must have at most 1000 entries, got 1001"
    ]


def test_with_the_hundredth_fault_the_rest_is_not_looked_at():
    looked_at: list[int] = []

    class Sent(dict[str, Any]):
        def __contains__(self, name: object) -> bool:
            looked_at.append(self["value"])
            return super().__contains__(name)

    entries = [Sent(scope={"dim-none": "seg"}, value=number) for number in range(1_000)]
    with pytest.raises(ValidationError) as raised:
        check(TEXT, entries)
    assert len(raised.value.violations) == VIOLATIONS_MAX
    assert looked_at == list(range(VIOLATIONS_MAX))


def test_a_place_is_told_as_a_json_pointer():
    _, violations = check(NUTRITION, everywhere({"a/b~c": 1, "kcal": 1}))
    assert [violation.pointer for violation in violations] == ["/values/x/0/value/a~1b~0c"]


def test_a_pattern_and_a_text_that_are_large_together_are_not_matched():
    costly = an_attribute("attr-code", validation=Validation(pattern="a[ab]{500}c"))
    _, violations = check(costly, everywhere("ab" * 200_000))
    assert [v.message for v in violations] == ["Value for 'code' is too long to be matched: 400000"]
    usual = an_attribute("attr-code", validation=Validation(pattern="^[a-z ]*$"))
    assert check(usual, everywhere("ab " * 1_000_000))[1] == []


def test_all_texts_of_a_request_share_what_matching_may_cost():
    costly = an_attribute(
        "attr-code",
        validation=Validation(pattern="[ab]{500}"),
        dimension_ids=("dim-language", "dim-market"),
    )
    scopes = [{}, {"dim-language": "seg-en"}, {"dim-market": "seg-dk"}]
    _, violations = check(costly, [{"scope": s, "value": "ab" * 50_000} for s in scopes])
    assert [v.pointer for v in violations] == ["/values/x/1/value", "/values/x/2/value"]


def test_an_array_holds_so_many_values():
    _, violations = check(RELATED, everywhere([f"ent-{n}" for n in range(1_001)]))
    assert [v.message for v in violations] == [
        "Value for 'related' must have at most 1000 items, got 1001"
    ]
