"""One records_service with a real workflow_service beside it, and a workspace for each test.

Files that use these fixtures run in the loop of the services:
`pytestmark = pytest.mark.asyncio(loop_scope="module")`.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from records_service.app import create_app
from records_service.config import Config
from records_service.conversions import commands as conversions
from records_service.schema_walks import looking_back
from records_service.writes import settling
from shared.database.connection import PooledConnection
from tests.kit.identities import Keyring
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.servers import Servers
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Caller
from tests.kit.sql.recording import METHODS
from tests.kit.sql.rules import judged
from workflow_service.app import create_app as create_workflow_app
from workflow_service.clients import RECORDS
from workflow_service.config import Config as WorkflowConfig


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(
    servers: Servers, keyring: Keyring
) -> AsyncIterator[tuple[RunningService, RunningService]]:
    """records_service and workflow_service, the same for all tests of a file."""
    async with Services(servers, keyring) as services:
        workflows = await services.start(create_workflow_app, WorkflowConfig)
        records = await services.start(create_app, Config, workflow_url=workflows.url)
        # Each asks the other, and neither address is known before both are there.
        workflows.app[RECORDS]._base_url = records.url
        yield records, workflows


@pytest.fixture
def workspace(running: tuple[RunningService, RunningService]) -> RecordsWorkspace:
    """An empty workspace."""
    return RecordsWorkspace(*running, f"ws-{secrets.token_hex(4)}")


@pytest.fixture
def other_workspace(running: tuple[RunningService, RunningService]) -> RecordsWorkspace:
    """Another workspace in the same services."""
    return RecordsWorkspace(*running, f"ws-{secrets.token_hex(4)}")


@pytest.fixture
def admin(workspace: RecordsWorkspace) -> Caller:
    """An administrator of `workspace`."""
    return workspace.admin


@pytest.fixture
def conversions_in_small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two records in a slice of a conversion, also of those that were written meanwhile."""
    monkeypatch.setattr(conversions, "PREPARED_AT_ONCE", 2)
    monkeypatch.setattr(settling, "SETTLED_AT_ONCE", 2)
    monkeypatch.setattr(looking_back, "AT_ONCE", 2)
    monkeypatch.setattr(looking_back, "AT_THE_END", 1)


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """The statements from here on: the text, and the value of the parameter that binds it."""
    found: list[tuple[str, Any]] = []
    # What is planned with its arguments is prepared, but not each time.
    for name in {*METHODS, "fetch_planned"} - {"prepare"}:
        original = getattr(PooledConnection, name)

        def noting(
            self: Any, sql: str, *values: Any, _original: Any = original, **more: Any
        ) -> Any:
            number = judged(sql).workspace
            found.append((sql, values[number - 1] if number is not None and values else None))
            return _original(self, sql, *values, **more)

        monkeypatch.setattr(PooledConnection, name, noting)
    return found
