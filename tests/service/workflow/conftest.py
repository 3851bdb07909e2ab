"""The services that workflow_service asks, and a workflow to send."""

from __future__ import annotations

import pytest

from tests.kit import identities
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Caller
from tests.service.workflow.neighbours import Clients
from workflow_service.app import create_app
from workflow_service.config import Config


@pytest.fixture
def neighbours() -> Clients:
    return Clients()


@pytest.fixture
async def service(services: Services, neighbours: Clients) -> RunningService:
    url = await services.serve(neighbours.app())
    return await services.start(create_app, Config, auth_url=url, records_url=url)


@pytest.fixture
def admin(service: RunningService) -> Caller:
    return service.as_(identities.admin())
