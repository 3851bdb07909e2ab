"""Hashes passwords with a slow hash function, and verifies them.

argon2id with 19 MiB, two passes and one lane (OWASP's second choice) takes some 20 ms. The
parameters stand in each hash, so they can be raised: `is_outdated` says that a hash was made with
others, and the next login replaces it. Until then a wrong password for that user takes as long as
it took before, and a stranger's takes as long as it does now: raise them for a reason.
"""

from __future__ import annotations

from typing import Final

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from shared.errors import ValidationError

PASSWORD_LENGTH_MAX: Final = 1_024

_HASHER: Final = PasswordHasher(
    time_cost=2, memory_cost=19 * 1024, parallelism=1, hash_len=32, salt_len=16, type=Type.ID
)
# Of a password that nobody knows: what is compared where there is no user.
_NOBODYS: Final = (
    "$argon2id$v=19$m=19456,t=2,p=1$N1INYxPnUTe1tYQ5S3ddsw$"
    "1RV6WuUlQi8U62flr4aVuKZP0nNzzd7yCwyNUPAuNto"
)


def hashed(password: str) -> str:
    """The hash to be stored."""
    return _HASHER.hash(password)


def matches(password_hash: str | None, password: str) -> bool:
    """Whether the password is the one that was hashed. No hash takes as long as a wrong one.

    A user whose hash is empty has no password yet: one who came with an imported workspace.
    """
    try:
        return _HASHER.verify(password_hash or _NOBODYS, password) and bool(password_hash)
    except (VerificationError, InvalidHashError):
        return False


def is_outdated(password_hash: str) -> bool:
    """Whether the hash was made with parameters that we no longer use."""
    return _HASHER.check_needs_rehash(password_hash)


def check_password(password: str) -> str:
    """The password itself, or `ValidationError` when it cannot be one."""
    if not password:
        raise ValidationError.at("/password", "Field 'password' is required")
    if len(password) > PASSWORD_LENGTH_MAX:
        raise ValidationError.at(
            "/password", f"Field 'password' exceeds maximum length {PASSWORD_LENGTH_MAX}"
        )
    return password
