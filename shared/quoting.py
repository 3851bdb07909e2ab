"""Writes values and numbers for messages."""

from __future__ import annotations

from typing import Any, Final

TOLD_LENGTH_MAX: Final = 100


def told(value: Any) -> str:
    """The value for a message: at most its first hundred characters."""
    text = str(value)
    return text if len(text) <= TOLD_LENGTH_MAX else text[:TOLD_LENGTH_MAX] + "…"


def counted(number: int, thing: str) -> str:
    """The number with its noun, such as `1 role` or `2 roles`; the plural must end in -s."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
