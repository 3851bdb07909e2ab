"""Transforms and fingerprints: what becomes of one value on its way to the target."""

from __future__ import annotations

from typing import Any

import pytest

from workflow_service.channels.model import FieldMapping
from workflow_service.mapping.fingerprints import (
    LEVELS_MAX,
    UnusableTree,
    checksum,
    fingerprint,
    told_apart,
)
from workflow_service.mapping.transforms import TRANSFORMS, UnusableValue, transformed

KEY = b"k" * 32


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (None, " Hat ", " Hat "),
        ("uppercase", "stra\u00dfe", "STRASSE"),
        ("lowercase", "HAT", "hat"),
        ("trim", "\t Hat \n", "Hat"),
        ("uppercase", ["a", "b"], ["A", "B"]),
        *((name, None, None) for name in TRANSFORMS),
        *((name, 5, 5) for name in ("uppercase", "lowercase", "trim", "number")),
        ("number", " 12 ", 12),
        ("number", "12.50", 12.5),
        ("number", "-.5e1", -5.0),
        ("number", "+7", 7),
        ("number", "9223372036854775808", 9223372036854775808.0),
        ("number", True, 1),
        ("number", ["1", "2.5"], [1, 2.5]),
        ("string", 12.5, "12.5"),
        ("string", True, "true"),
        ("string", "Hat", "Hat"),
        ("string", ["a", 1], '["a",1]'),
        ("string", {"unit": "cm"}, '{"unit":"cm"}'),
    ],
)
def test_a_transform_makes_of_a_value(name: str | None, value: Any, expected: Any):
    made = transformed(name, value)
    assert (made, type(made)) == (expected, type(expected))


@pytest.mark.parametrize(
    "value", ["", "1,5", "1 234", "0x10", "nan", "inf", "1e999", "1" * 301, {}]
)
def test_what_is_no_number_is_refused_without_being_told(value: Any):
    with pytest.raises(UnusableValue) as refused:
        transformed("number", value)
    assert str(refused.value) == (
        "expected a number, or a text that is one with a dot, such as 1234.5"
    )


def test_every_transform_that_is_offered_is_known():
    for name in TRANSFORMS:
        FieldMapping.model_validate({"sourceAttribute": "a", "targetField": "a", "transform": name})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (5, 5.0),
        ([1.0, {"a": 2.0}], [1, {"a": 2}]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ("\u00e9", "\u00e9"),
    ],
)
def test_what_is_equal_has_the_same_fingerprint(one: Any, other: Any):
    assert fingerprint(KEY, one) == fingerprint(KEY, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (5, "5"),
        (1, True),
        (0, None),
        ("", None),
        ([1, 2], [2, 1]),
        ([], None),
        ("a", "A"),
        (5, 5.5),
    ],
)
def test_what_differs_has_another_one(one: Any, other: Any):
    assert fingerprint(KEY, one) != fingerprint(KEY, other)


def test_a_fingerprint_cannot_be_tried_without_the_key():
    assert fingerprint(KEY, "Hat") != fingerprint(b"l" * 32, "Hat")
    assert checksum(KEY, {"a": "x", "b": "y"}) == checksum(KEY, {"b": "y", "a": "x"})
    assert checksum(KEY, {"a": "x"}) != checksum(KEY, {"a": "y"})
    assert checksum(KEY, {"a": "x"}) != checksum(b"l" * 32, {"a": "x"})


def nested(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (nested(LEVELS_MAX + 1), "at most 100 levels"),
        ({"a": ["\x00"]}, "NUL"),
        (nested(100_000), "at most 100 levels"),
    ],
    ids=["deep", "nul", "very-deep"],
)
def test_what_no_attribute_can_have_is_refused(value: Any, reason: str):
    with pytest.raises(UnusableTree, match=reason):
        fingerprint(KEY, value)
    with pytest.raises(UnusableTree, match=reason):
        told_apart(KEY, [value])


def test_as_many_levels_as_may_be_can_be():
    assert fingerprint(KEY, nested(LEVELS_MAX))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([12.5, 3], ["12.50", "3.00"]),
        (["deny", None], [" DENY", ""]),
        ([["A", 1]], [["a", "1.0"]]),
        ([-1], ["-1"]),
        (["007"], ["7"]),
    ],
)
def test_the_spelling_of_a_target_is_no_change_of_variants(ours: list[Any], theirs: list[Any]):
    assert told_apart(KEY, ours) == told_apart(KEY, theirs)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([1, 2], [2, 1]),
        ([1], [1, 1]),
        ([1], [1, None]),
        ([0], [None]),
        (["1" * 16], ["1" * 15 + "2"]),
        (["S"], ["M"]),
    ],
)
def test_other_values_or_another_order_are(ours: list[Any], theirs: list[Any]):
    assert told_apart(KEY, ours) != told_apart(KEY, theirs)
