"""A write that is sent again after its process died, and a dry run, through the gateway."""

from __future__ import annotations

import asyncio

import asyncpg

from tests.kit.eventually import eventually
from tests.kit.stack import Stack
from tests.kit.workspace import entries


async def test_a_write_of_a_killed_process_is_answered_by_the_next(stack: Stack):
    sigma = await stack.workspace()
    await sigma.attribute("sku")
    await sigma.schema("x", ["sku"])
    body = {"schemaId": "schema-x", "values": entries({"sku": "a"})}
    key = {"Idempotency-Key": f"killed-{sigma.id}"}
    tried = await sigma.admin.post("/records", body, headers={**key, "Prefer": "dry-run"})
    assert (tried.status, tried.headers["Preference-Applied"]) == (201, "dry-run")

    conn = await asyncpg.connect(stack.databases["records_service"])
    try:
        asking = asyncio.create_task(sigma.admin.post("/records", body, headers=key))
        stored = "SELECT count(*) FROM idempotency_keys WHERE key = $1"

        async def is_stored() -> bool:
            return bool(await conn.fetchval(stored, key["Idempotency-Key"]))

        await eventually(is_stored)
        await stack.kill("records_service")
        assert (await asking).status in (201, 504)
    finally:
        await conn.close()
    await stack.start("records_service")

    async def again() -> bool:
        answer = await sigma.admin.post("/records", body, headers=key)
        assert answer.status == 201, answer.outcome
        return answer.headers.get("Idempotency-Replayed") == "true"

    await eventually(again)
    assert (await sigma.admin.get("/records")).ok()["total"] == 1
    assert (await sigma.admin.get("/audit")).ok()["total"] == 1
