"""Slow lists share part of the connections, so that other requests find the rest free.

A list of a million records takes PostgreSQL a hundred times as long as one record does, and whether
a list is slow depends on its filters, its offset, its documents and what else the database does. So
every list begins as a quick one, like any other request. One that is not read within `QUICK_S` is
cancelled and read again as a slow one: slow lists have three eighths of the connections, three
quarters of those for one workspace, and other requests find the rest free however many slow lists
are asked for. For `SLOW_FOR_S` all lists of that workspace are taken for slow (docs/adr/0014).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from fractions import Fraction
from typing import Final, TypeVar

from aiohttp import web

from shared.database import Conn, Database
from shared.errors import UpstreamTimeout
from shared.process.waiting import KeyedSemaphore

T = TypeVar("T")

SLOW_SHARE: Final = Fraction(3, 8)
"""Of the connections of a process, for slow lists."""
WORKSPACE_SHARE: Final = Fraction(3, 4)
"""Of the connections for slow lists, for one workspace."""
QUICK_S: Final = 0.1
SLOW_FOR_S: Final = 10.0
SLOW_WORKSPACES_MAX: Final = 10_000
LIST_TIMEOUT_S: Final = 5.0


class Lists:
    """Reads lists over the connections of the process, slow ones over their share of them."""

    def __init__(self, connections_max: int, wait_s: float) -> None:
        share = max(1, int(connections_max * SLOW_SHARE))
        self._of_workspace = KeyedSemaphore(
            max(1, int(share * WORKSPACE_SHARE)),
            wait_s=wait_s,
            message="Too many lists of this workspace are being read at once",
        )
        self._of_all = KeyedSemaphore(
            share, wait_s=wait_s, message="Too many lists are being read at once"
        )
        self._slow_until: dict[str, float] = {}

    async def read(
        self, db: Database, workspace_id: str, read: Callable[[Conn], Awaitable[T]]
    ) -> T:
        """Read one page; `read` may be called twice.

        Raises `ServiceUnavailable` if no connection becomes free in time, `UpstreamTimeout` if the
        page is not read within five seconds.
        """
        if not self.is_slow(workspace_id):
            async with db.acquire() as conn:
                # Another list may have turned out to be slow while this one waited.
                if not self.is_slow(workspace_id):
                    with suppress(TimeoutError):
                        async with asyncio.timeout(QUICK_S):
                            return await read(conn)
                    self._remember_slow(workspace_id)
        return await self.read_slow(db, workspace_id, read)

    async def read_slow(
        self, db: Database, workspace_id: str, read: Callable[[Conn], Awaitable[T]]
    ) -> T:
        """Read once what is known to take long.

        Raises as `read` does. It tells nothing of the other lists of the workspace.
        """
        async with (
            self._of_workspace.of(workspace_id),
            self._of_all.of(None),
            db.acquire() as conn,
        ):
            try:
                async with asyncio.timeout(LIST_TIMEOUT_S):
                    return await read(conn)
            except TimeoutError:
                raise UpstreamTimeout.in_vain() from None

    def is_slow(self, workspace_id: str) -> bool:
        """Whether a list of this workspace was slow a moment ago."""
        until = self._slow_until.get(workspace_id)
        return until is not None and asyncio.get_running_loop().time() < until

    def _remember_slow(self, workspace_id: str) -> None:
        # Last in order of insertion, so that the first is the one to forget.
        self._slow_until.pop(workspace_id, None)
        self._slow_until[workspace_id] = asyncio.get_running_loop().time() + SLOW_FOR_S
        if len(self._slow_until) > SLOW_WORKSPACES_MAX:
            del self._slow_until[next(iter(self._slow_until))]


LISTS: Final = web.AppKey("lists", Lists)
