"""Work that another connection does meanwhile, if one is free."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from records_service.app import create_app
from records_service.config import Config
from records_service.search.beside import beside
from shared.database import Conn, Database
from tests.kit.service import Services


@pytest.fixture
async def db(services: Services) -> Database:
    """Of a service that asks the database nothing by itself."""
    return (await services.start(create_app, Config)).database


async def session(conn: Conn) -> int:
    """Which session of PostgreSQL this is."""
    pid: int = await conn.fetchval("SELECT pg_backend_pid()")
    return pid


async def test_another_connection_does_it_while_this_one_is_busy(db: Database):
    begun = asyncio.Event()

    async def work(conn: Conn) -> int:
        begun.set()
        return await session(conn)

    async with db.acquire() as conn, beside(db, conn, work) as result:
        await begun.wait()
        assert await session(conn) != await result()


async def test_this_one_does_it_when_it_is_asked_for_if_no_other_is_free(db: Database):
    done: list[int] = []

    async def work(conn: Conn) -> int:
        done.append(await session(conn))
        return done[-1]

    async with AsyncExitStack() as held:
        for _ in range(6):
            await held.enter_async_context(db.acquire())
        async with db.acquire() as conn, beside(db, conn, work) as result:
            await asyncio.sleep(0)
            assert not done
            assert await result() == await session(conn)


async def test_it_is_ended_before_its_connection_is_given_back(db: Database):
    cancelled = asyncio.Event()

    async def work(conn: Conn) -> None:
        try:
            await conn.execute("SELECT pg_sleep(60)")
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with db.acquire() as conn:
        with pytest.raises(ZeroDivisionError):
            async with beside(db, conn, work):
                await session(conn)
                raise ZeroDivisionError
        assert cancelled.is_set()
        assert await session(conn)
