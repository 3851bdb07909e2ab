"""Truncates sent values for messages."""

from __future__ import annotations

from typing import Any, Final

TOLD_LENGTH_MAX: Final = 100


def told(value: Any) -> str:
    """The value for a message: at most its first hundred characters."""
    text = str(value)
    return text if len(text) <= TOLD_LENGTH_MAX else text[:TOLD_LENGTH_MAX] + "…"
