"""Do these values make a sound list?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from records_service.option_lists.model import VALUES_MAX, OptionValueDraft
from shared.errors import Conflict, ValidationError
from shared.ids import new_id

Value = dict[str, Any]


def values_of(drafts: Iterable[OptionValueDraft]) -> list[Value]:
    """The values as they are stored: each with an id and a place."""
    values: list[Value] = []
    last = -1.0
    for draft in drafts:
        value = draft.stored(draft.id or new_id("val"), last)
        last = max(last, value["sortOrder"])
        values.append(value)
    return values


def checked(values: Sequence[Value], *, hierarchical: bool) -> list[Value]:
    """The values in order; raises `ValidationError`, or `Conflict` for a value that is there twice.

    Parents exist, are not allowed in a flat list, and nothing is its own ancestor (section 10).
    """
    if len(values) > VALUES_MAX:
        raise ValidationError.at(
            "/values", f"An option list has at most {VALUES_MAX} values, got {len(values)}"
        )
    for name in ("id", "alias"):
        seen: set[str] = set()
        for value in values:
            if value[name] in seen:
                raise Conflict(f"Option value with {name} '{value[name]}' already exists")
            seen.add(value[name])
    _check_parents(values, hierarchical=hierarchical)
    return sorted(values, key=lambda value: value["sortOrder"])


def descendants(values: Sequence[Value], value_id: str) -> list[str]:
    """The value and everything below it."""
    found = [value_id]
    for ancestor in found:
        found.extend(value["id"] for value in values if value.get("parentId") == ancestor)
    return found


def removed(old: Mapping[str, Any], new: Sequence[Value]) -> list[str]:
    """The ids of values that the new list no longer has."""
    kept = {value["id"] for value in new}
    return [value["id"] for value in old["values"] if value["id"] not in kept]


def _check_parents(values: Sequence[Value], *, hierarchical: bool) -> None:
    parents = {value["id"]: value.get("parentId") for value in values}
    rooted: set[str] = set()
    for value in values:
        parent = value.get("parentId")
        if parent is None:
            continue
        if not hierarchical:
            raise ValidationError.at(
                "/parentId", f"Option value '{value['alias']}' has a parent, but the list is flat"
            )
        if parent not in parents:
            raise ValidationError.at(
                "/parentId", f"Parent '{parent[:128]}' of option value '{value['alias']}' not found"
            )
        path: list[str] = []
        step: str | None = value["id"]
        while step is not None and step not in rooted:
            if step in path:
                raise ValidationError.at(
                    "/parentId", f"Option value '{value['alias']}' would be its own ancestor"
                )
            path.append(step)
            step = parents[step]
        rooted.update(path)
