"""Generates ids with a prefix for the kind of object, and checks ids that clients send."""

from __future__ import annotations

import random
import re

from shared.errors import ValidationError, truncated

ALIAS_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.~-]{0,127}$"
ID_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,127}$"
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}", re.ASCII)
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [one + other for one in _ALPHABET for other in _ALPHABET]
_RANDOM_LENGTH = 20


def new_id(prefix: str) -> str:
    """A new id: `ent` gives `ent-7k2m…`, with 100 random bits, so that ids do not collide.

    An id is not a secret: a caller that guesses one still needs a credential.
    """
    # A cryptographically secure source would cost a system call per id.
    bits = random.getrandbits(5 * _RANDOM_LENGTH)
    tail = [_PAIRS[(bits >> shift) & 1023] for shift in range(0, 5 * _RANDOM_LENGTH, 10)]
    return f"{prefix}-{''.join(tail)}"


def is_id(value: str) -> bool:
    """Whether this has the form of an id."""
    return _ID.fullmatch(value) is not None


def check_same_id(known: str, sent: str | None) -> None:
    """Raise `ValidationError` if the body of a PUT names another id than its path."""
    if sent is not None and sent != known:
        raise ValidationError.at(
            "/id",
            f"Field 'id' cannot change: expected '{truncated(known)}', got '{truncated(sent)}'",
        )
