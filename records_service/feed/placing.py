"""Which rows of the outbox to look at, so that each event is placed in the feed soon, and in order.

Ids of the outbox are drawn before their transactions commit, so they become visible out of order.
One reader places them; this is what it remembers of what it has seen:

    seen    every id up to this was visible, or is one of the others
    gaps    ids below it that were not visible yet: of a transaction that has not ended, or never
    swept   an id up to which all rows that are not placed are looked for, because the gaps are not
            known: at the start, or where there would be too many

A gap is forgotten when every transaction has ended that had begun when it was found. A transaction
draws its ids after its first write, so it has its number by then: a snapshot shows that it runs.
Whoever waits for a long transaction of another workspace therefore waits for no event but its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

GAPS_MAX: Final = 5_000
PAUSE_S: Final = 0.002
PAUSE_S_MAX: Final = 0.02
PER_PAUSE: Final = 4
_NOWHERE: Final = 2**63 - 1


def pause_s(events: int) -> float:
    """How long to wait after so many events came together, before looking for more.

    Where few come, they are told at once. Where many come, more of them are told together: then
    what it costs to look is less than what each of them costs.
    """
    return min(PAUSE_S_MAX, PAUSE_S * max(1.0, events / PER_PAUSE))


@dataclass(slots=True)
class _Swept:
    until: int
    ended: int | None = None
    """The number below which all transactions must have ended; None until it is known."""
    is_full: bool = True


class Window:
    """What the placing has seen of the outbox, whose last drawn id was `last` at the start."""

    def __init__(self, last: int, gaps_max: int = GAPS_MAX) -> None:
        self._seen = last
        self._gaps: dict[int, int] = {}
        self._gaps_max = gaps_max
        self._swept: _Swept | None = _Swept(last)

    @property
    def after(self) -> int:
        """Rows with higher ids are looked at; nothing is, as long as earlier ones wait."""
        return _NOWHERE if self.is_waiting else self._seen

    @property
    def is_waiting(self) -> bool:
        """Whether later rows are not looked at."""
        return self._swept is not None and self._swept.is_full

    @property
    def gaps(self) -> list[int]:
        """These rows are looked at as well."""
        return list(self._gaps)

    @property
    def swept_until(self) -> int:
        """All rows up to this id that are not placed are looked at as well; 0 for none."""
        return 0 if self._swept is None else self._swept.until

    def sweep(self) -> None:
        """Look at everything once more."""
        if self._swept is None:
            self._swept = _Swept(self._seen, is_full=False)

    def note(
        self, found: Sequence[int], *, oldest_running: int, next_number: int, is_swept: bool
    ) -> None:
        """Take notice of what one statement has placed.

        `found` are the ids that it has looked at, ascending. Transactions below `oldest_running`
        had ended; `next_number` is above all that had drawn an id, and is that of the statement
        itself where it has found or looked for any. `is_swept` tells whether it has placed all that
        was to be swept.
        """
        for each in found:
            self._gaps.pop(each, None)
        self._gaps = {each: ended for each, ended in self._gaps.items() if oldest_running < ended}
        if self._swept is not None:
            if self._swept.ended is None:
                self._swept.ended = next_number
            self._swept.is_full = not is_swept
            if is_swept and oldest_running >= self._swept.ended:
                self._swept = None
        new = [each for each in found if each > self._seen]
        if not new:
            return
        missing = new[-1] - self._seen - len(new)
        if len(self._gaps) + missing > self._gaps_max:
            self._gaps.clear()
            self._swept = _Swept(new[-1], next_number, is_full=False)
        elif missing:
            there = set(new)
            for each in range(self._seen + 1, new[-1]):
                if each not in there:
                    self._gaps[each] = next_number
        self._seen = new[-1]
