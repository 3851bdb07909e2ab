"""Letting people in: a password for a token, a token for the next one."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from auth_service.sessions import passwords, store
from auth_service.sessions.delay import FORGOTTEN_AFTER_S, delays_s, retry_after_s
from auth_service.sessions.hashing import HASHING
from auth_service.users import store as users
from auth_service.users.addresses import is_address, normalised
from auth_service.users.model import User
from shared.errors import RateLimited, Unauthorized
from shared.postgres import DATABASE
from shared.tokens import Claims, TokenKeys
from shared.turns import Turns

TOKEN_KEYS: Final = web.AppKey("token_keys", TokenKeys)
LOGINS: Final = web.AppKey("logins", Turns)
"""One login of an address at a time: each is counted as a failure until it has succeeded, so some
people who share an account and come at once would delay each other with the right password."""

_DELAYS_S: Final = delays_s()


@dataclass(frozen=True, slots=True)
class Session:
    """A fresh token and whose it is."""

    user: User
    token: str = field(repr=False)


async def log_in(app: web.Application, email: str, password: str) -> Session:
    """A session for whoever knows the password.

    Nobody learns whether an address has an account: without one, and for a disabled one, the same
    steps are taken, the password is hashed once, and the answer is the same `Unauthorized`. So is
    `RateLimited`, which comes before the password is looked at.
    """
    address = normalised(email)
    digest = hashlib.sha256(address.encode()).digest()
    db, hashing = app[DATABASE], app[HASHING]
    async with app[LOGINS].of(digest):
        with hashing.place():
            async with db.acquire() as conn:
                if not await store.claim_attempt(conn, digest, _DELAYS_S, FORGOTTEN_AFTER_S):
                    left_s = await store.seconds_to_wait(conn, digest)
                    raise RateLimited.after(retry_after_s(left_s))
                login = await users.find_login(conn, address) if is_address(address) else None
            known_hash = None if login is None else login.password_hash
            # No connection is held meanwhile: hashing is the slowest thing here.
            matches = await hashing.run(passwords.matches, known_hash, password)
            if login is None or not matches or not login.user.active:
                raise Unauthorized("Invalid email or password")
            new_hash = None
            if passwords.is_outdated(login.password_hash):
                new_hash = await hashing.run(passwords.hashed, password)
        async with db.acquire() as conn:
            await store.forget_attempts(conn, digest)
            if new_hash is not None:
                await users.rehash(conn, login, new_hash)
    return _session(app, login.user)


async def refresh(app: web.Application, token: str) -> Session:
    """The next session for whoever has a token that is still good.

    The user is read again, so a disabled one gets nothing and a changed role is in the new token.
    The old token stays good to its own end.
    """
    claims = app[TOKEN_KEYS].verify(token)
    async with app[DATABASE].acquire() as conn:
        user = await users.find(conn, claims.workspace_id, claims.user_id)
    if user is None or not user.active:
        raise Unauthorized("Invalid or expired token")
    return _session(app, user)


def _session(app: web.Application, user: User) -> Session:
    claims = Claims.new(user.id, user.workspace_id, user.role_id, now=time.time())
    return Session(user=user, token=app[TOKEN_KEYS].sign(claims))
