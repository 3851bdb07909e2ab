"""Computes the new values of a record, and what differs: changes and unique keys."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from typing import Any, Final

import orjson

from records_service.attributes.model import Attribute
from records_service.attributes.unique_keys import UniqueKey, unique_keys_of
from records_service.blueprint.compiled_schema import CompiledSchema
from records_service.option_lists.lookup import Options
from records_service.permissions.rules import Role
from records_service.values.completeness import is_empty
from records_service.values.entries import (
    Entries,
    Entry,
    Scope,
    Values,
    replaced,
    same,
    scope_key,
)
from records_service.values.relations import NOTHING_LOOKED_FOR, Related
from records_service.values.validation import EntriesCheck, Faults, Place, pointer
from records_service.workflow_copies.model import State
from shared.errors import NotFound, PermissionDenied, ValidationError, Violation, truncated

Change = dict[str, Any]
"""One value in one scope, before and after, as the history and events show it; null is no value.

The alias of the attribute is for readers; permissions are decided by its id.
"""

NOTHING_INHERITED: Final[Values] = {}


EXTERNAL_KEY: Final = "externalKey"
"""Attribute and attribute id of a change of a record's external key. No attribute has this id."""


def key_change(old: str | None, new: str | None) -> list[Change]:
    """The change of a record's external key, if it differs; everybody may see it."""
    return [] if old == new else [_change(EXTERNAL_KEY, EXTERNAL_KEY, {}, old, new)]


def merged(
    old: Values,
    sent: Mapping[str, Any],
    schema: CompiledSchema,
    role: Role | None,
    state: State | None,
    *,
    is_new: bool = False,
    may_read: bool = True,
    related: Related = NOTHING_LOOKED_FOR,
    inherited: Values = NOTHING_INHERITED,
    by_scope: bool = False,
    options: Options | None = None,
) -> Values:
    """The values after this write: each attribute sent replaces its whole list of entries.

    An empty list or null clears an attribute. With `by_scope`, entries replace only those of the
    same scopes, and an entry whose value is null removes that of its scope. `inherited` is what
    shows where a variant has no values of its own. `options` are those of large lists that are sent
    (`note_options`).

    Raises `PermissionDenied` when one attribute sent may not be written, before anything is said
    about values, and `ValidationError` with all that is wrong. A state's `readOnly` does not bind a
    record that is only now being created.
    """
    ids_by_name = schema.ids_by_name
    ids = {name: ids_by_name.get(name) for name in sent}
    if not may_write_all(ids.values(), schema, role, state, is_new=is_new):
        _deny(
            sent,
            ids,
            _refusals(schema, role, state, is_new=is_new, may_read=may_read),
            lambda name: ("/values", name),
        )
    faults = Faults(options)
    named = {*ids.values()}
    if is_new and not inherited and len(named) == len(ids) and None not in named:
        return _of_new(sent, schema, faults)
    result = dict(old)
    seen: set[str] = set()
    for name, entries in sent.items():
        place = ("/values", name)
        attribute_id = ids[name]
        if attribute_id is None:
            faults.report(place, f"Unknown attribute '{truncated(name)}'")
        elif attribute_id in seen:
            faults.report(place, f"Attribute '{truncated(name)}' is sent twice")
        else:
            seen.add(attribute_id)
            checked = [] if entries is None else schema.checks[attribute_id](entries, place, faults)
            if by_scope and entries is not None and attribute_id in old:
                kept = _of_other_scopes(old[attribute_id], entries, schema.checks[attribute_id])
                _replace(result, attribute_id, kept + checked)
            else:
                _replace(result, attribute_id, checked)
            if not may_read:
                if not is_new:
                    _check_not_empty(schema, attribute_id, checked, place, faults)
            elif attribute_id in old or attribute_id in inherited:
                _check_emptied(schema, attribute_id, old, result, inherited, related, place, faults)
    faults.check()
    return result


def _of_new(sent: Mapping[str, Any], schema: CompiledSchema, faults: Faults) -> Values:
    """The values of a new record, whose attributes exist and are sent once each: the usual case."""
    ids_by_name, checks = schema.ids_by_name, schema.checks
    result: Values = {}
    for name, entries in sent.items():
        if entries is not None:
            attribute_id = ids_by_name[name]
            checked = checks[attribute_id](entries, ("/values", name), faults)
            if checked:
                result[attribute_id] = checked
    faults.check()
    return result


def _of_other_scopes(old: Entries, sent: Iterable[Entry], check: EntriesCheck) -> Entries:
    """The stored entries whose scopes are not sent; what is wrong with those is told elsewhere."""
    scopes = (check.scope_of(entry, "", Faults()) for entry in sent)
    keys = {scope_key(scope) for scope in scopes if scope is not None}
    return [entry for entry in old if scope_key(entry["scope"]) not in keys]


def with_value(
    old: Values,
    name: str,
    scope: Mapping[str, Any] | None,
    value: Any,
    schema: CompiledSchema,
    role: Role | None,
    state: State | None,
    related: Related = NOTHING_LOOKED_FOR,
    *,
    may_read: bool = True,
    inherited: Values = NOTHING_INHERITED,
    options: Options | None = None,
) -> Values:
    """The values after setting one attribute in one scope; null removes that scope's entry.

    Raises `NotFound` for an attribute that the schema does not have, otherwise as `merged`.
    """
    attribute_id = schema.ids_by_name.get(name)
    if attribute_id is None:
        raise NotFound.of("Attribute", name)
    refusals = _refusals(schema, role, state, may_read=may_read)
    _deny([name], schema.ids_by_name, refusals, lambda _: "/value")
    faults = Faults(options)
    sent = {"scope": scope, "value": value}
    check = schema.checks[attribute_id]
    stored_scope: Scope | None = None
    checked: Entries = []
    with suppress(ValidationError):
        stored_scope = check.scope_of(sent, ("/values", 0), faults)
        if stored_scope is not None:
            checked = check([sent], "/values", faults)
    if stored_scope is None or faults.found:
        # One entry was sent, so the pointer of the error contains no list index.
        raise ValidationError.of(
            each.moved(each.pointer.removeprefix("/values/0")) for each in faults.found
        )
    key = scope_key(stored_scope)
    kept = [entry for entry in old.get(attribute_id, ()) if scope_key(entry["scope"]) != key]
    result = dict(old)
    _replace(result, attribute_id, kept + checked)
    if may_read:
        _check_emptied(schema, attribute_id, old, result, inherited, related, "/value", faults)
    else:
        _check_not_empty(schema, attribute_id, checked, "/value", faults)
    faults.check()
    return result


def note_options(schema: CompiledSchema, sent: Mapping[str, Any], options: Options) -> None:
    """Note which options of large lists these values name; what is wrong is told elsewhere."""
    for name, entries in sent.items():
        attribute_id = schema.ids_by_name.get(name)
        if attribute_id in schema.chooses_from_large and entries is not None:
            with suppress(ValidationError):
                schema.checks[attribute_id](entries, "", Faults(options))


def differences(old: Values, new: Values, schema: CompiledSchema) -> list[Change]:
    """Every value that differs, in the schema's order, then by scope."""
    changes: list[Change] = []
    for attribute_id in _touched(old, new, schema):
        alias = schema.attributes[attribute_id].alias
        before, after = old.get(attribute_id), new.get(attribute_id)
        if before is None and after is not None:
            for entry in after:
                # As `_change`: a record that is created has one for each value.
                changes.append(  # noqa: PERF401
                    {
                        "attribute": alias,
                        "attributeId": attribute_id,
                        "scope": entry["scope"],
                        "oldValue": None,
                        "newValue": entry["value"],
                    }
                )
        elif not same(before, after):
            changes += _changed_entries(attribute_id, alias, before or [], after or [])
    return changes


def patch(old: Values, new: Values) -> tuple[bytes, bytes | None]:
    """What makes the old values the new ones, as `PendingUpdate` has it: changed and removed."""
    changed = {i: entries for i, entries in new.items() if old.get(i) is not entries}
    removed = [i for i in old if i not in new]
    return orjson.dumps(changed), orjson.dumps(removed) if removed else None


def _touched(old: Values, new: Values, schema: CompiledSchema) -> list[str]:
    """The attributes that a write has replaced, in the schema's order."""
    if not old:
        return [i for i in schema.attributes if i in new]
    touched = replaced(old, new)
    if len(touched) <= 1:
        return [i for i in touched if i in schema.attributes]
    return [i for i in schema.attributes if i in touched]


def entry_changes(attribute_id: str, alias: str, old: Entries, new: Entries) -> list[Change]:
    """Every value of one attribute that differs, by scope."""
    return list(_changed_entries(attribute_id, alias, old, new))


def unique_keys(schema: CompiledSchema, values: Values) -> list[UniqueKey]:
    """All unique keys of a record, in the order in which they are stored."""
    keys = [
        key
        for attribute_id in schema.unique_ids
        for key in unique_keys_of(schema.attributes[attribute_id], values.get(attribute_id, []))
    ]
    return sorted(keys, key=lambda each: each.key)


def changed_unique_keys(
    schema: CompiledSchema, old: Values, new: Values
) -> tuple[list[UniqueKey], list[UniqueKey]]:
    """The unique keys that are released, and those that are new."""
    if all(old.get(attribute_id) is new.get(attribute_id) for attribute_id in schema.unique_ids):
        return [], []
    before, after = unique_keys(schema, old), unique_keys(schema, new)
    held, wanted = {each.key for each in before}, {each.key for each in after}
    return (
        [each for each in before if each.key not in wanted],
        [each for each in after if each.key not in held],
    )


def _changed_entries(attribute_id: str, alias: str, old: Entries, new: Entries) -> Iterator[Change]:
    before = {scope_key(entry["scope"]): entry for entry in old}
    after = {scope_key(entry["scope"]): entry for entry in new}
    for key in {**before, **after}:
        old_value = before[key]["value"] if key in before else None
        new_value = after[key]["value"] if key in after else None
        if not same(old_value, new_value):
            yield _change(attribute_id, alias, dict(key), old_value, new_value)


def _change(attribute_id: str, alias: str, scope: Scope, old_value: Any, new_value: Any) -> Change:
    return {
        "attribute": alias,
        "attributeId": attribute_id,
        "scope": scope,
        "oldValue": old_value,
        "newValue": new_value,
    }


def may_write_all(
    attribute_ids: Collection[str | None],
    schema: CompiledSchema,
    role: Role | None,
    state: State | None,
    *,
    is_new: bool,
) -> bool:
    """Whether the caller may write each of these attributes, which all exist: the usual case."""
    access = schema.access(role, state.id if state else None)
    if not access.writable.issuperset(attribute_ids):
        return False
    return is_new or schema.read_only_in(state).isdisjoint(attribute_ids)


def _refusals(
    schema: CompiledSchema,
    role: Role | None,
    state: State | None,
    *,
    is_new: bool = False,
    may_read: bool = True,
) -> Callable[[str, str], str | None]:
    """A function of a sent name and its attribute's id: why it may not be written, None if it may.

    Where the caller does not see the attribute, or may not read at all, the reason holds nothing
    but the name that was sent.
    """
    access = schema.access(role, state.id if state else None)
    locked = frozenset[str]() if is_new else schema.read_only_in(state)

    def refusal(name: str, attribute_id: str) -> str | None:
        if attribute_id in access.writable and attribute_id not in locked:
            return None
        if attribute_id not in access.visible or not may_read:
            return f"Attribute '{truncated(name)}' may not be written"
        alias = truncated(schema.attributes[attribute_id].alias)
        if attribute_id not in access.writable or state is None:
            return f"Attribute '{alias}' may only be read by the caller's role"
        return f"Attribute '{alias}' is read-only in lifecycle state '{truncated(state.label)}'"

    return refusal


def _deny(
    names: Iterable[str],
    ids_by_name: Mapping[str, str | None],
    refusal: Callable[[str, str], str | None],
    place_of: Callable[[str], Place],
) -> None:
    """Raise `PermissionDenied` with the place of each name that may not be written, and why."""
    denied = (
        Violation(pointer(place_of(name)), why)
        for name in names
        if (attribute_id := ids_by_name.get(name)) is not None
        and (why := refusal(name, attribute_id)) is not None
    )
    for first in denied:
        raise PermissionDenied(violations=chain((first,), denied))


def _replace(values: Values, attribute_id: str, entries: Entries) -> None:
    if entries:
        values[attribute_id] = entries
    else:
        values.pop(attribute_id, None)


def _check_emptied(
    schema: CompiledSchema,
    attribute_id: str,
    old: Values,
    new: Values,
    inherited: Values,
    related: Related,
    place: Place,
    faults: Faults,
) -> None:
    """A required attribute may be missing in a draft, but its last value cannot be removed.

    Completeness decides what counts as a value: an empty text does not, nor does a relation to a
    deleted record.
    """
    attribute = schema.attributes[attribute_id]
    if not attribute.validation.required:
        return
    places = schema.relations.get(attribute_id, ())

    def holds(values: Values) -> bool:
        entries = values.get(attribute_id) or inherited.get(attribute_id, [])
        return _holds(related.living_entries(entries, places))

    if holds(old) and not holds(new):
        _report_emptied(attribute, place, faults)


def _check_not_empty(
    schema: CompiledSchema, attribute_id: str, sent: Entries, place: Place, faults: Faults
) -> None:
    """As `_check_emptied`, for a caller who may not read: the answer depends on what was sent.

    If it depended on what is stored, it would tell whether there is a value.
    """
    if not _holds(sent):
        _report_emptied(schema.attributes[attribute_id], place, faults)


def _report_emptied(attribute: Attribute, place: Place, faults: Faults) -> None:
    if attribute.validation.required:
        faults.report(
            place, f"Attribute '{truncated(attribute.alias)}' is required and cannot be emptied"
        )


def _holds(entries: Iterable[Entry]) -> bool:
    return any(not is_empty(entry["value"]) for entry in entries)
