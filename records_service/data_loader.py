"""Data loader: combines the reads of one iteration of the event loop into one statement.

Sixteen requests that arrive together cost one round trip and one execution instead of sixteen; a
single request costs the same as before. Nothing is cached: a read sees everything that was
committed before it was requested.

    records = DataLoader(load)                     load(keys) -> {key: value} for those that exist
    record = await records.get((workspace_id, record_id))

A key must name the tenant: two callers that ask for the same key get the same answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from shared.process.waiting import ASKING

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

BATCH_SIZE_MAX: Final = 64


class DataLoader(Generic[K, V]):
    """Reads by key, combined until the next iteration of the event loop."""

    def __init__(self, load: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._load = load
        self._wanted: dict[K, list[asyncio.Future[V | None]]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def get(self, key: K) -> V | None:
        """The value, or None where `load` found none; raises what `load` raised."""
        loop = asyncio.get_running_loop()
        if not self._wanted:
            loop.call_soon(self._begin)
        # One future per caller: cancelling one caller does not affect the others.
        answer: asyncio.Future[V | None] = loop.create_future()
        self._wanted.setdefault(key, []).append(answer)
        return await answer

    def _begin(self) -> None:
        wanted, self._wanted = self._wanted, {}
        keys = list(wanted)
        for start in range(0, len(keys), BATCH_SIZE_MAX):
            batch = {key: wanted[key] for key in keys[start : start + BATCH_SIZE_MAX]}
            task = asyncio.create_task(self._answer(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _answer(self, batch: Mapping[K, Sequence[asyncio.Future[V | None]]]) -> None:
        # The statement serves several callers, so it waits in no caller's lane.
        ASKING.set(None)
        try:
            found = await self._load(list(batch))
        except Exception as error:  # noqa: BLE001 - It belongs to those who asked.
            for answers in batch.values():
                for answer in answers:
                    if not answer.done():
                        answer.set_exception(error)
            return
        for key, answers in batch.items():
            for answer in answers:
                if not answer.done():
                    answer.set_result(found.get(key))
