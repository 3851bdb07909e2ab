"""A service that hangs while others hold a connection for it takes only a few of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from records_service.app import create_app as create_records
from records_service.config import Config as RecordsConfig
from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Answer, error
from tests.kit.workspace import workflow_body
from workflow_service.app import create_app as create_workflows
from workflow_service.config import Config as WorkflowsConfig

CONNECTIONS = 8
WORKSPACES = [f"ws-{number}" for number in range(2 * CONNECTIONS)]

Save = Callable[[str], Awaitable[Answer]]


class Hanging:
    """Any service, which answers nothing until it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.go_on = asyncio.Event()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._hang)
        return app

    async def _hang(self, request: web.Request) -> web.Response:
        if request.path == "/internal/service":
            raise web.HTTPNotFound
        self.asked += 1
        await self.go_on.wait()
        told = {"error": "SERVICE_UNAVAILABLE", "message": "Service unavailable"}
        return web.json_response(told, status=503)


@pytest.fixture
async def hanging() -> AsyncIterator[Hanging]:
    service = Hanging()
    yield service
    service.go_on.set()


async def check(service: RunningService, hanging: Hanging, save: Save, others: Save) -> None:
    """Twice as many saves as there are connections hang or are refused; others are served."""
    saves = [asyncio.ensure_future(save(workspace)) for workspace in WORKSPACES]
    await eventually(lambda: hanging.asked > 0 and any(each.done() for each in saves))
    assert service.database.connections["lent"] <= CONNECTIONS // 4
    # In the workspace of a save that hangs, other changes of the model wait for their turn.
    free = [workspace for workspace, each in zip(WORKSPACES, saves, strict=True) if each.done()]
    answers = await asyncio.gather(*(others(workspace) for workspace in free[:4]))
    assert [answer.status for answer in answers] == [201] * 4
    hanging.go_on.set()
    unavailable = error(503, "SERVICE_UNAVAILABLE", "Service unavailable")
    assert [answer.outcome for answer in await asyncio.gather(*saves)] == [unavailable] * len(saves)


async def test_schemas_that_wait_for_workflow_service_leave_connections_to_others(
    services: Services, hanging: Hanging
):
    records = await services.start(
        create_records,
        RecordsConfig,
        workflow_url=await services.serve(hanging.app()),
        database_connections_max=CONNECTIONS,
        wait_seconds=2,
    )

    async def post(workspace: str, path: str, **body: Any) -> Answer:
        named = {"alias": "a", "name": "A", **body}
        return await records.as_(identities.admin(workspace)).post(path, named)

    await check(
        records,
        hanging,
        lambda one: post(
            one, "/schemas", workflowId="wf-a", variantEnabled=False, attributeGroups=[]
        ),
        lambda one: post(one, "/attributes", type="text"),
    )


async def test_workflows_that_wait_for_auth_service_leave_connections_to_others(
    services: Services, hanging: Hanging
):
    workflows = await services.start(
        create_workflows,
        WorkflowsConfig,
        auth_url=await services.serve(hanging.app()),
        database_connections_max=CONNECTIONS,
        wait_seconds=2,
    )

    async def post(workspace: str, *steps: Any) -> Answer:
        body = workflow_body(f"life-{len(steps)}", ("draft", "live"), [("draft", "live")])
        body["transitions"][0]["allowedRoleIds"] = list(steps)
        return await workflows.as_(identities.admin(workspace)).post("/workflows", body)

    await check(workflows, hanging, lambda one: post(one, "role-x"), post)
