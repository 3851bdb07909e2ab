"""The table in which a feature declares its routes, and what each of them promises.

The edge enforces `permission`, `flag`, `administrators`, `user_only` and `internal` before a
handler runs; the description of the API is generated from all of it. A route says who may call it,
in one of four ways:

    open       no identity is looked at
    internal   for other services, and for those who act through them; not part of the description
    user_only  for people: an API key is refused, whatever it holds
    the rest   for people, and for API keys that hold `permission`

Where a person's role needs one of its flags, the route names it as `flag`; `administrators` says
that it must be the built-in role `role-admin`.

`conditional` says that the route answers 304 where `If-None-Match` names the current version.

Limits of a route are declared where they are not the configured ones. The description has them, and
the gateway keeps them:

    body_bytes_max  the largest body (`limits.body_limit`). A larger one is 413 before it is read,
                    and so is one that unpacks to more
    deadline_s      the time until the head of the answer, at most `DEADLINE_S_MAX`; longer for a
                    long poll
    follows         the handler waits for news: a gateway counts such requests apart from others,
                    and ends them when the caller may no longer ask
    streams         the handler is not cancelled at the deadline, because its answer is sent in
                    parts; the gateway streams every large answer

Every route that writes takes `Idempotency-Key` and `Prefer: dry-run` (`shared.http.retries`),
except for open ones, where failed attempts must count. With `replayable=False`, the key is ignored:
the answer holds a secret, which must not be stored. With `receives=True`, the handler reads the
body itself, because it is too large to be held. `tried` is what a dry run answers with 200, where
that is something else than `answers`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from aiohttp import hdrs, web
from pydantic import BaseModel

from shared.errors import ApiError
from shared.identity import Flag, Permission

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Declare = Callable[[Handler], Handler]
BodyBound = Callable[[web.Request], int | None]

SMALL_BODY: Final = 16 << 10
"""A few short fields, for `body_bytes_max`."""
TEXT_BODY: Final = 128 << 10
"""Some fields and a text of thousands of characters, however they are escaped."""
NAMES_BODY: Final = 1 << 20
"""Thousands of ids."""
ANY_METHOD: Final = hdrs.METH_ANY
_WHO_MAY: Final = ("permission", "user_only", "internal", "open")


class Guarded(Protocol):
    """What a route declares about its callers (`shared.http.routes.Route`)."""

    @property
    def permission(self) -> Permission | None:
        """What an API key must have."""

    @property
    def flag(self) -> Flag | None:
        """What a person's role must have."""

    @property
    def administrators(self) -> bool:
        """Whether a person's role must be the built-in one."""

    @property
    def user_only(self) -> bool:
        """Whether API keys are refused."""

    @property
    def internal(self) -> bool:
        """Whether it is for other services."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a route would declare about its callers, where there is no route."""

    permission: Permission | None = None
    flag: Flag | None = None
    administrators: bool = False
    user_only: bool = False
    internal: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One route and everything that is promised about it.

    `flag` is the flag that a person's role needs, and is enforced; `role` says in words what else
    the role needs, which the handler enforces. `body_type` is the media type of `body`;
    `also_takes` and `also_answers` are others in which the body and the answer may come.
    `answer_type` is that of an answer that has no model, `answers`, because it is no JSON.
    """

    method: str
    path: str
    handler: Handler
    tag: str
    permission: Permission | None = None
    flag: Flag | None = None
    administrators: bool = False
    role: str = ""
    open: bool = False
    internal: bool = False
    user_only: bool = False
    streams: bool = False
    follows: bool = False
    conditional: bool = False
    replayable: bool = True
    receives: bool = False
    tried: Any = None
    body: type[BaseModel] | None = None
    body_type: str = "application/json"
    also_takes: tuple[str, ...] = ()
    body_bytes_max: int | None = None
    deadline_s: float | None = None
    body_bound: BodyBound | None = None
    query: type[BaseModel] | None = None
    answers: Any = None
    answer_type: str | None = None
    also_answers: tuple[str, ...] = ()
    status: int = 200
    summary: str = ""
    success: str = ""
    description: str = ""
    errors: tuple[type[ApiError], ...] = ()
    examples: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def role_needed(self) -> str:
        """What a person's role needs, in words."""
        if self.administrators:
            return "`role-admin`"
        return f"`{self.flag}`" if self.flag is not None else self.role or "any"

    @property
    def writes(self) -> bool:
        """Whether it takes another permission than `read`, and so may be called without that."""
        return self.permission not in (None, Permission.READ)


@dataclass(slots=True)
class Routes:
    """The routes of one feature; `tag` groups them in the description.

    Rules are fields of `Route`. `about` describes the group. `open_below` is an address below which
    nobody is asked for a credential, whether there is something at the address or not. `parameters`
    describes the parameters in the path, `examples` are values of them, for whoever tries the
    endpoints out.
    """

    tag: str
    about: str = ""
    table: list[Route] = field(default_factory=list)
    open_below: str | None = None
    examples: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)

    def get(self, path: str, **rules: Any) -> Declare:
        """Declare a GET route, which answers HEAD as well."""
        return self._declare(hdrs.METH_GET, path, rules)

    def post(self, path: str, **rules: Any) -> Declare:
        """Declare a POST route."""
        return self._declare(hdrs.METH_POST, path, rules)

    def put(self, path: str, **rules: Any) -> Declare:
        """Declare a PUT route."""
        return self._declare(hdrs.METH_PUT, path, rules)

    def patch(self, path: str, **rules: Any) -> Declare:
        """Declare a PATCH route."""
        return self._declare(hdrs.METH_PATCH, path, rules)

    def delete(self, path: str, **rules: Any) -> Declare:
        """Declare a DELETE route; unless `status` says otherwise it answers 204."""
        return self._declare(hdrs.METH_DELETE, path, {"status": 204, **rules})

    def internal_get(self, path: str, **rules: Any) -> Declare:
        """Declare a GET route for other services."""
        return self.get(path, internal=True, **rules)

    def internal_post(self, path: str, **rules: Any) -> Declare:
        """Declare a POST route for other services."""
        return self.post(path, internal=True, **rules)

    def internal_put(self, path: str, **rules: Any) -> Declare:
        """Declare a PUT route for other services."""
        return self.put(path, internal=True, **rules)

    def internal_delete(self, path: str, **rules: Any) -> Declare:
        """Declare a DELETE route for other services."""
        return self.delete(path, internal=True, **rules)

    def catch_all(
        self,
        path: str = r"/{path:[\s\S]*}",
        *,
        body_bound: BodyBound | None = None,
        body_bytes_max: int | None = None,
    ) -> Declare:
        """Declare an open route for every method that judges and streams by itself: a gateway's.

        It takes every address, also with an encoded line feed. It is left out of the description,
        and the caller's deadline header means nothing to it.
        `body_bound` says how large a body it takes at the address of a request, in bytes, so that
        nobody who asks first (`Expect`) is asked to send one that is too large; `body_bytes_max` is
        the largest at any address.
        """
        return self._declare(
            ANY_METHOD,
            path,
            {
                "open": True,
                "streams": True,
                "body_bound": body_bound,
                "body_bytes_max": body_bytes_max,
            },
        )

    def _declare(self, method: str, path: str, rules: Mapping[str, Any]) -> Declare:
        def declare(handler: Handler) -> Handler:
            declared = {
                "description": (handler.__doc__ or "").strip(),
                "examples": self.examples,
                "parameters": self.parameters,
                **rules,
            }
            if not any(declared.get(rule) for rule in _WHO_MAY):
                raise TypeError(f"{method} {path} does not say who may call it: {_WHO_MAY}")
            self.table.append(Route(method, path, handler, self.tag, **declared))
            return handler

        return declare
