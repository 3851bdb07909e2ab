"""records_service on a restored database: tokens, tags and copies from before, and who is told."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from records_service.app import create_app
from records_service.config import Config
from records_service.feed.tokens import position
from shared.database import restored
from tests.kit.identities import Keyring
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.servers import Servers
from tests.kit.service import Services
from tests.kit.sigma import Caller
from tests.kit.workspace import entries
from tests.service.records.feeds import Mirror, changes, now
from tests.service.shelf.test_incarnations import copied
from workflow_service.app import create_app as create_workflow_app
from workflow_service.clients import RECORDS
from workflow_service.config import Config as WorkflowConfig


class Installation:
    """records_service on one database after another, beside one workflow_service."""

    def __init__(self, servers: Servers, keyring: Keyring, workflow_url: str) -> None:
        self._servers, self._keyring, self._workflow_url = servers, keyring, workflow_url
        self._workspace_id = f"ws-{secrets.token_hex(4)}"

    @asynccontextmanager
    async def on(self, url: str) -> AsyncIterator[RecordsWorkspace]:
        """It runs on this database, and places events in the feed, until the block ends."""
        async with Services(self._servers, self._keyring) as services:
            workflows = await services.start(
                create_workflow_app, WorkflowConfig, database_url=self._workflow_url
            )
            records = await services.start(
                create_app, Config, "all", database_url=url, workflow_url=workflows.url
            )
            workflows.app[RECORDS]._base_url = records.url
            yield RecordsWorkspace(records, workflows, self._workspace_id)


@pytest.fixture
async def installation(servers: Servers, keyring: Keyring) -> Installation:
    return Installation(servers, keyring, await servers.postgres.new_database("workflow_service"))


async def told(url: str) -> list[str]:
    lines: list[str] = []
    await restored.restored("records_service", url, lines.append)
    return lines


async def is_gone(caller: Caller, token: str) -> bool:
    """Whether the token is of a time that has been undone."""
    answer = await caller.get(f"/changes?after={token}")
    if answer.status == 410:
        assert answer.body["message"].startswith("The database was restored to a moment before")
    return answer.status == 410


async def test_followers_and_tags_from_after_the_backup_are_told(
    servers: Servers, installation: Installation
):
    url = await servers.postgres.new_database("records_service")
    async with installation.on(url) as workspace:
        await workspace.attribute("cost", "number")
        await workspace.schema("x", ["cost"])
        await workspace.record("schema-x", {"cost": 1}, id="r")
        kept = await now(workspace)
    backup = await copied(servers, url)
    async with installation.on(url) as workspace:
        admin = workspace.admin
        (await admin.put("/records/r", {"values": entries({"cost": 2})})).ok()
        lost_tag = (await admin.get("/records/r")).headers["ETag"]
        await workspace.record("schema-x", {"cost": 7}, id="lost")
        lost = await now(workspace)
        ahead = await Mirror.of(admin)
    assert lost_tag == '"2"'

    said = await told(backup)
    assert "workspaces that are told of it (records.restored): 1" in said
    async with installation.on(backup) as workspace:
        admin = workspace.admin
        # Nothing was written yet, and then as much as was lost.
        assert await is_gone(admin, lost)
        (await admin.put("/records/r", {"values": entries({"cost": 3})})).ok()
        for number in range(3):
            await workspace.record("schema-x", {"cost": number}, id=f"new-{number}")
        await now(workspace)
        assert await is_gone(admin, lost)
        assert await is_gone(admin, ahead.token)

        # Whoever had not read what was lost goes on, and is told as well.
        events = await changes(admin, kept, 5)
        (event,) = [each for each in events if each["type"] == "records.restored"]
        assert event["subject"] == workspace.id
        assert event["data"]["keptUntil"] < event["data"]["restoredAt"] == event["time"]
        created = [each["subject"] for each in events if each["type"] == "entity.created"]
        assert sorted(created) == ["new-0", "new-1", "new-2"]

        # Version 2 has other content now.
        answer = await admin.get("/records/r")
        assert answer.ok()["version"] == 2
        tag = answer.headers["ETag"]
        assert tag.startswith('"2-')
        body = {"values": entries({"cost": 9})}
        refused = await admin.put("/records/r", body, headers={"If-Match": lost_tag})
        assert refused.status == 412
        assert "before the database was restored" in refused.body["message"]
        assert (await admin.get("/records/r", headers={"If-None-Match": lost_tag})).status == 200
        assert (await admin.get("/records/r", headers={"If-None-Match": tag})).status == 304
        (await admin.put("/records/r", body, headers={"If-Match": tag})).ok()

        # What 410 says to do is enough.
        copy = await Mirror.of(admin)
        assert set(copy.items) == {"r", "new-0", "new-1", "new-2"}


async def test_a_webhook_goes_on_with_what_there_is(servers: Servers, installation: Installation):
    url = await servers.postgres.new_database("records_service")
    async with installation.on(url) as workspace:
        await workspace.attribute("cost", "number")
        await workspace.schema("x", ["cost"])
        kept = position(workspace.id, await now(workspace), "after")
    backup = await copied(servers, url)
    async with installation.on(url) as workspace:
        await workspace.record("schema-x", {"cost": 1}, id="lost")
        lost = position(workspace.id, await now(workspace), "after")
    await told(backup)
    async with installation.on(backup) as workspace:
        await workspace.record("schema-x", {"cost": 1}, id="new")
        await now(workspace)
        asked = {"after": lost, "limit": 10}
        page: dict[str, Any] = (await workspace.admin.post("/internal/changes/page", asked)).ok()
        assert page["lost"]
        assert [each["type"] for each in page["events"]] == ["records.restored", "entity.created"]
        assert page["position"] > lost > kept


async def test_copies_of_others_are_doubted(servers: Servers, installation: Installation):
    url = await servers.postgres.new_database("records_service")
    async with installation.on(url) as workspace:
        await workspace.attribute("cost", "number")
        flow = await workspace.workflow()
        await workspace.schema("x", ["cost"], flow["id"])
    conn = await asyncpg.connect(url)
    try:
        await conn.execute(
            """INSERT INTO callers (workspace_id, kind, id, version, active)
               VALUES ('ws', 'user', 'user-ann', 9, false)"""
        )
        await conn.execute("INSERT INTO roles VALUES ('ws', 'role-x', 9, '{}')")
        await conn.execute(
            """INSERT INTO jobs (workspace_id, kind, key, turn, requests, lost_at)
               VALUES ('ws', 'convert', 'k', 1, 1, now() + interval '1 hour')"""
        )
        await told(url)
        assert await conn.fetchval("SELECT count(*) FROM roles") == 0
        assert await conn.fetchval("SELECT max(version) FROM callers") == 0
        assert await conn.fetchval("SELECT max(version) FROM lifecycles") == 0
        assert await conn.fetchval("SELECT bool_and(lost_at <= now()) FROM jobs")
    finally:
        await conn.close()
