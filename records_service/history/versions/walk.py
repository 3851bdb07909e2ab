"""Rebuilds what a record was from the entries of its history; pure."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from records_service.attributes.model import Attribute, AttributeType, Validation
from records_service.blueprint.compiled_schema import CompiledSchema
from records_service.history.versions.store import Step
from records_service.permissions.rules import Role
from records_service.values.entries import Entries, Values, scope_key
from records_service.values.types import value_check
from records_service.values.validation import Faults, ValueCheck
from records_service.writes.changes import EXTERNAL_KEY
from shared.errors import ValidationError

_NO_RULES: Final = Validation()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What changes of a record; `values` are keyed by attribute id."""

    values: Values
    external_key: str | None
    state_id: str | None


NOTHING: Final = Snapshot({}, None, None)


def undone(current: Snapshot, steps: Sequence[Step]) -> Snapshot:
    """What a record was before these steps, the oldest of which comes first."""
    return _walked(current, steps[::-1], "oldValue")


def replayed(steps: Sequence[Step]) -> Snapshot:
    """What a record is after these steps, the first of which creates it."""
    return _walked(NOTHING, steps, "newValue")


def _walked(start: Snapshot, steps: Sequence[Step], side: str) -> Snapshot:
    external_key, state_id = start.external_key, start.state_id
    touched: dict[str, dict[tuple[tuple[str, str], ...], dict[str, Any]]] = {}
    for step in steps:
        if step.action != "update":
            state_id = step.from_state_id if side == "oldValue" else step.to_state_id
        for change in orjson.loads(step.changes):
            attribute_id, scope, value = change["attributeId"], change["scope"], change[side]
            if attribute_id == EXTERNAL_KEY:
                external_key = value
                continue
            if attribute_id not in touched:
                known = start.values.get(attribute_id, ())
                touched[attribute_id] = {scope_key(entry["scope"]): entry for entry in known}
            if value is None:
                touched[attribute_id].pop(scope_key(scope), None)
            else:
                touched[attribute_id][scope_key(scope)] = {"scope": scope, "value": value}
    values = dict(start.values) | {
        name: list(by_scope.values()) for name, by_scope in touched.items()
    }
    return Snapshot({name: held for name, held in values.items() if held}, external_key, state_id)


def of_todays_types(values: Values, schema: CompiledSchema) -> Values:
    """The values of the attributes that the schema has today, without those of another type.

    Rules that they would break today are no reason to leave them out.
    """
    shown: Values = {}
    for attribute_id, attribute in schema.attributes.items():
        if attribute_id in values:
            entries = _of_type(values[attribute_id], _type_check(attribute))
            if entries:
                shown[attribute_id] = entries
    return shown


def visible_then_and_now(
    schema: CompiledSchema, role: Role | None, then: str | None, now: str | None
) -> dict[str, str]:
    """Attribute id -> alias of what a role sees in both states.

    A state that the workflow no longer has hides what any of its states hides: what was hidden in
    it is not known any more.
    """
    visible = dict(schema.access(role, now).visible)
    states = {then}
    if then is not None and schema.workflow is not None and then not in schema.workflow.states:
        states = {*schema.workflow.states}
    for state_id in states - {now}:
        seen = schema.access(role, state_id).visible
        visible = {name: alias for name, alias in visible.items() if name in seen}
    return visible


def _of_type(entries: Entries, check: ValueCheck) -> Entries:
    kept: Entries = []
    for entry in entries:
        faults = Faults()
        with suppress(ValidationError):
            value = check(entry["value"], "", faults)
            if not faults.found:
                kept.append({"scope": entry["scope"], "value": value})
    return kept


def _type_check(attribute: Attribute) -> ValueCheck:
    """Checks the type alone: options may be gone, and fields of complex values as well."""
    is_option = attribute.type is AttributeType.OPTION
    kind = AttributeType.RELATION if is_option else attribute.type
    bare = replace(attribute, type=kind, validation=_NO_RULES, attributes=())
    return value_check(bare, attribute.alias, {})
