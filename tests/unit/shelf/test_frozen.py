"""What `quick` makes behaves as a frozen dataclass does, but that only mypy refuses changes."""

from __future__ import annotations

from dataclasses import field, replace

import pytest

from shared.frozen import quick


@quick
class Point:
    x: int
    y: int = 0
    names: tuple[str, ...] = field(default_factory=tuple)


def test_points_are_values():
    one, other = Point(1, y=2), Point(1, 2)
    assert one == other
    assert len({one, other}) == 1
    assert replace(one, x=3) == Point(3, 2)
    assert one == Point(1, 2)
    assert repr(one).endswith("Point(x=1, y=2, names=())")


def test_there_are_no_other_fields():
    with pytest.raises(AttributeError):
        Point(1).z = 3
