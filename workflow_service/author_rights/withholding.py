"""Checks that a role-bound author does not take back what a state withholds from roles.

The `hidden` and `readOnly` lists of a state apply to every role. An author with a role who could
shorten them would give themselves what the lists withhold (docs/adr/0029).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from shared.errors import PermissionDenied, Violation, truncated
from workflow_service.definitions.model import State

_LISTS: Final = (("hidden", "hidden"), ("read_only", "readOnly"))


def check_withheld(states: Sequence[State], known: Iterable[State]) -> None:
    """Raise `PermissionDenied` for each list that has lost a name, and each state that is gone.

    `known` are the stored states. A state without such entries may be deleted.
    """
    violations = list(_violations(states, known))
    if violations:
        raise PermissionDenied(violations=violations)


def _violations(states: Sequence[State], known: Iterable[State]) -> Iterator[Violation]:
    places = {state.id: place for place, state in enumerate(states)}
    for before in known:
        place = places.get(before.id)
        if place is None:
            if before.hidden or before.read_only:
                yield Violation(
                    "/states",
                    f"Your role may not remove state '{truncated(before.label)}', because it hides"
                    " attributes or makes them read-only",
                )
            continue
        for field, name in _LISTS:
            removed = set(getattr(before, field)) - set(getattr(states[place], field))
            if removed:
                yield Violation(
                    f"/states/{place}/{name}",
                    f"Your role may not remove attributes from '{name}', only add some;"
                    f" '{truncated(min(removed))}' is missing",
                )
