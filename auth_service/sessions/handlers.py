"""Login, refresh and quick-login users over HTTP."""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web

from auth_service.sessions import commands
from auth_service.sessions.commands import Session
from auth_service.sessions.model import LoginRequest, RefreshRequest, SessionAnswer
from auth_service.users import store as users
from auth_service.users.model import TenantAnswer
from shared.database import DATABASE
from shared.errors import RateLimited, Unauthorized, ValidationError, Violation
from shared.http import SMALL_BODY, Routes, json_response, read_body
from shared.http.context import PEER_HEADER, name_peer

routes = Routes(
    tag="Authentication",
    about="Logging in, and refreshing a token.",
    open_below="/api/v1/auth/",
)

QUICK_LOGIN_ENABLED: Final = web.AppKey("quick_login_enabled", bool)


@routes.post(
    "/api/v1/auth/login",
    open=True,
    body=LoginRequest,
    body_bytes_max=SMALL_BODY,
    answers=SessionAnswer,
    summary="Log in",
    errors=(Unauthorized, RateLimited),
)
async def log_in(request: web.Request) -> web.StreamResponse:
    """Exchanges e-mail address and password for a token that is valid for 24 hours.

    Send it as `Authorization: Bearer <token>`. After five failures in a row from one network,
    further attempts from there have to wait, longer each time, up to a minute; `Retry-After` says
    how long. A client that sends its last token, even an expired one, in the same header is
    recognised as a device that has logged in before: failed attempts of others do not delay it.
    """
    peer = _peer(request)
    asked = await read_body(request, LoginRequest)
    if not asked.email or not asked.password:
        raise ValidationError(
            "Email and password are required",
            violations=[
                Violation(f"/{name}", f"Field '{name}' is required")
                for name in ("email", "password")
                if not getattr(asked, name)
            ],
        )
    session = await commands.log_in(
        request.app,
        asked.email,
        asked.password,
        peer=peer,
        last_token=_last_token(request),
    )
    return _answer(session)


@routes.post(
    "/api/v1/auth/refresh",
    open=True,
    body=RefreshRequest,
    body_bytes_max=SMALL_BODY,
    answers=SessionAnswer,
    summary="Exchange a token for a new one",
    errors=(Unauthorized,),
)
async def refresh_token(request: web.Request) -> web.StreamResponse:
    """Exchanges a valid token for a new one, which is valid for another 24 hours.

    The token is sent as `Authorization: Bearer`, or as `token` in the body. The new token has the
    user's current role; a disabled user gets none. A token that was issued before the password was
    changed is refused.
    """
    _peer(request)
    token = _bearer_token(request)
    if token is None and request.can_read_body:
        token = (await read_body(request, RefreshRequest)).token
    if not token:
        raise Unauthorized("Missing authentication")
    return _answer(await commands.refresh(request.app, token))


@routes.get(
    "/api/v1/auth/tenants",
    open=True,
    answers=list[TenantAnswer],
    summary="List workspaces with their quick-login users",
)
async def list_tenants(request: web.Request) -> web.StreamResponse:
    """For the login screen of a demo installation. Empty unless the operator has enabled it."""
    _peer(request)
    if not request.app[QUICK_LOGIN_ENABLED]:
        return json_response([])
    async with request.app[DATABASE].acquire() as conn:
        return json_response(await users.tenants(conn))


def _peer(request: web.Request) -> str:
    """The client's address, as the gateway says; the log names it from here on."""
    peer = request.headers.get(PEER_HEADER) or request.remote or ""
    name_peer(request, peer)
    return peer


def _last_token(request: web.Request) -> str | None:
    """The token of the header, if there is one; a header of another kind is no reason to refuse."""
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _bearer_token(request: web.Request) -> str | None:
    """The token of the header; a header of another kind is no reason to look elsewhere."""
    header = request.headers.get(hdrs.AUTHORIZATION)
    if header is None:
        return None
    scheme, _, token = header.strip().partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("Invalid or expired token")
    return token.strip()


def _answer(session: Session) -> web.StreamResponse:
    return json_response(
        {"token": session.token, "user": session.user.public()},
        headers={hdrs.CACHE_CONTROL: "no-store"},
    )
