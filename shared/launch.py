"""Runs a service: a public and an internal port, one event loop, and a graceful shutdown.

On SIGTERM the readiness probe returns 503 at once, so that no new traffic is sent to this process.
The public port accepts requests for another `SIGMA_DRAIN_SECONDS`, because load balancers need a
moment to notice, and its answers close their connections. Then the port closes, requests in flight
are finished, and the process exits with 0. A second signal shortens the waiting time.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

import structlog
import uvloop
from aiohttp import web

from shared.http import DRAINING, LIMITS, EdgeRunner, Limits
from shared.http.probes import probes_of
from shared.process import logs, tracing
from shared.process.config import (
    PREFIX,
    ConfigError,
    DatabaseConfig,
    ServiceConfig,
    load,
    misspelled,
)
from shared.process.secret_files import file_variables
from shared.process.stopping import STOP_SIGNALS, exit_on_signal

Role = Literal["api", "worker", "all"]
ConfigT = TypeVar("ConfigT", bound=ServiceConfig)

FINISH_S_MAX: Final = 15.0
AUTH_SERVICE: Final = "auth_service"
"""The one whose program has administration commands besides."""

BACKLOG: Final = 1024
_PROBES = Limits(connections_max=256, body_bytes_max=1024)
_FILES_BESIDE_CLIENTS: Final = 512
_GC_THRESHOLDS: Final = (20_000, 20, 50)

log = structlog.get_logger("launch")


@dataclass(frozen=True, slots=True)
class Serving:
    """The addresses of a service; `port` is None if it serves no requests (`--role worker`)."""

    app: web.Application
    host: str
    port: int | None
    internal_port: int

    @property
    def url(self) -> str:
        """The address of the public port."""
        return f"http://{self.host}:{self.port}"

    @property
    def internal_url(self) -> str:
        """The address of the probes."""
        return f"http://{self.host}:{self.internal_port}"


def run(create_app: Callable[[Any, Role], web.Application], kind: type[ConfigT]) -> None:
    """`python -m <service> [--role api|worker|all]`; exits 2 when the configuration is wrong."""
    exit_on_signal()
    service = kind.__module__.split(".")[0]
    role: Role = parser(service, kind).parse_args().role
    try:
        config = load(kind)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
    logs.start(config, service)
    for variable, meant in misspelled(kind, os.environ):
        log.warning("unknown_variable", variable=variable, meant=meant)
    tracing.start(service)
    _allow_files(config.connections_max)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve_until_signal(create_app(config, role), config, role))
    except OSError as error:
        log.error("cannot_serve", error=str(error))  # noqa: TRY400 - the reason is the operator's
        raise SystemExit(1) from None
    except Exception:
        log.exception("cannot_serve")
        raise SystemExit(1) from None
    finally:
        tracing.stop()
        logs.stop()


def parser(service: str, kind: type[ServiceConfig]) -> argparse.ArgumentParser:
    """The arguments of a service."""
    from_files = ", ".join(file_variables(kind).values())

    def variables(*, required: bool) -> str:
        fields = kind.model_fields.items()
        return ", ".join(
            f"{PREFIX}{name.upper()}" for name, field in fields if field.is_required() is required
        )

    also = "" if service != AUTH_SERVICE else ", or manage workspaces and users: admin --help"
    made = argparse.ArgumentParser(
        prog=f"python -m {service}",
        description=f"Serve until SIGTERM{also}. The configuration comes from the environment;"
        " docs/operations.md describes each variable.",
        epilog=f"Required: {variables(required=True)}. Optional: {variables(required=False)}."
        f" Paths of files to read such a setting from, instead of it: {from_files}.",
    )
    # A process without a database has no events to carry: its role is accepted and means nothing.
    role_help = (
        "api: only serve requests; worker: only publish and consume events; all: both (default)"
        if issubclass(kind, DatabaseConfig)
        else argparse.SUPPRESS
    )
    made.add_argument("--role", choices=["api", "worker", "all"], default="all", help=role_help)
    return made


@asynccontextmanager
async def serving(
    app: web.Application,
    host: str = "127.0.0.1",
    port: int = 0,
    internal_port: int = 0,
    role: Role = "all",
    *,
    reuse_port: bool = False,
) -> AsyncIterator[Serving]:
    """Serve until the block ends, then finish what is in flight.

    With `reuse_port`, other processes may listen on the same port for requests.
    """
    runner = EdgeRunner(app, app[LIMITS], shutdown_timeout=FINISH_S_MAX)
    probes = EdgeRunner(probes_of(app), _PROBES, shutdown_timeout=1.0)
    try:
        await runner.setup()
        await probes.setup()
        outside: web.TCPSite | None = None
        # First, so that it is not ready before requests have a port.
        if role != "worker":
            outside = web.TCPSite(runner, host, port, backlog=BACKLOG, reuse_port=reuse_port)
            await _listen(outside, "PORT")
        inside = web.TCPSite(probes, host, internal_port)
        await _listen(inside, "INTERNAL_PORT")
        yield Serving(app, host, outside.port if outside else None, inside.port)
    finally:
        await runner.cleanup()
        await probes.cleanup()


async def _listen(site: web.TCPSite, setting: str) -> None:
    try:
        await site.start()
    except OSError as error:
        variables = f"{PREFIX}HOST and {PREFIX}{setting}"
        raise OSError(f"cannot listen where {variables} say: {error.strerror}") from error


async def _serve_until_signal(app: web.Application, config: ServiceConfig, role: Role) -> None:
    stopping, hurrying = app[DRAINING], asyncio.Event()

    def stop() -> None:
        (hurrying if stopping.is_set() else stopping).set()

    loop = asyncio.get_running_loop()
    for name in STOP_SIGNALS:
        # Not the event loop's own handlers: removing those makes the signal fatal for a moment.
        signal.signal(name, lambda *_: loop.call_soon_threadsafe(stop))
    places = config.host, config.port, config.internal_port
    async with serving(app, *places, role, reuse_port=config.reuse_port) as served:
        _settle_memory()
        log.info("serving", port=served.port, internal_port=served.internal_port, role=role)
        await stopping.wait()
        log.info("draining", seconds=config.drain_seconds)
        with suppress(TimeoutError):
            async with asyncio.timeout(config.drain_seconds):
                await hurrying.wait()
    log.info("stopped")
    for name in STOP_SIGNALS:
        # A signal at this point would turn a clean exit into a failure.
        signal.signal(name, signal.SIG_IGN)


def _settle_memory() -> None:
    """Exclude the objects created during start from garbage collection; they stay for ever."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def _allow_files(connections_max: int) -> None:
    """Each connection is an open file, and the usual soft limit of 1,024 is below our own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections_max + _FILES_BESIDE_CLIENTS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
