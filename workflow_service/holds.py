"""What a process holds for a time, and must not go on with when it has slept through the end.

A process may be stopped or paused with its machine at any place. Another one takes over what it
held, and then it wakes and goes on. So whatever has an effect outside of the database is preceded
by `check`: by the clock of the machine, which goes on meanwhile, it costs nothing as long as nobody
else can have taken over, and after that it asks the database. Effects in the database are
statements that name the holder.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable


class Hold:
    """What was claimed is held for `lease_s` from `since_s` on, a time before the claim was made.

    `renew` holds it anew in the database, and raises if it is another's by now.
    """

    def __init__(
        self, lease_s: float, renew: Callable[[], Awaitable[None]], *, since_s: float
    ) -> None:
        """`since_s`: by `time.monotonic()`."""
        self._lease_s = lease_s
        self._renew = renew
        self._until_s = since_s + lease_s

    @property
    def left_s(self) -> float:
        """For how long nobody else can have it."""
        return self._until_s - time.monotonic()

    async def renew(self) -> None:
        """Hold it for `lease_s` from now on; raises what the renewal raises."""
        began_s = time.monotonic()
        await self._renew()
        self._until_s = began_s + self._lease_s

    async def check(self) -> None:
        """Return if nobody else can have it; raises what a renewal raises."""
        if time.monotonic() >= self._until_s:
            await self.renew()
