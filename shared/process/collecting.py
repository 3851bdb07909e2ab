"""Lets the garbage collector look less often while very much is alive that is no garbage.

The collector of CPython looks at what was made since it looked last, each time so many objects more
are alive. Rows of a bulk call are alive by the hundred thousand objects, and gone a moment later by
themselves: it would look at all of them for nothing, which takes a seventh of the time of a call.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

OBJECTS: Final = 400_000
"""More than two waves of rows have. Looked at in one piece, they take some 50 ms."""

_usual: list[tuple[int, int, int]] = []
"""What was in force before, once for each that has not ended."""


@contextmanager
def collected_seldom() -> Iterator[None]:
    """Objects that the body makes are looked at by the collector after `OBJECTS` of them.

    For the whole process, until the last of those that are running at the same time has ended. To
    be entered and left in the thread of the event loop.
    """
    usual = gc.get_threshold() if not _usual else _usual[0]
    _usual.append(usual)
    gc.set_threshold(max(OBJECTS, usual[0]), *usual[1:])
    try:
        yield
    finally:
        _usual.pop()
        if not _usual:
            gc.set_threshold(*usual)
