"""Validates e-mail addresses, and decides when two are the same."""

from __future__ import annotations

import re
import unicodedata

from shared.errors import ValidationError, truncated

ADDRESS_LENGTH_MAX = 254

_ADDRESS = re.compile(r"[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+")


def normalised(email: str) -> str:
    """The form in which addresses are compared: upper and lower case are one."""
    return unicodedata.normalize("NFC", email.strip()).lower()


def is_address(text: str) -> bool:
    """Whether a normalised text can be anybody's address at all."""
    return len(text) <= ADDRESS_LENGTH_MAX and _ADDRESS.fullmatch(text) is not None


def check_address(email: str) -> str:
    """The address itself without surrounding space, or `ValidationError`."""
    trimmed = email.strip()
    if not is_address(normalised(trimmed)):
        raise ValidationError.at(
            "/email", f"Field 'email' is not an e-mail address: '{truncated(trimmed)}'"
        )
    return trimmed
