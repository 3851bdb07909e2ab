"""Which run gives way to runs of other workspaces; knows no database.

A run mostly waits for its destination, and nobody knows before how long. So a process has more
places than it could work on at once, and a run may keep its place while there is a free one, or
nobody else waits. Otherwise some runs that have had their turn may go on, one of a workspace, and
the others give way: the rest of the places always goes to runs that have just begun.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

PLACES: Final = 12
"""For runs of one process. Each may hold two parts of a file, of 8 MiB."""
LASTING: Final = 8
"""Places that runs may keep beyond their turn."""
TURN_S: Final = 120.0
"""A file of 1,000,000 records is made in less, if nothing but us is slow."""


@dataclass(slots=True, eq=False)
class Turn:
    """A run that has a place; `began` is a time of the loop."""

    workspace_id: str
    began: float
    is_over: bool = False
    """Set when it is to give way."""


def to_give_way(under_way: Collection[Turn], now: float) -> Turn | None:
    """The run that gives way to one of another workspace; None while that has to wait.

    The oldest run of each workspace may go on, of the workspaces with the oldest ones; of the
    others, the youngest loses least.
    """
    had_turn = sorted(
        (turn for turn in under_way if now - turn.began >= TURN_S), key=lambda turn: turn.began
    )
    oldest: dict[str, Turn] = {}
    for turn in had_turn:
        oldest.setdefault(turn.workspace_id, turn)
    lasting = list(oldest.values())[:LASTING]
    others = [turn for turn in had_turn if turn not in lasting]
    return others[-1] if others else None
