"""The pool of a process: `app[DATABASE]`, and its connections as metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final

from aiohttp import web
from prometheus_client import Gauge

from shared.database.pool import Database
from shared.process.config import DatabaseConfig

POOL_CONNECTIONS = Gauge(
    "sigma_postgres_pool_connections", "Database connections, by state", ["state"]
)

DATABASE: Final = web.AppKey("database", Database)


def postgres(
    config: DatabaseConfig, *, application_name: str = "sigma"
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Provide `app[DATABASE]` while the service runs.

    A service starts without its database: it answers 503 until the database is available.
    `shared.database.schema_version` decides whether it is ready.
    """

    async def opened(app: web.Application) -> AsyncIterator[None]:
        database = Database(
            config.database_url.get_secret_value(),
            connections_max=config.database_connections_max,
            acquire_wait_s=config.wait_seconds,
            application_name=application_name,
        )
        app[DATABASE] = database
        for state in ("lent", "idle", "waiting"):
            POOL_CONNECTIONS.labels(state).set_function(_counted(database, state))
        yield
        await database.close()

    return opened


def _counted(database: Database, state: str) -> Callable[[], float]:
    return lambda: database.connections[state]
