"""Work of a request that another connection does meanwhile, if one is free."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from shared.database import Conn, Database

T = TypeVar("T")


@asynccontextmanager
async def beside(
    database: Database, conn: Conn, work: Callable[[Conn], Awaitable[T]]
) -> AsyncIterator[Callable[[], Awaitable[T]]]:
    """Begin some work; the function that is given waits for what it returns.

    Without a free connection, that function does the work, on the request's own.
    """
    async with database.spare() as other:
        if other is None:
            yield lambda: work(conn)
            return
        working = asyncio.ensure_future(work(other))

        async def result() -> T:
            return await working

        try:
            yield result
        finally:
            # Its connection is not given back before it has ended.
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
