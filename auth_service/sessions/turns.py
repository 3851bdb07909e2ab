"""Lets logins of one address go one after the other in one process.

Each is counted as a failure until it has succeeded, so without this some people who share an
account and log in at the same moment would delay each other with the right password.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakValueDictionary

from aiohttp import web


class Turns:
    """A lock for each address that somebody is logging in with now."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, address: bytes) -> AsyncIterator[None]:
        """Wait for those who came before."""
        lock = self._locks.setdefault(address, asyncio.Lock())
        async with lock:
            yield


TURNS: Final = web.AppKey("turns", Turns)
