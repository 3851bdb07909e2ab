"""Tells the person at the terminal what is being done, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

_WIDTH = 22


class Step:
    """One line: the part, then how it went."""

    def __init__(self) -> None:
        self.outcome = "ready"


@contextmanager
def step(part: str) -> Iterator[Step]:
    """`PostgreSQL ....... ready 0.6 s`. Whoever catches a failure tells it."""
    print(f"  {part} {'.' * (_WIDTH - len(part))} ", end="", flush=True)
    began = time.monotonic()
    told = Step()
    try:
        yield told
    except BaseException:
        print("failed", flush=True)
        raise
    print(f"{told.outcome} {time.monotonic() - began:.1f} s", flush=True)
