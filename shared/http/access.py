"""Whether somebody else than the caller may use a route, by the check of the edge.

A service that explains why a caller is refused asks the service that has the route; so what a
route requires is declared in one place, and checked by one function.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from aiohttp import web

from shared.errors import NotFound, PermissionDenied, truncated
from shared.http.context import asked_on_behalf_of
from shared.http.edge import check_access
from shared.http.requests import read_body
from shared.http.responses import json_response
from shared.http.routes import SMALL_BODY, Guarded, Route, Routes
from shared.http.shapes import Shape
from shared.identity import Flag, Identity, Permission

ACCESS_PATH: Final = "/internal/access"


@dataclass(frozen=True, slots=True)
class AccessAnswer:
    """Whether a caller may use a route, and the rule that says so."""

    allowed: bool
    rule: str


def explained(identity: Identity, route: Guarded) -> AccessAnswer:
    """What `check_access` says of this caller, with the rule that decided."""
    try:
        check_access(identity, route)
    except PermissionDenied as error:
        return AccessAnswer(allowed=False, rule=error.first)
    return AccessAnswer(allowed=True, rule=_what_allows(identity, route))


def _what_allows(identity: Identity, route: Guarded) -> str:
    if identity.kind == "api_key":
        return f"The API key has the permission '{route.permission}'"
    if identity.is_admin:
        return "The role is 'role-admin', which nothing restricts"
    if route.flag is not None:
        return f"The role has the flag '{route.flag}'"
    return "Every role may do this"


def declared(routes: Iterable[Route], method: str, path: str) -> Route:
    """The route with this method and path template. Raises `NotFound`."""
    for route in routes:
        if (route.method, route.path) == (method, path) and not route.internal:
            return route
    raise NotFound(f"Route '{truncated(method)} {truncated(path)}' not found")


class AccessQuestion(Shape):
    """A route, and who would call it: a role's user, or an API key."""

    method: str
    path: str
    kind: Literal["user", "api_key"]
    role_id: str | None = None
    flags: frozenset[Flag] = frozenset()
    permissions: frozenset[Permission] = frozenset()

    @classmethod
    def of(cls, identity: Identity, method: str, path: str) -> AccessQuestion:
        """The question whether this caller may use a route of another service."""
        assert identity.kind != "service"
        return cls(
            method=method,
            path=path,
            kind=identity.kind,
            role_id=identity.role_id,
            flags=identity.flags,
            permissions=identity.permissions,
        )


def access_routes(routes: Iterable[Routes]) -> Routes:
    """The route by which another service asks who may use one of these."""
    table = Routes(tag="Internal")
    known = [route for each in routes for route in each.table]

    @table.internal_post(ACCESS_PATH, body=AccessQuestion, body_bytes_max=SMALL_BODY)
    async def judge(request: web.Request) -> web.StreamResponse:
        """What the edge would say; the answer depends on nothing but the question."""
        asker = asked_on_behalf_of(request)
        asked = await read_body(request, AccessQuestion)
        subject = Identity(
            kind=asked.kind,
            id="",
            workspace_id=asker.workspace_id,
            role_id=asked.role_id,
            flags=asked.flags,
            permissions=asked.permissions,
        )
        found = explained(subject, declared(known, asked.method, asked.path))
        return json_response({"allowed": found.allowed, "rule": found.rule})

    return table
