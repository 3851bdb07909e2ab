"""Generates the API description (OpenAPI 3.1) from the routes and models of all services.

Nothing is declared only for the description: the HTTP edge itself needs to know what a route reads,
answers and raises, and the models also parse the requests. This module adds what all endpoints have
in common: credentials, error envelope, errors of the edge.

The document is written for generators of clients as much as for people: every object and every
enumeration is a named component, nothing has a `default` (generators make such a field required),
and a map says what its values are by `additionalProperties` and what its names are by
`propertyNames`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson
from aiohttp import hdrs
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from shared.errors import (
    BY_CODE,
    ApiError,
    InternalError,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    PermissionDenied,
    PreconditionFailed,
    RateLimited,
    ServiceUnavailable,
    Unauthorized,
    UnsupportedMediaType,
    UpstreamTimeout,
    ValidationError,
)
from shared.http.responses import JSON, PROBLEM, problem
from shared.http.routes import Route, Routes
from shared.ids import ID_PATTERN

OPENAPI_VERSION: Final = "3.1.0"
_REF: Final = "#/components/schemas/{model}"
_OK: Final = 200
_CREATED: Final = 201
_NO_CONTENT: Final = 204
_ANSWER: Final = "Answer"
_SUCCESS: Final = {
    200: "The answer.",
    201: "The new object.",
    204: "Done. There is no body.",
}
_NAME_PATTERN: Final = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
_PARAMETER: Final = re.compile(r"\{(\w+)\}")

_Mode = Literal["validation", "serialization"]
_Key = tuple[int, str]

EVERYWHERE: Final = (
    ValidationError,
    MethodNotAllowed,
    RateLimited,
    InternalError,
    ServiceUnavailable,
    UpstreamTimeout,
)
"""What any endpoint may answer."""
WITH_CREDENTIALS: Final = (Unauthorized, PermissionDenied)
WITH_BODY: Final = (PayloadTooLarge, UnsupportedMediaType)

WITHOUT_READ: Final = (
    'An API key without the permission `read` gets only the `id`, `{"id": "..."}`, and the'
    " version as `ETag`."
)

# What every answer has (`X-Request-Id`) and every error (`Link`) stands in the introduction.
_HEADERS: Final[Mapping[str, dict[str, Any]]] = {
    "Retry-After": {
        "description": "Seconds to wait before the next attempt.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Allow": {
        "description": "The methods that this path supports.",
        "schema": {"type": "string"},
        "example": "GET, HEAD, POST",
    },
    "WWW-Authenticate": {
        "description": "The authentication scheme that is expected.",
        "schema": {"type": "string"},
        "example": "Bearer",
    },
    "ETag": {
        "description": "The version of the object, for `If-Match`.",
        "schema": {"type": "string"},
        "example": '"3"',
    },
    "Location": {
        "description": "The path of the new object.",
        "schema": {"type": "string"},
        "example": "/api/v1/records/ent-coastal-wb",
    },
}
_IF_MATCH: Final = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` of the version to change. If the object has another version, the"
    " answer is 412 and nothing is changed. `*`, or leaving the header out, allows any version."
    " A value that is neither `*` nor a list of tags in quotation marks is 400.",
    "schema": {"type": "string"},
    "example": "*",
}
_HEADERS_OF: Final[Mapping[type[ApiError], str]] = {
    RateLimited: "Retry-After",
    ServiceUnavailable: "Retry-After",
    MethodNotAllowed: "Allow",
    Unauthorized: "WWW-Authenticate",
}


def described(tables: Iterable[Routes]) -> list[Route]:
    """The routes that the description shows: what other services call is left out."""
    return [
        route
        for table in tables
        for route in table.table
        if not route.internal and not route.streams and route.method != hdrs.METH_ANY
    ]


@dataclass(frozen=True, slots=True)
class Examples:
    """Example request and answer of one operation; None if it has no body."""

    sent: Any = None
    answered: Any = None


def describe(
    title: str,
    version: str,
    tables: Sequence[Routes],
    examples: Mapping[str, Examples] | None = None,
) -> dict[str, Any]:
    """The OpenAPI document of these routes; `examples` are by operation id.

    Raises `ValueError` for what would make it ambiguous: two routes of one method and path, two
    handlers or components of one name, an example of an operation that there is not.
    """
    routes = described(tables)
    examples = examples or {}
    schemas = _Schemas(routes)
    names = _operation_ids(routes)
    if unknown := examples.keys() - set(names):
        raise ValueError(f"examples of no operation: {', '.join(sorted(unknown))}")
    sent_headers = _SentHeaders(routes)
    paths: dict[str, dict[str, Any]] = {}
    for index, route in enumerate(routes):
        operations = paths.setdefault(route.path, {})
        method = route.method.lower()
        if method in operations:
            raise ValueError(f"{route.method} {route.path} is declared twice")
        operations[method] = _operation(
            index, route, names[index], schemas, sent_headers.of(route), examples
        )
    components = {**schemas.components, **_error_schemas()}
    responses = {_named(errors): _failure(errors) for errors in _failures_of(routes)}
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": title,
            "version": version,
            "contact": {"name": "Whoever operates this installation"},
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": _tags(tables, routes),
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "For users: the token from `POST /api/v1/auth/login`, sent"
                    " as `Authorization: Bearer <token>`. Valid for 24 hours.",
                },
                "apiKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-Sigma-ApiKey",
                    "description": "For programs: an API key from `POST /api/v1/api-keys`. Its"
                    " permissions say what it may do; each operation names the permission that"
                    " it needs.",
                },
            },
            "parameters": {"IfMatch": _IF_MATCH},
            "headers": dict(_HEADERS),
            "responses": dict(sorted(responses.items())),
            "schemas": dict(sorted(_used(components, (paths, responses)).items())),
        },
    }


def _tags(tables: Sequence[Routes], routes: Sequence[Route]) -> list[dict[str, str]]:
    about = {table.tag: table.about for table in tables if table.about}
    return [
        {"name": tag, **({"description": about[tag]} if tag in about else {})}
        for tag in dict.fromkeys(route.tag for route in routes)
    ]


class _Plain(GenerateJsonSchema):
    """Pydantic's generator, without titles that only repeat the field's name."""

    def field_title_should_be_set(self, _schema: Any) -> bool:
        """Never."""
        return False


class _Schemas:
    """The JSON Schemas of all models, generated together so that names do not collide."""

    def __init__(self, routes: Sequence[Route]) -> None:
        wanted: list[tuple[_Key, _Mode, TypeAdapter[Any]]] = []
        for index, route in enumerate(routes):
            for part, kind, mode in (
                ("body", route.body, "validation"),
                ("query", route.query, "validation"),
                ("answers", route.answers, "serialization"),
            ):
                if kind is not None:
                    wanted.append(((index, part), mode, TypeAdapter(kind)))  # type: ignore[arg-type]
        schemas, rest = TypeAdapter.json_schemas(
            wanted, by_alias=True, ref_template=_REF, schema_generator=_Plain
        )
        found: dict[str, Any] = rest.get("$defs", {})
        public = {name: name.removesuffix(_ANSWER) for name in found}
        if twice := [name for name, n in Counter(public.values()).items() if n > 1]:
            raise ValueError(f"two components are named alike: {', '.join(twice)}")

        def tidy(schema: Any) -> dict[str, Any]:
            return dict(_tidied(schema, public))

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
        """The example with null for each field that the schema requires and it leaves out."""
        schema = self.resolved(schema)
        if isinstance(example, list):
            return [self.with_nulls(schema.get("items", {}), each) for each in example]
        if not isinstance(example, Mapping):
            return example
        properties = schema.get("properties", {})
        others = schema.get("additionalProperties", {})
        others = others if isinstance(others, Mapping) else {}
        whole = dict.fromkeys(schema.get("required", ())) | dict(example)
        return {
            name: self.with_nulls(_not_null(properties.get(name, others)), whole[name])
            for name in sorted(whole, key=[*properties, *whole].index)
        }


def _not_null(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one form that is not null, of a schema that may be null as well."""
    forms = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    return forms[0] if len(forms) == 1 else schema


def _tidied(node: Any, public: Mapping[str, str]) -> Any:
    """A schema in the form that client generators understand; see the module docstring."""
    if isinstance(node, list):
        return [_tidied(each, public) for each in node]
    if not isinstance(node, dict):
        return node
    tidy: dict[str, Any] = {}
    for name, part in node.items():
        if name in ("examples", "example", "enum", "const", "default"):
            tidy[name] = part
        elif name == "$ref":
            tidy[name] = _REF.format(model=public[part.rpartition("/")[2]])
        elif name in ("properties", "$defs"):
            tidy[name] = {each: _with_default(_tidied(s, public)) for each, s in part.items()}
        else:
            tidy[name] = _tidied(part, public)
    patterns = tidy.get("patternProperties", {})
    if len(patterns) == 1:
        del tidy["patternProperties"]
        ((pattern, values),) = patterns.items()
        tidy |= {"additionalProperties": values, "propertyNames": {"pattern": pattern}}
    return tidy


def _with_default(schema: dict[str, Any]) -> dict[str, Any]:
    """A field whose default stands in its description."""
    default = schema.pop("default", None)
    if default is not None:
        said = f"Default: `{orjson.dumps(default).decode()}`."
        schema["description"] = f"{schema.get('description', '')} {said}".strip()
    return schema


class _SentHeaders:
    """The headers of a success, derived from the other operations on the same object."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._versioned = {r.path for r in routes if PreconditionFailed in r.errors}
        self._readable = {r.path for r in routes if r.method == hdrs.METH_GET}

    def of(self, route: Route) -> list[str]:
        """`ETag` where there are versions, `Location` where a new object can be read."""
        if route.answers is None or route.status == _NO_CONTENT:
            return []
        if route.status != _CREATED:
            return ["ETag"] if route.path in self._versioned else []
        sent = ["ETag"] if _below(route.path, self._versioned) else []
        return [*sent, "Location"] if _below(route.path, self._readable) else sent


def _below(path: str, others: Iterable[str]) -> bool:
    """Whether one of the others is this path with one parameter more."""
    return any(_PARAMETER.fullmatch(other.removeprefix(f"{path}/")) for other in others)


def _operation(
    index: int,
    route: Route,
    name: str,
    schemas: _Schemas,
    sent_headers: Sequence[str],
    examples: Mapping[str, Examples],
) -> dict[str, Any]:
    example = examples.get(name, Examples())
    operation: dict[str, Any] = {
        "operationId": name,
        "tags": [route.tag],
        "summary": route.summary or name,
        "description": f"{_paragraph(route.description)}\n\n{_who_may(route)}",
        "parameters": _parameters(index, route, schemas),
        "responses": {
            **_success(index, route, schemas, sent_headers, example.answered),
            **_failures(route),
        },
        "security": _security(route),
    }
    if route.permission is not None and not route.user_only:
        operation["x-api-key-permission"] = str(route.permission)
    if route.body is not None:
        content: dict[str, Any] = {"schema": schemas.of(index, "body")}
        if example.sent is not None:
            content["example"] = example.sent
        operation["requestBody"] = {
            "required": True,
            "description": "Fields that are not described are ignored, except where the schema"
            " says `additionalProperties: false`.",
            "content": {JSON: content},
        }
    return operation


def _who_may(route: Route) -> str:
    """The line that says which permission an API key and which right a role needs."""
    if route.open:
        return "No credential is needed."
    role = f"`{route.flag}`" if route.flag is not None else route.role or "any"
    if route.user_only:
        return f"Only users can do this, not API keys. Role: {role}."
    return f"API key permission: `{route.permission}`. Role: {role}."


def _parameters(index: int, route: Route, schemas: _Schemas) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": route.parameters.get(name, ""),
            "schema": {
                "type": "string",
                "pattern": ID_PATTERN if name.lower().endswith("id") else _NAME_PATTERN,
            },
            **({"example": route.examples[name]} if name in route.examples else {}),
        }
        for name in _PARAMETER.findall(route.path)
    ]
    if route.query is not None:
        query = schemas.resolved(schemas.of(index, "query"))
        required = query.get("required", ())
        for name, schema in query.get("properties", {}).items():
            parameters.append(_query_parameter(name, schema, required=name in required))
    if PreconditionFailed in route.errors:
        parameters.append({"$ref": "#/components/parameters/IfMatch"})
    return parameters


def _query_parameter(name: str, schema: Mapping[str, Any], *, required: bool) -> dict[str, Any]:
    """An optional parameter cannot be null: a query string has no null."""
    plain = {key: value for key, value in schema.items() if key != "anyOf"}
    members = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(members) == 1:
        plain |= members[0]
    elif members:
        plain["anyOf"] = members
    parameter: dict[str, Any] = {"name": name, "in": "query", "required": required}
    if "description" in plain:
        parameter["description"] = plain.pop("description")
    if "examples" in plain:
        parameter["example"] = plain.pop("examples")[0]
    return {**parameter, "schema": plain}


def _success(
    index: int, route: Route, schemas: _Schemas, sent_headers: Sequence[str], example: Any
) -> dict[str, dict[str, Any]]:
    answer = {} if route.answers is None else schemas.of(index, "answers")
    response: dict[str, Any] = {"description": _success_description(route, schemas, answer)}
    if sent_headers:
        response["headers"] = _header_refs(*sent_headers)
    if route.answers is not None and route.status != _NO_CONTENT:
        content: dict[str, Any] = {"schema": answer}
        if example is not None:
            content["example"] = schemas.with_nulls(content["schema"], example)
        response["content"] = {JSON: content}
    return {str(route.status): response}


def _success_description(route: Route, schemas: _Schemas, answer: Mapping[str, Any]) -> str:
    """What the route says, or else what its model does in the first sentence."""
    said = route.success or _SUCCESS[route.status]
    if not route.success and route.status == _OK and "$ref" in answer:
        about = str(schemas.resolved(answer).get("description", said))
        said = f"{about.partition('.')[0]}."
    elif not route.success and answer.get("type") == "array":
        said = "The list."
    if route.writes and route.answers is not None and not route.user_only:
        return f"{said} {WITHOUT_READ}"
    return said


def _failures_of(routes: Iterable[Route]) -> set[tuple[type[ApiError], ...]]:
    return {errors for route in routes for errors in _by_status(route).values()}


def _failures(route: Route) -> dict[str, dict[str, Any]]:
    return {
        str(status): {"$ref": f"#/components/responses/{_named(errors)}"}
        for status, errors in sorted(_by_status(route).items())
    }


def _by_status(route: Route) -> dict[int, tuple[type[ApiError], ...]]:
    """What this route may raise; two codes of one status are one response."""
    errors: set[type[ApiError]] = {*EVERYWHERE, *route.errors}
    if not route.open:
        errors.update(WITH_CREDENTIALS)
    if route.body is not None:
        errors.update(WITH_BODY)
    if "{" in route.path:
        errors.add(NotFound)
    by_status: dict[int, tuple[type[ApiError], ...]] = {}
    for error in BY_CODE.values():
        if error in errors:
            by_status[error.status] = (*by_status.get(error.status, ()), error)
    return by_status


def _named(errors: Sequence[type[ApiError]]) -> str:
    return "Or".join(error.__name__ for error in errors)


def _failure(errors: Sequence[type[ApiError]]) -> dict[str, Any]:
    raised = [error(error.example) for error in errors]
    examples = {error.code: {"value": error.envelope()} for error in raised}
    problems = {error.code: {"value": problem(error)} for error in raised}
    headers = [_HEADERS_OF[error] for error in errors if error in _HEADERS_OF]
    return {
        "description": " ".join(error.meaning for error in errors),
        **({"headers": _header_refs(*headers)} if headers else {}),
        "content": {
            JSON: {"schema": {"$ref": _REF.format(model="ApiError")}, "examples": examples},
            PROBLEM: {"schema": {"$ref": _REF.format(model="Problem")}, "examples": problems},
        },
    }


def _security(route: Route) -> list[dict[str, list[str]]]:
    if route.open:
        return []
    return [{"bearer": []}] if route.user_only else [{"bearer": []}, {"apiKey": []}]


def _header_refs(*names: str) -> dict[str, dict[str, str]]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _used(schemas: Mapping[str, Any], roots: object) -> dict[str, Any]:
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


def _error_schemas() -> dict[str, dict[str, Any]]:
    text = {"type": "string"}
    code = {
        "$ref": _REF.format(model="ErrorCode"),
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
                    "items": {"$ref": _REF.format(model="Violation")},
                },
            },
        },
    }


def _operation_ids(routes: Sequence[Route]) -> list[str]:
    """The handlers' names, with the tag before those that two features share."""
    names = [_camel(route.handler.__name__) for route in routes]
    counted = Counter(names)
    ids = [
        name if counted[name] == 1 else _camel(f"{route.tag} {route.handler.__name__}")
        for name, route in zip(names, routes, strict=True)
    ]
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        raise ValueError(f"two handlers of one feature are named alike: {', '.join(twice)}")
    return ids


def _camel(name: str) -> str:
    first, *rest = re.split(r"[\W_]+", name.strip("_"))
    return first.lower() + "".join(word.capitalize() for word in rest)


def _paragraph(text: str) -> str:
    """A docstring without the indentation of the code that it stands in."""
    return "\n".join(line.strip() for line in text.strip().splitlines())
