"""Validates values against the definition of their attribute.

`compile_check` makes one function per attribute, once per version of the model: checking a record
is then a loop over ready functions. Every check collects all that is wrong, in the contract's
words. Customers write the patterns, so those run on RE2, whose time is linear in the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from records_service.attributes.model import Attribute
from records_service.dimensions.model import Dimension
from records_service.option_lists.model import OptionList
from records_service.values.faults import Faults, Place, ValueCheck
from records_service.values.scopes import (
    Entries,
    Scope,
    UnknownDimension,
    UnusableScope,
    dimension_ids_by_name,
    with_ids,
)
from records_service.values.types import value_check
from shared.errors import truncated
from shared.http.json_types import js_type

ENTRIES_PER_ATTRIBUTE_MAX = 1_000


def compile_check(
    attribute: Attribute,
    dimensions: Mapping[str, Dimension],
    option_lists: Mapping[str, OptionList],
) -> EntriesCheck:
    """The function that checks what was sent for this attribute.

    An entry whose value is null stands for no entry, and is left out of what is stored.
    """
    alias = truncated(attribute.alias)
    return EntriesCheck(
        alias, _ScopeCheck(attribute, dimensions), value_check(attribute, alias, option_lists)
    )


class EntriesCheck:
    """Checks the list of entries of one attribute: its form, its scopes, each value."""

    __slots__ = ("_alias", "_check_scope", "_check_value")

    def __init__(self, alias: str, check_scope: _ScopeCheck, check_value: ValueCheck) -> None:
        self._alias = alias
        self._check_scope = check_scope
        self._check_value = check_value

    def __call__(self, sent: Any, place: Place, faults: Faults) -> Entries:
        """The entries to store; what is wrong is reported."""
        fault = self._list_fault(sent)
        if fault is not None:
            faults.report(place, fault)
            return []
        entries: Entries = []
        scopes: set[tuple[tuple[str, str], ...]] = set()
        for index, entry in enumerate(sent):
            where = (place, index)
            if not isinstance(entry, dict) or "value" not in entry:
                faults.report(
                    where, f"Entry {index} of '{self._alias}' must be an object {{scope, value}}"
                )
                continue
            scope = self._check_scope(entry.get("scope"), where, faults)
            if scope is None:
                continue
            key = tuple(scope.items())
            if key in scopes:
                faults.report(where, f"Attribute '{self._alias}' has two entries for one scope")
            elif entry["value"] is not None:
                value = self._check_value(entry["value"], (where, "value"), faults)
                entries.append({"scope": scope, "value": value})
            scopes.add(key)
        return entries

    def scope_of(self, entry: Mapping[str, Any], place: Place, faults: Faults) -> Scope | None:
        """The scope of an entry as it is stored, None where it is reported as unusable."""
        return self._check_scope(entry.get("scope"), place, faults)

    def _list_fault(self, sent: Any) -> str | None:
        if not isinstance(sent, list):
            return (
                f"Values of '{self._alias}' must be an array of {{scope, value}} entries,"
                f" got {js_type(sent)}"
            )
        if len(sent) > ENTRIES_PER_ATTRIBUTE_MAX:
            return (
                f"Values of '{self._alias}' must have at most {ENTRIES_PER_ATTRIBUTE_MAX} entries,"
                f" got {len(sent)}"
            )
        return None


class _ScopeCheck:
    """Checks a scope of one attribute, and puts it in the one order that equal scopes have.

    So equal scopes are equal as stored text, too.
    """

    __slots__ = ("_alias", "_dimension_ids", "_dimensions", "_ids_by_name", "_segments")

    def __init__(self, attribute: Attribute, dimensions: Mapping[str, Dimension]) -> None:
        self._alias = truncated(attribute.alias)
        self._dimension_ids = attribute.dimension_ids
        self._dimensions = dimensions
        self._ids_by_name = dimension_ids_by_name(dimensions, attribute.dimension_ids)
        self._segments = {
            dimension_id: dimensions[dimension_id].segment_ids
            for dimension_id in attribute.dimension_ids
            if dimension_id in dimensions
        }

    def __call__(self, scope: Any, entry: Place, faults: Faults) -> dict[str, str] | None:
        """The scope to store, None where it is reported as unusable; nothing sent is `{}`."""
        if scope is None or scope == {}:
            return {}
        if not self._is_by_ids(scope):
            # Nearly all scopes are sent as they are answered, so only the others are translated.
            try:
                scope = self._by_ids(scope)
            except UnusableScope as fault:
                faults.report((entry, "scope"), str(fault))
                return None
        return {name: scope[name] for name in self._dimension_ids if name in scope}

    def _is_by_ids(self, scope: Any) -> bool:
        if not isinstance(scope, dict):
            return False
        for dimension_id, segment_id in scope.items():
            segments = self._segments.get(dimension_id)
            if segments is None or not isinstance(segment_id, str) or segment_id not in segments:
                return False
        return True

    def _by_ids(self, scope: Any) -> dict[str, str]:
        """The scope with ids for aliases, or `UnusableScope`."""
        if not isinstance(scope, dict):
            raise UnusableScope(f"Scope of '{self._alias}' must be an object, got {js_type(scope)}")
        try:
            return with_ids(scope, self._ids_by_name, self._dimensions)
        except UnknownDimension as unknown:
            name = unknown.args[0]
        if name in dimension_ids_by_name(self._dimensions, self._dimensions):
            raise UnusableScope(
                f"Attribute '{self._alias}' does not vary by dimension '{truncated(name)}'"
            )
        raise UnusableScope(f"Unknown dimension '{truncated(name)}' in a scope of '{self._alias}'")
