"""Which entry of an attribute holds in a given language, market or channel?

An attribute's value is a list of entries, each with a scope: dimension id -> segment id, `{}` being
everywhere. Source of the rules: section 2.1 of the contract (Q9).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Scope = Mapping[str, str]
Entry = dict[str, Any]
"""`{"scope": {...}, "value": ...}` as stored and as answered."""
Entries = list[Entry]
Values = dict[str, Entries]
"""Attribute id -> entries."""


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
