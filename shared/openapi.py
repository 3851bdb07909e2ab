"""Writes the description of the API (OpenAPI 3.1) from the routes and models of all services.

Nothing is declared for it alone: a route says what it reads, answers and raises because the edge
needs that, and the models are those that read the requests. What every endpoint has in common (the
credentials, the envelope, the errors of the edge) is added here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from aiohttp import hdrs
from pydantic import TypeAdapter

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
from shared.ids import ID_PATTERN
from shared.web.answering import JSON, PROBLEM
from shared.web.routes import Route, Routes

OPENAPI_VERSION: Final = "3.1.0"
_REF: Final = "#/components/schemas/{model}"
_NO_CONTENT: Final = 204
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

_EXAMPLES: Final[Mapping[str, str]] = {
    "VALIDATION_ERROR": "Attribute 'price' expects type 'number', got 'string'",
    "TRANSITION_ERROR": "Completeness score 60% does not meet minimum 80% for transition to"
    " 'review'",
    "UNAUTHORIZED": "Invalid or expired token",
    "PERMISSION_DENIED": "Permission denied",
    "LIMIT_EXCEEDED": "Entity limit of 500 reached",
    "NOT_FOUND": "Entity 'ent-abc123' not found",
    "METHOD_NOT_ALLOWED": "Method 'PATCH' is not allowed for '/api/v1/records', expected GET,"
    " HEAD, POST",
    "CONFLICT": "Entity with id 'ent-abc123' already exists",
    "PRECONDITION_FAILED": "Entity 'ent-abc123' has changed: expected version 3, got 4",
    "PAYLOAD_TOO_LARGE": "Request body exceeds 10485760 bytes",
    "UNSUPPORTED_MEDIA_TYPE": "Expected Content-Type 'application/json', got 'text/plain'",
    "RATE_LIMITED": "Too many requests. Retry after 1 seconds.",
    "INTERNAL_ERROR": "Internal server error",
    "SERVICE_UNAVAILABLE": "Service unavailable",
    "UPSTREAM_TIMEOUT": "The answer did not come within the deadline",
}

_HEADERS: Final[Mapping[str, dict[str, Any]]] = {
    "X-Request-Id": {
        "description": "Names this request in every log line; a client may send its own",
        "schema": {"type": "string"},
    },
    "Link": {"description": "Where errors are explained", "schema": {"type": "string"}},
    "Retry-After": {
        "description": "Seconds to wait before the next attempt",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Allow": {"description": "The methods that this address has", "schema": {"type": "string"}},
    "WWW-Authenticate": {"description": "How to authenticate", "schema": {"type": "string"}},
    "ETag": {
        "description": "The version, to be named in `If-Match`",
        "schema": {"type": "string"},
    },
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


def describe(title: str, version: str, tables: Iterable[Routes]) -> dict[str, Any]:
    """The OpenAPI document of these routes."""
    routes = described(tables)
    schemas = _Schemas(routes)
    names = _operation_ids(routes)
    versioned = {route.path for route in routes if PreconditionFailed in route.errors}
    paths: dict[str, dict[str, Any]] = {}
    for index, route in enumerate(routes):
        operations = paths.setdefault(route.path, {})
        method = route.method.lower()
        if method in operations:
            raise ValueError(f"{route.method} {route.path} is declared twice")
        operations[method] = _operation(
            index, route, names[index], schemas, has_version=route.path in versioned
        )
    components = {**schemas.components, **_error_schemas()}
    responses = {_named(errors): _failure(errors) for errors in _failures_of(routes)}
    return {
        "openapi": OPENAPI_VERSION,
        "info": {"title": title, "version": version, "license": {"name": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "The token that `POST /api/v1/auth/login` answers",
                },
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-Sigma-ApiKey"},
            },
            "headers": dict(_HEADERS),
            "responses": dict(sorted(responses.items())),
            "schemas": dict(sorted(_used(components, (paths, responses)).items())),
        },
    }


class _Schemas:
    """The JSON Schemas of every model, made at once so that equal names do not meet."""

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
        schemas, rest = TypeAdapter.json_schemas(wanted, by_alias=True, ref_template=_REF)
        self._schemas = {key: schema for (key, _), schema in schemas.items()}
        self.components: dict[str, Any] = rest.get("$defs", {})

    def of(self, index: int, part: str) -> dict[str, Any]:
        """The schema of one part of one route."""
        return dict(self._schemas[index, part])

    def resolved(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """The schema itself where this is only a reference to it."""
        reference = schema.get("$ref")
        if reference is None:
            return dict(schema)
        return dict(self.components[reference.rpartition("/")[2]])


def _operation(
    index: int, route: Route, name: str, schemas: _Schemas, *, has_version: bool
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": name,
        "tags": [route.tag],
        "summary": route.summary or name,
        "description": _paragraph(route.description),
        "parameters": _parameters(index, route, schemas),
        "responses": {
            **_success(index, route, schemas, has_version=has_version),
            **_failures(route),
        },
        "security": _security(route),
    }
    if route.permission is not None and not route.user_only:
        operation["x-api-key-permission"] = str(route.permission)
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {JSON: {"schema": schemas.of(index, "body")}},
        }
    return operation


def _parameters(index: int, route: Route, schemas: _Schemas) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
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
        parameters.append(
            {
                "name": "If-Match",
                "in": "header",
                "required": False,
                "description": "The `ETag` of the version that the change is meant for; `*` is any",
                "schema": {"type": "string"},
                "example": "*",
            }
        )
    return parameters


def _query_parameter(name: str, schema: Mapping[str, Any], *, required: bool) -> dict[str, Any]:
    """A parameter that may be left out is not one that may be null: a query string has no null."""
    plain = {key: value for key, value in schema.items() if key not in ("title", "anyOf")}
    members = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(members) == 1:
        plain |= members[0]
    elif members:
        plain["anyOf"] = members
    if plain.get("default", ...) is None:
        del plain["default"]
    parameter: dict[str, Any] = {"name": name, "in": "query", "required": required}
    if "description" in plain:
        parameter["description"] = plain.pop("description")
    return {**parameter, "schema": plain}


def _success(
    index: int, route: Route, schemas: _Schemas, *, has_version: bool
) -> dict[str, dict[str, Any]]:
    response: dict[str, Any] = {
        "description": "Done" if route.status == _NO_CONTENT else "The answer",
        "headers": _header_refs("X-Request-Id"),
    }
    if route.answers is not None and route.status != _NO_CONTENT:
        response["content"] = {JSON: {"schema": schemas.of(index, "answers")}}
        if has_version:
            response["headers"] |= _header_refs("ETag")
    return {str(route.status): response}


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
    examples = {
        error.code: {"value": {"error": error.code, "message": _EXAMPLES[error.code]}}
        for error in errors
    }
    headers = ["X-Request-Id", "Link", *(_HEADERS_OF[e] for e in errors if e in _HEADERS_OF)]
    return {
        "description": " ".join(error.meaning for error in errors),
        "headers": _header_refs(*headers),
        "content": {
            JSON: {
                "schema": {
                    "allOf": [{"$ref": _REF.format(model="Error")}],
                    "properties": {"error": {"enum": [error.code for error in errors]}},
                },
                "examples": examples,
            },
            PROBLEM: {"schema": {"$ref": _REF.format(model="Problem")}},
        },
    }


def _security(route: Route) -> list[dict[str, list[str]]]:
    if route.open:
        return []
    return [{"bearer": []}] if route.user_only else [{"bearer": []}, {"apiKey": []}]


def _header_refs(*names: str) -> dict[str, dict[str, str]]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _used(schemas: Mapping[str, Any], roots: object) -> dict[str, Any]:
    """Those that something refers to: a query's model is spelled out as parameters."""
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
    violation = {
        "type": "object",
        "required": ["pointer", "detail"],
        "properties": {
            "pointer": {**text, "description": "JSON pointer (RFC 6901) into what was sent"},
            "detail": text,
        },
    }
    return {
        "Error": {
            "type": "object",
            "description": "Every error, whatever went wrong: exactly these two fields",
            "required": ["error", "message"],
            "properties": {
                "error": {**text, "enum": list(BY_CODE), "description": "Stable"},
                "message": {**text, "description": "For people; may change"},
            },
        },
        "Problem": {
            "type": "object",
            "description": "RFC 9457, for clients that name this type in `Accept`",
            "required": ["type", "title", "status", "detail", "code", "errors"],
            "properties": {
                "type": text,
                "title": text,
                "status": {"type": "integer"},
                "detail": text,
                "code": {**text, "enum": list(BY_CODE)},
                "errors": {"type": "array", "items": violation},
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
