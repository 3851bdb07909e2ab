"""PostgreSQL is stopped for a while: no process is restarted, and each one recovers by itself."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from deploy.local.settings import DATABASES
from tests.kit.eventually import eventually
from tests.kit.stack import Stack

AWAY_TRIES = 8


@pytest.fixture
async def sigma(breakable_stack):
    workspace = await breakable_stack.workspace()
    await workspace.attribute("name")
    await workspace.schema("thing", ["name"])
    return workspace


async def create(sigma, number):
    body = {"id": f"ent-{number}", "schemaId": "schema-thing", "values": {}}
    return await sigma.admin.post("/records", body)


async def probe(stack: Stack, service: str, path: str) -> tuple[int, str]:
    url = f"{stack[service].internal_url}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


@pytest.mark.slow
async def test_every_service_recovers_from_an_outage_of_postgresql_by_itself(
    breakable_stack, sigma
):
    stack, postgres = breakable_stack, breakable_stack.servers.postgres.private
    pids = {name: stack[name].pid for name in (*DATABASES, "gateway")}
    assert (await create(sigma, 0)).status == 201
    # All connections of all pools are open, so that none is merely opened anew.
    await asyncio.gather(*(sigma.admin.get("/records") for _ in range(40)))
    await asyncio.to_thread(postgres.stop)
    try:
        refused = [await create(sigma, number) for number in range(1, AWAY_TRIES)]
        probes = {
            (name, path): await probe(stack, name, path)
            for name in DATABASES
            for path in ("/healthz", "/readyz")
        }
    finally:
        await asyncio.to_thread(postgres.start)
    assert {answer.status for answer in refused} == {503}
    for (name, path), (status, said) in probes.items():
        if path == "/healthz":
            assert status == 200, f"a restart of {name} would help nobody"
        else:
            assert status == 503
            assert "the database does not answer" in said

    async def all_are_ready() -> bool:
        answers = [await probe(stack, name, "/readyz") for name in DATABASES]
        return all(status == 200 for status, _ in answers)

    await eventually(all_are_ready, within_s=60)

    async def written() -> bool:
        return (await create(sigma, 100)).status in (201, 409)

    await eventually(written, within_s=60)
    ids = sorted(each["id"] for each in (await sigma.admin.get("/records")).ok()["items"])
    assert ids == ["ent-0", "ent-100"], "what was refused was not stored"
    assert {name: stack[name].pid for name in pids} == pids
    assert all(stack[name].alive for name in pids)
