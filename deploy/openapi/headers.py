"""The headers of answers, and those of requests that are no credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

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
}
IF_MATCH: Final = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` of the version to change. If the object has another version, the"
    " answer is 412 and nothing is changed. `*`, or leaving the header out, allows any version."
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
