"""A primary that becomes a standby and lives on: its connections refuse writes, and are left.

The connections of the pool are made read-only, as those to a demoted primary are: PostgreSQL
reports the same error. It reports the setting, too, and a connection that hears of it is left
before (test_postgres_failover.py); here none does, as behind a pooler that passes no settings on.
Whether new ones are read-only, too, says whether a new primary has been found.
"""

from __future__ import annotations

import asyncio

from records_service.app import create_app
from records_service.config import Config
from shared.database import Database
from shared.database.connection import PooledConnection
from tests.kit import identities
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Caller, error

UNAVAILABLE = error(503, "SERVICE_UNAVAILABLE", "Service unavailable")


async def make_read_only(conn: PooledConnection) -> None:
    """Let it refuse writes from now on, and tell nobody."""
    await conn.execute("SET default_transaction_read_only = on")
    conn.began_read_only = True


async def demote(database: Database, connections: int) -> None:
    """Make so many connections of the pool, all that it may have, read-only."""
    leases = [database.acquire() for _ in range(connections)]
    for lease in leases:
        await make_read_only(await lease.__aenter__())
    for lease in leases:
        await lease.__aexit__(None, None, None)


async def find_primary(service: RunningService, *, found: bool) -> None:
    """Whether connections that are opened from now on can write."""
    name = await service.database.fetchval("SELECT current_database()")
    value = "off" if found else "on"
    # By a connection that can write, whatever the others are.
    conn = await service.database.connect(default_transaction_read_only="off")
    try:
        await conn.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {value}')
    finally:
        await conn.close()


async def made(admin: Caller) -> list[str]:
    return [each["id"] for each in (await admin.get("/option-lists")).ok()]


def option_list(number: int) -> dict[str, object]:
    return {"id": f"ol-{number}", "alias": f"list-{number}", "name": "List", "values": []}


async def test_after_a_switchover_one_write_is_refused_and_the_next_is_made(services: Services):
    service = await services.start(create_app, Config, database_connections_max=4)
    admin = service.as_(identities.admin())
    await demote(service.database, 3)
    assert (await admin.post("/option-lists", option_list(1))).outcome == UNAVAILABLE
    assert await made(admin) == []
    # All connections to the former primary are left with the first refusal.
    answers = await asyncio.gather(
        *(admin.post("/option-lists", option_list(number)) for number in (2, 3, 4, 5))
    )
    assert [answer.status for answer in answers] == [201] * 4
    assert sorted(await made(admin)) == ["ol-2", "ol-3", "ol-4", "ol-5"]


async def test_a_connection_in_use_during_the_switchover_is_left_at_its_end(services: Services):
    service = await services.start(create_app, Config, database_connections_max=4)
    admin = service.as_(identities.admin())
    async with service.database.acquire() as reading:
        await make_read_only(reading)
        await demote(service.database, 3)
        assert (await admin.post("/option-lists", option_list(1))).outcome == UNAVAILABLE
        assert await reading.fetchval("SELECT 1") == 1, "it reads on"
    assert (await admin.post("/option-lists", option_list(2))).status == 201
    assert reading.is_closed()
    connections = service.database.connections
    assert connections["lent"] == 0
    assert connections["idle"] <= 3


async def test_while_no_primary_is_found_writes_are_refused_and_reads_are_served(
    services: Services,
):
    service = await services.start(create_app, Config, database_connections_max=4)
    admin = service.as_(identities.admin())
    assert (await admin.post("/option-lists", option_list(0))).status == 201
    await find_primary(service, found=False)
    await demote(service.database, 3)
    for number in range(1, 8):
        assert (await admin.post("/option-lists", option_list(number))).outcome == UNAVAILABLE
        assert await made(admin) == ["ol-0"]
    await find_primary(service, found=True)
    answers = [(await admin.post("/option-lists", option_list(n))).status for n in (1, 2, 3)]
    assert answers == [503, 201, 201]
    assert service.database.connections["lent"] == 0
