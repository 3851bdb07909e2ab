"""Checks whether an attribute can ever have the value that a guard compares it with.

A guard that never matches would silently keep its attribute out of completeness, or always in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from records_service.attributes.model import AttributeType, GuardOperator
from shared.errors import truncated
from shared.http.json_types import js_type

COMPARING = frozenset({GuardOperator.EQUALS, GuardOperator.NOT_EQUALS, GuardOperator.IN})
"""The operators that have a value to compare with."""

Body = Mapping[str, Any]
"""An attribute or a field of one, as it is stored; also a guard."""
Options = Mapping[tuple[str, str], str]
"""(option list, id or alias of an option) -> id."""

_JSON_TYPES: Mapping[AttributeType, tuple[str, ...]] = {
    AttributeType.TEXT: ("string",),
    AttributeType.NUMBER: ("number",),
    AttributeType.BOOLEAN: ("boolean",),
    AttributeType.DATETIME: ("string",),
    AttributeType.MEDIA: ("string", "object"),
    AttributeType.OPTION: ("string",),
    AttributeType.RELATION: ("string",),
    AttributeType.COMPLEX: ("object",),
}


class NeverMatches(Exception):
    """No value of the attribute is ever like this; the text says why."""


def compares(guard: Body) -> bool:
    """Whether the guard has a value to compare with."""
    return guard["operator"] in COMPARING


def option_names(
    guards: Iterable[Body], attributes: Mapping[str, Body]
) -> Iterator[tuple[str, str]]:
    """Each option that the guards name, with its list; `attributes` is id -> stored form."""
    for guard in guards:
        if compares(guard):
            yield from _option_names(guard.get("value"), attributes[guard["attributeId"]])


def _option_names(value: Any, form: Body) -> Iterator[tuple[str, str]]:
    for one in _several(value):
        for part in _several(one):
            if form["type"] == AttributeType.OPTION and isinstance(part, str):
                yield form["optionListId"], part
            elif form["type"] == AttributeType.COMPLEX and isinstance(part, dict):
                for field in form.get("attributes", ()):
                    yield from _option_names(part.get(field["alias"]), field)


def as_stored(guard: Body, form: Body, options: Options) -> dict[str, Any]:
    """The guard with options by id, as records store them; `form` is the attribute it looks at.

    Raises `NeverMatches` for a value of another type, an option or a field that does not exist.
    """
    value = guard.get("value")
    if guard["operator"] == GuardOperator.IN:
        if not value:
            raise NeverMatches("the list of values is empty")
        return {**guard, "value": [_stored(one, form, options) for one in value]}
    return {**guard, "value": _stored(value, form, options)}


def _stored(value: Any, form: Body, options: Options) -> Any:
    if value is None:
        # Among the values of `in`: the attribute has none.
        return None
    takes_several = form["multiple"] or form["type"] == AttributeType.COMPLEX
    if isinstance(value, list) and takes_several:
        return [_one(each, form, options) for each in value]
    return _one(value, form, options)


def _one(value: Any, form: Body, options: Options) -> Any:
    kind = AttributeType(form["type"])
    expected = _JSON_TYPES[kind]
    if js_type(value) not in expected:
        raise NeverMatches(f"expected type '{expected[0]}', got '{js_type(value)}'")
    if kind is AttributeType.OPTION:
        return _option(value, form, options)
    fields = {field["alias"]: field for field in form.get("attributes", ())}
    if kind is not AttributeType.COMPLEX or not fields:
        return value
    for name in value:
        if name not in fields:
            raise NeverMatches(f"there is no field '{truncated(name)}'")
    return {name: _stored(part, fields[name], options) for name, part in value.items()}


def _option(value: str, form: Body, options: Options) -> str:
    list_id = form["optionListId"]
    option_id = options.get((list_id, value))
    if option_id is None:
        raise NeverMatches(f"'{truncated(value)}' is not in option list '{truncated(list_id)}'")
    return option_id


def _several(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]
