"""What a variant stores of the values that its row in the source has."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from deploy.importers.plan import Entry

Values = Mapping[str, tuple[Entry, ...]]
"""By alias."""


def own_values(values: Values, inherited: Values, is_own: Callable[[str], bool]) -> Values:
    """Those that the variant must store, because they differ or are given to its level.

    One entry of its own hides all inherited ones of the attribute, so those stand beside it.
    """
    own = {}
    for alias, entries in values.items():
        above = {_scope_of(entry): entry.value for entry in inherited.get(alias, ())}
        said = {_scope_of(entry): entry.value for entry in entries}
        if is_own(alias):
            own[alias] = entries
        elif any(scope not in above or above[scope] != value for scope, value in said.items()):
            hidden = (one for one in inherited.get(alias, ()) if _scope_of(one) not in said)
            own[alias] = (*entries, *(Entry(one.scope, one.value, ()) for one in hidden))
    return own


def _scope_of(entry: Entry) -> frozenset[tuple[str, str]]:
    return frozenset(entry.scope.items())
