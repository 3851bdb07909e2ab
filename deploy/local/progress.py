"""Prints each step of the start, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

_WIDTH = 22


def say(text: str, end: str = "\n", file: TextIO | None = None) -> None:
    """Print it at once; when the terminal is gone, nobody reads it and nothing fails."""
    with suppress(OSError):
        print(text, end=end, file=file, flush=True)


class Step:
    """One line: the part, then how it went."""

    def __init__(self) -> None:
        self.outcome = "ready"


@contextmanager
def step(part: str) -> Iterator[Step]:
    """`PostgreSQL ....... ready 0.6 s`. Whoever catches a failure tells it."""
    say(f"  {part} {'.' * (_WIDTH - len(part))} ", end="")
    began = time.monotonic()
    current_step = Step()
    try:
        yield current_step
    except BaseException:
        say("failed")
        raise
    say(f"{current_step.outcome} {time.monotonic() - began:.1f} s")
