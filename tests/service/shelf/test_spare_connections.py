"""One more connection for a request is lent only where most are free, and never waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from shared.database import Database, pool
from shared.errors import ServiceUnavailable
from tests.kit.eventually import eventually
from tests.kit.servers import Servers


@pytest.fixture
async def database(servers: Servers) -> AsyncIterator[Database]:
    database = Database(await servers.postgres.empty_database("spare"), connections_max=4)
    yield database
    await database.close()


async def test_a_spare_connection_is_lent_while_most_are_free(database: Database):
    async with AsyncExitStack() as stack:
        conn = await stack.enter_async_context(database.acquire())
        # None is open: it is opened for the next request.
        async with database.spare() as none_yet:
            assert none_yet is None
        await eventually(lambda: database.connections["idle"] == 1)
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


async def test_one_is_opened_at_a_time(database: Database):
    async with database.acquire():
        for _ in range(10):
            async with database.spare() as none:
                assert none is None
        await eventually(lambda: database.connections["idle"] == 1)
    assert database.connections == {"lent": 0, "idle": 2, "waiting": 0}


async def test_one_that_cannot_be_opened_is_no_error(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    async def refused(*_: Any, **__: Any) -> Any:
        raise ServiceUnavailable

    async with database.acquire() as conn:
        with monkeypatch.context() as patched:
            patched.setattr(pool, "connect", refused)
            for _ in range(3):
                async with database.spare() as none:
                    assert none is None
                await asyncio.sleep(0)
            assert await conn.fetchval("SELECT 1") == 1
        # Its place is free again.
        async with AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(database.acquire())
