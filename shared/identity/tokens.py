"""Signs and verifies login tokens: auth_service issues them, the gateway verifies them.

A token is a JWT of five fixed claims and a name of its own (`jti`), signed with HS256. The
algorithm is pinned, and the header's `kid` selects only the key. Keys are rotated in three steps:
add the new key after the old one, then move it before the old one, then remove the old one a day
later.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import jwt

from shared.errors import Unauthorized

TOKEN_LIFETIME_S: Final = 24 * 60 * 60
KEY_BYTES_MIN: Final = 32
TOKEN_LENGTH_MAX: Final = 4096
_ALGORITHM: Final = "HS256"
_CLOCK_SKEW_S: Final = 5


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a token: its user, and its validity (epoch seconds)."""

    user_id: str
    workspace_id: str
    role_id: str
    issued_at: int
    expires_at: int
    id: str

    @classmethod
    def new(cls, user_id: str, workspace_id: str, role_id: str, *, now: float) -> Self:
        """The claims of a token that is valid for a day from now."""
        issued_at = int(now)
        return cls(
            user_id=user_id,
            workspace_id=workspace_id,
            role_id=role_id,
            issued_at=issued_at,
            expires_at=issued_at + TOKEN_LIFETIME_S,
            id=secrets.token_urlsafe(16),
        )


class TokenKeys:
    """The valid keys: the first one signs, all of them verify."""

    def __init__(self, keys: Mapping[str, bytes], now: Callable[[], float] = time.time) -> None:
        self._keys = dict(keys)
        self._signing_kid = next(iter(self._keys))
        self._now = now

    @classmethod
    def parse(cls, text: str, now: Callable[[], float] = time.time) -> Self:
        """Read `kid=<base64>,…`; `ValueError` says which entry is wrong, and never the key."""
        keys: dict[str, bytes] = {}
        for position, entry in enumerate(text.split(","), start=1):
            kid, _, encoded = entry.strip().partition("=")
            if not kid or not encoded.strip("="):
                # The text may be the key itself, so the message does not repeat it.
                raise ValueError(
                    f"entry {position} has no name or no key, expected <name>=<key in base64>"
                )
            if kid in keys:
                raise ValueError(f"key '{kid}' is named twice")
            keys[kid] = _key_bytes(encoded, kid)
        return cls(keys, now)

    def sign(self, claims: Claims) -> str:
        """The compact token."""
        return jwt.encode(
            {
                "userId": claims.user_id,
                "workspaceId": claims.workspace_id,
                "roleId": claims.role_id,
                "iat": claims.issued_at,
                "exp": claims.expires_at,
                "jti": claims.id,
            },
            self._keys[self._signing_kid],
            algorithm=_ALGORITHM,
            headers={"kid": self._signing_kid},
        )

    def verify(self, token: str) -> Claims:
        """The claims of the token; raises `Unauthorized`, without the reason."""
        try:
            claims = _claims_from(self._signed_by_us(token))
        except (jwt.PyJWTError, KeyError, TypeError, ValueError):
            raise Unauthorized("Invalid or expired token") from None
        now = self._now()
        if not claims.issued_at - _CLOCK_SKEW_S <= now < claims.expires_at:
            raise Unauthorized("Invalid or expired token")
        return claims

    def issued(self, token: str) -> Claims | None:
        """The claims of a token issued by this system, even an expired one; None for others.

        Such a token proves that its sender has logged in before, and nothing else.
        """
        try:
            return _claims_from(self._signed_by_us(token))
        except (jwt.PyJWTError, KeyError, TypeError, ValueError):
            return None

    def _signed_by_us(self, token: str) -> dict[str, Any]:
        if len(token) > TOKEN_LENGTH_MAX:
            raise ValueError("longer than any token of this system")
        kid = jwt.get_unverified_header(token)["kid"]
        # PyJWT uses the wall clock; the times are compared above, with the clock that was passed
        # in.
        return jwt.decode(
            token,
            self._keys[kid],
            algorithms=[_ALGORITHM],
            options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )


def _claims_from(payload: Mapping[str, Any]) -> Claims:
    return Claims(
        user_id=_text(payload["userId"]),
        workspace_id=_text(payload["workspaceId"]),
        role_id=_text(payload["roleId"]),
        issued_at=_seconds(payload["iat"]),
        expires_at=_seconds(payload["exp"]),
        id=_text(payload["jti"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("not a text")
    return value


def _seconds(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("not a number of seconds")
    return value


def _key_bytes(encoded: str, kid: str) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"key '{kid}' is not base64") from None
    if len(key) < KEY_BYTES_MIN:
        raise ValueError(f"key '{kid}' has {len(key)} bytes, expected at least {KEY_BYTES_MIN}")
    return key
