"""What becomes of a value when its attribute is converted to another type."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from records_service.attributes.model import Attribute, AttributeType
from records_service.conversions.rules import POSSIBLE, Converter, new_body
from records_service.model_objects.model import ModelObject
from records_service.option_lists.lookup import Options
from records_service.option_lists.model import OptionList
from records_service.values.types import value_check

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COLORS = OptionList.parse(
    ModelObject(
        "ol-colors",
        "colors",
        {
            "name": "Colors",
            "hierarchical": False,
            "values": [
                ("val-red", "red", "Red", None),
                ("val-1", "one", "1", None),
                ("val-a", "a", "Same", None),
                ("val-b", "b", "Same", None),
            ],
        },
        1,
        NOW,
        NOW,
    )
)
LOST = object()


def attribute(kind: str, *, multiple: bool = False, **rules: Any) -> Attribute:
    body = {
        "name": "Size",
        "type": kind,
        "dimensionIds": [],
        "validation": rules,
        "guards": [],
        "inheritable": True,
        "multiple": multiple,
    }
    if kind == "option":
        body["optionListId"] = "ol-colors"
    return Attribute.parse(ModelObject("attr-size", "size", body, 1, NOW, NOW))


def converted(old: Attribute, new: Attribute, value: Any) -> tuple[Any, list[str]]:
    lists = {"ol-colors": COLORS}
    check = value_check(new, "size", lists)
    converter = Converter(old, new, check, lists, Options(), {})
    kept, faults = converter.entries([{"scope": {}, "value": value}])
    return (kept[0]["value"] if kept else LOST), faults


@pytest.mark.parametrize(
    ("old", "new", "value", "result"),
    [
        ("text", "number", "12", 12),
        ("text", "number", " -1.50 ", -1.5),
        ("text", "number", "1e3", 1000),
        ("text", "boolean", "TRUE", True),
        ("text", "boolean", "0", False),
        ("text", "datetime", "2026-01-01", "2026-01-01"),
        ("text", "media", "https://example.com/a.png", "https://example.com/a.png"),
        ("text", "option", "Red", "val-red"),
        ("text", "option", " one ", "val-1"),
        ("number", "text", 12.0, "12.0"),
        ("number", "text", 9007199254740993, "9007199254740993"),
        ("number", "boolean", 1, True),
        ("number", "option", 1, "val-1"),
        ("boolean", "text", True, "true"),
        ("boolean", "number", True, 1),
        ("datetime", "text", "2026-01-01", "2026-01-01"),
        ("media", "text", {"url": "https://example.com/a.png"}, "https://example.com/a.png"),
        ("option", "text", "val-red", "Red"),
        ("option", "number", "val-1", 1),
        ("relation", "text", "ent-1", "ent-1"),
    ],
)
def test_a_value_is_converted(old: str, new: str, value: Any, result: Any):
    found = converted(attribute(old), attribute(new), value)
    assert found == (result, [])
    assert type(found[0]) is type(result)


@pytest.mark.parametrize(
    ("old", "new", "value", "reason"),
    [
        ("text", "number", "1,5", "Value for 'size' must be a number such as 1234.5, got '1,5'"),
        ("text", "number", "017", "Value for 'size' must be a number such as 1234.5, got '017'"),
        ("text", "number", "", "Value for 'size' must be a number such as 1234.5, got ''"),
        (
            "text",
            "number",
            "\u0661",
            "Value for 'size' must be a number such as 1234.5, got '\u0661'",
        ),
        (
            "text",
            "number",
            "9223372036854775808",
            "Value for 'size' must be a number of at most 64 bits, got '9223372036854775808'",
        ),
        (
            "text",
            "number",
            "0.12345678901234567890",
            (
                "Value for 'size' must be a number with at most 15 significant digits, got"
                " '0.12345678901234567890'"
            ),
        ),
        ("text", "boolean", "yes", "Value for 'size' must be true, false, 1 or 0, got 'yes'"),
        (
            "text",
            "datetime",
            "yesterday",
            "Value for 'size' must be an ISO 8601 date and time, got 'yesterday'",
        ),
        ("text", "option", "Blue", "Value 'Blue' for 'size' is not in option list 'ol-colors'"),
        (
            "text",
            "option",
            "Same",
            "Value 'Same' for 'size' is the label of 2 options of list 'ol-colors'",
        ),
        ("option", "text", "val-gone", "Value 'val-gone' is no option any more"),
        (
            "media",
            "text",
            {"url": "https://example.com/a.png", "alt": "A"},
            "Value for 'size' has more than a URL",
        ),
    ],
)
def test_what_cannot_be_converted_says_why(old: str, new: str, value: Any, reason: str):
    assert converted(attribute(old), attribute(new), value) == (LOST, [reason])


def test_lists_become_single_values_and_single_values_lists():
    several = attribute("number", multiple=True)
    assert converted(attribute("text"), several, "1") == ([1], [])
    assert converted(attribute("text", multiple=True), several, ["1", "x", "2"]) == (
        [1, 2],
        ["Value for 'size' must be a number such as 1234.5, got 'x'"],
    )
    assert converted(several, attribute("text"), [1]) == ("1", [])
    assert converted(several, attribute("text"), [1, 2]) == (
        LOST,
        ["Value for 'size' has 2 items, expected one"],
    )
    options = attribute("option", multiple=True)
    assert converted(attribute("text", multiple=True), options, ["red", "Red"]) == (
        ["val-red"],
        [],
    )


def test_values_keep_to_the_rules_that_remain():
    assert converted(attribute("text"), attribute("number", max=10), "11") == (
        LOST,
        ["Value for 'size' must be at most 10"],
    )
    body = {"type": "text", "validation": {"required": True, "maxLength": 3}, "optionListId": "x"}
    assert new_body(body, {"type": "number", "multiple": False}) == {
        "type": "number",
        "multiple": False,
        "validation": {"required": True},
    }


def test_each_type_says_what_it_can_be_converted_to():
    assert set(POSSIBLE) == set(AttributeType)
    for old, targets in POSSIBLE.items():
        assert old in targets or old in (AttributeType.BOOLEAN, AttributeType.COMPLEX)
