"""Signed identities: the gateway states who the caller of each request is, and services verify it.

The gateway turns a credential into an `Identity` and signs it (Ed25519, a JWT valid for 60 seconds
in the header `X-Sigma-Identity`). Services hold public keys only: they can verify who the caller is
but cannot impersonate anybody. Two issuers speak for users and API keys: `gateway`, which has
checked the credential, and `auth_service`, which lends the identity of an absent user to what they
set up (ADR 84). Any other issuer speaks only for itself (`kind: service`).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, cast

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from shared.errors import PermissionDenied, Unauthorized

IDENTITY_HEADER = "X-Sigma-Identity"
GATEWAY = "gateway"
AUTH = "auth_service"
SIGNERS = (GATEWAY, AUTH, "workflow_service")
"""The processes that sign identities."""
_SPEAK_FOR_CALLERS = (GATEWAY, AUTH)
ADMIN_ROLE = "role-admin"
LIFETIME_S = 60
_ALGORITHM = "EdDSA"
_CLOCK_SKEW_S = 5
_KEY_BYTES = 32
_CACHED_TOKENS_MAX = 4096

Kind = Literal["user", "api_key", "service"]


class Permission(StrEnum):
    """The five permissions that an API key can have."""

    READ = "read"
    UPDATE_DATA = "update-data"
    DELETE_DATA = "delete-data"
    UPDATE_MODEL = "update-model"
    DELETE_MODEL = "delete-model"


class Flag(StrEnum):
    """The six system flags of a role."""

    MANAGE_SCHEMAS = "canManageSchemas"
    MANAGE_ROLES = "canManageRoles"
    MANAGE_DIMENSIONS = "canManageDimensions"
    MANAGE_OPTION_LISTS = "canManageOptionLists"
    EXPORT = "canExport"
    IMPORT = "canImport"


ALL_PERMISSIONS = frozenset(Permission)
ALL_FLAGS = frozenset(Flag)


@dataclass(frozen=True, slots=True)
class Identity:
    """One caller. `token` is the signed form that was received, to be sent to the next service."""

    kind: Kind
    id: str
    workspace_id: str
    role_id: str | None = None
    role_version: int = 0
    flags: frozenset[Flag] = frozenset()
    permissions: frozenset[Permission] = frozenset()
    record_limit: int = 0
    token: str = field(default="", repr=False, compare=False)

    @property
    def is_admin(self) -> bool:
        """Whether this is a user with the built-in role `role-admin`, which nothing restricts."""
        return self.kind == "user" and self.role_id == ADMIN_ROLE

    @property
    def unrestricted(self) -> bool:
        """Whether every attribute is visible and writable: for administrators and API keys."""
        return self.kind == "api_key" or self.is_admin

    @property
    def may_read(self) -> bool:
        """Whether the caller may read: every user, and API keys with the permission `read`."""
        return Permission.READ in self.permissions

    def require(self, permission: Permission) -> None:
        """Raise `PermissionDenied` unless this API key has the permission; users have all."""
        if permission not in self.permissions:
            raise PermissionDenied.because(f"The API key lacks the permission '{permission}'")

    def require_flag(self, flag: Flag) -> None:
        """Raise `PermissionDenied` unless the role has the flag; API keys have no role."""
        if not (self.unrestricted or flag in self.flags):
            raise PermissionDenied.because(f"The role lacks the flag '{flag}'")

    def require_unrestricted(self) -> None:
        """Raise `PermissionDenied` for a user with another role than the built-in one."""
        if not self.unrestricted:
            raise PermissionDenied.because("Only the role 'role-admin' can do this")

    def require_user(self) -> None:
        """Raise `PermissionDenied` for an API key, whatever it holds."""
        if self.kind != "user":
            raise PermissionDenied.because("Only users can do this, not API keys")


class IdentitySigner:
    """Signs identities in the name of one issuer."""

    def __init__(self, issuer: str, seed: bytes, now: Callable[[], float] = time.time) -> None:
        self._issuer = issuer
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._now = now

    @classmethod
    def parse(cls, text: str) -> IdentitySigner:
        """Read `issuer=<base64 seed>`; `ValueError` says what is wrong, not the key."""
        issuer, _, encoded = text.partition("=")
        return cls(issuer.strip(), _key_bytes(encoded, issuer.strip()))

    def sign(self, identity: Identity) -> str:
        """The compact JWT for this identity, valid for 60 seconds from now."""
        now = int(self._now())
        claims = {
            "iat": now,
            "exp": now + LIFETIME_S,
            "kind": identity.kind,
            "sub": identity.id,
            "ws": identity.workspace_id,
            "role": identity.role_id,
            "rolev": identity.role_version,
            "flags": sorted(identity.flags),
            "perms": sorted(identity.permissions),
            "limit": identity.record_limit,
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM, headers={"kid": self._issuer})

    def sign_service(self) -> str:
        """An identity of the service itself, for calls without a user."""
        return self.sign(Identity(kind="service", id=self._issuer, workspace_id="*"))


class IdentityVerifier:
    """Verifies signed identities, and caches the verified ones until they expire.

    Verification costs about 100 us. With the cache the hot path is one dictionary look-up, because
    the gateway reuses a token for half of its lifetime.
    """

    def __init__(
        self, keys: Mapping[str, Sequence[Ed25519PublicKey]], now: Callable[[], float] = time.time
    ) -> None:
        self._keys = {issuer: tuple(of_issuer) for issuer, of_issuer in keys.items()}
        self._now = now
        self._seen: OrderedDict[str, tuple[float, Identity]] = OrderedDict()

    @classmethod
    def parse(cls, text: str) -> IdentityVerifier:
        """Read `issuer=<base64 public key>,…`; `ValueError` says which entry is wrong.

        An issuer may occur more than once: while its key is being replaced, both keys are valid.
        """
        keys: dict[str, list[Ed25519PublicKey]] = {}
        for entry in text.split(","):
            issuer, _, encoded = entry.strip().partition("=")
            key = Ed25519PublicKey.from_public_bytes(_key_bytes(encoded, issuer))
            keys.setdefault(issuer, []).append(key)
        return cls(keys)

    def verify(self, token: str) -> Identity:
        """The identity; raises `Unauthorized`, without details."""
        now = self._now()
        seen = self._seen.get(token)
        if seen is not None and now < seen[0]:
            return seen[1]
        expires, identity = self._check(token, now)
        self._seen[token] = (expires, identity)
        if len(self._seen) > _CACHED_TOKENS_MAX:
            self._seen.popitem(last=False)
        return identity

    def _check(self, token: str, now: float) -> tuple[float, Identity]:
        try:
            issuer = str(jwt.get_unverified_header(token).get("kid"))
            claims = self._signed_by(issuer, token)
            identity = _identity_from(claims, token)
            expires = float(claims["exp"])
        except (jwt.PyJWTError, KeyError, TypeError, ValueError):
            raise Unauthorized("Missing authentication") from None
        speaks_for_itself = identity.kind == "service" and identity.id == issuer
        if not (speaks_for_itself or (issuer in _SPEAK_FOR_CALLERS and identity.kind != "service")):
            raise Unauthorized("Missing authentication")
        if now >= expires + _CLOCK_SKEW_S:
            raise Unauthorized("Missing authentication")
        return expires + _CLOCK_SKEW_S, identity

    def _signed_by(self, issuer: str, token: str) -> dict[str, Any]:
        *others, last = self._keys[issuer]
        for key in others:
            with contextlib.suppress(jwt.InvalidSignatureError):
                return _decoded(token, key)
        return _decoded(token, last)


def _decoded(token: str, key: Ed25519PublicKey) -> dict[str, Any]:
    # PyJWT reads the wall clock itself; expiry is checked by the verifier against its own.
    return jwt.decode(
        token,
        key,
        algorithms=[_ALGORITHM],
        options={"verify_exp": False, "verify_iat": False, "require": ["exp", "sub", "ws"]},
    )


def public_key_of(signing_key: str) -> str:
    """The entry of `SIGMA_IDENTITY_KEYS` for a `SIGMA_IDENTITY_SIGNING_KEY`."""
    issuer, _, encoded = signing_key.partition("=")
    private = Ed25519PrivateKey.from_private_bytes(_key_bytes(encoded, issuer))
    return f"{issuer}={base64.b64encode(private.public_key().public_bytes_raw()).decode()}"


def _identity_from(claims: Mapping[str, object], token: str) -> Identity:
    kind = claims["kind"]
    if kind not in ("user", "api_key", "service"):
        raise ValueError(kind)
    role = claims.get("role")
    return Identity(
        kind=kind,
        id=str(claims["sub"]),
        workspace_id=str(claims["ws"]),
        role_id=None if role is None else str(role),
        role_version=int(cast(int, claims.get("rolev", 0))),
        flags=frozenset(Flag(flag) for flag in cast(list[str], claims.get("flags", []))),
        permissions=frozenset(Permission(p) for p in cast(list[str], claims.get("perms", []))),
        record_limit=int(cast(int, claims.get("limit", 0))),
        token=token,
    )


def _key_bytes(encoded: str, name: str) -> bytes:
    if not name or not encoded.strip("="):
        # The text may be the key itself, so the message does not repeat it.
        raise ValueError("expected <name>=<key in base64>, found no name or no key")
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"key '{name}' is not base64") from None
    if len(key) != _KEY_BYTES:
        raise ValueError(f"key '{name}' has {len(key)} bytes, expected {_KEY_BYTES}")
    return key
