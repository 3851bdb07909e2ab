"""Compares two values deeply, with JSON's equality (in Python, 1 equals True)."""

from __future__ import annotations

from typing import Any


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: a number is no boolean, and the order of an object's fields means nothing."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)
