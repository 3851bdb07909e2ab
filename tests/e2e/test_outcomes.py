"""What is said of a write when a process dies under it."""

from __future__ import annotations

import asyncio

import asyncpg

from tests.kit.eventually import eventually

CLIENTS = 16
AFTER_THE_KILL = 60


async def test_what_was_refused_while_a_service_died_is_not_stored(stack):
    """503 says that nothing happened: who obeys and sends it again must not make it twice."""
    sigma = await stack.workspace()
    await sigma.attribute("name")
    await sigma.schema("apparel", ["name"])
    told: dict[str, int] = {}
    killed = asyncio.Event()

    async def create(client: int) -> None:
        number = 0
        while not killed.is_set() or len(told) < until:
            record_id = f"ent-{client}-{number}"
            number += 1
            answer = await sigma.admin.post(
                "/records", {"id": record_id, "schemaId": "schema-apparel", "values": {}}
            )
            told[record_id] = answer.status

    until = 0
    clients = [asyncio.create_task(create(client)) for client in range(CLIENTS)]
    assert await eventually(lambda: len(told) >= CLIENTS * 4)
    await stack.kill("records_service")
    until = len(told) + AFTER_THE_KILL
    killed.set()
    await asyncio.gather(*clients)
    await stack.start("records_service")

    assert set(told.values()) <= {201, 503, 504}
    assert 503 in told.values()
    for record_id, status in told.items():
        if status != 504:
            stored = await sigma.admin.get(f"/records/{record_id}")
            assert stored.status == {201: 200, 503: 404}[status], (record_id, status)


async def test_what_was_stored_before_the_answer_was_lost_is_unknown_and_not_refused(stack):
    """PostgreSQL commits while the service can tell nobody, and then the service dies."""
    sigma = await stack.workspace()
    await sigma.attribute("name")
    await sigma.schema("apparel", ["name"])

    async def create(record_id: str) -> int:
        body = {"id": record_id, "schemaId": "schema-apparel", "values": {}}
        return (await sigma.admin.post("/records", body)).status

    # The record limit is shared out by the first create, so the next one is a single statement.
    assert await create("ent-first") == 201
    database = await asyncpg.connect(stack.databases["records_service"])
    try:
        lock = database.transaction()
        await lock.start()
        # An id that somebody else is about to take: the statement waits whether they do.
        await database.execute(
            """INSERT INTO records (workspace_id, id, schema_id, version, values,
                                    created_at, updated_at, created_by, updated_by)
               VALUES ($1, 'ent-sent', 'schema-apparel', 1, '{}', now(), now(), 'x', 'x')""",
            sigma.id,
        )
        sent = asyncio.create_task(create("ent-sent"))

        async def waits() -> bool:
            return await database.fetchval(
                """SELECT EXISTS (SELECT FROM pg_stat_activity
                                   WHERE datname = current_database()
                                     AND wait_event_type = 'Lock')"""
            )

        await eventually(waits)
        stack["records_service"].pause()
        await lock.rollback()

        async def is_stored() -> bool:
            return await database.fetchval(
                "SELECT EXISTS (SELECT FROM records WHERE workspace_id = $1 AND id = 'ent-sent')",
                sigma.id,
            )

        await eventually(is_stored)
        assert not sent.done()
        await stack.kill("records_service")
        assert await sent == 504
        assert await create("ent-refused") == 503
    finally:
        await database.close()
    await stack.start("records_service")
    assert (await sigma.admin.get("/records/ent-sent")).status == 200
    assert (await sigma.admin.get("/records/ent-refused")).status == 404
