"""The real app of one service in the test's own process, on a database of its own.

A test acts as anybody through signed identities. By default the service runs with the role `api`:
nothing leaves its outbox, so a test can read there what would be told.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
from aiohttp import web

from shared import launch
from shared.database import DATABASE, Database
from shared.events import Event
from shared.identity import Identity
from shared.process.config import ServiceConfig, load
from tests.kit.citus import drop_triggers
from tests.kit.identities import Keyring
from tests.kit.servers import Servers
from tests.kit.sigma import Caller

PATIENCE_S = 30
NOBODY = "http://127.0.0.1:9"
NO_BROKER = "amqp://guest:guest@127.0.0.1:9/"


@dataclass(frozen=True, slots=True)
class RunningService:
    """A service that answers at `url`, its probes and metrics at `internal_url`."""

    serving: launch.Serving
    config: Any
    keyring: Keyring
    _session: aiohttp.ClientSession

    @property
    def app(self) -> web.Application:
        return self.serving.app

    @property
    def url(self) -> str:
        return self.serving.url

    @property
    def internal_url(self) -> str:
        return self.serving.internal_url

    @property
    def database(self) -> Database:
        """The service's own pool, to look at what it stored."""
        return self.app[DATABASE]

    def as_(self, identity: Identity) -> Caller:
        """A caller whom the gateway has found to be this."""
        return Caller(self._session, self.url, self.keyring.headers(identity))

    def as_service(self, name: str) -> Caller:
        """Another service, calling in its own name."""
        return Caller(self._session, self.url, self.keyring.service_headers(name))

    def stranger(self) -> Caller:
        """Somebody who did not come through the gateway."""
        return Caller(self._session, self.url)

    async def waits_for_a_lock(self) -> bool:
        """Whether a statement in the database of the service waits for a lock."""
        return bool(
            await self.database.fetchval(
                """SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND wait_event_type = 'Lock'"""
            )
        )

    async def staged(self) -> list[Event]:
        """What waits in the outbox, oldest first."""
        rows = await self.database.fetch("SELECT document::text AS news FROM outbox ORDER BY id")
        return [Event.from_json(row["news"].encode()) for row in rows]


class Services:
    """Starts services for one test, and stops them after it."""

    def __init__(self, servers: Servers, keyring: Keyring) -> None:
        self.servers = servers
        self.keyring = keyring
        self.secret_keys = f"test={base64.b64encode(secrets.token_bytes(32)).decode()}"
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.session = await self._exits.enter_async_context(aiohttp.ClientSession())
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._exits.aclose()

    async def database(self, service: str, *, triggers: bool = False) -> str:
        """The address of a migrated, empty database that is dropped after the test.

        Without the triggers that would be dropped on Citus, unless asked for: the code does without
        them. The databases of `stack` have them.
        """
        url = await self.servers.postgres.new_database(service)
        if not triggers:
            await drop_triggers(service, url)
        self._exits.push_async_callback(self.servers.postgres.drop_database, url)
        return url

    async def broker(self) -> str:
        """The address of an empty virtual host, for a service whose role is not `api`."""
        url = self.servers.rabbit.vhost()
        self._exits.callback(self.servers.rabbit.drop_vhost, url)
        return url

    async def start(
        self,
        create_app: Callable[[Any, Any], web.Application],
        config: type[ServiceConfig],
        role: launch.Role = "api",
        **settings: Any,
    ) -> RunningService:
        """The service that `create_app` puts together; `settings` are fields of its config.

        What is not given is filled in: a new database, no broker, services that cannot be
        reached. A second process of the service takes `database_url=first.config.database_url`.
        """
        service = config.__module__.split(".")[0]
        if "database_url" in config.model_fields and "database_url" not in settings:
            settings["database_url"] = await self.database(service)
        filled: dict[str, Any] = {
            "port": 0,
            "internal_port": 0,
            "amqp_url": NO_BROKER,
            "identity_keys": self.keyring.public,
            "drain_seconds": 0,
            "database_connections_max": 8,
            # On a busy machine a request may well have to wait for longer than in operation; a test
            # of the wait itself sets its own.
            "wait_seconds": PATIENCE_S,
            "secret_keys": self.secret_keys,
            "outbound_allow": "127.0.0.1",
        }
        filled |= dict.fromkeys(("auth_url", "records_url", "workflow_url"), NOBODY)
        if "identity_signing_key" in config.model_fields:
            filled["identity_signing_key"] = self.keyring.signing_key(service)
        known = {name: value for name, value in filled.items() if name in config.model_fields}
        loaded = load(config, **{**known, **settings})
        serving = await self._exits.enter_async_context(
            launch.serving(create_app(loaded, role), port=loaded.port, role=role)
        )
        return RunningService(serving, loaded, self.keyring, self.session)

    async def serve(self, app: web.Application) -> str:
        """Serve any app on a free port until the test ends: a service that the test plays."""
        # A handler that is still asleep has nobody to answer.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._exits.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{site.port}"
