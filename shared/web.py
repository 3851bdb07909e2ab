"""The HTTP edge of every service: routes with their rules, reading, answering, and every error.

A feature declares its routes on a `Routes` table: who may (`permission`), what is read (`body`,
`query`), what is answered, and which errors of its own it raises. The edge enforces the first, the
OpenAPI description is generated from all of it.

One middleware stands around every handler: it gives the request an id, checks the signed identity
and the permission, keeps the deadline, turns every exception into the two-field envelope, counts and
logs. What aiohttp refuses before any handler is answered by `shared.web_protocol`.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import getrandbits
from typing import Annotated, Any, TypeVar, cast

import orjson
import pydantic
import structlog
from aiohttp import hdrs, web
from aiohttp.web_protocol import RequestPayloadError
from pydantic import BaseModel, Field

from shared import logs, metrics
from shared.config import ServiceConfig
from shared.errors import (
    ApiError,
    InternalError,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    PermissionDenied,
    Unauthorized,
    UnsupportedMediaType,
    UpstreamTimeout,
    ValidationError,
    Violation,
)
from shared.identity import IDENTITY_HEADER, Identity, IdentityVerifier, Permission

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Context = Callable[[web.Application], AsyncIterator[None]]
Ready = Callable[[web.Application], Awaitable[None]]
ModelT = TypeVar("ModelT", bound=BaseModel)

REQUEST_ID_HEADER = "X-Request-Id"
DEADLINE_HEADER = "X-Sigma-Deadline"
DEADLINE_S_MAX = 600.0
BODY_READ_TIMEOUT_S = 30.0
LIST_LIMIT_MAX = 500
TOLD_LENGTH_MAX = 100
HELP = '</docs>; rel="help"'

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,128}")
_JSON = "application/json"
_PROBLEM = "application/problem+json"
_UNROUTED = metrics.timing("", "unknown")

log = structlog.get_logger("http")

READINESS = web.AppKey("readiness", list[Ready])
VERIFIER = web.AppKey("verifier", IdentityVerifier)
CONFIG = web.AppKey("config", ServiceConfig)
ROUTES = web.AppKey("routes", list["Route"])
_RULED = web.AppKey("ruled", dict[Handler, tuple["Route", metrics.Timing]])
IDENTITY = web.RequestKey("identity", Identity)
REQUEST_ID = web.RequestKey("request_id", str)
DEADLINE = web.RequestKey("deadline", float)


@dataclass(frozen=True, slots=True)
class Route:
    """One route and everything that is promised about it."""

    method: str
    path: str
    handler: Handler
    tag: str
    permission: Permission | None
    open: bool = False
    internal: bool = False
    user_only: bool = False
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    answers: Any = None
    status: int = 200
    summary: str = ""
    description: str = ""
    errors: tuple[type[ApiError], ...] = ()


@dataclass(slots=True)
class Routes:
    """The routes of one feature; `tag` groups them in the description."""

    tag: str
    table: list[Route] = field(default_factory=list)

    def get(self, path: str, **rules: Any) -> Callable[[Handler], Handler]:
        """Declare a GET route; `rules` are fields of `Route`."""
        return self._declare(hdrs.METH_GET, path, rules)

    def post(self, path: str, **rules: Any) -> Callable[[Handler], Handler]:
        """Declare a POST route."""
        return self._declare(hdrs.METH_POST, path, rules)

    def put(self, path: str, **rules: Any) -> Callable[[Handler], Handler]:
        """Declare a PUT route."""
        return self._declare(hdrs.METH_PUT, path, rules)

    def patch(self, path: str, **rules: Any) -> Callable[[Handler], Handler]:
        """Declare a PATCH route."""
        return self._declare(hdrs.METH_PATCH, path, rules)

    def delete(self, path: str, **rules: Any) -> Callable[[Handler], Handler]:
        """Declare a DELETE route; without `answers` it answers 204."""
        return self._declare(hdrs.METH_DELETE, path, {"status": 204, **rules})

    def internal_get(self, path: str, **rules: Any) -> Callable[[Handler], Handler]:
        """Declare a GET route for other services; it is left out of the description."""
        return self._declare(hdrs.METH_GET, path, _internal(rules))

    def internal_post(self, path: str, **rules: Any) -> Callable[[Handler], Handler]:
        """Declare a POST route for other services."""
        return self._declare(hdrs.METH_POST, path, _internal(rules))

    def internal_put(self, path: str, **rules: Any) -> Callable[[Handler], Handler]:
        """Declare a PUT route for other services."""
        return self._declare(hdrs.METH_PUT, path, _internal(rules))

    def internal_delete(self, path: str, **rules: Any) -> Callable[[Handler], Handler]:
        """Declare a DELETE route for other services."""
        return self._declare(hdrs.METH_DELETE, path, _internal(rules))

    def _declare(
        self, method: str, path: str, rules: Mapping[str, Any]
    ) -> Callable[[Handler], Handler]:
        def declare(handler: Handler) -> Handler:
            told = dict(rules)
            permission = told.pop("permission", None)
            self.table.append(
                Route(
                    method=method,
                    path=path,
                    handler=handler,
                    tag=self.tag,
                    permission=permission,
                    description=told.pop("description", handler.__doc__ or ""),
                    **{
                        "open": permission is None and not told.get("internal", False),
                        **told,
                    },
                )
            )
            return handler

        return declare


def _internal(rules: Mapping[str, Any]) -> dict[str, Any]:
    return {"internal": True, "open": False, **rules}


class Page(BaseModel):
    """Which part of a list is asked for."""

    offset: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    limit: Annotated[int, Field(ge=1, le=LIST_LIMIT_MAX)] = 50


def new_service(
    config: ServiceConfig, routes: Iterable[Routes], contexts: Iterable[Context] = ()
) -> web.Application:
    """An application with these routes; contexts open from first to last, close from last to first."""
    app = web.Application(middlewares=[_edge], client_max_size=config.body_bytes_max)
    app[CONFIG] = config
    app[READINESS] = []
    app[VERIFIER] = IdentityVerifier.parse(config.identity_keys)
    app[ROUTES] = [route for table in routes for route in table.table]
    # A feature's handler serves one route in one application, so it is the key of its rules.
    app[_RULED] = {
        route.handler: (route, metrics.timing(route.method, route.path)) for route in app[ROUTES]
    }
    for route in app[ROUTES]:
        app.router.add_route(route.method, route.path, route.handler)
    app.cleanup_ctx.extend(cast(Any, [metrics.loop_lag, *contexts]))
    return app


def identity_of(request: web.Request) -> Identity:
    """Who asks. Always there on a route that is not open."""
    return request[IDENTITY]


def request_id_of(request: web.Request) -> str:
    """The id that the answer and every log line of this request carry."""
    return request[REQUEST_ID]


def seconds_left(request: web.Request) -> float | None:
    """What is left of the caller's deadline, None where there is none."""
    deadline = request.get(DEADLINE)
    return None if deadline is None else deadline - time.monotonic()


async def read_body(request: web.Request, model: type[ModelT]) -> ModelT:
    """The JSON body as a model.

    Raises `UnsupportedMediaType` unless it is JSON in UTF-8, `PayloadTooLarge`, or `ValidationError`
    with everything that is wrong with it.
    """
    content_type = request.content_type
    if content_type != _JSON and not content_type.endswith("+json"):
        told = request.headers.get(hdrs.CONTENT_TYPE, "no Content-Type")
        raise UnsupportedMediaType(
            f"Expected Content-Type 'application/json', got '{told[:TOLD_LENGTH_MAX]}'"
        )
    charset = (request.charset or "utf-8").lower()
    if charset not in ("utf-8", "utf8"):
        raise UnsupportedMediaType(f"Expected charset 'utf-8', got '{charset[:TOLD_LENGTH_MAX]}'")
    try:
        async with asyncio.timeout(BODY_READ_TIMEOUT_S):
            raw = await request.read()
    except TimeoutError:
        raise ValidationError("The body did not arrive in time") from None
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ValidationError(f"Body is not valid JSON: {error}") from None
    if b"\\u0000" in raw or b"\x00" in raw:
        _refuse_nul(body, "")
    return _parsed(model, body, strict=True)


def read_query(request: web.Request, model: type[ModelT]) -> ModelT:
    """The query string as a model; parameters it does not know are ignored."""
    query = {name: request.query[name] for name in request.query}
    return _parsed(model, query, strict=False)


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An answer in JSON."""
    return web.Response(
        body=orjson.dumps(value, default=_told_as, option=orjson.OPT_PASSTHROUGH_DATETIME),
        status=status,
        headers=headers,
        content_type=_JSON,
    )


def no_content() -> web.Response:
    """204."""
    return web.Response(status=204)


def error_response(error: ApiError, request: web.BaseRequest) -> web.Response:
    """The envelope; a problem document where the client asks for one by name."""
    headers = {**error.headers, hdrs.LINK: HELP}
    if _PROBLEM in request.headers.get(hdrs.ACCEPT, ""):
        problem = {
            "type": "about:blank",
            "title": error.meaning,
            "status": error.status,
            "detail": error.message,
            "code": error.code,
            "errors": [
                {"pointer": violation.pointer, "detail": violation.message}
                for violation in error.violations
            ],
        }
        return web.Response(
            body=orjson.dumps(problem),
            status=error.status,
            headers=headers,
            content_type=_PROBLEM,
        )
    return web.Response(
        body=orjson.dumps(error.envelope()),
        status=error.status,
        headers=headers,
        content_type=_JSON,
    )


@web.middleware
async def _edge(request: web.Request, handler: Handler) -> web.StreamResponse:
    began = time.perf_counter()
    known = request.app[_RULED].get(request.match_info.handler)
    route, timing = known if known is not None else (None, _UNROUTED)
    request_id = request.headers.get(REQUEST_ID_HEADER)
    if request_id is None or not _REQUEST_ID.fullmatch(request_id):
        request_id = f"{getrandbits(128):032x}"
    request[REQUEST_ID] = request_id
    logs.REQUEST_ID.set(request_id)
    timing.in_flight += 1
    try:
        response = await _answered(request, handler, route)
    finally:
        timing.in_flight -= 1
    if not response.prepared:
        response.headers[REQUEST_ID_HEADER] = request_id
    seconds = time.perf_counter() - began
    timing.observe(response.status, seconds)
    logs.access(
        request_id,
        request.method,
        route.path if route else None,
        response.status,
        seconds,
        request.headers.get("traceparent"),
    )
    return response


async def _answered(
    request: web.Request, handler: Handler, route: Route | None
) -> web.StreamResponse:
    """The handler's answer, or the envelope of whatever went wrong."""
    try:
        _admit(request, route)
        left = _deadline(request)
        if left is None:
            return await handler(request)
        try:
            async with asyncio.timeout(left) as limit:
                return await handler(request)
        except TimeoutError:
            if limit.expired():
                raise UpstreamTimeout from None
            raise
    except ApiError as error:
        return error_response(error, request)
    except web.HTTPException as error:
        return error_response(_meaning(error, request), request)
    except (RequestPayloadError, web.RequestPayloadError):
        return error_response(ValidationError("The body could not be read as it was sent"), request)
    except Exception:
        log.exception("unexpected_error", method=request.method, path=request.path)
        return error_response(InternalError(), request)


def _admit(request: web.Request, route: Route | None) -> None:
    """Check identity and permission; an unknown path is told only to those who are known."""
    if "\x00" in request.path or "\x00" in request.query_string or "%00" in request.query_string:
        raise ValidationError("The address holds a NUL character")
    if route is not None and route.open:
        return
    token = request.headers.get(IDENTITY_HEADER)
    if token is None:
        raise Unauthorized("Missing authentication")
    identity = request.app[VERIFIER].verify(token)
    request[IDENTITY] = identity
    if route is None:
        return
    if route.internal:
        return
    if identity.kind == "service":
        raise PermissionDenied
    if route.user_only and identity.kind != "user":
        raise PermissionDenied
    if route.permission is not None:
        identity.require(route.permission)


def _deadline(request: web.Request) -> float | None:
    """Seconds until the caller stops waiting, or None."""
    header = request.headers.get(DEADLINE_HEADER)
    if header is None or not header.isdecimal():
        return None
    left = min(int(header) / 1000, DEADLINE_S_MAX)
    request[DEADLINE] = time.monotonic() + left
    return left


def _meaning(error: web.HTTPException, request: web.Request) -> ApiError:
    """What aiohttp found, in our words."""
    if isinstance(error, web.HTTPNotFound):
        return NotFound(f"Route '{request.path[:TOLD_LENGTH_MAX]}' not found")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return MethodNotAllowed(
            f"Method '{request.method}' is not allowed here, expected {allowed}",
            headers={hdrs.ALLOW: allowed},
        )
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        most = request.app[CONFIG].body_bytes_max
        return PayloadTooLarge(f"The body is larger than {most} bytes")
    if isinstance(error, web.HTTPUnsupportedMediaType):
        return UnsupportedMediaType("Expected Content-Type 'application/json'")
    if 400 <= error.status < 500:  # noqa: PLR2004 - the caller's errors
        return ValidationError("The request is malformed")
    return InternalError()


def _parsed(model: type[ModelT], value: Any, *, strict: bool) -> ModelT:
    try:
        return model.model_validate(value, strict=strict)
    except pydantic.ValidationError as error:
        problems = error.errors(include_url=False, include_context=True)
        raise ValidationError.of(_violation(problem) for problem in problems) from None


_EXPECTED = {
    "string_type": "string",
    "int_type": "integer",
    "int_parsing": "integer",
    "int_from_float": "integer",
    "float_type": "number",
    "float_parsing": "number",
    "bool_type": "boolean",
    "bool_parsing": "boolean",
    "list_type": "array",
    "tuple_type": "array",
    "frozen_set_type": "array",
    "set_type": "array",
    "dict_type": "object",
    "model_type": "object",
    "model_attributes_type": "object",
}


def _violation(problem: Any) -> Violation:
    """One of pydantic's findings, in the contract's words."""
    path = [str(part) for part in problem["loc"]]
    pointer = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)
    name = ".".join(path)
    kind, value, context = problem["type"], problem["input"], problem.get("ctx") or {}
    if kind == "missing":
        return Violation(pointer, f"Field '{name}' is required")
    if not path:
        return Violation("", f"Body expects type 'object', got '{js_type(value)}'")
    if kind in _EXPECTED:
        got = js_type(value)
        shown = f"'{_short(value)}'" if got == "string" and "parsing" in kind else f"'{got}'"
        return Violation(pointer, f"Field '{name}' expects type '{_EXPECTED[kind]}', got {shown}")
    if kind in ("literal_error", "enum"):
        return Violation(
            pointer, f"Field '{name}' must be one of {context['expected']}, got '{_short(value)}'"
        )
    bound = {
        "greater_than_equal": ("at least", "ge"),
        "greater_than": ("more than", "gt"),
        "less_than_equal": ("at most", "le"),
        "less_than": ("less than", "lt"),
    }.get(kind)
    if bound:
        return Violation(
            pointer, f"Field '{name}' must be {bound[0]} {context[bound[1]]}, got {_short(value)}"
        )
    if kind == "string_pattern_mismatch":
        return Violation(
            pointer,
            f"Field '{name}' must match pattern '{context['pattern']}', got '{_short(value)}'",
        )
    if kind in ("string_too_long", "too_long"):
        return Violation(pointer, f"Field '{name}' exceeds maximum length {context['max_length']}")
    if kind in ("string_too_short", "too_short"):
        return Violation(
            pointer, f"Field '{name}' must have a length of at least {context['min_length']}"
        )
    if kind == "value_error":
        return Violation(pointer, f"Field '{name}': {context['error']}")
    return Violation(pointer, f"Field '{name}' is not valid: {problem['msg']}")


def js_type(value: Any) -> str:
    """The JSON name of a value's type, as messages print it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, (list, tuple)) else "object"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= TOLD_LENGTH_MAX else text[:TOLD_LENGTH_MAX] + "…"


def _refuse_nul(value: Any, pointer: str) -> None:
    """PostgreSQL stores no NUL in a text, so nothing that we accept may hold one."""
    if isinstance(value, str):
        if "\x00" in value:
            raise ValidationError.at(pointer, f"Field '{pointer[1:]}' holds a NUL character")
    elif isinstance(value, list):
        for index, one in enumerate(value):
            _refuse_nul(one, f"{pointer}/{index}")
    elif isinstance(value, dict):
        for name, one in value.items():
            _refuse_nul(name, pointer)
            _refuse_nul(one, f"{pointer}/{name}")


def _told_as(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True)
    if isinstance(value, (frozenset, set)):
        return sorted(value)
    raise TypeError(type(value).__name__)


__all__ = [
    "CONFIG",
    "Page",
    "READINESS",
    "ROUTES",
    "Route",
    "Routes",
    "error_response",
    "identity_of",
    "json_response",
    "new_service",
    "no_content",
    "read_body",
    "read_query",
]
