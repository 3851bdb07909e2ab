"""Authentication: reads the credential of a request, a bearer token or an API key.

If a request has both headers, the token decides, even if it is invalid. There are three messages:

    Missing authentication     neither header
    Invalid or expired token   `Authorization` is not a valid token of a user who may log in
    Invalid API key            `X-Sigma-ApiKey` is not an active key
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from aiohttp import hdrs, web

from gateway.identities import Credential
from shared.errors import InternalError, ServiceUnavailable, Unauthorized
from shared.identity import Flag, Identity, Permission
from shared.identity.tokens import Claims, TokenKeys

log = structlog.get_logger("authenticate")

API_KEY_HEADER: Final = "X-Sigma-ApiKey"
_API_KEY_LENGTH_MAX: Final = 256
_VERIFIED_MAX: Final = 10_000

MISSING: Final = "Missing authentication"
BAD_TOKEN: Final = "Invalid or expired token"  # noqa: S105 - a message, not a token
BAD_KEY: Final = "Invalid API key"


class Authenticator:
    """Reads and verifies credentials; `gateway.identities` resolves them to identities."""

    def __init__(self, keys: TokenKeys, now: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._now = now
        # Verifying a signature costs 30 us, and a client sends the same token thousands of times.
        self._verified: OrderedDict[str, Claims] = OrderedDict()

    def credential(self, request: web.BaseRequest) -> Credential:
        """The credential of this request. Raises `Unauthorized` if it has none or a bad one."""
        found = self._bearer(request) or self._api_key(request)
        if found is None:
            raise Unauthorized(MISSING)
        return found

    def _bearer(self, request: web.BaseRequest) -> Credential | None:
        sent = request.headers.getall(hdrs.AUTHORIZATION, None)
        if sent is None:
            return None
        scheme, _, token = sent[0].partition(" ")
        if len(sent) > 1 or scheme.lower() != "bearer":
            raise Unauthorized(BAD_TOKEN)
        claims = self._verify(token.strip())
        return Credential(
            user_id=claims.user_id,
            workspace_id=claims.workspace_id,
            role_id=claims.role_id,
            issued_at=claims.issued_at,
        )

    def _verify(self, token: str) -> Claims:
        claims = self._verified.get(token)
        if claims is not None:
            if self._now() < claims.expires_at:
                return claims
            del self._verified[token]
        claims = self._keys.verify(token)
        self._verified[token] = claims
        if len(self._verified) > _VERIFIED_MAX:
            self._verified.popitem(last=False)
        return claims

    def _api_key(self, request: web.BaseRequest) -> Credential | None:
        sent = request.headers.getall(API_KEY_HEADER, None)
        if sent is None:
            return None
        key = sent[0].strip()
        if len(sent) > 1 or not key or len(key) > _API_KEY_LENGTH_MAX or not key.isascii():
            raise Unauthorized(BAD_KEY)
        # Only the hash leaves this function.
        return Credential(key_hash=hashlib.sha256(key.encode("ascii")).hexdigest())


def ask_auth_service(
    post: Callable[[dict[str, str | int], web.Request | None], Awaitable[Any]],
) -> Callable[[Credential, web.Request | None], Awaitable[Identity]]:
    """A function that resolves a credential in auth_service.

    `post` sends one question to `/internal/identities` and returns the parsed answer.
    """

    async def ask(credential: Credential, request: web.Request | None) -> Identity:
        try:
            answer = await post(credential.question(), request)
        except Unauthorized as refusal:
            if refusal.message == MISSING:
                # auth_service rejects the identity of this gateway, not that of the caller.
                log.error(  # noqa: TRY400 - where it was raised says nothing
                    "auth_service_refuses_this_gateway",
                    reason="it does not have the public key of SIGMA_IDENTITY_SIGNING_KEY in"
                    " SIGMA_IDENTITY_KEYS, or the clocks of the two differ",
                )
                raise ServiceUnavailable from None
            # Whatever the reason of auth_service, the caller gets the documented message.
            raise Unauthorized(BAD_KEY if credential.key_hash else BAD_TOKEN) from None
        try:
            return _identity(answer)
        except (KeyError, TypeError, ValueError):
            log.exception("auth_service_answer_unreadable")
            raise InternalError from None

    return ask


def _identity(answer: Any) -> Identity:
    kind = answer["kind"]
    if kind not in ("user", "api_key"):
        raise ValueError(kind)
    role_id = answer.get("roleId")
    return Identity(
        kind=kind,
        id=str(answer["id"]),
        workspace_id=str(answer["workspaceId"]),
        role_id=None if role_id is None else str(role_id),
        role_version=int(answer.get("roleVersion") or 0),
        flags=frozenset(Flag(flag) for flag in answer.get("flags", [])),
        permissions=frozenset(Permission(one) for one in answer.get("permissions", [])),
        record_limit=int(answer.get("recordLimit") or 0),
    )
