"""Checks that a workflow does not make completeness count what its author may not read.

A gate opens by the values of all attributes that count, hidden ones included (docs/adr/0019). An
author who may not read an attribute could put it into `required`, set a gate, and then see from the
open transitions of a record whether it has a value; one more or one less beside hidden attributes
that count tells how many of those have one. So whoever changes what a state counts, or sets a gate,
needs `read` on what counts there (docs/adr/0016, 0029).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from shared.errors import PermissionDenied, Violation
from workflow_service.definitions.model import State, Transition
from workflow_service.definitions.validation import CheckedDraft


def check_counting(
    after: CheckedDraft,
    states: Sequence[State],
    transitions: Sequence[Transition],
    unreadable: Collection[str],
    always: Collection[str],
    required: Collection[str],
) -> None:
    """Raise `PermissionDenied` naming each list and each gate that needs more than the author has.

    `states` and `transitions` are the stored ones, empty for a new workflow. `unreadable` are those
    of the required names, as they would be stored, that the author may not make count. `required`
    are the ids of attributes that count in every state that does not hide them, and `always` those
    of them that are hidden from the author. What an administrator has set stays as long as the
    state and the gates that lead to it stay.
    """
    if not unreadable and not always:
        return
    violations = list(
        _violations(after, states, transitions, set(unreadable), set(always), set(required))
    )
    if violations:
        raise PermissionDenied(violations=violations)


def _violations(
    after: CheckedDraft,
    states: Sequence[State],
    transitions: Sequence[Transition],
    unreadable: set[str],
    always: set[str],
    required: set[str],
) -> Iterator[Violation]:
    known = {state.id: state for state in states}
    gates_before, gates = _gates(transitions), _gates(after.transitions)
    to_refuse: dict[str, set[float]] = {}
    for place, state in enumerate(after.states):
        before = known.get(state.id)
        listed = unreadable & _counted(state)
        if listed and (before is None or _counted(state) != _counted(before)):
            yield Violation(
                f"/states/{place}/required",
                "A state may require only attributes that its author may read, and names of which"
                " the author may read every attribute that can get them",
            )
            continue
        hidden = (listed | always) - set(state.hidden)
        if not hidden:
            continue
        kept = set[float]()
        if before is not None:
            kept = gates_before.get(state.id, set()) & gates.get(state.id, set())
        if before is not None and kept and _counted(state, required) != _counted(before, required):
            # The gate would tell how many of the hidden ones have a value.
            changed = "required" if set(state.required) != set(before.required) else "hidden"
            yield Violation(
                f"/states/{place}/{changed}",
                "This changes what completeness counts here beside attributes that the author may"
                " not read",
            )
        to_refuse[state.id] = gates.get(state.id, set()) - kept
    for place, step in enumerate(after.transitions):
        if step.requires_completeness in to_refuse.get(step.to_state_id, ()):
            yield Violation(
                f"/transitions/{place}/requiresCompleteness",
                "Completeness counts attributes here that the author of the gate may not read",
            )


def _counted(state: State, required: Collection[str] = ()) -> set[str]:
    return set(state.required).union(required) - set(state.hidden)


def _gates(transitions: Iterable[Transition]) -> Mapping[str, set[float]]:
    """The scores that are needed to enter a state, by its id; 0 needs nothing."""
    gates: dict[str, set[float]] = {}
    for step in transitions:
        if step.requires_completeness:
            gates.setdefault(step.to_state_id, set()).add(step.requires_completeness)
    return gates
