"""Response headers for caching, content sniffing and CORS.

    every response     `Cache-Control: no-store`, `X-Content-Type-Options: nosniff`, `Vary`
    an error           `Link` to its explanation, if this gateway serves that page
    to another origin  CORS, for the origins of the configuration

The files of `/docs` may be cached and set their own headers. All other responses hold data of a
workspace or an error. Their `ETag` is for programs, which send it in `If-Match` and
`If-None-Match`: what a caller may see can change while the version of a record does not.
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
    "Accept, Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Prefer,"
    " X-Request-Id, X-Sigma-ApiKey, traceparent"
)
_EXPOSED_HEADERS: Final = (
    "ETag, Idempotency-Replayed, Link, Location, Preference-Applied, Retry-After,"
    " X-RateLimit-Remaining, X-Request-Id"
)
_PREFLIGHT_CACHED_S: Final = 600


class ResponseHeaders:
    """The headers of all responses of one gateway.

    Pages of the `origins` may call the API from a browser; `*` alone stands for any origin.
    `explained` says whether `/docs/errors` is served.
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
        """Add the headers that are missing; those that a response has set are kept."""
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
        """The response to a CORS preflight request; None for any other request.

        It needs no credential and reveals only the configuration. Raises `PermissionDenied` for an
        origin that is not configured.
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
