"""Is this value one that its attribute allows?

`compile_check` makes one function per attribute, once per version of the model: checking a record
is then a loop over ready functions. Every check collects all that is wrong, in the contract's
words. Customers write the patterns, so those run on RE2, whose time is linear in the text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import re2

from records_service.attributes.model import Attribute, AttributeType, SubAttribute, Validation
from records_service.dimensions.model import Dimension
from records_service.option_lists.model import OptionList
from records_service.records.scopes import Entries, scope_key
from shared.errors import Violation
from shared.json_types import js_type

ENTRIES_PER_ATTRIBUTE_MAX = 1_000
TOLD_VALUE_LENGTH_MAX = 100
SEVERAL = (AttributeType.MEDIA, AttributeType.OPTION, AttributeType.RELATION)
"""The types that may hold an array where the attribute says `multiple`."""

Report = Callable[[str, str], None]
"""Takes a JSON pointer and a message."""
ValueCheck = Callable[[Any, str, Report], Any]
"""Takes a value, its pointer and where to report; returns the value as it will be stored."""
ScopeCheck = Callable[[Any, str, Report], dict[str, str] | None]
"""Takes a scope, its pointer and where to report; returns it in one order, None when refused."""
EntriesCheck = Callable[[Any, str, list[Violation]], Entries]
"""Takes entries as sent, their pointer and the violations found so far; returns those to store."""


def told(value: Any) -> str:
    """A value as a message shows it: short, and never more than a line."""
    text = str(value)
    return text if len(text) <= TOLD_VALUE_LENGTH_MAX else text[:TOLD_VALUE_LENGTH_MAX] + "…"


def compile_check(
    attribute: Attribute,
    dimensions: Mapping[str, Dimension],
    option_lists: Mapping[str, OptionList],
) -> EntriesCheck:
    """The function that checks what was sent for this attribute.

    An entry whose value is null stands for no entry, and is left out of what is stored.
    """
    return _EntriesCheck(
        attribute.alias,
        _scope_check(attribute, dimensions),
        _value_check(attribute, attribute.alias, option_lists),
    )


class _EntriesCheck:
    """Checks the list of entries of one attribute: its form, its scopes, each value."""

    __slots__ = ("_alias", "_check_scope", "_check_value")

    def __init__(self, alias: str, check_scope: ScopeCheck, check_value: ValueCheck) -> None:
        self._alias = alias
        self._check_scope = check_scope
        self._check_value = check_value

    def __call__(self, sent: Any, pointer: str, violations: list[Violation]) -> Entries:
        def report(where: str, message: str) -> None:
            violations.append(Violation(where, message))

        fault = self._list_fault(sent)
        if fault is not None:
            report(pointer, fault)
            return []
        entries: Entries = []
        scopes: set[tuple[tuple[str, str], ...]] = set()
        for index, entry in enumerate(sent):
            where = f"{pointer}/{index}"
            scope = self._scope_of(entry, index, where, report)
            if scope is None:
                continue
            key = scope_key(scope)
            if key in scopes:
                report(where, f"Attribute '{self._alias}' has two entries for one scope")
            elif entry["value"] is not None:
                value = self._check_value(entry["value"], f"{where}/value", report)
                entries.append({"scope": scope, "value": value})
            scopes.add(key)
        return entries

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

    def _scope_of(
        self, entry: Any, index: int, where: str, report: Report
    ) -> dict[str, str] | None:
        """The entry's scope, or None where it is reported as unusable."""
        if not isinstance(entry, dict) or "value" not in entry:
            report(where, f"Entry {index} of '{self._alias}' must be an object {{scope, value}}")
            return None
        scope = entry.get("scope")
        if scope is None or scope == {}:
            return {}
        return self._check_scope(scope, f"{where}/scope", report)


def _scope_check(attribute: Attribute, dimensions: Mapping[str, Dimension]) -> ScopeCheck:
    segments = {
        dimension_id: frozenset(segment.id for segment in dimensions[dimension_id].segments)
        for dimension_id in attribute.dimension_ids
        if dimension_id in dimensions
    }
    alias = attribute.alias

    def check(scope: Any, pointer: str, report: Report) -> dict[str, str] | None:
        if not isinstance(scope, dict):
            report(pointer, f"Scope of '{alias}' must be an object, got {js_type(scope)}")
            return None
        for dimension_id, segment_id in scope.items():
            if dimension_id not in dimensions:
                report(pointer, f"Unknown dimension '{told(dimension_id)}' in a scope of '{alias}'")
                return None
            if dimension_id not in segments:
                report(pointer, f"Attribute '{alias}' does not vary by dimension '{dimension_id}'")
                return None
            if not isinstance(segment_id, str) or segment_id not in segments[dimension_id]:
                report(
                    pointer, f"Unknown segment '{told(segment_id)}' of dimension '{dimension_id}'"
                )
                return None
        # One order for equal scopes, so that they are equal as stored text too.
        return {name: scope[name] for name in attribute.dimension_ids if name in scope}

    return check


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
    return f"Attribute '{alias}' expects type '{expected}', got '{js_type(value)}'"


def _text_check(alias: str, rules: Validation) -> ValueCheck:
    longest = rules.max_length
    pattern = None if rules.pattern is None else re2.compile(rules.pattern)

    def check(value: Any, pointer: str, report: Report) -> Any:
        if not isinstance(value, str):
            report(pointer, _wrong_type(alias, "text", value))
        elif longest is not None and len(value) > longest:
            report(pointer, f"Value for '{alias}' exceeds maximum length {longest}")
        elif pattern is not None and pattern.search(value) is None:
            report(pointer, f"Value for '{alias}' does not match pattern '{rules.pattern}'")
        return value

    return check


def _number_check(alias: str, rules: Validation) -> ValueCheck:
    least, most = rules.min, rules.max

    def check(value: Any, pointer: str, report: Report) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            report(pointer, _wrong_type(alias, "number", value))
        elif not math.isfinite(value):
            report(pointer, f"Value for '{alias}' must be a finite number")
        elif least is not None and value < least:
            report(pointer, f"Value for '{alias}' must be at least {least}")
        elif most is not None and value > most:
            report(pointer, f"Value for '{alias}' must be at most {most}")
        return value

    return check


def _boolean_check(alias: str) -> ValueCheck:
    def check(value: Any, pointer: str, report: Report) -> Any:
        if not isinstance(value, bool):
            report(pointer, _wrong_type(alias, "boolean", value))
        return value

    return check


def _datetime_check(alias: str) -> ValueCheck:
    def check(value: Any, pointer: str, report: Report) -> Any:
        if not isinstance(value, str):
            report(pointer, _wrong_type(alias, "datetime", value))
            return value
        try:
            datetime.fromisoformat(value)
        except ValueError:
            report(
                pointer,
                f"Value for '{alias}' must be an ISO 8601 date and time, got '{told(value)}'",
            )
        return value

    return check


def _media_check(alias: str) -> ValueCheck:
    def check(value: Any, pointer: str, report: Report) -> Any:
        url = value.get("url") if isinstance(value, dict) else value
        if not isinstance(url, str):
            report(pointer, _wrong_type(alias, "media", value))
        elif not _is_absolute_http(url):
            report(
                pointer,
                f"Value for '{alias}' must be an absolute http or https URL, got '{told(url)}'",
            )
        elif isinstance(value, dict):
            for name, part in value.items():
                if name not in ("url", "alt", "mimeType"):
                    report(f"{pointer}/{name}", f"Unknown field '{told(name)}' in '{alias}'")
                elif not isinstance(part, str):
                    report(f"{pointer}/{name}", _wrong_type(f"{alias}.{name}", "text", part))
        return value

    return check


def _is_absolute_http(url: str) -> bool:
    if any(character <= " " for character in url):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def _option_check(alias: str, option_list: OptionList | None) -> ValueCheck:
    ids: dict[str, str] = {}
    for option in option_list.values if option_list else ():
        ids.setdefault(option.alias, option.id)
    for option in option_list.values if option_list else ():
        ids[option.id] = option.id
    name = option_list.id if option_list else None

    def check(value: Any, pointer: str, report: Report) -> Any:
        if not isinstance(value, str):
            report(pointer, _wrong_type(alias, "option", value))
            return value
        if value not in ids:
            report(pointer, f"Value '{told(value)}' for '{alias}' is not in option list '{name}'")
        return ids.get(value, value)

    return check


def _relation_check(alias: str) -> ValueCheck:
    def check(value: Any, pointer: str, report: Report) -> Any:
        if not isinstance(value, str):
            report(pointer, _wrong_type(alias, "relation", value))
        elif not value:
            report(pointer, f"Value for '{alias}' must be the id of a record, got ''")
        return value

    return check


def _one_or_several(check_one: ValueCheck, alias: str, multiple: bool) -> ValueCheck:
    """A value that may be an array: always stored as one where the attribute allows several."""

    def check(value: Any, pointer: str, report: Report) -> Any:
        if not multiple:
            if isinstance(value, list):
                report(pointer, f"Attribute '{alias}' takes one value, got an array")
                return value
            return check_one(value, pointer, report)
        several = value if isinstance(value, list) else [value]
        stored = [check_one(one, f"{pointer}/{i}", report) for i, one in enumerate(several)]
        if len({repr(one) for one in stored}) != len(stored):
            report(pointer, f"Value for '{alias}' names one thing twice")
        return stored

    return check


def _complex_check(
    alias: str, sub_attributes: Sequence[SubAttribute], option_lists: Mapping[str, OptionList]
) -> ValueCheck:
    checks = {
        sub.alias: _value_check(sub, f"{alias}.{sub.alias}", option_lists) for sub in sub_attributes
    }
    required = [sub.alias for sub in sub_attributes if sub.validation.required]

    def check_object(value: Any, pointer: str, report: Report) -> Any:
        if not isinstance(value, dict):
            report(pointer, _wrong_type(alias, "complex", value))
            return value
        if not checks:
            return value
        for name in required:
            if value.get(name) is None:
                report(f"{pointer}/{name}", f"Field '{alias}.{name}' is required")
        return _checked_fields(value, checks, alias, pointer, report)

    def check(value: Any, pointer: str, report: Report) -> Any:
        if isinstance(value, list):
            return [check_object(one, f"{pointer}/{i}", report) for i, one in enumerate(value)]
        return check_object(value, pointer, report)

    return check


def _checked_fields(
    value: Mapping[str, Any],
    checks: Mapping[str, ValueCheck],
    alias: str,
    pointer: str,
    report: Report,
) -> dict[str, Any]:
    """The fields of a complex value; null stands for no field."""
    stored: dict[str, Any] = {}
    for name, part in value.items():
        if name not in checks:
            report(f"{pointer}/{name}", f"Unknown attribute '{alias}.{told(name)}'")
        elif part is not None:
            stored[name] = checks[name](part, f"{pointer}/{name}", report)
    return stored
