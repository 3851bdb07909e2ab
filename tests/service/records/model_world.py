"""One records_service with a real workflow_service beside it, and a workspace for each test.

Not a test file: `test_model_*.py` take its fixtures by importing them, and run in its loop:
`pytestmark = pytest.mark.asyncio(loop_scope="module")`.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from records_service.app import create_app
from records_service.config import Config
from records_service.permissions import store as roles
from shared.database import Database
from shared.events import Event
from shared.identity import ALL_PERMISSIONS, Flag, Identity
from tests.kit import identities
from tests.kit.identities import Keyring
from tests.kit.servers import Servers
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Answer, Caller
from workflow_service.app import create_app as create_workflow_app
from workflow_service.clients import RECORDS
from workflow_service.config import Config as WorkflowConfig


@dataclass(frozen=True)
class World:
    """A workspace of one test's own, in services that other tests use too."""

    records: RunningService
    workflows: RunningService
    workspace: str

    @property
    def admin(self) -> Caller:
        return self.records.as_(identities.admin(self.workspace))

    @property
    def workflow_admin(self) -> Caller:
        return self.workflows.as_(identities.admin(self.workspace))

    @property
    def database(self) -> Database:
        return self.records.database

    def user(self, *flags: Flag) -> Caller:
        return self.records.as_(identities.user(self.workspace, flags=flags))

    async def role(
        self, words: dict[str, dict[str, str]], *flags: Flag, name: str = "role-held"
    ) -> Caller:
        """A user whose role says this, as auth_service would tell it: schema -> attribute -> word.

        Said again, it is the next version of the role.
        """
        async with self.database.acquire() as conn:
            known = await roles.find(conn, self.workspace, name)
            version = 1 if known is None else known["version"] + 1
            document = {
                "id": name,
                "version": version,
                "schemaPermissions": [
                    {"schemaId": schema_id, "attributePermissions": by_attribute}
                    for schema_id, by_attribute in words.items()
                ],
            }
            await roles.keep(conn, self.workspace, name, version, document)
        return self.records.as_(
            identities.user(self.workspace, name, flags=flags, role_version=version)
        )

    def api_key(self, *permissions: str) -> Caller:
        return self.records.as_(
            identities.api_key(self.workspace, permissions=permissions or ALL_PERMISSIONS)
        )

    def as_(self, identity: Identity) -> Caller:
        return self.records.as_(identity)

    async def staged(self) -> list[Event]:
        """What waits in this workspace's outbox, oldest first."""
        return [e for e in await self.records.staged() if e.workspace_id == self.workspace]

    async def fetch(self, query: str) -> list[dict[str, Any]]:
        """Rows of this workspace, which is $1."""
        return [dict(row) for row in await self.database.fetch(query, self.workspace)]

    async def attribute(self, alias: str, kind: str = "text", **more: Any) -> dict[str, Any]:
        body = {"id": f"attr-{alias}", "alias": alias, "name": alias, "type": kind, **more}
        created: dict[str, Any] = (await self.admin.post("/attributes", body)).ok()
        return created

    async def schema(self, alias: str, aliases: Iterable[str], **more: Any) -> dict[str, Any]:
        created: dict[str, Any] = (
            await self.admin.post("/schemas", schema(alias, aliases, **more))
        ).ok()
        return created

    async def record(self, schema_alias: str, **values: Any) -> Answer:
        """Values for everywhere."""
        body = {
            "schemaId": f"schema-{schema_alias}",
            "values": {alias: [{"scope": {}, "value": value}] for alias, value in values.items()},
        }
        return await self.admin.post("/records", body)


def schema(alias: str, aliases: Iterable[str], **more: Any) -> dict[str, Any]:
    group = {"id": "grp-all", "name": "All", "attributeIds": [f"attr-{a}" for a in aliases]}
    return {
        "id": f"schema-{alias}",
        "alias": alias,
        "name": alias,
        "variantEnabled": False,
        "attributeGroups": [group],
        **more,
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(
    servers: Servers, keyring: Keyring
) -> AsyncIterator[tuple[RunningService, RunningService]]:
    async with Services(servers, keyring) as services:
        workflows = await services.start(create_workflow_app, WorkflowConfig)
        records = await services.start(create_app, Config, workflow_url=workflows.url)
        # Each asks the other, and neither address is known before both are there.
        workflows.app[RECORDS]._base_url = records.url
        yield records, workflows


@pytest.fixture
def world(running: tuple[RunningService, RunningService]) -> World:
    return World(*running, f"ws-{secrets.token_hex(4)}")


@pytest.fixture
def other_world(running: tuple[RunningService, RunningService]) -> World:
    return World(*running, f"ws-{secrets.token_hex(4)}")


@pytest.fixture
def admin(world: World) -> Caller:
    return world.admin
