"""One more connection for a request is lent only where most are free."""

from __future__ import annotations

from contextlib import AsyncExitStack

from shared.database import Database
from tests.kit.servers import Servers


async def test_a_spare_connection_is_lent_while_most_are_free(servers: Servers):
    url = await servers.postgres.empty_database("spare")
    database = Database(url, connections_max=4)
    try:
        async with AsyncExitStack() as stack:
            conn = await stack.enter_async_context(database.acquire())
            async with database.spare() as other:
                assert other is not None and other is not conn
                assert await other.fetchval("SELECT 1") == 1
                # Two of four are in use.
                async with database.spare() as third:
                    assert third is None
            async with database.spare() as again:
                assert again is other
            for _ in range(3):
                await stack.enter_async_context(database.acquire())
            async with database.spare() as none:
                assert none is None
    finally:
        await database.close()
