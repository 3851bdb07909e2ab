"""Checks of the eight attribute types: each takes a value and returns it as it is stored.

`compile_check` makes one function per attribute: checking a record is then a loop over ready
functions. Customers write the patterns, so those run on RE2, whose time is linear in the text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from records_service.attributes import patterns
from records_service.attributes.model import Attribute, AttributeType, SubAttribute, Validation
from records_service.dimensions.model import Dimension
from records_service.option_lists.lookup import id_in
from records_service.option_lists.model import OptionList
from records_service.values.validation import (
    EntriesCheck,
    Faults,
    Place,
    ScopeCheck,
    ValueCheck,
)
from shared.errors import truncated
from shared.http.json_types import js_type

SEVERAL_MAX = 1_000
CHOSEN = (AttributeType.MEDIA, AttributeType.OPTION, AttributeType.RELATION)
"""The types of values that name something: of several, no two are the same."""
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
        alias,
        ScopeCheck(attribute, dimensions),
        value_check(attribute, alias, option_lists),
        _plain_type(attribute),
    )


def _plain_type(attribute: Attribute) -> type | None:
    """The type of which each value is right, if there is one."""
    rules = attribute.validation
    if attribute.multiple:
        return None
    if attribute.type is AttributeType.TEXT and rules.max_length is None and rules.pattern is None:
        return str
    return bool if attribute.type is AttributeType.BOOLEAN else None


def value_check(
    attribute: Attribute | SubAttribute, alias: str, option_lists: Mapping[str, OptionList]
) -> ValueCheck:
    """The check of one attribute, or of one field of a complex attribute."""
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
        AttributeType.COMPLEX: lambda: _complex_check(alias, attribute.attributes, option_lists),
    }
    check = makers[attribute.type]()
    if attribute.type in CHOSEN:
        return _one_or_several(check, alias, attribute.multiple)
    return _list_check(check, alias) if attribute.multiple else check


def _wrong_type(alias: str, expected: str, value: Any) -> str:
    """A message that names the expected and the received type by their JSON names."""
    return f"Attribute '{alias}' expects type '{expected}', got '{js_type(value)}'"


def _text_check(alias: str, rules: Validation) -> ValueCheck:
    longest = rules.max_length
    pattern = None if rules.pattern is None else patterns.compiled(rules.pattern)
    shown_pattern = truncated(rules.pattern)

    def check(value: Any, place: Place, faults: Faults) -> Any:
        if not isinstance(value, str):
            faults.report(place, _wrong_type(alias, "string", value))
        elif longest is not None and len(value) > longest:
            message = f"Value for '{alias}' exceeds maximum length {longest}"
            faults.report(place, message, f"{message}, got {len(value)}")
        elif pattern is not None:
            if not faults.may_match(pattern.programsize, len(value)):
                faults.report(place, f"Value for '{alias}' is too long to be matched: {len(value)}")
            elif pattern.search(value) is None:
                message = f"Value for '{alias}' does not match pattern '{shown_pattern}'"
                faults.report(place, message, f"{message}, got '{truncated(value)}'")
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
            message = f"Value for '{alias}' must be at least {least}"
            faults.report(place, message, f"{message}, got {value}")
        elif most is not None and value > most:
            message = f"Value for '{alias}' must be at most {most}"
            faults.report(place, message, f"{message}, got {value}")
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
    name = truncated(option_list.id) if option_list else None
    large = option_list if option_list is not None and option_list.is_large else None
    ids = option_list.ids_by_name if option_list is not None else {}

    def check(value: Any, place: Place, faults: Faults) -> Any:
        if not isinstance(value, str):
            faults.report(place, _wrong_type(alias, "string", value))
            return value
        found = ids.get(value) if large is None else id_in(large, value, faults.options)
        if found is None:
            faults.report(
                place, f"Value '{truncated(value)}' for '{alias}' is not in option list '{name}'"
            )
            return value
        return found

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


def _list_check(check_one: ValueCheck, alias: str) -> ValueCheck:
    """A list of texts, numbers or times; what is sent alone is a list of one.

    An item may come twice, as in a list of measurements, but an empty text is no item.
    """

    def check(value: Any, place: Place, faults: Faults) -> Any:
        items = value if isinstance(value, list) else [value]
        if len(items) > SEVERAL_MAX:
            faults.report(
                place,
                f"Value for '{alias}' must have at most {SEVERAL_MAX} items, got {len(items)}",
            )
            return value
        for index, item in enumerate(items):
            if item == "":
                faults.report((place, index), f"Value for '{alias}' has an empty item")
            else:
                check_one(item, (place, index), faults)
        return items

    return check


def _complex_check(
    alias: str, sub_attributes: Sequence[SubAttribute], option_lists: Mapping[str, OptionList]
) -> ValueCheck:
    checks = {
        sub.alias: value_check(sub, f"{alias}.{truncated(sub.alias)}", option_lists)
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
