"""Validates values against the definition of their attribute.

`compile_check` makes one function per attribute, once per version of the model: checking a record
is then a loop over ready functions. Every check collects all that is wrong, in the contract's
words. Customers write the patterns, so those run on RE2, whose time is linear in the text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from records_service.attributes import patterns
from records_service.attributes.model import Attribute, AttributeType, SubAttribute, Validation
from records_service.dimensions.model import Dimension
from records_service.option_lists.model import OptionList
from records_service.values.scopes import (
    Entries,
    Scope,
    UnknownDimension,
    UnusableScope,
    dimension_ids_by_name,
    with_ids,
)
from shared.errors import VIOLATIONS_MAX, ValidationError, Violation, truncated
from shared.http.json_types import js_type

ENTRIES_PER_ATTRIBUTE_MAX = 1_000
SEVERAL_MAX = 1_000
PATTERN_WORK_MAX = 100_000_000
SEVERAL = (AttributeType.MEDIA, AttributeType.OPTION, AttributeType.RELATION)
"""The types that may hold an array where the attribute says `multiple`."""

Place: TypeAlias = "str | tuple[Place, str | int]"
"""Where a value was sent: a JSON pointer, or the place around it and one step inside.

Written out only where something is wrong: nearly always nothing is.
"""
ValueCheck = Callable[[Any, Place, "Faults"], Any]
"""Takes a value, its place and where to report; returns the value as it will be stored."""


class Faults:
    """What is wrong with one request; with the hundredth fault the rest is not looked at."""

    __slots__ = ("_pattern_work", "found")

    def __init__(self) -> None:
        self.found: list[Violation] = []
        self._pattern_work = 0

    def may_match(self, pattern_size: int, text_length: int) -> bool:
        """Whether one more text is matched: RE2 may take as long as the two are large together.

        A pattern of usual size is matched with megabytes of text before this says no.
        """
        self._pattern_work += pattern_size * text_length
        return self._pattern_work <= PATTERN_WORK_MAX

    def report(self, place: Place, message: str) -> None:
        """Take note of what is wrong at a place; raise `ValidationError` with the hundredth.

        Nobody reads the rest, and a message for each of very many would hold the event loop.
        """
        self.found.append(Violation(pointer(place), message))
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


_DATE = re.compile(r"\d{4}(-\d\d-\d\d|\d{4})($|[T ])", re.ASCII)


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
        alias, _ScopeCheck(attribute, dimensions), _value_check(attribute, alias, option_lists)
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


def _value_check(
    attribute: Attribute | SubAttribute, alias: str, option_lists: Mapping[str, OptionList]
) -> ValueCheck:
    rules = attribute.validation
    option_list = option_lists.get(attribute.option_list_id or "")
    makers: Mapping[AttributeType, Callable[[], ValueCheck]] = {
        AttributeType.TEXT: lambda: _text_check(alias, rules),
        AttributeType.NUMBER: lambda: _number_check(alias, rules),
        AttributeType.BOOLEAN: lambda: _boolean_check(alias),
        AttributeType.DATETIME: lambda: _datetime_check(alias),
        AttributeType.MEDIA: lambda: _media_check(alias),
        AttributeType.OPTION: lambda: _option_check(alias, option_list),
        AttributeType.RELATION: lambda: _relation_check(alias),
        AttributeType.COMPLEX: lambda: _complex_check(
            alias, _sub_attributes(attribute), option_lists
        ),
    }
    check = makers[attribute.type]()
    if attribute.type in SEVERAL:
        return _one_or_several(check, alias, attribute.multiple)
    return check


def _sub_attributes(attribute: Attribute | SubAttribute) -> tuple[SubAttribute, ...]:
    return attribute.attributes if isinstance(attribute, Attribute) else ()


def _wrong_type(alias: str, expected: str, value: Any) -> str:
    """A message that names the expected and the received type by their JSON names."""
    return f"Attribute '{alias}' expects type '{expected}', got '{js_type(value)}'"


def _text_check(alias: str, rules: Validation) -> ValueCheck:
    longest = rules.max_length
    pattern = None if rules.pattern is None else patterns.compiled(rules.pattern)
    told_pattern = truncated(rules.pattern)

    def check(value: Any, place: Place, faults: Faults) -> Any:
        if not isinstance(value, str):
            faults.report(place, _wrong_type(alias, "string", value))
        elif longest is not None and len(value) > longest:
            faults.report(place, f"Value for '{alias}' exceeds maximum length {longest}")
        elif pattern is not None:
            if not faults.may_match(pattern.programsize, len(value)):
                faults.report(place, f"Value for '{alias}' is too long to be matched: {len(value)}")
            elif pattern.search(value) is None:
                faults.report(place, f"Value for '{alias}' does not match pattern '{told_pattern}'")
        return value

    return check


def _number_check(alias: str, rules: Validation) -> ValueCheck:
    least, most = rules.min, rules.max

    def check(value: Any, place: Place, faults: Faults) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            faults.report(place, _wrong_type(alias, "number", value))
        elif not math.isfinite(value):
            faults.report(place, f"Value for '{alias}' must be a finite number")
        elif least is not None and value < least:
            faults.report(place, f"Value for '{alias}' must be at least {least}")
        elif most is not None and value > most:
            faults.report(place, f"Value for '{alias}' must be at most {most}")
        return value

    return check


def _boolean_check(alias: str) -> ValueCheck:
    def check(value: Any, place: Place, faults: Faults) -> Any:
        if not isinstance(value, bool):
            faults.report(place, _wrong_type(alias, "boolean", value))
        return value

    return check


def _datetime_check(alias: str) -> ValueCheck:
    def check(value: Any, place: Place, faults: Faults) -> Any:
        if not isinstance(value, str):
            faults.report(place, _wrong_type(alias, "string", value))
            return value
        if not _is_iso_8601(value):
            faults.report(
                place,
                f"Value for '{alias}' must be an ISO 8601 date and time, got '{truncated(value)}'",
            )
        return value

    return check


def _is_iso_8601(text: str) -> bool:
    """A date as year, month and day, alone or with a time after `T` or a space."""
    if _DATE.match(text) is None:
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _media_check(alias: str) -> ValueCheck:
    def check(value: Any, place: Place, faults: Faults) -> Any:
        url = value.get("url") if isinstance(value, dict) else value
        if isinstance(value, dict) and url is None:
            faults.report((place, "url"), f"Field '{alias}.url' is required")
        elif not isinstance(url, str):
            faults.report(place, _wrong_type(alias, "string", url))
        elif not _is_absolute_http(url):
            faults.report(
                place,
                f"Value for '{alias}' must be an absolute http or https URL, got"
                f" '{truncated(url)}'",
            )
        elif isinstance(value, dict):
            for name, part in value.items():
                if name not in ("url", "alt", "mimeType"):
                    faults.report((place, name), f"Unknown field '{truncated(name)}' in '{alias}'")
                elif not isinstance(part, str):
                    faults.report((place, name), _wrong_type(f"{alias}.{name}", "string", part))
        return value

    return check


def _is_absolute_http(url: str) -> bool:
    if any(character <= " " for character in url):
        return False
    try:
        parts = urlsplit(url)
        # Asking for the port is what checks it.
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _option_check(alias: str, option_list: OptionList | None) -> ValueCheck:
    ids = option_list.ids_by_name if option_list else {}
    name = truncated(option_list.id) if option_list else None

    def check(value: Any, place: Place, faults: Faults) -> Any:
        if not isinstance(value, str):
            faults.report(place, _wrong_type(alias, "string", value))
            return value
        if value not in ids:
            faults.report(
                place, f"Value '{truncated(value)}' for '{alias}' is not in option list '{name}'"
            )
        return ids.get(value, value)

    return check


def _relation_check(alias: str) -> ValueCheck:
    def check(value: Any, place: Place, faults: Faults) -> Any:
        if not isinstance(value, str):
            faults.report(place, _wrong_type(alias, "string", value))
        elif not value:
            faults.report(place, f"Value for '{alias}' must be the id of a record, got ''")
        return value

    return check


def _one_or_several(check_one: ValueCheck, alias: str, multiple: bool) -> ValueCheck:
    """A value that may be an array: always stored as one where the attribute allows several."""

    def check(value: Any, place: Place, faults: Faults) -> Any:
        if not multiple:
            if isinstance(value, list):
                faults.report(place, f"Attribute '{alias}' takes one value, got an array")
                return value
            return check_one(value, place, faults)
        several = value if isinstance(value, list) else [value]
        if len(several) > SEVERAL_MAX:
            faults.report(
                place,
                f"Value for '{alias}' must have at most {SEVERAL_MAX} items, got {len(several)}",
            )
            return value
        stored = [check_one(one, (place, i), faults) for i, one in enumerate(several)]
        if len({repr(one) for one in stored}) != len(stored):
            faults.report(place, f"Value for '{alias}' has a duplicate item")
        return stored

    return check


def _complex_check(
    alias: str, sub_attributes: Sequence[SubAttribute], option_lists: Mapping[str, OptionList]
) -> ValueCheck:
    checks = {
        sub.alias: _value_check(sub, f"{alias}.{truncated(sub.alias)}", option_lists)
        for sub in sub_attributes
    }
    required = [sub.alias for sub in sub_attributes if sub.validation.required]

    def check_object(value: Any, place: Place, faults: Faults) -> Any:
        if not isinstance(value, dict):
            faults.report(place, _wrong_type(alias, "object", value))
            return value
        if not checks:
            return value
        for name in required:
            if value.get(name) is None:
                faults.report((place, name), f"Field '{alias}.{truncated(name)}' is required")
        return _checked_fields(value, checks, alias, place, faults)

    def check(value: Any, place: Place, faults: Faults) -> Any:
        if isinstance(value, list):
            return [check_object(one, (place, i), faults) for i, one in enumerate(value)]
        return check_object(value, place, faults)

    return check


def _checked_fields(
    value: Mapping[str, Any],
    checks: Mapping[str, ValueCheck],
    alias: str,
    place: Place,
    faults: Faults,
) -> dict[str, Any]:
    """The fields of a complex value; null stands for no field."""
    stored: dict[str, Any] = {}
    for name, part in value.items():
        if name not in checks:
            faults.report((place, name), f"Unknown attribute '{alias}.{truncated(name)}'")
        elif part is not None:
            stored[name] = checks[name](part, (place, name), faults)
    return stored
