"""Login and refresh: a password is exchanged for a token, a token for a new one."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from auth_service.sessions import passwords, store
from auth_service.sessions.delay import (
    FORGOTTEN_AFTER_S,
    delays_s,
    retry_after_s,
    strangers_delays_s,
)
from auth_service.sessions.hashing import HASHING
from auth_service.sessions.origins import Origin
from auth_service.users import store as users
from auth_service.users.addresses import is_address, normalised
from auth_service.users.model import User
from shared.database import DATABASE, Database
from shared.errors import RateLimited, Unauthorized
from shared.identity.tokens import Claims, TokenKeys
from shared.process.waiting import KeyedSemaphore

TOKEN_KEYS: Final = web.AppKey("token_keys", TokenKeys)
LOGIN_SLOTS: Final = web.AppKey("login_slots", KeyedSemaphore)
"""One login of an address from a network at a time: each counts as a failure until it has
succeeded, so programs that share an account and come at once would delay each other."""

_DELAYS_S: Final = delays_s()
_STRANGERS_DELAYS_S: Final = strangers_delays_s()


@dataclass(frozen=True, slots=True)
class Session:
    """A fresh token and whose it is."""

    user: User
    token: str = field(repr=False)


async def log_in(
    app: web.Application, email: str, password: str, *, peer: str, last_token: str | None = None
) -> Session:
    """A session for whoever knows the password.

    `peer` is the client's address. `last_token` is a token that the client was given before,
    expired or not: it shows a device that has logged in, whose failures are counted apart.

    Nobody learns whether an address has an account: without one, and for a disabled one, the same
    steps are taken, the password is hashed once, and the answer is the same `Unauthorized`. So is
    `RateLimited`, which comes before the password is looked at.
    """
    address = normalised(email)
    claims = None if last_token is None else app[TOKEN_KEYS].issued(last_token)
    db, hashing = app[DATABASE], app[HASHING]
    async with db.acquire() as conn:
        login = await users.find_login(conn, address) if is_address(address) else None
    origin = Origin.of(address, peer, known_device=_speaks_for(claims, login))
    async with app[LOGIN_SLOTS].of(origin.attempt):
        with hashing.slot():
            shared = await _claim_attempt(db, origin, known_device=_speaks_for(claims, login))
            known_hash = None if login is None else login.password_hash
            # No connection is held meanwhile: hashing is the slowest thing here.
            matches = await hashing.run(passwords.matches, known_hash, password)
            if login is None or not matches or not login.user.active:
                raise _refused(login, matches=matches)
            new_hash = None
            if passwords.is_outdated(login.password_hash):
                new_hash = await hashing.run(passwords.hashed, password)
        now = time.time()
        async with db.acquire() as conn:
            # While this one waited and hashed, the password may have been changed.
            user = await users.find_unchanged(conn, login)
            if user is None:
                raise _refused(login, matches=False)
            await store.forget_attempts(conn, origin.attempt)
            for digest in shared:
                await store.take_back_attempt(conn, digest)
            await store.remember_network(conn, origin.account, origin.network)
            if new_hash is not None:
                await users.rehash(conn, login, new_hash)
    return _session(app, user, now)


def _refused(login: users.Login | None, *, matches: bool) -> Unauthorized:
    """One message for all causes; the log has the cause, but never the e-mail address."""
    error = Unauthorized("Invalid email or password")
    if login is None:
        error.reason = "no user has this e-mail address"
    else:
        why = "disabled user" if matches else "wrong password for user"
        error.reason = f"{why} '{login.user.id}' of workspace '{login.user.workspace_id}'"
    return error


async def _claim_attempt(db: Database, origin: Origin, *, known_device: bool) -> list[bytes]:
    """Count the attempt wherever it counts, or nowhere, and tell in which counts others share.

    Raises `RateLimited`.
    """
    async with db.transaction() as conn:
        if known_device or await store.is_known_network(conn, origin.account, origin.network):
            shared = []
        else:
            shared = [origin.account, origin.place]
        for digest in (origin.attempt, *shared):
            delays = _STRANGERS_DELAYS_S if digest in shared else _DELAYS_S
            if not await store.claim_attempt(conn, digest, delays, FORGOTTEN_AFTER_S):
                left_s = await store.seconds_to_wait(conn, digest)
                error = RateLimited.after(retry_after_s(left_s))
                error.reason = "too many failed logins of this e-mail address"
                raise error
    return shared


def _speaks_for(claims: Claims | None, login: users.Login | None) -> bool:
    """Whether a token is one that this user was given, in sessions that have not been ended."""
    return (
        claims is not None
        and login is not None
        and (claims.workspace_id, claims.user_id) == (login.user.workspace_id, login.user.id)
        and claims.issued_at >= login.user.sessions_from
    )


async def refresh(app: web.Application, token: str) -> Session:
    """The next session for whoever has a token that is still good.

    The user is read again, so a disabled one gets nothing, a changed role is in the new token, and
    a token from before a change of the password is refused. The old token stays good to its end.
    """
    claims = app[TOKEN_KEYS].verify(token)
    now = time.time()
    async with app[DATABASE].acquire() as conn:
        user = await users.find(conn, claims.workspace_id, claims.user_id)
    if user is None or not user.active or claims.issued_at < user.sessions_from:
        raise Unauthorized("Invalid or expired token")
    return _session(app, user, now)


def _session(app: web.Application, user: User, now: float) -> Session:
    """A session that begins `now`, a time from before the user was read.

    So whatever ends the user's sessions after that reading ends this one too. Sessions that were
    ended in this very second were ended to its end: a new one begins after it.
    """
    begins = max(now, user.sessions_from)
    claims = Claims.new(user.id, user.workspace_id, user.role_id, now=begins)
    return Session(user=user, token=app[TOKEN_KEYS].sign(claims))
