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
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from aiohttp import hdrs

from deploy.openapi.headers import (
    HEADERS,
    HEADERS_OF,
    PARAMETERS,
    can_be_tried,
    is_replayable,
)
from deploy.openapi.names import operation_ids, paragraph, without_read
from deploy.openapi.schemas import NAME_PATTERN, REF, Examples, Schemas, error_schemas, used
from shared.errors import (
    BY_CODE,
    ApiError,
    Conflict,
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
from shared.http.retries import IDEMPOTENCY_REPLAYED, PREFERENCE_APPLIED
from shared.http.routes import Route, Routes
from shared.ids import ID_PATTERN

OPENAPI_VERSION: Final = "3.1.0"
_OK: Final = 200
_CREATED: Final = 201
_NO_CONTENT: Final = 204
_SUCCESS: Final = {
    200: "The answer.",
    201: "The new object.",
    202: "It goes on in the background.",
    204: "Done. There is no body.",
}
_BINARY: Final[dict[str, str]] = {"type": "string", "format": "binary"}
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
EVERYWHERE: Final = (
    ValidationError,
    MethodNotAllowed,
    PayloadTooLarge,
    RateLimited,
    InternalError,
    ServiceUnavailable,
    UpstreamTimeout,
)
"""What any endpoint may answer; a path or a header can be too large as well as a body."""
WITH_CREDENTIALS: Final = (Unauthorized, PermissionDenied)
WITH_BODY: Final = (UnsupportedMediaType,)


def described(tables: Iterable[Routes]) -> list[Route]:
    """The routes that the description shows: what other services call is left out."""
    return [
        route
        for table in tables
        for route in table.table
        if not route.internal and route.method != hdrs.METH_ANY
    ]


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
    schemas = Schemas(routes)
    names = operation_ids(routes)
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
    components = {**schemas.components, **error_schemas()}
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
            "parameters": dict(PARAMETERS),
            "headers": dict(HEADERS),
            "responses": dict(sorted(responses.items())),
            "schemas": dict(sorted(used(components, (paths, responses)).items())),
        },
    }


def _tags(tables: Sequence[Routes], routes: Sequence[Route]) -> list[dict[str, str]]:
    about = {table.tag: table.about for table in tables if table.about}
    return [
        {"name": tag, **({"description": about[tag]} if tag in about else {})}
        for tag in dict.fromkeys(route.tag for route in routes)
    ]


class _SentHeaders:
    """The headers of a success, derived from the other operations on the same object."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._versioned = {
            (r.path, r.answers)
            for r in routes
            # A preview judges what is meant for a version, and answers none.
            if PreconditionFailed in r.errors and not r.path.endswith(("/preview", "/convert"))
        }
        self._readable = {(r.path, r.answers) for r in routes if r.method == hdrs.METH_GET}

    def of(self, route: Route) -> list[str]:
        """`ETag` where there are versions, `Location` where a new object can be read."""
        if route.answers is None or route.status == _NO_CONTENT:
            return []
        if route.status != _CREATED and not route.path.endswith("/convert"):
            return ["ETag"] if any(path == route.path for path, _ in self._versioned) else []
        sent = ["ETag"] if _has_object(route, self._versioned) else []
        return [*sent, "Location"] if _has_object(route, self._readable) else sent


def _has_object(route: Route, others: Iterable[tuple[str, Any]]) -> bool:
    """Whether others are about what this route creates: at its path, or with the same answer."""
    return any(
        _PARAMETER.fullmatch(path.removeprefix(f"{route.path}/"))
        or (answers is route.answers and path.endswith("}"))
        for path, answers in others
    )


def _operation(
    index: int,
    route: Route,
    name: str,
    schemas: Schemas,
    sent_headers: Sequence[str],
    examples: Mapping[str, Examples],
) -> dict[str, Any]:
    example = examples.get(name, Examples())
    operation: dict[str, Any] = {
        "operationId": name,
        "tags": [route.tag],
        "summary": route.summary or name,
        "description": f"{paragraph(route.description)}\n\n{_who_may(route)}",
        "parameters": _parameters(index, route, schemas),
        "responses": {
            **_success(index, route, schemas, sent_headers, example),
            **_failures(route),
        },
        "security": _security(route),
    }
    if route.permission is not None and not route.user_only:
        operation["x-api-key-permission"] = str(route.permission)
    if route.body is not None and route.body_bytes_max is not None:
        operation["x-body-bytes-max"] = route.body_bytes_max
    said = {"x-deadline-seconds": route.deadline_s, "x-follows": route.follows or None}
    operation |= {name: value for name, value in said.items() if value is not None}
    if route.body is not None:
        content: dict[str, Any] = {"schema": schemas.of(index, "body")}
        if example.sent is not None:
            content["example"] = example.sent
        operation["requestBody"] = {
            "required": True,
            "description": "Fields that are not described are ignored, except where the schema"
            " says `additionalProperties: false`.",
            "content": {
                route.body_type: content,
                **{media_type: {"schema": _BINARY} for media_type in route.also_takes},
            },
        }
    return operation


def _who_may(route: Route) -> str:
    """The line that says which permission an API key and which right a role needs."""
    if route.open:
        return "No credential is needed."
    if route.user_only:
        return f"Only users can do this, not API keys. Role: {route.role_needed}."
    return f"API key permission: `{route.permission}`. Role: {route.role_needed}."


def _parameters(index: int, route: Route, schemas: Schemas) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": route.parameters.get(name, ""),
            "schema": {
                "type": "string",
                "pattern": ID_PATTERN if name.lower().endswith("id") else NAME_PATTERN,
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
    if route.conditional:
        parameters.append({"$ref": "#/components/parameters/IfNoneMatch"})
    if is_replayable(route):
        parameters.append({"$ref": "#/components/parameters/IdempotencyKey"})
    if can_be_tried(route):
        parameters.append({"$ref": "#/components/parameters/Prefer"})
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
    index: int, route: Route, schemas: Schemas, sent_headers: Sequence[str], example: Examples
) -> dict[str, dict[str, Any]]:
    answer = {} if route.answers is None else schemas.of(index, "answers")
    response: dict[str, Any] = {"description": _told(route, schemas, answer, sent_headers)}
    headers = [
        *sent_headers,
        *([IDEMPOTENCY_REPLAYED] if is_replayable(route) else []),
        *([PREFERENCE_APPLIED] if can_be_tried(route) else []),
    ]
    response |= {"headers": _header_refs(*headers)} if headers else {}
    if route.answers is not None and route.status != _NO_CONTENT:
        content: dict[str, Any] = {"schema": answer}
        if example.answered is not None:
            content["example"] = schemas.with_nulls(content["schema"], example.answered)
        response["content"] = {JSON: content}
        for media_type in route.also_answers:
            text = {"type": "string"} if media_type.startswith("text/") else _BINARY
            response["content"][media_type] = {"schema": text}
    if route.answer_type is not None:
        response["content"] = {route.answer_type: {"schema": _BINARY, "example": example.answered}}
    found = {str(route.status): response}
    if route.tried is not None:
        tried = schemas.of(index, "tried")
        found[str(_OK)] = {
            "description": "With `Prefer: dry-run`: what would become of it.",
            "headers": _header_refs(PREFERENCE_APPLIED),
            "content": {
                JSON: {"schema": tried, "example": schemas.with_nulls(tried, example.tried)}
            },
        }
    if route.conditional:
        found["304"] = {
            "description": "The caller has the current version.",
            "headers": _header_refs("ETag"),
        }
    return found


def _told(route: Route, schemas: Schemas, answer: Mapping[str, Any], sent: Sequence[str]) -> str:
    """What the route says, or else what its model does in the first sentence."""
    said = route.success or _SUCCESS[route.status]
    if not route.success and route.status == _OK and "$ref" in answer:
        about = str(schemas.resolved(answer).get("description", said))
        said = f"{about.partition('.')[0]}."
    elif not route.success and answer.get("type") == "array":
        said = "The list."
    if route.writes and route.answers is not None and not (route.user_only or route.streams):
        has_id = "id" in schemas.resolved(answer).get("properties", ())
        return f"{said} {without_read(has_id=has_id, has_version='ETag' in sent)}"
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
    if is_replayable(route):
        errors.add(Conflict)
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
    headers = [HEADERS_OF[error] for error in errors if error in HEADERS_OF]
    return {
        "description": " ".join(error.meaning for error in errors),
        **({"headers": _header_refs(*headers)} if headers else {}),
        "content": {
            JSON: {"schema": {"$ref": REF.format(model="ApiError")}, "examples": examples},
            PROBLEM: {"schema": {"$ref": REF.format(model="Problem")}, "examples": problems},
        },
    }


def _security(route: Route) -> list[dict[str, list[str]]]:
    if route.open:
        return []
    return [{"bearer": []}] if route.user_only else [{"bearer": []}, {"apiKey": []}]


def _header_refs(*names: str) -> dict[str, dict[str, str]]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
