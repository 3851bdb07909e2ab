"""Validates a workflow definition: unique states, known ends, no duplicate transition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final

from shared.errors import ValidationError, Violation, truncated
from shared.ids import new_id
from workflow_service.definitions.model import (
    WORKFLOW_BYTES_MAX,
    State,
    Transition,
    Workflow,
    WorkflowDraft,
)

LISTS: Final = ("hidden", "required", "read_only")
"""The fields of a state that name attributes."""


@dataclass(frozen=True, slots=True)
class CheckedDraft:
    """The parts of a draft that were checked, with every state named by its id."""

    default_state_id: str
    states: tuple[State, ...]
    transitions: tuple[Transition, ...]


def check_size(workflow: WorkflowDraft | Workflow) -> None:
    """Raise `ValidationError` where it is more than can be judged in a moment.

    Asked of what was sent, so that no more is done with it, and of what would be stored, where an
    id may be longer than the alias that was sent for it.
    """
    size = len(workflow.model_dump_json(by_alias=True).encode())
    if size > WORKFLOW_BYTES_MAX:
        raise ValidationError.at(
            "", f"A workflow may have at most {WORKFLOW_BYTES_MAX} bytes as JSON, got {size}"
        )


def checked(draft: WorkflowDraft) -> CheckedDraft:
    """The checked parts, or `ValidationError` with everything that is wrong."""
    id_by_name = _ids_by_name(draft.states)
    ValidationError.check(
        chain(
            _repeated_states(draft.states),
            _unknown_states(draft, id_by_name),
            _repeated_transitions(draft, id_by_name),
        )
    )
    return CheckedDraft(
        default_state_id=id_by_name[draft.default_state_id],
        states=tuple(draft.states),
        transitions=tuple(
            Transition(
                id=step.id or new_id("tr"),
                name=step.name,
                from_state_id=id_by_name[step.from_state_id],
                to_state_id=id_by_name[step.to_state_id],
                allowed_role_ids=list(dict.fromkeys(step.allowed_role_ids)),
                requires_completeness=step.requires_completeness,
            )
            for step in draft.transitions
        ),
    )


def keeping_ids(
    draft: WorkflowDraft, parts: CheckedDraft, known: Iterable[Transition]
) -> CheckedDraft:
    """The parts with `known` ids for those transitions between the same states that sent none."""
    sent_ids = {step.id for step in draft.transitions}
    known_ids = {
        (step.from_state_id, step.to_state_id): step.id for step in known if step.id not in sent_ids
    }
    kept = [
        step
        if step.id in sent_ids
        else step.model_copy(
            update={"id": known_ids.get((step.from_state_id, step.to_state_id), step.id)}
        )
        for step in parts.transitions
    ]
    return replace(parts, transitions=tuple(kept))


def keeping_naming(parts: CheckedDraft, known: Iterable[State]) -> CheckedDraft:
    """The parts with the labels and external keys of `known` states where none were sent."""
    stored = {state.id: state for state in known}
    return replace(
        parts,
        states=tuple(
            state.model_copy(update=unsaid_naming(state, stored[state.id]))
            if state.id in stored
            else state
            for state in parts.states
        ),
    )


def unsaid_naming(draft: State | WorkflowDraft, known: State | Workflow) -> dict[str, Any]:
    """The labels and the external key that a draft leaves out, as they are stored."""
    return {
        field: getattr(known, field)
        for field in ("labels", "external_key")
        if field not in draft.model_fields_set
    }


def removed_states(before: Iterable[State], after: Iterable[State]) -> list[str]:
    """The ids that were there and are no more."""
    kept = {state.id for state in after}
    return [state.id for state in before if state.id not in kept]


def _ids_by_name(states: Sequence[State]) -> dict[str, str]:
    """Each label, and each id, to the id."""
    by_label = {state.label: state.id for state in states}
    return {**by_label, **{state.id: state.id for state in states}}


def _repeated_states(states: Sequence[State]) -> Iterator[Violation]:
    yield from _repeated(states, "id", lambda state: state.id)
    yield from _repeated(states, "externalKey", lambda state: state.external_key)
    # Messages print the label, so two states must not share one.
    yield from _repeated(states, "alias", lambda state: state.label)
    # Requests name a state by either: a name that means two states means neither.
    ids = {state.id for state in states}
    for place, state in enumerate(states):
        if state.label in ids and state.label != state.id:
            yield Violation(
                f"/states/{place}/alias",
                f"State alias '{truncated(state.label)}' is the id of another state",
            )


def _repeated(
    states: Sequence[State], field: str, read: Callable[[State], str | None]
) -> Iterator[Violation]:
    seen: set[str] = set()
    for place, state in enumerate(states):
        value = read(state)
        if value is None:
            continue
        if value in seen:
            yield Violation(
                f"/states/{place}/{field}",
                f"State {field} '{truncated(value)}' is used more than once",
            )
        seen.add(value)


def _unknown_states(draft: WorkflowDraft, known: dict[str, str]) -> Iterator[Violation]:
    named = [("defaultStateId", draft.default_state_id)]
    for place, step in enumerate(draft.transitions):
        named.append((f"transitions/{place}/fromStateId", step.from_state_id))
        named.append((f"transitions/{place}/toStateId", step.to_state_id))
    for field, name in named:
        if name not in known:
            dotted = field.replace("/", ".")
            yield Violation(
                f"/{field}", f"Field '{dotted}' names unknown state '{truncated(name)}'"
            )


def _repeated_transitions(draft: WorkflowDraft, known: dict[str, str]) -> Iterator[Violation]:
    ids: set[str] = set()
    ends: set[tuple[str, str]] = set()
    for place, step in enumerate(draft.transitions):
        if step.id is not None and step.id in ids:
            yield Violation(
                f"/transitions/{place}/id",
                f"Transition id '{truncated(step.id)}' is used more than once",
            )
        elif step.id is not None:
            ids.add(step.id)
        start, end = known.get(step.from_state_id), known.get(step.to_state_id)
        if start is None or end is None:
            continue
        if (start, end) in ends:
            yield Violation(
                f"/transitions/{place}",
                f"Transition from '{truncated(start)}' to '{truncated(end)}' is defined more than"
                " once",
            )
        ends.add((start, end))
