"""Validates the entries of an attribute: their form, their scopes, each value.

An attribute has one ready check (`types.compile_check`), made once per version of the model.
`Faults` collects all that is wrong with the values of one request, in the contract's words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

from records_service.attributes.model import Attribute
from records_service.dimensions.model import Dimension
from records_service.option_lists.lookup import Options
from records_service.values.entries import (
    Entries,
    Scope,
    UnknownDimension,
    UnusableScope,
    dimension_ids_by_name,
    with_ids,
)
from shared.errors import VIOLATIONS_MAX, ValidationError, Violation, some_of, truncated
from shared.http.json_types import js_type

ENTRIES_PER_ATTRIBUTE_MAX = 1_000
PATTERN_WORK_MAX = 100_000_000
_FORM = ("scope", "value")
_KNOWN = frozenset(_FORM)
_EVERYWHERE: Scope = {}

Place: TypeAlias = "str | tuple[Place, str | int]"
"""Where a value was sent: a JSON pointer, or the place around it and one step inside.

Written out only where something is wrong: nearly always nothing is.
"""
ValueCheck = Callable[[Any, Place, "Faults"], Any]
"""Takes a value, its place and where to report; returns the value as it will be stored."""


class Faults:
    """What is wrong with one request; with the hundredth fault the rest is not looked at.

    `options` are those of large lists that the request names.
    """

    __slots__ = ("_pattern_work", "found", "options")

    def __init__(self, options: Options | None = None) -> None:
        self.found: list[Violation] = []
        self.options = options
        self._pattern_work = 0

    def may_match(self, pattern_size: int, text_length: int) -> bool:
        """Whether one more text is matched: RE2 may take as long as the two are large together.

        A pattern of usual size is matched with megabytes of text before this says no.
        """
        self._pattern_work += pattern_size * text_length
        return self._pattern_work <= PATTERN_WORK_MAX

    def report(self, place: Place, message: str, detail: str | None = None) -> None:
        """Take note of what is wrong at a place; raise `ValidationError` with the hundredth.

        `detail` says more than a message whose words the contract has.

        Nobody reads the rest, and a message for each of very many would hold the event loop.
        """
        self.found.append(Violation(pointer(place), message, detail))
        if len(self.found) == VIOLATIONS_MAX:
            self.check()

    def check(self) -> None:
        """Raise `ValidationError` with all that was found, if anything was."""
        if self.found:
            raise ValidationError.of(self.found)


def pointer(place: Place) -> str:
    """A place as a JSON pointer (RFC 6901)."""
    if isinstance(place, str):
        return place
    around, step = place
    return f"{pointer(around)}/{str(step).replace('~', '~0').replace('/', '~1')}"


class EntriesCheck:
    """Checks the list of entries of one attribute: its form, its scopes, each value."""

    __slots__ = ("_alias", "_check_scope", "_check_value", "_plain")

    def __init__(
        self,
        alias: str,
        check_scope: ScopeCheck,
        check_value: ValueCheck,
        plain: type | None = None,
    ) -> None:
        """Values of the type `plain` are right as they are sent, whatever they say."""
        self._plain = plain
        self._alias = alias
        self._check_scope = check_scope
        self._check_value = check_value

    def __call__(self, sent: Any, place: Place, faults: Faults) -> Entries:
        """The entries to store; what is wrong is reported."""
        if not isinstance(sent, list) or len(sent) > ENTRIES_PER_ATTRIBUTE_MAX:
            faults.report(place, self._list_fault(sent))
            return []
        if len(sent) == 1 and type(sent[0]) is dict and tuple(sent[0]) == _FORM:
            # Nearly all that is sent: one value, for everywhere, in the form that is stored.
            entry = sent[0]
            value = entry["value"]
            if value is not None and entry["scope"] == _EVERYWHERE:
                if type(value) is self._plain:
                    return sent
                checked = self._check_value(value, ((place, 0), "value"), faults)
                return sent if checked is value else [{"scope": {}, "value": checked}]
        return self._checked(sent, place, faults)

    def _checked(self, sent: list[Any], place: Place, faults: Faults) -> Entries:
        entries: Entries = []
        scopes: set[tuple[tuple[str, str], ...]] = set()
        for index, entry in enumerate(sent):
            where = (place, index)
            if not isinstance(entry, dict) or "value" not in entry:
                faults.report(
                    where, f"Entry {index} of '{self._alias}' must be an object {{scope, value}}"
                )
                continue
            if not _KNOWN.issuperset(entry):
                self._report_unknown(entry, index, where, faults)
                continue
            scope = entry.get("scope")
            if scope != {}:
                scope = self._check_scope(scope, where, faults)
                if scope is None:
                    continue
            if len(sent) > 1:
                key = tuple(scope.items())
                if key in scopes:
                    faults.report(where, f"Attribute '{self._alias}' has two entries for one scope")
                    continue
                scopes.add(key)
            value = entry["value"]
            if value is not None:
                checked = self._check_value(value, (where, "value"), faults)
                if checked is value and scope is entry.get("scope") and tuple(entry) == _FORM:
                    # As it is stored already. Many copies would be much work for the collector.
                    entries.append(entry)
                else:
                    entries.append({"scope": scope, "value": checked})
        return entries

    def _report_unknown(
        self, entry: Mapping[str, Any], index: int, where: Place, faults: Faults
    ) -> None:
        # Without a misspelt `scope`, the value would be that of everywhere.
        for name in entry:
            if name not in _KNOWN:
                faults.report(
                    (where, name),
                    f"Unknown field '{truncated(name)}' in entry {index} of '{self._alias}':"
                    f" expected {', '.join(_FORM)}",
                )

    def scope_of(self, entry: Mapping[str, Any], place: Place, faults: Faults) -> Scope | None:
        """The scope of an entry as it is stored, None where it is reported as unusable."""
        return self._check_scope(entry.get("scope"), place, faults)

    def _list_fault(self, sent: Any) -> str:
        if not isinstance(sent, list):
            return (
                f"Values of '{self._alias}' must be an array of {{scope, value}} entries,"
                f" got {js_type(sent)}"
            )
        return (
            f"Values of '{self._alias}' must have at most {ENTRIES_PER_ATTRIBUTE_MAX} entries,"
            f" got {len(sent)}"
        )


class ScopeCheck:
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
        """The scope to store, None where it is reported as unusable; nothing sent is `{}`.

        It is the same object if it was sent as it is stored.
        """
        if scope is None:
            return {}
        if scope == {}:
            return cast(dict[str, str], scope)
        if not self._is_by_ids(scope):
            # Nearly all scopes are sent as they are answered, so only the others are translated.
            try:
                scope = self._by_ids(scope)
            except UnusableScope as fault:
                faults.report((entry, "scope"), str(fault))
                return None
        if len(scope) == 1:
            return cast(dict[str, str], scope)
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
        expected = some_of(self._dimension_ids) or "none"
        raise UnusableScope(
            f"Unknown dimension '{truncated(name)}' in a scope of '{self._alias}':"
            f" expected {expected}"
        )
