"""Completes the headers of every answer: whether it is kept, what it depends on, who may read it.

    every answer       not to be kept, and never taken for another type than it says
    an error           `Link` to its explanation, as long as this gateway serves that page
    to another origin  CORS, for the origins of the configuration

A file of `/docs` may be kept, and says so itself. All other answers hold data of a workspace or are
an error. Their `ETag` is for `If-Match`: a kept answer would save nothing, because every read is
answered in full.
"""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web
from multidict import CIMultiDict

from shared.errors import PermissionDenied
from shared.http.messages import shown

NO_STORE: Final = "no-store"
ANY_ORIGIN: Final = "*"
_VARY: Final = "Authorization, X-Sigma-ApiKey, Accept"
_ALLOWED_METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
_ALLOWED_HEADERS: Final = (
    "Accept, Authorization, Content-Type, If-Match, X-Request-Id, X-Sigma-ApiKey, traceparent"
)
_EXPOSED_HEADERS: Final = "ETag, Link, Location, Retry-After, X-RateLimit-Remaining, X-Request-Id"
_PREFLIGHT_CACHED_S: Final = 600


class ResponseHeaders:
    """The headers that all answers of one gateway have.

    `origins` are those whose pages may call the API from a browser: exact ones, or `*` alone for
    any. `explained` says whether `/docs/errors` is served.
    """

    def __init__(self, *, origins: frozenset[str], explained: bool) -> None:
        self._explained = explained
        self._cors = bool(origins)
        self._any_origin = ANY_ORIGIN in origins
        self._origins = origins
        by_origin = ", Origin" if origins and not self._any_origin else ""
        self._by_origin = by_origin
        self._vary = _VARY + by_origin

    def complete(self, request: web.BaseRequest | None, headers: CIMultiDict[str]) -> None:
        """Add what is missing. What the answer says of itself stays."""
        headers.setdefault(hdrs.CACHE_CONTROL, NO_STORE)
        headers.setdefault(hdrs.X_CONTENT_TYPE_OPTIONS, "nosniff")
        if hdrs.VARY not in headers:
            headers[hdrs.VARY] = self._vary
        elif self._by_origin:
            headers[hdrs.VARY] += self._by_origin
        if not self._explained:
            headers.popall(hdrs.LINK, None)
        if self._cors and request is not None:
            self._add_cors(request, headers)

    def _add_cors(self, request: web.BaseRequest, headers: CIMultiDict[str]) -> None:
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and self._allows(origin):
            headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = ANY_ORIGIN if self._any_origin else origin
            headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED_HEADERS

    def _allows(self, origin: str) -> bool:
        return self._any_origin or origin in self._origins

    def preflight(self, request: web.Request) -> web.Response | None:
        """The answer to a browser that asks whether a page may send a request; None to all others.

        It comes without a credential, and tells nothing but this configuration. `PermissionDenied`
        for an origin that is not configured.
        """
        if not self._cors or request.method != hdrs.METH_OPTIONS:
            return None
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None or hdrs.ACCESS_CONTROL_REQUEST_METHOD not in request.headers:
            return None
        if not self._allows(origin):
            raise PermissionDenied(f"Pages from origin {shown(origin)} may not call this API")
        return web.Response(
            status=204,
            headers={
                hdrs.ACCESS_CONTROL_ALLOW_METHODS: _ALLOWED_METHODS,
                hdrs.ACCESS_CONTROL_ALLOW_HEADERS: _ALLOWED_HEADERS,
                hdrs.ACCESS_CONTROL_MAX_AGE: str(_PREFLIGHT_CACHED_S),
                hdrs.VARY: "Access-Control-Request-Method, Access-Control-Request-Headers",
            },
        )
