"""The services that workflow_service asks, and a workflow to send."""

from __future__ import annotations

import pytest

from tests.kit import identities
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Caller
from tests.service.workflow.other_services import OtherServices
from workflow_service.app import create_app
from workflow_service.config import Config


@pytest.fixture
def other_services() -> OtherServices:
    return OtherServices()


@pytest.fixture
async def service(services: Services, other_services: OtherServices) -> RunningService:
    url = await services.serve(other_services.app())
    return await services.start(create_app, Config, auth_url=url, records_url=url)


@pytest.fixture
def admin(service: RunningService) -> Caller:
    return service.as_(identities.admin())
