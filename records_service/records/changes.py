"""What becomes of a record's values when somebody sends new ones, and what changed by that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from records_service.lifecycles.model import State
from records_service.permissions.rules import Role
from records_service.records.rules import RecordRules
from records_service.records.scopes import Entries, Values, scope_key
from records_service.records.validation import told
from shared.errors import NotFound, PermissionDenied, ValidationError, Violation


@dataclass(frozen=True, slots=True)
class Change:
    """One value of one scope, before and after; None stands for no value."""

    attribute_id: str
    alias: str
    scope: Mapping[str, str]
    old_value: Any
    new_value: Any

    def to_json(self) -> dict[str, Any]:
        """As audit and events tell it; the id is what permissions are decided by."""
        return {
            "attribute": self.alias,
            "attributeId": self.attribute_id,
            "scope": self.scope,
            "oldValue": self.old_value,
            "newValue": self.new_value,
        }


def merged(
    old: Values,
    sent: Mapping[str, Any],
    rules: RecordRules,
    role: Role | None,
    state: State | None,
    *,
    is_new: bool = False,
) -> Values:
    """The values after this write: each attribute sent replaces its whole list of entries (Q8).

    An empty list or null clears an attribute. Raises `PermissionDenied` when one attribute sent may
    not be written, before anything is said about values, and `ValidationError` with all that is
    wrong. A state's `readOnly` does not bind a record that is only now being created.
    """
    ids = {name: rules.ids_by_name.get(name) for name in sent}
    _may_write([i for i in ids.values() if i is not None], rules, role, state, is_new=is_new)
    violations: list[Violation] = []
    result = dict(old)
    seen: set[str] = set()
    for name, entries in sent.items():
        pointer = f"/values/{_escaped(name)}"
        attribute_id = ids[name]
        if attribute_id is None:
            violations.append(Violation(pointer, f"Unknown attribute '{told(name)}'"))
        elif attribute_id in seen:
            violations.append(Violation(pointer, f"Attribute '{name}' is sent twice"))
        else:
            seen.add(attribute_id)
            checked = (
                [] if entries is None else rules.checks[attribute_id](entries, pointer, violations)
            )
            _replace(result, attribute_id, checked)
            violations.extend(_emptied(rules, attribute_id, old, result, pointer))
    if violations:
        raise ValidationError.of(violations)
    return result


def with_value(
    old: Values,
    name: str,
    scope: Mapping[str, Any] | None,
    value: Any,
    rules: RecordRules,
    role: Role | None,
    state: State | None,
) -> Values:
    """The values after setting one attribute in one scope; null removes that scope's entry.

    Raises `NotFound` for an attribute that the schema does not have, otherwise as `merged`.
    """
    attribute_id = rules.ids_by_name.get(name)
    if attribute_id is None:
        raise NotFound.of("Attribute", name)
    _may_write([attribute_id], rules, role, state, is_new=False)
    violations: list[Violation] = []
    sent = {"scope": scope or {}, "value": value}
    checked = rules.checks[attribute_id]([sent], "/values", violations)
    if violations:
        # One entry was sent, so the place of the fault is told without a list around it.
        raise ValidationError.of(
            Violation(v.pointer.removeprefix("/values/0"), v.message) for v in violations
        )
    key = scope_key(scope or {})
    kept = [entry for entry in old.get(attribute_id, ()) if scope_key(entry["scope"]) != key]
    result = dict(old)
    _replace(result, attribute_id, kept + checked)
    violations.extend(_emptied(rules, attribute_id, old, result, "/value"))
    if violations:
        raise ValidationError.of(violations)
    return result


def differences(old: Values, new: Values, rules: RecordRules) -> list[Change]:
    """Every value that differs, in the schema's order, then by scope."""
    return [
        change
        for attribute_id, attribute in rules.attributes.items()
        if not same(old.get(attribute_id), new.get(attribute_id))
        for change in _changed_entries(
            attribute_id, attribute.alias, old.get(attribute_id, []), new.get(attribute_id, [])
        )
    ]


def same(one: Any, other: Any) -> bool:
    """Equal as JSON, all the way down: 1 is true in Python, but not in a product."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _changed_entries(attribute_id: str, alias: str, old: Entries, new: Entries) -> Iterator[Change]:
    before = {scope_key(entry["scope"]): entry for entry in old}
    after = {scope_key(entry["scope"]): entry for entry in new}
    for key in {**before, **after}:
        old_value = before[key]["value"] if key in before else None
        new_value = after[key]["value"] if key in after else None
        if not same(old_value, new_value):
            yield Change(attribute_id, alias, dict(key), old_value, new_value)


def _may_write(
    attribute_ids: list[str],
    rules: RecordRules,
    role: Role | None,
    state: State | None,
    *,
    is_new: bool,
) -> None:
    writable = rules.access(role, state.id if state else None).writable
    locked = frozenset[str]() if is_new else rules.read_only_in(state)
    for attribute_id in attribute_ids:
        if attribute_id not in writable or attribute_id in locked:
            raise PermissionDenied


def _replace(values: Values, attribute_id: str, entries: Entries) -> None:
    if entries:
        values[attribute_id] = entries
    else:
        values.pop(attribute_id, None)


def _emptied(
    rules: RecordRules, attribute_id: str, old: Values, new: Values, pointer: str
) -> Iterator[Violation]:
    """A required attribute may be missing in a draft, but what it holds cannot be taken away."""
    attribute = rules.attributes[attribute_id]
    if attribute.validation.required and attribute_id in old and attribute_id not in new:
        yield Violation(pointer, f"Attribute '{attribute.alias}' is required and cannot be emptied")


def _escaped(name: str) -> str:
    """A name as one step of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
