"""How many statements a request costs, and that each is about one workspace."""

from __future__ import annotations

from typing import Any

import pytest

from records_service.app import create_app
from records_service.config import Config
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Caller
from tests.service.records.apparel import NO_OTHER_SERVICES, apparel, create, everywhere


@pytest.fixture
async def service(services: Services) -> RunningService:
    return await services.start(create_app, Config, **NO_OTHER_SERVICES)


@pytest.fixture
async def admin(service: RunningService) -> Caller:
    return await apparel(service)


async def test_reading_a_record_is_one_statement_about_its_workspace(
    admin: Caller, executed: list[tuple[str, Any]]
):
    await create(admin, "ent-a", sku="AB-101")
    (await admin.get("/records/ent-a")).ok()
    executed.clear()
    (await admin.get("/records/ent-a")).ok()
    assert [workspace for _, workspace in executed] == ["ws-test"]


async def test_a_write_of_a_record_is_one_statement_beside_the_read(
    admin: Caller, executed: list[tuple[str, Any]]
):
    await create(admin, "ent-a", sku="AB-101")
    # The first price of all is marked by a statement of its own (docs/adr/0075).
    (await admin.put("/records/ent-a", {"values": {"price": everywhere(0)}})).ok()
    executed.clear()
    (await admin.put("/records/ent-a", {"values": {"price": everywhere(1)}})).ok()
    assert [workspace for _, workspace in executed] == ["ws-test"] * 2
    assert "UPDATE records" in executed[1][0]
