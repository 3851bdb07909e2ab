"""How many statements a request costs, and that each is about one workspace."""

from __future__ import annotations

from typing import Any

import pytest

from records_service.app import create_app
from records_service.config import Config
from shared.database.connection import PooledConnection
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Caller
from tests.kit.sql.recording import METHODS
from tests.kit.sql.rules import judged
from tests.service.records.apparel import NO_OTHER_SERVICES, apparel, create, everywhere


@pytest.fixture
async def service(services: Services) -> RunningService:
    return await services.start(create_app, Config, **NO_OTHER_SERVICES)


@pytest.fixture
async def admin(service: RunningService) -> Caller:
    return await apparel(service)


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """The statements from here on: the text, and the value of the parameter that binds it."""
    found: list[tuple[str, Any]] = []
    for name in METHODS:
        original = getattr(PooledConnection, name)

        def noting(
            self: Any, sql: str, *values: Any, _original: Any = original, **more: Any
        ) -> Any:
            number = judged(sql).workspace
            found.append((sql, None if number is None else values[number - 1]))
            return _original(self, sql, *values, **more)

        monkeypatch.setattr(PooledConnection, name, noting)
    return found


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
    executed.clear()
    (await admin.put("/records/ent-a", {"values": {"price": everywhere(1)}})).ok()
    assert [workspace for _, workspace in executed] == ["ws-test"] * 2
    assert "UPDATE records" in executed[1][0]
