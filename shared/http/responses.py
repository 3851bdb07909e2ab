"""Writes answers: JSON, nothing, or the two fields of an error."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, cast

import orjson
from aiohttp import hdrs, web
from pydantic import BaseModel

from shared.errors import BY_CODE, ApiError
from shared.http.versions import entity_tag
from shared.timestamps import format_timestamp

JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"
HELP: Final[Mapping[str, str]] = {code: f'</docs/errors#{code}>; rel="help"' for code in BY_CODE}
"""The `Link` of an error, by its code: where the gateway explains it."""
_OPTIONS: Final = orjson.OPT_PASSTHROUGH_DATETIME


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An answer in JSON: dataclasses, models, sets, `orjson.Fragment`; times in ISO ms with Z."""
    sent = {hdrs.CONTENT_TYPE: JSON} if headers is None else {hdrs.CONTENT_TYPE: JSON, **headers}
    return web.Response(body=to_json(value), status=status, headers=sent)


def versioned_response(
    value: Any, version: int, *, status: int = 200, location: str | None = None
) -> web.Response:
    """An object in JSON, with its version as `ETag` and, if it is new, its path as `Location`."""
    headers: dict[str, str] = {hdrs.ETAG: entity_tag(version)}
    if location is not None:
        headers[hdrs.LOCATION] = location
    return json_response(value, status=status, headers=headers)


def not_modified(version: int) -> web.Response:
    """304: the caller has this version."""
    return web.Response(status=304, headers={hdrs.ETAG: entity_tag(version)})


def to_json(value: Any) -> bytes:
    """A value as `json_response` writes it."""
    return orjson.dumps(value, default=_plain, option=_OPTIONS)


def no_content(headers: Mapping[str, str] | None = None) -> web.Response:
    """204."""
    return web.Response(status=204, headers=headers)


def keep_only_id(response: web.StreamResponse) -> None:
    """Take everything but the id out of the answer to a write.

    An answer that is sent in parts stays: none of those shows what is written.
    """
    if type(response) is not web.Response or not response.body:
        return
    written = orjson.loads(cast(bytes, response.body))
    has_id = isinstance(written, dict) and "id" in written
    response.body = orjson.dumps({"id": written["id"]} if has_id else {})


def error_response(error: ApiError, request: web.BaseRequest) -> web.Response:
    """The envelope; a problem document (RFC 9457) where `Accept` names that type."""
    headers = {**error.headers, hdrs.LINK: HELP[error.code]}
    if names_media_type(request.headers.get(hdrs.ACCEPT), PROBLEM):
        headers[hdrs.CONTENT_TYPE] = PROBLEM
        body = orjson.dumps(problem(error))
    else:
        headers[hdrs.CONTENT_TYPE] = JSON
        body = orjson.dumps(error.envelope())
    return web.Response(body=body, status=error.status, headers=headers)


def problem(error: ApiError) -> dict[str, Any]:
    """The error as RFC 9457 has it, with both fields of the envelope and every violation."""
    return {
        **error.envelope(),
        "type": "about:blank",
        "title": error.meaning,
        "status": error.status,
        "detail": error.message,
        "code": error.code,
        "errors": [
            {"pointer": violation.pointer, "detail": violation.detail or violation.message}
            for violation in error.violations
        ],
        **error.more,
    }


def names_media_type(accept: str | None, media_type: str) -> bool:
    """Whether an `Accept` header names this very type (in lower case), and no wildcard for it."""
    if accept is None or media_type not in accept.lower():
        return False
    for media_range in accept.lower().split(","):
        name, *parameters = (part.strip() for part in media_range.split(";"))
        if name == media_type:
            return not any(p.replace(" ", "") in ("q=0", "q=0.0", "q=0.00") for p in parameters)
    return False


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_timestamp(value)
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True)
    if isinstance(value, (frozenset, set)):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(type(value).__name__)
