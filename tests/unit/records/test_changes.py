"""When two values are the same, and when a write is a change."""

from __future__ import annotations

import pytest

from records_service.values.entries import same


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": [0, {"b": False}]}, {"a": [0, {"b": 0}]}, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ([1, 2], [1], False),
        (None, None, True),
        ("1", 1, False),
    ],
)
def test_values_are_compared_as_json_all_the_way_down(one, other, expected):
    assert same(one, other) is expected
    assert same(other, one) is expected
