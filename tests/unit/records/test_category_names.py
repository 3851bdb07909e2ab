"""Names of categories that may be paths are followed together."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from records_service.catalogs.categories import names
from records_service.catalogs.categories.name_store import Placed, Step
from records_service.catalogs.categories.names import _Paths


def test_categories_that_are_called_the_same_are_looked_through_once_for_all_names():
    """Each of a thousand names goes on from each of a thousand categories: a million pairs."""
    same = [Step(f"ctg-{number}", "cat-1", "shop", None, "same") for number in range(1_000)]
    below = [
        Step("ctg-x", "cat-1", "ctg-7", "x", "name of x"),
        Step("ctg-y", "cat-1", "ctg-8", None, "x"),
    ]
    paths = _Paths({f"shop/same/{word}" for word in ("x", "name of x", *map(str, range(1_000)))})
    executed = 0

    def count(frame: FrameType, *_: Any) -> Any:
        nonlocal executed
        executed += frame.f_code.co_filename == names.__file__
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        ends = paths.go(same), paths.go(below)
    finally:
        sys.settrace(before)
    x, y = Placed("ctg-x", "cat-1"), Placed("ctg-y", "cat-1")
    assert ends == ({}, {"shop/same/x": [x, y], "shop/same/name of x": [x]})
    assert not paths.above
    assert executed < 50_000, executed


def test_ways_that_lead_to_the_same_categories_are_one():
    """A category is found by its alias and by its name: two to the power of the levels are ways."""
    ways = [""]
    for _ in range(10):
        ways = [f"{way}/{word}" for way in ways for word in ("alias", "name")]
    paths = _Paths({f"shop{way}" for way in ways})
    above = "shop"
    for level in range(10):
        assert len(paths.above) == 1
        assert len(paths._here) == 1
        ends = paths.go([Step(f"ctg-{level}", "cat-1", above, "alias", "name")])
        above = f"ctg-{level}"
    assert len(ends) == 1_024
    assert not paths.above
