"""Validates the options of a list: unique names, existing parents, no cycles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from records_service.option_lists.model import VALUE_PREFIX, OptionValue, OptionValueDraft
from shared.errors import ValidationError, Violation, truncated
from shared.ids import new_id


def values_of(
    drafts: Sequence[OptionValueDraft], known: Sequence[OptionValue] = ()
) -> list[OptionValue]:
    """The values of a whole list: each with an id and a place.

    A value that is sent without id is the `known` one with its alias, if there is one. One that is
    sent without place comes after the one before it.
    """
    ids_by_alias = {value.alias: value.id for value in known}
    known_values = {value.id: value for value in known}
    sent_ids = {draft.id for draft in drafts}
    values: list[OptionValue] = []
    last = -1.0
    for draft in drafts:
        known_id = ids_by_alias.get(draft.alias)
        if known_id in sent_ids:
            known_id = None
        value_id = draft.id or known_id or new_id(VALUE_PREFIX)
        value = draft.value(value_id, last + 1, known_values.get(value_id))
        last = max(last, value.sort_order)
        values.append(value)
    return values


def check_values(values: Sequence[OptionValue], *, hierarchical: bool) -> None:
    """Raise `ValidationError` unless ids, aliases and parents make a list (section 10)."""
    ValidationError.check(
        chain(_repetitions(values), _parent_faults(values, hierarchical=hierarchical))
    )


def check_flat(value: OptionValue, *, hierarchical: bool) -> None:
    """Raise `ValidationError` for a parent in a list that has no levels."""
    if value.parent_id is not None and not hierarchical:
        raise ValidationError.at(
            "/parentId",
            f"Option value '{truncated(value.alias)}' has a parent, but the list is flat",
        )


def unknown_parent(value: OptionValue) -> ValidationError:
    """The value names a parent that the list does not have."""
    return ValidationError.at("/parentId", _unknown_parent(value))


def own_ancestor(value: OptionValue) -> ValidationError:
    """The value would be below itself."""
    return ValidationError.at("/parentId", _own_ancestor(value))


def _repetitions(values: Sequence[OptionValue]) -> Iterable[Violation]:
    ids: set[str] = set()
    aliases: set[str] = set()
    keys: set[str | None] = set()
    for index, value in enumerate(values):
        if value.id in ids:
            yield Violation(
                f"/values/{index}/id", f"Option value id '{truncated(value.id)}' is used twice"
            )
        if value.alias in aliases:
            yield Violation(
                f"/values/{index}/alias",
                f"Option value alias '{truncated(value.alias)}' is used twice",
            )
        if value.external_key is not None and value.external_key in keys:
            yield Violation(
                f"/values/{index}/externalKey",
                f"External key '{truncated(value.external_key)}' is used twice",
            )
        ids.add(value.id)
        aliases.add(value.alias)
        keys.add(value.external_key)


def _parent_faults(values: Sequence[OptionValue], *, hierarchical: bool) -> Iterable[Violation]:
    parents = {value.id: value.parent_id for value in values}
    rooted: set[str] = set()
    for index, value in enumerate(values):
        pointer = f"/values/{index}/parentId"
        if value.parent_id is None:
            continue
        if not hierarchical:
            yield Violation(
                pointer,
                f"Option value '{truncated(value.alias)}' has a parent, but the list is flat",
            )
        elif value.parent_id not in parents:
            yield Violation(pointer, _unknown_parent(value))
        else:
            path: set[str] = set()
            step: str | None = value.id
            while step is not None and step not in rooted and step not in path:
                path.add(step)
                step = parents.get(step)
            if step in path:
                yield Violation(pointer, _own_ancestor(value))
            rooted |= path


def _unknown_parent(value: OptionValue) -> str:
    parent = truncated(value.parent_id or "")
    return f"Parent '{parent}' of option value '{truncated(value.alias)}' not found"


def _own_ancestor(value: OptionValue) -> str:
    return f"Option value '{truncated(value.alias)}' would be its own ancestor"
