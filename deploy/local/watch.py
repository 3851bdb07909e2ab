"""Starts again what has ended, and says each time what ended, why, and when it is there again."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deploy.local.failure import StartFailed
from deploy.local.progress import say

DEATHS_MAX: Final = 5
DEATHS_WITHIN_S: Final = 120.0
PAUSE_S_MAX: Final = 8.0


@dataclass
class Part:
    """One process; `exit_code` is None while it runs, and negative if a signal ended it."""

    name: str
    log: Path
    exit_code: Callable[[], int | None]
    start: Callable[[], None]
    ready: Callable[[], bool]
    deaths: list[float] = field(default_factory=list)
    starts_at: float | None = None
    """When it is to be started again; None while it runs."""
    away_since: float | None = None
    """Since when it has not been ready; None while it is."""


class Watch:
    """Looks after all parts. The pause before a start doubles with each death of two minutes."""

    def __init__(self, parts: Sequence[Part], now: Callable[[], float] = time.monotonic) -> None:
        self._parts = parts
        self._now = now

    def look(self) -> None:
        """Look once at each; `StartFailed` for one that ends again and again."""
        for part in self._parts:
            code = part.exit_code()
            if code is None:
                self._tell_when_ready(part)
            elif part.starts_at is None:
                self._ended(part, code)
            elif self._now() >= part.starts_at:
                part.starts_at = None
                part.start()

    def _ended(self, part: Part, code: int) -> None:
        now = self._now()
        part.deaths = [at for at in part.deaths if now - at < DEATHS_WITHIN_S] + [now]
        if part.away_since is None:
            part.away_since = now
        count = len(part.deaths)
        if count > DEATHS_MAX:
            within = f"{DEATHS_WITHIN_S / 60:g} minutes"
            why = f"{how_it_ended(code)}, {count} times within {within}"
            raise StartFailed(part.name, why, log=part.log)
        pause_s = min(PAUSE_S_MAX, 0.5 * 2 ** (count - 1))
        part.starts_at = now + pause_s
        say(
            f"{part.name}: {how_it_ended(code)}; starting it again in {pause_s:g} s"
            f" (its log: {part.log})"
        )

    def _tell_when_ready(self, part: Part) -> None:
        if part.away_since is not None and part.ready():
            say(f"{part.name}: ready again after {self._now() - part.away_since:.1f} s")
            part.away_since = None


def how_it_ended(code: int) -> str:
    """In words, without the convention that a negative number is a signal."""
    if code >= 0:
        return f"it exited (exit code {code})"
    try:
        return f"it was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was ended by signal {-code}"
