"""Runs a service: two ports, one loop, and an end that lets nobody down.

On SIGTERM the readiness probe turns 503 at once, so that no new traffic is sent here; the public
port keeps accepting for `SIGMA_DRAIN_SECONDS`, because balancers take a moment to notice; then it
closes, what is in flight is finished, and the process exits.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import structlog
import uvloop
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from shared import logs
from shared.config import ConfigError, ServiceConfig, load
from shared.errors import ApiError, ServiceUnavailable
from shared.web import READINESS, error_response, json_response

Role = Literal["api", "worker", "all"]
ConfigT = TypeVar("ConfigT", bound=ServiceConfig)

FINISH_S = 30.0
KEEPALIVE_S = 75.0

DRAINING = web.AppKey("draining", asyncio.Event)

log = structlog.get_logger("launch")


def run(create_app: Callable[[Any, Role], web.Application], kind: type[ConfigT]) -> None:
    """`python -m <service> [--role api|worker|all]`; exits 2 when the configuration is wrong."""
    service = kind.__module__.split(".")[0]
    parser = argparse.ArgumentParser(prog=f"python -m {service}")
    parser.add_argument("--role", choices=["api", "worker", "all"], default="all")
    role: Role = parser.parse_args().role
    try:
        config = load(kind)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
    logs.start(config, service)
    uvloop.run(serve(create_app(config, role), config, role))


async def serve(app: web.Application, config: ServiceConfig, role: Role = "all") -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    runner = web.AppRunner(
        app, access_log=None, keepalive_timeout=KEEPALIVE_S, shutdown_timeout=FINISH_S
    )
    await runner.setup()
    probes = web.AppRunner(_probes(app, stop), access_log=None)
    await probes.setup()
    await web.TCPSite(probes, config.host, config.internal_port).start()
    if role != "worker":
        await web.TCPSite(runner, config.host, config.port, backlog=1024).start()
    log.info("serving", port=config.port, internal_port=config.internal_port, role=role)
    await stop.wait()
    log.info("draining", seconds=config.drain_seconds)
    await asyncio.sleep(config.drain_seconds)
    await runner.cleanup()
    await probes.cleanup()
    log.info("stopped")


def _probes(app: web.Application, stop: asyncio.Event) -> web.Application:
    async def healthz(_request: web.Request) -> web.Response:
        return json_response({"status": "ok"})

    async def readyz(request: web.Request) -> web.Response:
        try:
            if stop.is_set():
                raise ServiceUnavailable("Shutting down")
            for ready in app[READINESS]:
                await ready(app)
        except ApiError as error:
            return error_response(error, request)
        return json_response({"status": "ready"})

    async def scrape(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    probes = web.Application()
    probes.router.add_get("/healthz", healthz)
    probes.router.add_get("/readyz", readyz)
    probes.router.add_get("/metrics", scrape)
    return probes
