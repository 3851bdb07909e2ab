"""What a reader sees of a secret, and what it means when that is sent back."""

from __future__ import annotations

import hmac
from typing import Final

from shared.errors import ValidationError
from shared.http.messages import pointer_to

_HIDDEN: Final = "********"
_SHOWN: Final = 4
_LENGTH_MIN: Final = 16
"""Of a shorter secret, four characters would be too much."""


def mask(secret: str) -> str:
    """Stars and, of a long secret, the last four characters."""
    return _HIDDEN + (secret[-_SHOWN:] if len(secret) >= _LENGTH_MIN else "")


def is_mask(text: str, secret: str) -> bool:
    """Whether the text is what a reader sees of this secret."""
    return hmac.compare_digest(text.encode(), mask(secret).encode())


def kept_or_new(sent: str, stored: str | None, field: str) -> str:
    """The secret after a change in which `sent` came: a mask of the stored one leaves it.

    Raises `ValidationError` for a mask of another secret: nobody means it as a secret.
    """
    if stored is not None and is_mask(sent, stored):
        return stored
    if sent.startswith(_HIDDEN):
        raise ValidationError.at(
            pointer_to(field.split(".")),
            f"Field '{field}' is the mask of another secret: send the secret itself, or leave it"
            " out to keep the present one",
        )
    return sent
