"""Lets a test of one service act as anybody: it holds the keys that the gateway would hold."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Iterable

from shared.identity import (
    ADMIN_ROLE,
    ALL_FLAGS,
    ALL_PERMISSIONS,
    GATEWAY,
    IDENTITY_HEADER,
    Flag,
    Identity,
    IdentitySigner,
    Permission,
    public_key_of,
)

RECORD_LIMIT = 500
LIVES_S = 3_600
"""A gateway signs a new identity every half a minute; a test asks with one from its start, however
long it takes."""


def new_signing_key(issuer: str) -> str:
    """A fresh `SIGMA_IDENTITY_SIGNING_KEY`."""
    return f"{issuer}={base64.b64encode(secrets.token_bytes(32)).decode()}"


def admin(workspace: str = "ws-test", user_id: str = "user-admin") -> Identity:
    """A person with the built-in role that nothing restricts."""
    return user(workspace, ADMIN_ROLE, flags=ALL_FLAGS, user_id=user_id)


def user(
    workspace: str = "ws-test",
    role: str = "role-editor",
    *,
    flags: Iterable[Flag] = (),
    user_id: str = "user-editor",
    role_version: int = 1,
    record_limit: int = RECORD_LIMIT,
) -> Identity:
    """A person with this role and these system flags."""
    return Identity(
        kind="user",
        id=user_id,
        workspace_id=workspace,
        role_id=role,
        role_version=role_version,
        flags=frozenset(flags),
        permissions=ALL_PERMISSIONS,
        record_limit=record_limit,
    )


def api_key(
    workspace: str = "ws-test",
    permissions: Iterable[str] = ALL_PERMISSIONS,
    *,
    key_id: str = "apikey-test",
    record_limit: int = RECORD_LIMIT,
) -> Identity:
    """A program with these permissions."""
    return Identity(
        kind="api_key",
        id=key_id,
        workspace_id=workspace,
        permissions=frozenset(Permission(permission) for permission in permissions),
        record_limit=record_limit,
    )


class Keyring:
    """The private keys of every issuer, made for one test run.

    `public` is what goes into `SIGMA_IDENTITY_KEYS` of the service under test, `signing_key(name)`
    into `SIGMA_IDENTITY_SIGNING_KEY` of a service that calls others in its own name.
    """

    def __init__(self, *services: str) -> None:
        self._private = {issuer: new_signing_key(issuer) for issuer in (GATEWAY, *services)}

    @property
    def public(self) -> str:
        return ",".join(public_key_of(key) for key in self._private.values())

    def signing_key(self, issuer: str = GATEWAY) -> str:
        return self._private[issuer]

    def headers(self, identity: Identity) -> dict[str, str]:
        """What the gateway would send along for this caller."""
        return {IDENTITY_HEADER: self._signer(GATEWAY).sign(identity)}

    def service_headers(self, issuer: str) -> dict[str, str]:
        """What this service sends along when it calls in its own name."""
        return {IDENTITY_HEADER: self._signer(issuer).sign_service()}

    def _signer(self, issuer: str) -> IdentitySigner:
        signer = IdentitySigner.parse(self._private[issuer])
        signer._now = lambda: time.time() + LIVES_S
        return signer
