"""Slots for those who take a connection next."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import AbstractAsyncContextManager, nullcontext

from shared.database.request_transactions import REQUEST_TRANSACTION
from shared.process.waiting import KeyedSemaphore


class ConnectionSlots(KeyedSemaphore):
    """A semaphore per key, for tasks that wait for a connection while they hold a slot.

    A request that is one transaction as a whole has its connection, and takes no slot: if it waited
    for one, and its holder for a connection, both would wait until their time is over, and with
    them whoever needs what the transaction has locked. How many such requests there are is bounded
    before they begin (`retries`).
    """

    def of(self, key: Hashable) -> AbstractAsyncContextManager[None]:
        """As `KeyedSemaphore.of`; nothing in a request that is one transaction."""
        return super().of(key) if REQUEST_TRANSACTION.get() is None else nullcontext()
