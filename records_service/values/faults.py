"""Collects what is wrong with the values of one request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from shared.errors import VIOLATIONS_MAX, ValidationError, Violation

PATTERN_WORK_MAX = 100_000_000

Place: TypeAlias = "str | tuple[Place, str | int]"
"""Where a value was sent: a JSON pointer, or the place around it and one step inside.

Written out only where something is wrong: nearly always nothing is.
"""
ValueCheck = Callable[[Any, Place, "Faults"], Any]
"""Takes a value, its place and where to report; returns the value as it will be stored."""


class Faults:
    """What is wrong with one request; with the hundredth fault the rest is not looked at."""

    __slots__ = ("_pattern_work", "found")

    def __init__(self) -> None:
        self.found: list[Violation] = []
        self._pattern_work = 0

    def may_match(self, pattern_size: int, text_length: int) -> bool:
        """Whether one more text is matched: RE2 may take as long as the two are large together.

        A pattern of usual size is matched with megabytes of text before this says no.
        """
        self._pattern_work += pattern_size * text_length
        return self._pattern_work <= PATTERN_WORK_MAX

    def report(self, place: Place, message: str) -> None:
        """Take note of what is wrong at a place; raise `ValidationError` with the hundredth.

        Nobody reads the rest, and a message for each of very many would hold the event loop.
        """
        self.found.append(Violation(pointer(place), message))
        if len(self.found) == VIOLATIONS_MAX:
            self.check()

    def check(self) -> None:
        """Raise `ValidationError` with all that was found, if anything was."""
        if self.found:
            raise ValidationError.of(self.found)


def pointer(place: Place) -> str:
    """A place as a JSON pointer (RFC 6901)."""
    if isinstance(place, str):
        return place
    around, step = place
    return f"{pointer(around)}/{str(step).replace('~', '~0').replace('/', '~1')}"
