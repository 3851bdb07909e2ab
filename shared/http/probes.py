"""The application on the internal port: whether it lives, whether it serves, what it measures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from shared.errors import ApiError, ServiceUnavailable
from shared.http import DRAINING, INTERNAL, INTRODUCTION_PATH, NAME, READINESS
from shared.http.edge import to_api_error
from shared.http.responses import error_response, json_response

READY_WITHIN_S: Final = 3.0

log = structlog.get_logger("probes")


def probes_of(app: web.Application) -> web.Application:
    """`/healthz`, `/readyz` and `/metrics` of this application, without credentials."""

    async def healthz(_request: web.Request) -> web.StreamResponse:
        """It answers, so it lives: a dependency that is away is no reason to restart."""
        return json_response({"status": "ok"})

    async def readyz(request: web.Request) -> web.StreamResponse:
        try:
            await check_ready(app)
        except ApiError as error:
            return error_response(error, request)
        return json_response({"status": "ready"})

    async def scrape(_request: web.Request) -> web.StreamResponse:
        # Gauges look at the loop's own objects when they are read, so this stays on the loop.
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def introduce(_request: web.Request) -> web.StreamResponse:
        return json_response({"service": app[NAME], "port": INTERNAL})

    internal = web.Application(middlewares=[_answer_errors], client_max_size=1024)
    internal.router.add_get("/healthz", healthz)
    internal.router.add_get("/readyz", readyz)
    internal.router.add_get("/metrics", scrape)
    if NAME in app:
        internal.router.add_get(INTRODUCTION_PATH, introduce)
    return internal


async def check_ready(app: web.Application) -> None:
    """Raise `ServiceUnavailable` while it stops, and when something that it needs is away."""
    if app[DRAINING].is_set():
        raise ServiceUnavailable("Shutting down")
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            for ready in app[READINESS]:
                await ready(app)
    except ApiError:
        raise
    except Exception as error:
        log.warning("not_ready", error=repr(error))
        raise ServiceUnavailable from error


@web.middleware
async def _answer_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        return error_response(to_api_error(error, request, request.client_max_size), request)
