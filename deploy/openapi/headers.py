"""The headers of answers, and those of requests that are no credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from shared.errors import (
    ApiError,
    Conflict,
    MethodNotAllowed,
    RateLimited,
    ServiceUnavailable,
    Unauthorized,
)
from shared.http.retries import (
    DRY_RUN,
    IDEMPOTENCY_KEY,
    IDEMPOTENCY_REPLAYED,
    KEY_LENGTH_MAX,
    PREFER,
    PREFERENCE_APPLIED,
    READS,
)
from shared.http.routes import Route

HEADERS: Final[Mapping[str, dict[str, Any]]] = {
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
        "description": "The version of the object, for `If-Match` and `If-None-Match`.",
        "schema": {"type": "string"},
        "example": '"3"',
    },
    "Location": {
        "description": "The path of the new object.",
        "schema": {"type": "string"},
        "example": "/api/v1/records/ent-coastal-wb",
    },
    IDEMPOTENCY_REPLAYED: {
        "description": "`true` in an answer that was kept for the `Idempotency-Key`.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    PREFERENCE_APPLIED: {
        "description": "`dry-run` in the answer to a dry run.",
        "schema": {"type": "string", "enum": [DRY_RUN]},
    },
}
IF_MATCH: Final = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` of the version to change. If the object has another version, the"
    " answer is 412 and nothing is changed; values of records and variants are changed all the same"
    " if others have changed only other values since. `*`, or leaving the header out, allows any"
    " version."
    " A value that is neither `*` nor a list of tags in quotation marks is 400.",
    "schema": {"type": "string"},
    "example": "*",
}
IF_NONE_MATCH: Final = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` of the version that the caller has. If it is the current one, the"
    " answer is 304 without a body.",
    "schema": {"type": "string"},
    "example": '"2"',
}
_IDEMPOTENCY_KEY: Final = {
    "name": IDEMPOTENCY_KEY,
    "in": "header",
    "required": False,
    "description": "A key of your choice, such as a UUID, which makes this request safe to repeat:"
    " the answer of the first request with it is kept for a day and given again, and nothing"
    " happens a second time. The same key with another request is 400, while the first one is"
    " running 409. Each user and each API key has its own.",
    "schema": {"type": "string", "pattern": f"^[!-~]{{1,{KEY_LENGTH_MAX}}}$"},
}
_PREFER: Final = {
    "name": PREFER,
    "in": "header",
    "required": False,
    "description": "`dry-run` tries the request: the answer is what it would have been, and nothing"
    " is changed. Other preferences are ignored.",
    "schema": {"type": "string"},
}
HEADERS_OF: Final[Mapping[type[ApiError], str]] = {
    RateLimited: "Retry-After",
    ServiceUnavailable: "Retry-After",
    Conflict: "Retry-After",
    MethodNotAllowed: "Allow",
    Unauthorized: "WWW-Authenticate",
}

PARAMETERS: Final = {
    "IfMatch": IF_MATCH,
    "IfNoneMatch": IF_NONE_MATCH,
    "IdempotencyKey": _IDEMPOTENCY_KEY,
    "Prefer": _PREFER,
}


def can_be_tried(route: Route) -> bool:
    """Whether it takes `Prefer: dry-run`."""
    return route.method not in READS and not route.open


def is_replayable(route: Route) -> bool:
    """Whether it takes an `Idempotency-Key`."""
    return can_be_tried(route) and route.replayable
