"""Shows the progress of an import: a moving line on a terminal, otherwise occasional lines."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

_MOVING_EVERY_S = 0.1
_PLAIN_EVERY_S = 5.0
_CLEAR = "\r\x1b[K"


class Progress:
    """`clock` is passed so that a test decides how time goes."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._moves = stream.isatty()
        self._clock = clock
        self._what = ""
        self._total = 0
        self._done = 0
        self._shown_at = clock()

    def begin(self, what: str, total: int) -> None:
        """The next part of the move."""
        self.end()
        self._what, self._total, self._done = what, total, 0
        self._shown_at = self._clock()
        if self._moves:
            self._show()

    def step(self, done: int = 1) -> None:
        """This many more are done."""
        self._done += done
        every = _MOVING_EVERY_S if self._moves else _PLAIN_EVERY_S
        if self._clock() - self._shown_at >= every:
            self._show()

    def end(self) -> None:
        """The part is over."""
        if self._what:
            self._show(last=True)
            self._what = ""

    def _show(self, *, last: bool = False) -> None:
        self._shown_at = self._clock()
        percent = 100 * self._done // self._total if self._total else 100
        line = f"{self._what}: {self._done:,} of {self._total:,} ({percent} %)"
        if self._moves:
            self._stream.write(_CLEAR + line + ("\n" if last else ""))
        else:
            self._stream.write(line + "\n")
        self._stream.flush()
