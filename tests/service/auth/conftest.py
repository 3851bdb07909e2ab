"""Services that auth_service asks about roles, and roles to ask about."""

from __future__ import annotations

from typing import Any

import pytest

from auth_service.app import create_app
from auth_service.config import Config
from auth_service.workspaces import commands as workspaces
from tests.kit.service import RunningService, Services
from tests.service.auth.other_services import (
    TOKEN_KEYS,
    WS,
    Records,
    Start,
    Workflows,
)


@pytest.fixture
def start(services: Services) -> Start:
    async def started(**settings: Any) -> RunningService:
        auth = await services.start(create_app, Config, token_keys=TOKEN_KEYS, **settings)
        if "database_url" not in settings:
            for workspace_id in (WS, "ws-other"):
                await workspaces.create(auth.database, workspace_id, "Test", 500)
            await auth.database.execute("DELETE FROM outbox")
        return auth

    return started


@pytest.fixture
def workflows() -> Workflows:
    return Workflows()


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
async def auth(
    start: Start, services: Services, records: Records, workflows: Workflows
) -> RunningService:
    return await start(
        records_url=await services.serve(records.app()),
        workflow_url=await services.serve(workflows.app()),
    )
