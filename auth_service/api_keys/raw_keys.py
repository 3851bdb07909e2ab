"""The format of API keys, and the hash that is stored instead of the key."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

PREFIX: Final = "sigma_sk_live_"
_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
# 36 ** 32 is more than 2 ** 165: nobody guesses that, so a fast hash is enough.
_RANDOM_LENGTH: Final = 32


def new_key() -> str:
    """A key that nobody has."""
    return PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))


def hash_of(key: str) -> bytes:
    """What is stored, and what the gateway asks by."""
    return hashlib.sha256(key.encode()).digest()
