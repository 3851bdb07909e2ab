"""A service on a database that is not as its code needs it: one line, not ready, and no traces."""

from __future__ import annotations

import asyncio
import importlib
import json
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import pytest

from deploy.local.settings import AUTH, DATABASES
from records_service.app import create_app
from records_service.config import Config
from shared.database import Database, migrations, schema_version
from shared.database.connection import PooledConnection
from shared.messaging.relay import RELAY
from tests.kit import identities
from tests.kit.eventually import always, eventually
from tests.kit.service import RunningService, Services

MISSING = "migrations missing: run python -m shared.database.migrations records_service"


async def readiness(services: Services, service: RunningService) -> tuple[int, str]:
    async with services.session.get(f"{service.internal_url}/readyz") as answer:
        told = json.loads(await answer.read())
        return answer.status, told.get("message", "")


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(schema_version, "LOOK_AGAIN_S", 0.05)


async def test_a_database_without_migrations_is_told_in_one_line_until_they_are_applied(
    services: Services, database_url: str, capsys: pytest.CaptureFixture[str]
):
    service = await services.start(
        create_app,
        Config,
        role="all",
        database_url=database_url,
        amqp_url=await services.broker(),
    )
    status, told = await readiness(services, service)
    assert status == 503
    assert told.startswith(MISSING)
    answer = await service.as_(identities.admin()).get("/records")
    assert answer.status == 503
    await always(lambda: not service.app[RELAY].leads, 1)
    said = capsys.readouterr().out
    assert said.count("migrations missing") == 1
    assert "Traceback" not in said
    assert "UndefinedTable" not in said

    await migrations.apply("records_service", database_url)
    await eventually(lambda: service.app[RELAY].leads)
    assert await readiness(services, service) == (200, "")
    assert (await service.as_(identities.admin()).get("/records")).status == 200
    assert "database_usable" in capsys.readouterr().out


async def test_an_address_that_leads_to_no_database_is_told_with_the_reason(services: Services):
    url = await services.database("records_service")
    parts = urlsplit(url)
    wrong = {
        'database "none" does not exist': parts._replace(path="/none"),
        "Connect call failed": parts._replace(netloc="sigma:very-secret@127.0.0.1:1"),
        'role "nobody" does not exist': parts._replace(netloc=f"nobody@127.0.0.1:{parts.port}"),
    }
    for reason, address in wrong.items():
        service = await services.start(create_app, Config, database_url=urlunsplit(address))
        status, told = await readiness(services, service)
        assert status == 503
        assert told.startswith("the database does not answer (")
        assert reason in told or "authentication failed" in told
        assert told.endswith("is SIGMA_DATABASE_URL right?")
        assert "secret" not in told


@pytest.mark.parametrize("service_name", DATABASES)
async def test_new_code_is_not_ready_on_the_schema_of_the_version_before(
    services: Services, service_name: str
):
    """A process that starts before the migrations takes no traffic until they are applied."""
    app = importlib.import_module(f"{service_name}.app")
    config = importlib.import_module(f"{service_name}.config")
    more = {"token_keys": f"test={'A' * 43}="} if service_name == AUTH else {}
    service = await services.start(app.create_app, config.Config, **more)
    *_, before, head = schema_version.known_revisions(service_name)
    await service.database.execute("UPDATE alembic_version SET version_num = $1", before)
    status, told = await readiness(services, service)
    assert status == 503
    assert told.startswith(
        f"migrations missing: run python -m shared.database.migrations {service_name}"
    )
    assert f"revision {before}" in told
    assert head in told
    await service.database.execute("UPDATE alembic_version SET version_num = $1", head)
    assert await readiness(services, service) == (200, "")


async def test_a_newer_database_is_served_as_long_as_it_allows_this_code(
    services: Services, capsys: pytest.CaptureFixture[str]
):
    """During a rollout the old version serves on the migrated database."""
    service = await services.start(create_app, Config)
    await service.database.execute("UPDATE alembic_version SET version_num = '9998'")
    assert await readiness(services, service) == (200, "")
    await service.database.execute(
        "UPDATE alembic_version SET version_num = '9999', oldest_code = '9999'"
    )
    status, told = await readiness(services, service)
    assert status == 503
    assert told.startswith("the database is newer than this version of records_service")
    said = capsys.readouterr().out
    assert said.count("database_is_newer") == 1
    assert said.count("database_not_usable") == 1


async def test_the_database_of_another_service_is_never_served(
    services: Services, capsys: pytest.CaptureFixture[str]
):
    """Its revisions have the same numbers, or look like those of a newer version."""
    url = await services.database("auth_service")
    service = await services.start(create_app, Config, database_url=url)
    wrong = "this is not the database of records_service, but that of auth_service"
    for revision in ("0001", "9999"):
        await service.database.execute("UPDATE alembic_version SET version_num = $1", revision)
        status, told = await readiness(services, service)
        assert status == 503
        assert told.startswith(wrong)
    said = capsys.readouterr().out
    assert said.count("database_not_usable") == 1
    assert "database_is_newer" not in said


async def test_a_database_from_before_it_said_whose_it_is_is_served(services: Services):
    service = await services.start(create_app, Config)
    await service.database.execute("COMMENT ON TABLE alembic_version IS NULL")
    assert await readiness(services, service) == (200, "")


async def test_readiness_asks_postgresql_once(services: Services, monkeypatch: pytest.MonkeyPatch):
    service = await services.start(create_app, Config)
    assert await readiness(services, service) == (200, "")
    take, taken = Database.take, 0
    # What a process does in the background asks for other things.
    background = asyncio.all_tasks()

    async def counted(self: Database) -> PooledConnection:
        nonlocal taken
        taken += asyncio.current_task() not in background
        return await take(self)

    monkeypatch.setattr(Database, "take", counted)
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{service.internal_url}/readyz") as answer,
    ):
        assert answer.status == 200
    assert taken == 1
