"""How many large answers may be read at once, and how many of them by the same caller.

An answer that its reader takes piece by piece keeps a connection, and the service its bytes, for as
long as the reader likes. So there are places for some, and nobody gets all of them:

- A caller is given one more while it holds fewer than are free. Alone it comes to half of them, and
  whatever it holds, the next caller finds some.
- A workspace, which may make itself as many callers as it likes, is given one more while it holds
  less than three times what is free: three quarters.

Who finds no place waits in line for a moment: where readers are quick, one comes free soon. Who
waits keeps a connection as well, so the line is shorter than the places are many, is shared out in
the same way, and whoever does not fit in is refused at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from shared.errors import ServiceUnavailable

_LINE_S_MAX: Final = 5.0
_RETRY_AFTER_S: Final = 5
_WORKSPACE_TO_CALLER: Final = 3

Party = tuple[str, str, str]
"""Whose answer it is: the workspace, the kind of caller and its id."""
NOBODY: Final[Party] = ("", "", "")
"""All who need not say who they are."""


class _Share:
    """So many places, shared out as said above."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._held: Counter[tuple[str, ...]] = Counter()

    def take(self, party: Party) -> bool:
        """Whether there was a place for it."""
        workspace = party[:1]
        if (
            self._held[party] >= self._free
            or self._held[workspace] >= _WORKSPACE_TO_CALLER * self._free
        ):
            return False
        self._free -= 1
        self._held.update((party, workspace))
        return True

    def give_back(self, party: Party) -> None:
        self._free += 1
        for whose in (party, party[:1]):
            self._held[whose] -= 1
            if not self._held[whose]:
                del self._held[whose]


class AnswerPlaces:
    """The places of one service."""

    def __init__(self, places: int, line: int) -> None:
        self._places = _Share(places)
        self._line = _Share(line)
        self._waiting: dict[asyncio.Future[None], Party] = {}

    async def take(self, party: Party, deadline: float) -> None:
        """Take a place, to be given back. `ServiceUnavailable` where none comes free soon.

        `deadline` is a time of the event loop.
        """
        if self._places.take(party):
            return
        if not self._line.take(party):
            raise _refusal()
        loop = asyncio.get_running_loop()
        place: asyncio.Future[None] = loop.create_future()
        self._waiting[place] = party
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + _LINE_S_MAX)):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                # It was given one and leaves all the same.
                self.give_back(party)
            if isinstance(error, TimeoutError):
                raise _refusal() from None
            raise
        finally:
            del self._waiting[place]
            self._line.give_back(party)

    def give_back(self, party: Party) -> None:
        """Give a place back: to the first in line whose share it fits."""
        self._places.give_back(party)
        for place, waiting in self._waiting.items():
            if not place.done() and self._places.take(waiting):
                place.set_result(None)


def _refusal() -> ServiceUnavailable:
    return ServiceUnavailable(
        "Too many large answers are being read at once", retry_after_s=_RETRY_AFTER_S
    )
