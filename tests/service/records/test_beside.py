"""Work that another connection does meanwhile, if one is free."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import asyncpg
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


@pytest.fixture(autouse=True)
async def an_idle_connection(db: Database) -> None:
    """Beside that of the request: where none is open, none is free."""
    async with db.acquire(), db.acquire():
        pass


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


async def test_what_fails_is_told_to_whoever_asks_for_the_result(db: Database):
    async def work(conn: Conn) -> None:
        await conn.execute("SELECT 1 / 0")

    async with db.acquire() as conn:
        async with beside(db, conn, work) as result:
            assert await session(conn)
            with pytest.raises(asyncpg.DivisionByZeroError):
                await result()
        async with beside(db, conn, work):
            # Nobody asks.
            assert await session(conn)
    assert await db.fetchval("SELECT 1") == 1


async def test_it_is_ended_with_the_request(db: Database):
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def work(conn: Conn) -> None:
        begun.set()
        try:
            await conn.execute("SELECT pg_sleep(60)")
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def request() -> None:
        async with db.acquire() as conn, beside(db, conn, work) as result:
            await result()

    running = asyncio.ensure_future(request())
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert cancelled.is_set()
    assert await db.fetchval("SELECT 1") == 1
