"""Command context: who asks, with which role, and which version they mean to change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from aiohttp import web

from records_service.permissions.roles import role_of
from records_service.permissions.rules import Role
from shared.database import DATABASE, Database
from shared.http import Call, call_of, identity_of
from shared.http.versions import check_version, if_match
from shared.identity import Identity
from shared.process.offload import OFFLOAD

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BaseContext:
    """The caller of a command that does not depend on the caller's role."""

    app: web.Application
    call: Call
    identity: Identity

    @property
    def workspace_id(self) -> str:
        """The workspace of the caller; every statement names it."""
        return self.identity.workspace_id

    @property
    def database(self) -> Database:
        """The connection pool of this process."""
        return self.app[DATABASE]

    @property
    def has_large_body(self) -> bool:
        """Whether the body is so large that work on it belongs in a thread."""
        return self.call.has_large_body

    def told(self, by: str) -> str | None:
        """What uses an object, for the refusal to delete it; None for a caller who may not read."""
        return by if self.identity.may_read else None

    def told_of_records(self, by: str) -> str | None:
        """As `told`, where it says which records there are: to those alone who may see them all."""
        return self.told(by) if self.identity.unrestricted else None

    def check_version(self, title: str, resource_id: str, version: int) -> None:
        """Raise `PreconditionFailed` if `If-Match` names another version than the stored one.

        Raises `ValidationError` if the header has another form.
        """
        check_version(title, resource_id, version, if_match(self.call.headers))

    def has_seen(self, version: int) -> bool:
        """Whether `If-Match` names this version or any; `ValidationError` for another form."""
        expected = if_match(self.call.headers)
        return expected is None or version in expected

    async def run(
        self, is_large: bool, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a function, in a thread if the values that it works on are large."""
        if not is_large:
            return function(*args, **kwargs)
        return await self.app[OFFLOAD].run(self.workspace_id, function, *args, **kwargs)


@dataclass(frozen=True, slots=True)
class Context(BaseContext):
    """The caller of a command; a `role` of None stands for a caller without restrictions."""

    role: Role | None


def base_context_of(request: web.Request) -> BaseContext:
    """The context of a request for a command that asks for no role."""
    return BaseContext(request.app, call_of(request), identity_of(request))


async def context_of(request: web.Request) -> Context:
    """The context of a request; raises what `role_of` raises."""
    return Context(request.app, call_of(request), identity_of(request), await role_of(request))
