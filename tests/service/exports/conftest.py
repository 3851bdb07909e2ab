"""A workspace in three services, a worker, and a receiver of files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

import workflow_service.app
import workflow_service.config
from shared.database import Database
from shared.identity import Flag
from tests.kit import identities
from tests.kit.direct import DirectServices, DirectWorkspace
from tests.kit.eventually import eventually
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Caller

LOCAL = "127.0.0.0/8"


@dataclass
class Receiver:
    """Takes files, and answers with `status`."""

    url: str = ""
    files: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    status: int = 200
    held: asyncio.Event | None = None
    """Until it is set, nothing is answered but at `/quick`."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_post("/{path:.*}", self._receive)
        return app

    async def _receive(self, request: web.Request) -> web.Response:
        file = await request.read()
        self.asked.set()
        if self.held is not None and request.path != "/quick":
            await self.held.wait()
        self.files.append(file)
        self.headers.append(dict(request.headers))
        return web.Response(status=self.status)


@dataclass
class Exports:
    """A workspace with records, and what its export jobs need."""

    services: Services
    direct: DirectServices
    workspace: DirectWorkspace
    receiver: Receiver

    @property
    def admin(self) -> Caller:
        return self.workspace.admin

    @property
    def workflow(self) -> RunningService:
        return self.direct.running["workflow_service"]

    @property
    def auth(self) -> Database:
        return self.direct.running["auth_service"].database

    @property
    def database(self) -> Database:
        return self.workflow.database

    def body(self, **more: Any) -> dict[str, Any]:
        """A job that goes to the receiver, and is due once in a year."""
        return {
            "name": "Everything",
            "destinationType": "webhook",
            "destinationConfig": {"url": self.receiver.url + "/in"},
            "format": "jsonl",
            "schedule": "0 0 1 1 *",
            **more,
        }

    async def job(self, caller: Caller | None = None, **more: Any) -> dict[str, Any]:
        made: dict[str, Any] = (
            await (caller or self.admin).post("/export-jobs", self.body(**more))
        ).ok()
        return made

    async def neighbour(self) -> Caller:
        """Another workspace, with a schema for a record."""
        workspace = await self.direct.workspace()
        await workspace.attribute("sku")
        await workspace.schema("x", ["sku"])
        return workspace.admin

    async def worker(self, **settings: Any) -> RunningService:
        """One more process of workflow_service that does the work in the background."""
        config = self.workflow.config
        return await self.services.start(
            workflow_service.app.create_app,
            workflow_service.config.Config,
            "worker",
            database_url=config.database_url,
            auth_url=str(config.auth_url),
            outbound_allow=LOCAL,
            **{"records_url": str(config.records_url), **settings},
        )

    async def runs(self, job_id: str) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = (await self.admin.get(f"/export-jobs/{job_id}/runs")).ok()
        return answer

    async def ended(self, job_id: str, number: int = 1) -> dict[str, Any]:
        """The newest run, when there are this many and none is running."""

        async def done() -> dict[str, Any] | None:
            runs = await self.runs(job_id)
            assert len(runs) == number, runs
            return None if runs[0]["status"] == "running" else runs[0]

        run = await eventually(done, within_s=60)
        assert run is not None
        return run

    async def run(self, job_id: str) -> dict[str, Any]:
        """Run the job by hand, and wait for its end."""
        before = len(await self.runs(job_id))
        (await self.admin.post(f"/export-jobs/{job_id}/runs")).ok()
        return await self.ended(job_id, before + 1)

    async def editor(self, role: str = "role-editor", user_id: str = "user-editor") -> Caller:
        """A user who exists in auth_service, with a role that may export."""
        await self.auth.execute(
            """INSERT INTO users (workspace_id, id, email, name, role_id, password_hash, active,
                                  quick_login, version, created_at, updated_at)
               VALUES ($1, $2, $2 || $1, $2, $3, 'none', true, false, 1, now(), now())""",
            self.workspace.id,
            user_id,
            role,
        )
        identity = identities.user(self.workspace.id, role, flags=[Flag.EXPORT], user_id=user_id)
        return self.direct.caller(identity)


@pytest.fixture
async def exports(services: Services) -> AsyncIterator[Exports]:
    direct = DirectServices(services)
    await direct.start(outbound_allow=LOCAL)
    receiver = Receiver()
    receiver.url = await services.serve(receiver.app())
    workspace = await direct.workspace()
    await workspace.attribute("sku")
    await workspace.attribute("cost", "number")
    await workspace.schema("x", ["sku", "cost"])
    for number in range(3):
        values = {
            "sku": [{"scope": {}, "value": f"S-{number}"}],
            "cost": [{"scope": {}, "value": 7}],
        }
        body = {"id": f"ent-{number}", "schemaId": "schema-x", "values": values}
        (await workspace.admin.post("/records", body)).ok()
    yield Exports(services, direct, workspace, receiver)
