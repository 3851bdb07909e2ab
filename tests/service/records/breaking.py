"""Breaks records of a database with JSON Schemas in one way each, to compare who refuses them."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Break = Callable[[random.Random, Any, Mapping[str, Any]], Any]
"""(random, value, its schema) -> the broken value, or `NOT_HERE`."""
NOT_HERE = object()
GONE = object()
"""The property is taken out."""


@dataclass(frozen=True, slots=True)
class Place:
    """A value in a record: the object or list that holds it, where in it, and what it must be."""

    holder: Any
    step: str | int
    schema: Mapping[str, Any]
    is_required: bool
    depth: int

    @property
    def value(self) -> Any:
        return self.holder[self.step]


def types_of(schema: Mapping[str, Any]) -> set[str]:
    said = schema.get("type", ())
    return {said} if isinstance(said, str) else set(said)


def _other_type(wanted: str, value: Any) -> Break:
    def broken(_: random.Random, old: Any, schema: Mapping[str, Any]) -> Any:
        fits = wanted in types_of(schema) and old is not None
        return copy.deepcopy(value) if fits else NOT_HERE

    return broken


def _unknown_option(_: random.Random, old: Any, schema: Mapping[str, Any]) -> Any:
    return f"{old} of another kind" if "enum" in schema and isinstance(old, str) else NOT_HERE


def _other_case(_: random.Random, old: Any, schema: Mapping[str, Any]) -> Any:
    if "enum" not in schema or not isinstance(old, str) or old.swapcase() in schema["enum"]:
        return NOT_HERE
    return old.swapcase()


def _null(_: random.Random, old: Any, schema: Mapping[str, Any]) -> Any:
    return None if old is not None else NOT_HERE


BREAKS: dict[str, Break] = {
    "text for a number": _other_type("number", "about 5"),
    "digits in a text for a number": _other_type("number", "5"),
    "truth for a number": _other_type("number", True),
    "list for a number": _other_type("number", [5]),
    "number for a text": _other_type("string", 5),
    "truth for a text": _other_type("string", False),
    "list for a text": _other_type("string", ["a"]),
    "object for a text": _other_type("string", {"a": "b"}),
    "text for a truth": _other_type("boolean", "true"),
    "number for a truth": _other_type("boolean", 1),
    "text for an object": _other_type("object", "a"),
    "number for an object": _other_type("object", 5),
    "list for an object": _other_type("object", ["a"]),
    "text for a list": _other_type("array", "a"),
    "object for a list": _other_type("array", {"a": "b"}),
    "lists in a list": _other_type("array", [["a"]]),
    "unknown option": _unknown_option,
    "option in another case": _other_case,
    "null": _null,
}
"""Breaks of a value. `REMOVED` and `ADDED` are of objects."""
REMOVED, ADDED = "required property removed", "property added that nothing declares"
UNDECLARED = "nothing-declares-this"


def places(record: dict[str, Any], schema: Mapping[str, Any], depth: int = 0) -> Iterator[Place]:
    """Every value of a record that its schema describes."""
    required = schema.get("required", ())
    for name, about in schema.get("properties", {}).items():
        if name in record:
            place = Place(record, name, about, name in required, depth)
            yield place
            yield from _inside(place.value, about, depth)


def _inside(value: Any, about: Mapping[str, Any], depth: int) -> Iterator[Place]:
    if isinstance(value, dict):
        yield from places(value, about, depth + 1)
    if isinstance(value, list):
        for index, element in enumerate(value):
            yield Place(value, index, about.get("items", {}), False, depth + 1)
            yield from _inside(element, about.get("items", {}), depth + 1)


def broken(
    kind: str, record: dict[str, Any], schema: Mapping[str, Any], chance: random.Random
) -> tuple[dict[str, Any], Place] | None:
    """A copy with one value broken, and where; None where the record has nothing to break so."""
    made = copy.deepcopy(record)
    found = list(places(made, schema))
    chance.shuffle(found)
    for place in found:
        if kind == REMOVED:
            if place.is_required:
                del place.holder[place.step]
                return made, place
        elif kind == ADDED:
            if isinstance(place.value, dict):
                place.value[UNDECLARED] = "a"
                return made, place
        else:
            new = BREAKS[kind](chance, place.value, place.schema)
            if new is not NOT_HERE:
                place.holder[place.step] = new
                return made, place
    return None
