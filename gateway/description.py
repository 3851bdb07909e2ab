"""Serves the description of the API, and a page from which every endpoint can be tried.

    /docs                 the page (Swagger UI, shipped in `static/`)
    /docs/                redirects to /docs
    /docs/errors          every error: cause, remedy, whether to retry
    /docs/openapi.json    OpenAPI 3.1, written by `make openapi` from the routes of all services
    /docs/<file>          scripts, styles and images of the pages

Everything is served from here; the content security policy forbids any other source.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web

from shared.errors import NotFound, truncated
from shared.http import Route, Routes

OPENAPI_FILE: Final = Path(__file__).parent / "openapi.json"
_STATIC: Final = Path(__file__).parent / "static"

PAGE: Final = "/docs"
HTML: Final = "text/html"
_FILES: Final = {
    "": ("index.html", "text/html; charset=utf-8"),
    "errors": ("errors.html", "text/html; charset=utf-8"),
    "openapi.json": ("", "application/json"),
    "start.js": ("start.js", "text/javascript; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
    "swagger-ui-bundle.js": ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    "swagger-ui.css": ("swagger-ui.css", "text/css; charset=utf-8"),
    "favicon-32x32.png": ("favicon-32x32.png", "image/png"),
}

# Scripts and styles only from these files, calls only to this host. Swagger UI embeds its small
# images as `data:`.
_POLICY: Final = "; ".join(  # noqa: FLY002 - one rule a line
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


_REPEATED: Final = (hdrs.ETAG, hdrs.CACHE_CONTROL, hdrs.VARY)


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    headers: dict[str, str]
    etag: str

    @property
    def headers_of_304(self) -> dict[str, str]:
        """The headers that a 304 response repeats."""
        return {name: self.headers[name] for name in _REPEATED}


def description_routes() -> Routes:
    """The routes of the pages; their files are read once, here."""
    files = {name: _load(*where) for name, where in _FILES.items()}

    async def answer(request: web.Request) -> web.StreamResponse:
        file = files.get(request.match_info.get("file", ""))
        if file is None:
            raise NotFound(f"Route '{truncated(request.path)}' not found")
        if file.etag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
            return web.Response(status=304, headers=file.headers_of_304)
        response = web.Response(body=file.body, headers=file.headers)
        response.enable_compression()
        return response

    routes = Routes(tag="Description")
    for path in ("/docs", "/docs/{file}"):
        routes.table.append(Route("GET", path, answer, routes.tag, permission=None, open=True))
    routes.table.append(Route("GET", "/docs/", lead_to_page, routes.tag, open=True))
    return routes


async def lead_to_page(_request: web.Request) -> web.StreamResponse:
    """The page has one address."""
    return web.Response(status=302, headers={hdrs.LOCATION: PAGE})


def _load(name: str, content_type: str) -> _File:
    path = _STATIC / name if name else OPENAPI_FILE
    body = path.read_bytes()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return _File(
        body,
        {
            hdrs.CONTENT_TYPE: content_type,
            hdrs.ETAG: etag,
            hdrs.CACHE_CONTROL: "public, no-cache",
            hdrs.VARY: hdrs.ACCEPT_ENCODING,
            "Content-Security-Policy": _POLICY,
            "Referrer-Policy": "no-referrer",
        },
        etag,
    )
