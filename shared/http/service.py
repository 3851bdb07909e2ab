"""An application of the HTTP edge: its routes, and what is opened and closed with it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any, Final, cast

from aiohttp import hdrs, web
from aiohttp.web_urldispatcher import AbstractRoute

from shared.errors import PayloadTooLarge
from shared.http.edge import COMPLETE, Complete, Edge, check_body_size, naming
from shared.http.limits import Limits
from shared.http.responses import json_response
from shared.http.routes import Route, Routes
from shared.identity import IdentityVerifier
from shared.process import metrics
from shared.process.config import ServiceConfig
from shared.process.offload import OFFLOAD, Offload

Context = Callable[[web.Application], AsyncIterator[None]]
Ready = Callable[[web.Application], Awaitable[None]]

CONFIG: Final = web.AppKey("config", ServiceConfig)
READINESS: Final = web.AppKey("readiness", list[Ready])
"""Checks for `/readyz`: if one of them raises, the answer is 503."""
ROUTES: Final = web.AppKey("routes", list[Route])
LIMITS: Final = web.AppKey("limits", Limits)
NAME: Final = web.AppKey("name", str)
INTRODUCTION_PATH: Final = "/internal/service"
"""The path at which a service answers its name, for other services that check its address."""
INTERNAL: Final = "internal"
DRAINING: Final = web.AppKey("draining", asyncio.Event)
"""Set while the service stops: answers close their connections."""


def new_service(
    config: ServiceConfig,
    routes: Iterable[Routes],
    contexts: Iterable[Context] = (),
    probes: Iterable[Ready] = (),
    limits: Limits | None = None,
    name: str | None = None,
    complete: Complete | None = None,
) -> web.Application:
    """An application with these routes; contexts open from first to last, close from last to first.

    With a `name`, it answers that name at `INTRODUCTION_PATH`. `complete` adds to the headers of
    every answer.

    Run it on an `EdgeRunner` (`shared.launch` does): the time-outs live in its connections.
    """
    limits = limits or Limits(
        connections_max=config.connections_max, body_bytes_max=config.body_bytes_max
    )
    draining = asyncio.Event()
    tables = [*routes, *([] if name is None else [_introduction(name)])]
    edge = Edge(
        IdentityVerifier.parse(config.identity_keys),
        limits.body_bytes_max,
        draining,
        open_below=tuple(table.open_below for table in tables if table.open_below is not None),
    )
    all_routes = [route for table in tables for route in table.table]
    # A connection does not know the route of a body, so it takes the largest of all.
    largest = max([limits.body_bytes_max, *map(edge.body_bytes_max, all_routes)])
    app = web.Application(
        middlewares=[edge.middleware()],
        client_max_size=largest,
        # A gateway hands a compressed body on as it is; `read_body` bounds what comes out of it.
        handler_args={"auto_decompress": False},
    )
    app[CONFIG] = config
    app[LIMITS] = replace(limits, body_bytes_max=largest)
    app[DRAINING] = draining
    app[OFFLOAD] = Offload(config.wait_seconds)
    if name is not None:
        app[NAME] = name
    app[READINESS] = list(probes)
    app[ROUTES] = all_routes
    literals = [r.path for r in app[ROUTES] if "{" not in r.path and not r.internal]
    metrics.REQUESTS.untimed.update(route.path for route in app[ROUTES] if route.follows)
    for route in app[ROUTES]:
        for each in _added(app, route, edge.body_bytes_max(route), literals):
            edge.routes[each] = route
    if complete is not None:
        app[COMPLETE] = complete
    app.on_response_prepare.append(naming(complete))
    app.cleanup_ctx.extend(cast(Any, [metrics.loop_lag, *contexts]))
    return app


def _introduction(name: str) -> Routes:
    table = Routes(tag="")

    @table.get(INTRODUCTION_PATH, open=True, internal=True)
    async def introduce(_request: web.Request) -> web.StreamResponse:
        return json_response({"service": name, "port": "public"})

    return table


def _added(
    app: web.Application, route: Route, body_bytes_max: int, literals: Iterable[str]
) -> list[AbstractRoute]:
    async def meet_expectation(request: web.Request) -> None:
        bound = None if route.body_bound is None else route.body_bound(request)
        await _meet_expectation(request, min(bound or body_bytes_max, body_bytes_max))

    path = _beside(route.path, literals)
    methods = [route.method, hdrs.METH_HEAD] if route.method == hdrs.METH_GET else [route.method]
    return [
        app.router.add_route(method, path, route.handler, expect_handler=meet_expectation)
        for method in methods
    ]


def _beside(path: str, literals: Iterable[str]) -> str:
    """The path, with a last parameter that does not match the literal paths beside it.

    `/things/{id}` beside `/things/search`: a method that only `/things/{id}` has is not allowed for
    `/things/search`. Literal names cannot be ids, so this applies to paths for clients only.
    """
    *above, last = path.split("/")
    if not last.startswith("{") or ":" in last:
        return path
    names = [literal.rpartition("/")[2] for literal in literals if literal.split("/")[:-1] == above]
    if not names:
        return path
    others = "|".join(map(re.escape, names))
    return "/".join([*above, f"{{{last[1:-1]}:(?!(?:{others})$)[^{{}}/]+}}"])


async def _meet_expectation(request: web.Request, body_bytes_max: int) -> None:
    """Ask for the body with `100 Continue`, unless it is too large."""
    if request.headers[hdrs.EXPECT].lower() != "100-continue":
        raise web.HTTPExpectationFailed
    try:
        check_body_size(request, body_bytes_max)
    except PayloadTooLarge as error:
        # The connection answers this error with an envelope.
        raise web.HTTPRequestEntityTooLarge(body_bytes_max, text=error.message) from None
    if request.version >= (1, 1):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # This line is no part of the answer, which has not begun.
        request.writer.output_size = 0
