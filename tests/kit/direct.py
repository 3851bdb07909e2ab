"""The three services with data in the test's process, without a gateway before them.

What the gateway would refuse reaches the service here, so its own checks are seen; and a request
takes a few milliseconds.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import auth_service.app
import auth_service.config
import records_service.app
import records_service.config
import workflow_service.app
import workflow_service.config
from auth_service.users import store as users
from auth_service.users.model import User
from auth_service.workspaces import commands as workspaces
from deploy.local.private_server import free_port
from shared.identity import Flag, Identity, Permission
from tests.kit import identities
from tests.kit.described import OPERATIONS
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Answer, Caller
from tests.kit.workspace import ModelBuilder

TOKEN_KEYS = "test=" + "QUFB" * 11 + "QQ=="
RECORD_LIMIT = 10_000
_SERVICE_OF = {one.path.split("/")[3]: one.service for one in OPERATIONS if one.path.count("/") > 2}
_CREATORS = (
    ("auth_service", auth_service.app.create_app, auth_service.config.Config),
    ("records_service", records_service.app.create_app, records_service.config.Config),
    ("workflow_service", workflow_service.app.create_app, workflow_service.config.Config),
)


class DirectCaller(Caller):
    """One identity at all services: a path of the public API goes to the service that has it."""

    def __init__(self, services: DirectServices, headers: dict[str, str]) -> None:
        super().__init__(services.session, "", headers)
        self._services = services

    def having(self, headers: Mapping[str, str]) -> Caller:
        return DirectCaller(self._services, {**self.headers, **headers})

    async def ask(self, method: str, path: str, *body: Any, **more: Any) -> Answer:
        words = path.removeprefix("/api/v1").split("?")[0].split("/")
        there = self.at(self._services.running[_SERVICE_OF[words[1]]].url)
        return await there.ask(method, path, *body, **more)


class DirectServices:
    """Three running services, which ask each other."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.session = services.session
        self.running: dict[str, RunningService] = {}

    async def start(self, **more: Any) -> None:
        """`more` are settings, for every service that has them."""
        # Not one that the kernel may lend to a connection before the service listens there.
        ports = [free_port() for _ in _CREATORS]
        urls = {
            f"{name.removesuffix('_service')}_url": f"http://127.0.0.1:{port}"
            for (name, _, _), port in zip(_CREATORS, ports, strict=True)
        }
        for (name, create_app, config), port in zip(_CREATORS, ports, strict=True):
            settings: dict[str, Any] = {n: u for n, u in urls.items() if n in config.model_fields}
            settings |= {n: value for n, value in more.items() if n in config.model_fields}
            if "token_keys" in config.model_fields:
                settings["token_keys"] = TOKEN_KEYS
            if "outbound_allow" in config.model_fields:
                settings["outbound_allow"] = "127.0.0.1"
            self.running[name] = await self._services.start(
                create_app, config, port=port, **settings
            )

    async def background(self) -> dict[str, RunningService]:
        """One more process of records_service and of workflow_service, for what they do later."""
        broker, started = await self._services.broker(), {}
        for name, create_app, config in _CREATORS[1:]:
            running = self.running[name].config
            urls = {
                n for n in config.model_fields if n in ("auth_url", "records_url", "workflow_url")
            }
            settings = {each: str(getattr(running, each)) for each in urls}
            settings |= {"database_url": running.database_url, "amqp_url": broker}
            started[name] = await self._services.start(create_app, config, "worker", **settings)
        return started

    def caller(self, identity: Identity) -> DirectCaller:
        return DirectCaller(self, self._services.keyring.headers(identity))

    def stranger(self) -> DirectCaller:
        """Without an identity."""
        return DirectCaller(self, {})

    async def workspace(self) -> DirectWorkspace:
        """A new workspace, with nothing in it but the built-in role and its administrator."""
        name = f"ws-{secrets.token_hex(4)}"
        auth = self.running["auth_service"].database
        await workspaces.create(auth, name, "Test", RECORD_LIMIT)
        at = datetime.now(UTC)
        admin = User(
            workspace_id=name,
            id="user-admin",
            email=f"admin@{name}.example",
            name="Administrator",
            role_id="role-admin",
            active=True,
            quick_login=False,
            version=1,
            created_at=at,
            updated_at=at,
        )
        async with auth.acquire() as conn:
            await users.insert(conn, admin, "no password")
        return DirectWorkspace(self, name)


@dataclass(frozen=True)
class DirectWorkspace(ModelBuilder):
    """A workspace, and everybody who may be somebody in it."""

    services: DirectServices
    id: str

    @property
    def admin(self) -> Caller:
        return self.services.caller(identities.admin(self.id))

    @property
    def records_database(self) -> str:
        """The URL of the database of records_service."""
        return self.services.running["records_service"].database.url

    @property
    def workflow_database(self) -> str:
        """The URL of the database of workflow_service."""
        return self.services.running["workflow_service"].database.url

    def user(self, role: str, flags: Iterable[Flag] = ()) -> Caller:
        return self.services.caller(identities.user(self.id, role, flags=flags))

    def api_key(self, permissions: Iterable[str] = tuple(Permission)) -> Caller:
        return self.services.caller(identities.api_key(self.id, permissions))
