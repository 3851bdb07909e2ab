"""Turns properties of a JSON Schema into fields, and values of them into Sigma's values.

A field is what becomes an attribute of Sigma or a part of a complex one. Properties that records
use and no schema declares are fields too: JSON Schema allows them, so no record is refused for
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Field:
    """One property."""

    name: str
    type: str
    """Sigma's type."""
    multiple: bool = False
    required: bool = False
    description: str = ""
    options: tuple[str, ...] = ()
    fields: dict[str, Field] = field(default_factory=dict)
    """Of a complex value, by name."""

    @property
    def shape(self) -> str:
        """Equal for two properties that are the same but for their description."""
        own = (self.name, self.type, self.multiple, self.required, self.options)
        return repr((own, [one.shape for one in self.fields.values()]))


def fields_of(schema: Mapping[str, Any]) -> dict[str, Field]:
    """The properties of an object, by name."""
    required = schema.get("required", ())
    return {
        name: _field(name, about, name in required)
        for name, about in schema.get("properties", {}).items()
    }


def _field(name: str, about: Mapping[str, Any], required: bool) -> Field:
    types = set(_types(about)) - {"null"}
    # Where nothing may be there, nothing is what Sigma stores: absent and null are one.
    required = required and "null" not in _types(about)
    description = about.get("description", "")
    if types == {"array"}:
        items = _field(name, about.get("items", {}), False)
        # A complex value may be a list by itself.
        items.multiple = items.type != "complex"
        items.required, items.description = required, description
        return items
    options = tuple(str(one) for one in about.get("enum", ()) if one is not None)
    kind = {
        frozenset({"string"}): "option" if options else "text",
        frozenset({"number"}): "number",
        frozenset({"integer"}): "number",
        frozenset({"boolean"}): "boolean",
    }.get(frozenset(types), "complex")
    inner = fields_of(about) if kind == "complex" else {}
    return Field(name, kind, False, required, description, options, inner)


def _types(about: Mapping[str, Any]) -> list[str]:
    types = about.get("type", [])
    return [types] if isinstance(types, str) else list(types)


def add_undeclared(fields: dict[str, Field], value: Mapping[str, Any], path: str) -> Iterator[str]:
    """Make fields of what the value has besides them; yields the path of each new one."""
    for name, part in value.items():
        if part is None:
            continue
        one = fields.get(name)
        if one is None:
            fields[name] = _guessed(name, part)
            yield f"{path}{name}"
        elif one.type == "complex" and one.fields:
            for element in part if isinstance(part, list) else [part]:
                if isinstance(element, dict):
                    yield from add_undeclared(one.fields, element, f"{path}{name}.")


def _guessed(name: str, part: Any) -> Field:
    if isinstance(part, bool):
        return Field(name, "boolean")
    if isinstance(part, (int, float)):
        return Field(name, "number")
    return Field(name, "text" if isinstance(part, str) else "complex")


def value_of(one: Field, part: Any) -> Any:
    """What Sigma stores for it; None for nothing: null, an empty list or object.

    A value of another type stays as it is: whether it is refused is for the API to say.
    """
    if isinstance(part, list):
        values = (_single(one, element) for element in part)
        found = [value for value in values if value is not None and value != ""]
        if one.type == "option" and all(isinstance(value, str) for value in found):
            found = list(dict.fromkeys(found))
        return found or None
    return _single(one, part)


def _single(one: Field, part: Any) -> Any:
    if part is None:
        return None
    if one.type == "complex" and one.fields and isinstance(part, dict):
        found = {
            name: value_of(one.fields[name], inner) if name in one.fields else inner
            for name, inner in part.items()
        }
        return {name: value for name, value in found.items() if value is not None} or None
    return part
