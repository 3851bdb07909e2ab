"""The HTTP edge of every service: routes with their rules, reading, answering, and every error.

A feature declares its routes on a `Routes` table: who may (`permission`), what is read (`body`,
`query`), what is answered, and which errors of its own it raises. The edge enforces the first, the
description of the API is generated from all of it.

    service        an application: its routes, what opens and closes with it
    routes         what a route promises
    edge           the middleware around every handler
    connection     the connection below it: time-outs and errors
    limits         limits of connections
    parser_errors  answers to what aiohttp's parser refuses
    requests       bodies and query strings, and messages about what is wrong with them
    shapes         base classes of bodies and answers; bounds, numbers and exactness check them
    responses      JSON and errors
    versions       `ETag`, `If-Match` and `If-None-Match`
    context        what is known about the request at hand
    client         calls to the other services
    cursors        where a page of a list ended
    address_check  whether the configured addresses lead to the right services
    probes         the application on the internal port
"""

from shared.http.connection import EdgeRunner
from shared.http.context import (
    DEADLINE_HEADER,
    REQUEST_ID_HEADER,
    TRACE_HEADER,
    Call,
    asked_on_behalf_of,
    call_of,
    has_large_body,
    identity_of,
    name_route,
    request_id_of,
    seconds_left,
)
from shared.http.limits import Limits
from shared.http.requests import Page, read_body, read_query
from shared.http.responses import (
    error_response,
    json_response,
    names_media_type,
    no_content,
    to_json,
    versioned_response,
)
from shared.http.routes import ANY_METHOD, NAMES_BODY, SMALL_BODY, TEXT_BODY, Handler, Route, Routes
from shared.http.service import (
    CONFIG,
    DRAINING,
    INTERNAL,
    INTRODUCTION_PATH,
    LIMITS,
    NAME,
    READINESS,
    ROUTES,
    Context,
    Ready,
    new_service,
)

__all__ = [
    "ANY_METHOD",
    "CONFIG",
    "DEADLINE_HEADER",
    "DRAINING",
    "INTERNAL",
    "INTRODUCTION_PATH",
    "LIMITS",
    "NAME",
    "NAMES_BODY",
    "READINESS",
    "REQUEST_ID_HEADER",
    "ROUTES",
    "SMALL_BODY",
    "TEXT_BODY",
    "TRACE_HEADER",
    "Call",
    "Context",
    "EdgeRunner",
    "Handler",
    "Limits",
    "Page",
    "Ready",
    "Route",
    "Routes",
    "asked_on_behalf_of",
    "call_of",
    "error_response",
    "has_large_body",
    "identity_of",
    "json_response",
    "name_route",
    "names_media_type",
    "new_service",
    "no_content",
    "read_body",
    "read_query",
    "request_id_of",
    "seconds_left",
    "to_json",
    "versioned_response",
]
