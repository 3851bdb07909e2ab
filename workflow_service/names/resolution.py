"""Resolves the names of attributes in the lists of states, by asking records_service.

A workflow is stored with ids, so that an attribute may get another alias without leaving the lists.
A name that nothing has yet is stored as it was sent, and remembered as unknown; `replacement.py`
says what becomes of it when an attribute gets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from shared.database import Conn, Database
from shared.messaging import news
from workflow_service.clients import Clients
from workflow_service.definitions.model import (
    ATTRIBUTES_MAX,
    State,
    WorkflowDraft,
)
from workflow_service.definitions.validation import (
    LISTS,
    CheckedDraft,
    checked,
)
from workflow_service.names import store


def attribute_names(states: Iterable[State]) -> list[str]:
    """Every attribute that some list of a state names, once."""
    return list(
        dict.fromkeys(name for state in states for field in LISTS for name in getattr(state, field))
    )


def with_attribute_ids(parts: CheckedDraft, ids: Mapping[str, str]) -> CheckedDraft:
    """The parts with the id for each name that has one, and each attribute once in a list."""

    def named(names: Iterable[str]) -> list[str]:
        return list(dict.fromkeys(ids.get(name, name) for name in names))

    return replace(
        parts,
        states=tuple(
            state.model_copy(update={field: named(getattr(state, field)) for field in LISTS})
            for state in parts.states
        ),
    )


def keeping_names(
    draft: WorkflowDraft, parts: CheckedDraft, known: Iterable[State]
) -> CheckedDraft:
    """The parts with each name that was sent as it is stored, beside the id that it now means.

    A stored name also means the attributes that had it before (`replacement.py`). Without it,
    sending a workflow back unchanged would release them.
    """
    stored = {state.id: state for state in known}

    def kept(sent: State, named: State, field: str) -> list[str]:
        names: list[str] = getattr(named, field)
        known = getattr(stored[named.id], field)
        known_names = set(known).difference(names)
        both = [*names, *(name for name in getattr(sent, field) if name in known_names)]
        # A list that would grow too long stays as it was sent, as in `replacement.py`.
        return both if len(both) <= max(ATTRIBUTES_MAX, len(known)) else getattr(sent, field)

    return replace(
        parts,
        states=tuple(
            named
            if named.id not in stored
            else named.model_copy(
                update={field: list(dict.fromkeys(kept(sent, named, field))) for field in LISTS}
            )
            for sent, named in zip(draft.states, parts.states, strict=True)
        ),
    )


def required_names(states: Iterable[State]) -> list[str]:
    """Every name that some state requires, once."""
    return list(dict.fromkeys(name for state in states for name in state.required))


class StaleNames(Exception):
    """A name without an attribute may have got one since it was looked up; resolve again."""


@dataclass(frozen=True, slots=True)
class NamedDraft:
    """A draft with ids, and what nothing had yet of the names in it."""

    parts: CheckedDraft
    unreadable: Sequence[str]
    """The required names that the author may not make completeness count."""
    unreadable_required: Sequence[str]
    required: Sequence[str]
    """The ids of all attributes that count in every state that does not hide them."""
    unknown: Sequence[str]
    model_version: int
    events_handled: int
    """The number of model events handled before the names were looked up."""


async def resolve_names(
    db: Database,
    clients: Clients,
    workspace_id: str,
    draft: WorkflowDraft,
    workflow_id: str | None = None,
) -> NamedDraft:
    """The parts of the draft, with every attribute named by its id where there is one.

    `workflow_id` is None for a new workflow.
    """
    parts = checked(draft)
    async with db.acquire() as conn:
        events_handled = await news.count(conn, workspace_id)
    resolved = await clients.resolve(
        attribute_names(parts.states), required_names(parts.states), workflow_id
    )
    parts = with_attribute_ids(parts, resolved.ids)
    ids = set(resolved.ids.values())
    unknown = [name for name in attribute_names(parts.states) if name not in ids]
    return NamedDraft(
        parts,
        [resolved.ids.get(name, name) for name in resolved.unreadable],
        resolved.unreadable_required,
        resolved.required,
        unknown,
        resolved.model_version,
        events_handled,
    )


async def keep_unknown(conn: Conn, workspace_id: str, workflow_id: str, named: NamedDraft) -> None:
    """Remember the unknown names of a saved workflow, in its transaction. Raises `StaleNames`."""
    await store.keep_unknown(conn, workspace_id, workflow_id, named.unknown, named.model_version)
    if named.unknown and await news.count_held(conn, workspace_id) != named.events_handled:
        raise StaleNames
