"""The schemas of the description: named components from the models of all services."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from shared.errors import (
    BY_CODE,
)
from shared.http.routes import Route

REF: Final = "#/components/schemas/{model}"
ANSWER: Final = "Answer"
NAME_PATTERN: Final = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
Mode = Literal["validation", "serialization"]
_Key = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Examples:
    """Example request and answer of one operation, also of a dry run; None if it has no body."""

    sent: Any = None
    answered: Any = None
    tried: Any = None


class _Plain(GenerateJsonSchema):
    """Pydantic's generator, without titles that only repeat the field's name."""

    def field_title_should_be_set(self, _schema: Any) -> bool:
        """Never."""
        return False


class Schemas:
    """The JSON Schemas of all models, generated together so that names do not collide."""

    def __init__(self, routes: Sequence[Route]) -> None:
        wanted: list[tuple[_Key, Mode, TypeAdapter[Any]]] = []
        for index, route in enumerate(routes):
            for part, kind, mode in (
                ("body", route.body, "validation"),
                ("query", route.query, "validation"),
                ("answers", route.answers, "serialization"),
                ("tried", route.tried, "serialization"),
            ):
                if kind is not None:
                    wanted.append(((index, part), mode, TypeAdapter(kind)))  # type: ignore[arg-type]
        schemas, rest = TypeAdapter.json_schemas(
            wanted, by_alias=True, ref_template=REF, schema_generator=_Plain
        )
        found: dict[str, Any] = rest.get("$defs", {})
        public = {name: name.removesuffix(ANSWER) for name in found}
        if twice := [name for name, n in Counter(public.values()).items() if n > 1]:
            raise ValueError(f"two components are named alike: {', '.join(twice)}")

        def tidy(schema: Any) -> dict[str, Any]:
            return dict(tidied(schema, public))

        self._schemas = {key: tidy(schema) for (key, _), schema in schemas.items()}
        self.components = {
            public[name]: {k: v for k, v in tidy(schema).items() if k != "title"}
            for name, schema in found.items()
        }

    def of(self, index: int, part: str) -> dict[str, Any]:
        """The schema of one part of one route."""
        return dict(self._schemas[index, part])

    def resolved(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """The schema itself where this is only a reference to it."""
        reference = schema.get("$ref")
        if reference is None:
            return dict(schema)
        return dict(self.components[reference.rpartition("/")[2]])

    def with_nulls(self, schema: Mapping[str, Any], example: Any) -> Any:
        """The example with every field that the schema requires.

        What it leaves out is null, or an empty object where that is always an object.
        """
        schema = self.resolved(schema)
        if isinstance(example, list):
            return [self.with_nulls(schema.get("items", {}), each) for each in example]
        if not isinstance(example, Mapping):
            return example
        properties = schema.get("properties", {})
        others = schema.get("additionalProperties", {})
        others = others if isinstance(others, Mapping) else {}
        whole = {
            name: {} if self.resolved(properties.get(name, {})).get("type") == "object" else None
            for name in schema.get("required", ())
        } | dict(example)
        return {
            name: self.with_nulls(not_null(properties.get(name, others)), whole[name])
            for name in sorted(whole, key=[*properties, *whole].index)
        }


def not_null(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one form that is not null, of a schema that may be null as well."""
    forms = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    return forms[0] if len(forms) == 1 else schema


def tidied(node: Any, public: Mapping[str, str]) -> Any:
    """A schema in the form that client generators understand; see the module docstring."""
    if isinstance(node, list):
        return [tidied(each, public) for each in node]
    if not isinstance(node, dict):
        return node
    tidy: dict[str, Any] = {}
    for name, part in node.items():
        if name in ("examples", "example", "enum", "const", "default"):
            tidy[name] = part
        elif name == "$ref":
            tidy[name] = REF.format(model=public[part.rpartition("/")[2]])
        elif name in ("properties", "$defs"):
            tidy[name] = {each: with_default(tidied(s, public)) for each, s in part.items()}
        else:
            tidy[name] = tidied(part, public)
    patterns = tidy.get("patternProperties", {})
    if len(patterns) == 1:
        del tidy["patternProperties"]
        ((pattern, values),) = patterns.items()
        tidy |= {"additionalProperties": values, "propertyNames": {"pattern": pattern}}
    return tidy


def with_default(schema: dict[str, Any]) -> dict[str, Any]:
    """A field whose default stands in its description."""
    default = schema.pop("default", None)
    if default is not None:
        said = f"Default: `{orjson.dumps(default).decode()}`."
        schema["description"] = f"{schema.get('description', '')} {said}".strip()
    return schema


def used(schemas: Mapping[str, Any], roots: object) -> dict[str, Any]:
    """The schemas that are referred to; the model of a query becomes parameters instead."""
    used: dict[str, Any] = {}
    waiting = [roots]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            reference = value.get("$ref")
            name = reference.rpartition("/")[2] if isinstance(reference, str) else ""
            if name in schemas and name not in used:
                used[name] = schemas[name]
                waiting.append(schemas[name])
            waiting.extend(value.values())
        elif isinstance(value, (list, tuple)):
            waiting.extend(value)
    return used


def error_schemas() -> dict[str, dict[str, Any]]:
    """The schemas of errors, for both forms in which an error is answered."""
    text = {"type": "string"}
    code = {
        "$ref": REF.format(model="ErrorCode"),
        "description": "The stable error code, for programs.",
    }
    envelope = {
        "error": code,
        "message": {**text, "description": "The message, for people. Its wording may change."},
    }
    return {
        "ErrorCode": {
            **text,
            "description": "The stable error code, for programs.",
            "enum": list(BY_CODE),
        },
        "ApiError": {
            "type": "object",
            "description": "The body of every error. It has exactly these two fields.",
            "required": list(envelope),
            "properties": envelope,
        },
        "Violation": {
            "type": "object",
            "description": "One problem in the request.",
            "required": ["pointer", "detail"],
            "properties": {
                "pointer": {
                    **text,
                    "description": "JSON pointer (RFC 6901) to the invalid part of the body, or"
                    " `/` and the name of the invalid parameter.",
                },
                "detail": {**text, "description": "The description of the problem."},
            },
        },
        "Problem": {
            "type": "object",
            "description": "The error as a problem document (RFC 9457), for clients that name this"
            " type in `Accept`: the same two fields, and every violation.",
            "required": [*envelope, "type", "title", "status", "detail", "code", "errors"],
            "properties": {
                **envelope,
                "type": {**text, "description": "`about:blank`: the code says what it is."},
                "title": {**text, "description": "What the code means."},
                "status": {"type": "integer", "description": "The HTTP status."},
                "detail": {**text, "description": "The same text as `message`."},
                "code": {**code, "description": "The same code as `error`."},
                "errors": {
                    "type": "array",
                    "description": "Every violation; empty unless the request is invalid.",
                    "items": {"$ref": REF.format(model="Violation")},
                },
                "conflicts": {
                    "type": "array",
                    "description": "Only with 412: the values that are sent and that others have"
                    " changed since the version of `If-Match`.",
                    "items": {"$ref": REF.format(model="ChangedByOthers")},
                },
            },
        },
        "ChangedByOthers": {
            "type": "object",
            "description": "A value that the caller and others have changed.",
            "required": ["pointer", "attribute", "scope", "current", "sent"],
            "properties": {
                "pointer": {**text, "description": "JSON pointer to what was sent of it."},
                "attribute": {**text, "description": "Alias of the attribute, or `externalKey`."},
                "scope": {
                    "$ref": REF.format(model="ChangedScope"),
                    "description": "The scope of the value.",
                },
                "current": {"description": "The current value; null if there is none."},
                "sent": {"description": "The value that was sent; null if there is none."},
            },
        },
        "ChangedScope": {
            "type": "object",
            "description": "The scope of a value: dimension id -> segment id.",
            "additionalProperties": text,
        },
    }
