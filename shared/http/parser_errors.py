"""Errors below the middleware: what aiohttp's parser refuses, and one connection too many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import orjson
from aiohttp import hdrs
from aiohttp.http_exceptions import (
    BadHttpMessage,
    BadHttpMethod,
    BadStatusLine,
    InvalidHeader,
    InvalidURLError,
    LineTooLong,
)
from multidict import CIMultiDict

from shared.errors import ApiError, PayloadTooLarge, ServiceUnavailable, ValidationError
from shared.http.context import REQUEST_ID_HEADER, request_id_from
from shared.http.edge import SERVER, Complete
from shared.http.responses import HELP, JSON

HEAD_LINE_BYTES_MAX: Final = 8190

_MESSAGES: Final[tuple[tuple[type[BaseException], Callable[[], ApiError]], ...]] = (
    (
        LineTooLong,
        lambda: PayloadTooLarge(f"The path or a header exceeds {HEAD_LINE_BYTES_MAX} bytes"),
    ),
    (BadHttpMethod, lambda: ValidationError("Malformed HTTP: the method is not known")),
    (BadStatusLine, lambda: ValidationError("Malformed HTTP: the request line is not valid")),
    (InvalidURLError, lambda: ValidationError("Malformed HTTP: the URL is not valid")),
    (InvalidHeader, lambda: ValidationError("Malformed HTTP: a header is not valid")),
)


_QUOTED: Final = ("Duplicate '", "Missing 'Host'", "Too many headers")
"""The parser's own words that are fit for a client: they repeat no more than a header's name."""


def parser_error(error: BaseException | None) -> ApiError:
    """What the parser found, without the bytes it quotes."""
    if isinstance(error, ApiError):
        return error
    for kind, said in _MESSAGES:
        if isinstance(error, kind):
            return said()
    if type(error) is BadHttpMessage and error.message.startswith(_QUOTED):
        return ValidationError(f"Malformed HTTP: {error.message.rstrip('.')}")
    return ValidationError("Malformed HTTP")


def too_many_connections(complete: Complete | None) -> bytes:
    """The bytes of a whole 503, for a connection from which nothing was read."""
    error = ServiceUnavailable("Too many connections")
    body = orjson.dumps(error.envelope())
    headers = CIMultiDict(
        {
            **error.headers,
            hdrs.LINK: HELP[error.code],
            hdrs.CONTENT_TYPE: JSON,
            hdrs.CONTENT_LENGTH: str(len(body)),
            hdrs.CONNECTION: "close",
            hdrs.SERVER: SERVER,
            REQUEST_ID_HEADER: request_id_from(None),
        }
    )
    if complete is not None:
        complete(None, headers)
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    return f"HTTP/1.1 {error.status} Service Unavailable\r\n{''.join(lines)}\r\n".encode() + body
