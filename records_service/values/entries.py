"""Entries: the values of an attribute, each in its scope; which one applies, and which are equal.

The value of an attribute is a list of entries. Each has a scope, a map of dimension id -> segment
id, such as a language, a market or a channel; `{}` means everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from records_service.dimensions.model import Dimension
from shared.errors import ValidationError, some_of, truncated
from shared.http.json_types import js_type

Scope = Mapping[str, str]
Entry = dict[str, Any]
"""`{"scope": {...}, "value": ...}` as stored and as answered."""
Entries = list[Entry]
Values = dict[str, Entries]
"""Attribute id -> entries."""


class UnusableScope(Exception):
    """A scope names what there is not, or one dimension twice; the text says what is wrong."""


class UnknownDimension(UnusableScope):
    """No dimension that may be named here has this name, the only argument."""


def dimension_ids_by_name(
    dimensions: Mapping[str, Dimension], ids: Iterable[str]
) -> dict[str, str]:
    """Id or alias -> id, for these dimensions; an alias that is also the id of any means that one.

    `dimensions` are all that the workspace has.
    """
    chosen = [dimensions[dimension_id] for dimension_id in ids if dimension_id in dimensions]
    return {
        **{each.alias: each.id for each in chosen if each.alias not in dimensions},
        **{each.id: each.id for each in chosen},
    }


def with_ids(
    scope: Mapping[str, Any],
    dimension_ids: Mapping[str, str],
    dimensions: Mapping[str, Dimension],
) -> dict[str, str]:
    """A scope that may name dimensions and segments by alias, as it is stored: by ids.

    `dimension_ids` are those that may be named here, by id and by alias. Raises `UnusableScope`.
    """
    found: dict[str, str] = {}
    for name, segment in scope.items():
        dimension_id = dimension_ids.get(name)
        if dimension_id is None:
            raise UnknownDimension(name)
        if not isinstance(segment, str):
            raise UnusableScope(
                f"Segment of dimension '{truncated(dimension_id)}' must be a string,"
                f" got {js_type(segment)}"
            )
        segment_id = dimensions[dimension_id].segment_ids_by_name.get(segment)
        if segment_id is None:
            raise UnusableScope(
                f"Unknown segment '{truncated(segment)}' of dimension '{truncated(dimension_id)}':"
                f" expected {some_of(each.id for each in dimensions[dimension_id].segments)}"
            )
        if dimension_id in found:
            raise UnusableScope(
                f"Dimension '{truncated(dimension_id)}' is named twice in one scope"
            )
        found[dimension_id] = segment_id
    return found


def scope_named(
    scope: Mapping[str, Any], dimensions: Mapping[str, Dimension], pointer: str
) -> dict[str, str]:
    """A scope that may name all dimensions of a workspace, by ids; `pointer` is where it was sent.

    Raises `ValidationError`.
    """
    try:
        return with_ids(scope, dimension_ids_by_name(dimensions, dimensions), dimensions)
    except UnknownDimension as unknown:
        message = f"Unknown dimension '{truncated(unknown.args[0])}'"
        raise ValidationError.at(pointer, message) from None
    except UnusableScope as fault:
        raise ValidationError.at(pointer, str(fault)) from None


def scope_key(scope: Scope) -> tuple[tuple[str, str], ...]:
    """Equal for equal scopes, whatever the order of their dimensions."""
    return tuple(sorted(scope.items()))


def completed(scope: Scope, defaults: Scope) -> dict[str, str]:
    """The asked scope, with the default segment of every dimension that it does not name."""
    return {**defaults, **scope}


def resolve(entries: Sequence[Entry], scope: Scope, dimension_ids: Sequence[str]) -> Any:
    """The value that holds in a completed scope, or None.

    Candidates are the entries whose every dimension has the scope's segment; the one that names
    most dimensions wins, ties go to the dimension that the attribute lists first, and `{}` is the
    last resort. A named segment without an entry does not fall back to its dimension's default.
    """
    best: Entry | None = None
    best_rank: tuple[int, tuple[int, ...]] = (-1, ())
    for entry in entries:
        entry_scope = entry["scope"]
        if any(scope.get(dimension) != segment for dimension, segment in entry_scope.items()):
            continue
        rank = (len(entry_scope), _preference(entry_scope, dimension_ids))
        if best is None or rank > best_rank:
            best, best_rank = entry, rank
    return None if best is None else best["value"]


def _preference(scope: Scope, dimension_ids: Sequence[str]) -> tuple[int, ...]:
    """Larger when an earlier dimension of the attribute is named."""
    return tuple(1 if dimension in scope else 0 for dimension in dimension_ids)


def replaced(old: Values, new: Values) -> set[str]:
    """The attributes whose lists of entries are not the same objects.

    A write replaces whole lists, so what it did not name is not among them. What it sent again as
    it was is.
    """
    found = {i for i, entries in new.items() if old.get(i) is not entries}
    found.update(old.keys() - new.keys())
    return found


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal as JSON, in depth (in Python, 1 equals True).

    The order of an object's fields means nothing.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)
