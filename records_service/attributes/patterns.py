"""Compiles the regular expressions of customers, within size limits.

RE2 matches in time linear in the text and in the size of the pattern's program, and the program may
be thousands of times as long as the pattern: five classes of Unicode, repeated up to ninety times,
are 250,000 instructions. So the program is what is bounded, per pattern and per attribute.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import re2

from shared.process.sized_cache import SizedCache

PROGRAM_SIZE_MAX: Final = 10_000
"""Instructions of one pattern, which RE2 compiles in about 3 ms."""
PROGRAM_SIZES_MAX: Final = 100_000
"""Instructions of all patterns of one attribute, those of its fields included."""
REMEMBERED_SIZE_MAX: Final = 1_000_000
_REMEMBERED_MAX: Final = 50_000
_MEMORY_MAX: Final = 1 << 19
"""So RE2 gives up early on a program that is far too large, after 20 ms at most."""
_TOO_LARGE: Final = "pattern too large"

Pattern = Any
"""A compiled pattern of RE2: `search`, `programsize`."""


class BadPattern(Exception):
    """RE2 does not take this pattern; the message is RE2's own."""


class LargePattern(Exception):
    """A pattern has more instructions than one may; `size` is None when RE2 did not finish."""

    def __init__(self, size: int | None) -> None:
        super().__init__(size)
        self.size = size


def checked_size(text: str) -> int:
    """The number of instructions of a pattern; raises `BadPattern` or `LargePattern`."""
    known = _remembered(text)
    if known is None:
        try:
            known = _compile(text, _MEMORY_MAX)
        except BadPattern as error:
            if _TOO_LARGE in str(error):
                raise LargePattern(None) from None
            raise
        _remember(text, known)
    size: int = known.programsize
    if size > PROGRAM_SIZE_MAX:
        raise LargePattern(size)
    return size


def compiled(text: str) -> Pattern:
    """A stored pattern, compiled once for as long as it is remembered.

    One that was stored before there were bounds is compiled whatever its size.
    """
    known = _remembered(text)
    if known is None:
        try:
            known = _compile(text, _MEMORY_MAX)
        except BadPattern:
            known = _compile(text, None)
        _remember(text, known)
    return known


_known: Final = SizedCache[str, Pattern](
    REMEMBERED_SIZE_MAX, _REMEMBERED_MAX, lambda pattern: pattern.programsize
)
# Threads that compile a model use it as well as the event loop.
_lock: Final = threading.Lock()


def _remembered(text: str) -> Pattern | None:
    with _lock:
        return _known.get(text)


def _remember(text: str, pattern: Pattern) -> None:
    with _lock:
        _known.keep(text, pattern)


def _compile(text: str, memory_max: int | None) -> Pattern:
    options = re2.Options()
    options.log_errors = False
    if memory_max is not None:
        options.max_mem = memory_max
    try:
        # Not `re2.compile`, which keeps the last 128 patterns, whatever their size.
        return re2._Regexp(text, options)  # noqa: SLF001
    except re2.error as error:
        reason = error.args[0] if error.args else "unknown syntax"
        message = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise BadPattern(message) from None
