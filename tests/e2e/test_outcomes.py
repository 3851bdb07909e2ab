"""What is said of a write when a process dies under it."""

from __future__ import annotations

import asyncio

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
