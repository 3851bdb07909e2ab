"""Where a read of the outbox begins: behind the ids of which nothing is left, or will ever come.

PostgreSQL cannot remove what was deleted as long as an older snapshot is open: a backup's, a long
query's. The outbox is small, but its index then has an entry for each event that was published
since, and a read from the beginning passes all of them, some 0.5 us each. After an hour at 100
events/s, that is 0.2 s for each read.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from shared.database import Conn

RAISED_EVERY_S: Final = 1.0
WHOLE_EVERY_S: Final = 10.0


class Floor:
    """The highest id up to which the outbox is known to be empty for good; 0 until it is known.

    Ids are drawn before their transactions commit, in another order. So the relay chooses the id
    that is the last at some time. When all transactions have ended that may have drawn it or an
    earlier one, and none of these rows is left, it is the floor. A transaction draws its ids after
    its first write, so it has a number by then; it may lack one only within the statement that
    draws the first id. Therefore the relay takes a number a second later, and waits until all
    transactions with lower ones have ended.

    Every `WHOLE_EVERY_S` everything is read all the same. What is found at or below the floor, as
    after a sequence was set back by hand, makes it unknown again. On Citus, where transactions have
    numbers on other nodes, everything is read every time.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._floor = 0
        self._chosen: int | None = None
        self._number: int | None = None
        self._raised_at_s = self._whole_at_s = clock()

    async def raised(self, conn: Conn) -> int:
        """The id behind which a read looks for events; 0 for one that looks for all.

        Takes the next step towards a higher floor where it is time: a short statement on the
        relay's session, which must not be in a transaction.
        """
        now_s = self._clock()
        if now_s - self._raised_at_s >= RAISED_EVERY_S:
            self._raised_at_s = now_s
            await self._raise(conn)
        if now_s - self._whole_at_s >= WHOLE_EVERY_S:
            self._whole_at_s = now_s
            return 0
        return self._floor

    def found(self, lowest: int) -> None:
        """A read has found this id, and none that is lower."""
        if lowest <= self._floor:
            self._floor, self._chosen, self._number = 0, None, None

    async def _raise(self, conn: Conn) -> None:
        if self._chosen is None:
            last = await last_drawn(conn)
            if last > self._floor and not await _is_distributed(conn):
                self._chosen = last
        elif self._number is None:
            self._number = await _next_number(conn)
        elif await _is_empty(conn, self._floor, self._chosen, self._number):
            self._floor, self._chosen, self._number = self._chosen, None, None


async def last_drawn(conn: Conn) -> int:
    """The highest id of the outbox that any transaction has drawn."""
    drawn: int | None = await conn.fetchval(
        "SELECT pg_sequence_last_value(pg_get_serial_sequence('outbox', 'id')::regclass)"
    )
    return drawn or 0


async def _is_distributed(conn: Conn) -> bool:
    found: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')"
    )
    return found


async def _next_number(conn: Conn) -> int:
    """The number of a transaction that begins now, above those of all that have one."""
    number: int = await conn.fetchval("SELECT pg_current_xact_id()::text::bigint")
    return number


async def _is_empty(conn: Conn, floor: int, until: int, number: int) -> bool:
    """Whether no row between these ids is there, and no transaction below the number runs."""
    found: bool = await conn.fetchval(
        """
        SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint >= $3
               AND NOT EXISTS (SELECT FROM outbox WHERE id > $1 AND id <= $2)
        """,
        floor,
        until,
        number,
    )
    return found
