"""A wrong address is noticed at start; a service that is away is waited for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web

from auth_service.app import create_app as create_auth
from auth_service.config import Config as AuthConfig
from records_service.app import create_app as create_records
from records_service.config import Config as RecordsConfig
from shared.http import address_check
from tests.kit.eventually import eventually
from tests.kit.service import RunningService, Services

TOKEN_KEYS = "test=dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHQ="
EXPECTED = "; expected the address of records_service with its SIGMA_PORT"


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(address_check, "ASK_AGAIN_S", 0.05)


async def auth_service(services: Services, **settings: Any) -> RunningService:
    return await services.start(create_auth, AuthConfig, token_keys=TOKEN_KEYS, **settings)


async def readiness(services: Services, service: RunningService) -> tuple[int, str]:
    async with services.session.get(f"{service.internal_url}/readyz") as answer:
        told = json.loads(await answer.read())
        return answer.status, told.get("message", "")


async def complaint(services: Services, service: RunningService) -> str:
    async def unready_message() -> str:
        status, message = await readiness(services, service)
        return message if status == 503 else ""

    return await eventually(unready_message)


async def test_the_right_service_is_not_spoken_of(
    services: Services, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    records = await services.start(create_records, RecordsConfig)
    asked: list[str | None] = []
    judge = address_check.complaint_about

    async def judge_and_note(*arguments: Any) -> str | None:
        asked.append(await judge(*arguments))
        return asked[-1]

    monkeypatch.setattr(address_check, "complaint_about", judge_and_note)
    auth = await auth_service(services, records_url=records.url)
    async with services.session.get(f"{records.url}/internal/service") as answer:
        assert await answer.json() == {"service": "records_service", "port": "public"}
    await eventually(lambda: asked)
    assert await readiness(services, auth) == (200, "")
    assert "service_address" not in capsys.readouterr().out


async def test_an_internal_port_is_named(services: Services, capsys: pytest.CaptureFixture[str]):
    records = await services.start(create_records, RecordsConfig)
    auth = await auth_service(services, records_url=records.internal_url)
    told = (
        f"SIGMA_RECORDS_URL is {records.internal_url},"
        f" which is the internal port of records_service{EXPECTED}"
    )
    assert await complaint(services, auth) == told
    assert capsys.readouterr().out.count("wrong_service_address") == 1


async def test_another_service_is_named(services: Services):
    other = await auth_service(services)
    auth = await auth_service(services, records_url=other.url)
    assert await complaint(services, auth) == (
        f"SIGMA_RECORDS_URL is {other.url}, which is auth_service{EXPECTED}"
    )


async def test_another_program_is_told_from_one_that_is_away_and_may_be_put_right(
    services: Services,
):
    statuses = [502]

    async def answer(_request: web.Request) -> web.Response:
        if statuses[-1] == 200:
            return web.json_response({"service": "records_service", "port": "public"})
        return web.Response(status=statuses[-1], text="<html>")

    app = web.Application()
    app.router.add_get("/internal/service", answer)
    url = await services.serve(app)
    auth = await auth_service(services, records_url=url)
    assert await readiness(services, auth) == (200, ""), "a balancer without a service is no fault"
    statuses.append(404)
    assert await complaint(services, auth) == (
        f"SIGMA_RECORDS_URL is {url}, which does not answer like a service of Sigma PIM (status"
        f" 404){EXPECTED}"
    )
    statuses.append(200)

    async def ready() -> bool:
        return await readiness(services, auth) == (200, "")

    await eventually(ready)


async def test_a_version_that_does_not_say_who_it_is_is_believed(
    services: Services, capsys: pytest.CaptureFixture[str]
):
    """The version before did not, and both run during a rollout."""

    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=401)

    app = web.Application()
    app.router.add_get("/internal/service", refuse)
    auth = await auth_service(services, records_url=await services.serve(app))
    await eventually(lambda: "service_does_not_say_who_it_is" in capsys.readouterr().out)
    assert await readiness(services, auth) == (200, "")
