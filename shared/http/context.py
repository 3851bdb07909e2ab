"""What the edge knows about the request at hand, for handlers and for calls to other services."""

from __future__ import annotations

import asyncio
import random
from typing import Final

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from shared.errors import PermissionDenied, Unauthorized
from shared.identity import Identity

REQUEST_ID_HEADER: Final = "X-Request-Id"
DEADLINE_HEADER: Final = "X-Sigma-Deadline"
TRACE_HEADER: Final = "traceparent"
PEER_HEADER: Final = "X-Sigma-Peer"
"""On requests to open routes: the client's address, as the gateway knows it."""

REQUEST_ID_LENGTH_MAX: Final = 128
DEADLINE_S_MAX: Final = 600.0
PEER_LENGTH_MAX: Final = 64

_TRACE_PARENT_LENGTH: Final = 55
_DEADLINE_DIGITS_MAX: Final = 9
_NO_HEADERS: Final = CIMultiDictProxy(CIMultiDict[str]())


class Call:
    """One request, as the edge sees it."""

    __slots__ = (
        "body_bytes_max",
        "caller",
        "deadline",
        "error",
        "has_large_body",
        "headers",
        "identity",
        "peer",
        "request_id",
        "route",
        "trace_id",
        "upstream",
        "waited_s",
    )

    def __init__(
        self,
        request_id: str,
        route: str,
        body_bytes_max: int = 0,
        headers: CIMultiDictProxy[str] = _NO_HEADERS,
    ) -> None:
        self.request_id = request_id
        self.route = route
        self.body_bytes_max = body_bytes_max
        self.headers = headers
        """As they were sent; calls to other services pass some of them on."""
        self.identity: Identity | None = None
        self.caller: Identity | None = None
        """Who asks, for the log; at a service the same as `identity`."""
        self.peer: str | None = None
        """The client's address, for the log; None where only the gateway knows it."""
        self.deadline: float | None = None
        self.trace_id: str | None = None
        self.upstream: str | None = None
        self.error: str | None = None
        self.has_large_body = False
        self.waited_s = 0.0

    @property
    def seconds_left(self) -> float | None:
        """What is left until the caller stops waiting, None when it did not say."""
        if self.deadline is None:
            return None
        return self.deadline - asyncio.get_running_loop().time()

    @property
    def workspace_id(self) -> str:
        """Of the caller; empty where nobody knows who asks."""
        return "" if self.identity is None else self.identity.workspace_id


CALL: Final = web.RequestKey("call", Call)


def call_of(request: web.Request) -> Call:
    """What the edge knows about this request, and what its log lines will name."""
    return request[CALL]


def identity_of(request: web.Request) -> Identity:
    """Who asks. Always there on a route that is not open."""
    identity = request[CALL].identity
    if identity is None:
        raise Unauthorized("Missing authentication")
    return identity


def asked_on_behalf_of(request: web.Request) -> Identity:
    """The user or API key on whose behalf another service asks.

    Raises `PermissionDenied` if the service asks in its own name: it has no workspace.
    """
    identity = identity_of(request)
    if identity.kind == "service":
        raise PermissionDenied
    return identity


def has_large_body(request: web.Request) -> bool:
    """Whether the body that was read is so large that work on it belongs in a thread."""
    return request[CALL].has_large_body


def request_id_of(request: web.Request) -> str:
    """The id that the answer and every log line of this request carry."""
    return request[CALL].request_id


def seconds_left(request: web.Request) -> float | None:
    """What is left until the caller stops waiting, None when it did not say."""
    return request[CALL].seconds_left


def name_route(request: web.Request, route: str) -> None:
    """What logs and metrics call this request, where one handler serves many addresses.

    The caller sees to it that there are few such names.
    """
    request[CALL].route = route


def name_peer(request: web.Request, peer: str) -> None:
    """What the log lines of this request name as the client's address."""
    request[CALL].peer = peer[:PEER_LENGTH_MAX]


def request_id_from(header: str | None) -> str:
    """The client's id when it is harmless in a log and a header, otherwise a new one."""
    if (
        header is not None
        and 0 < len(header) <= REQUEST_ID_LENGTH_MAX
        and header.isascii()
        and header.replace("-", "").replace("_", "").replace(".", "").isalnum()
    ):
        return header
    # It names a request and keeps no secret, so it need not cost a system call.
    return f"{random.getrandbits(128):032x}"


def deadline_from(header: str) -> float | None:
    """A time of the event loop; None when the header is not a number of milliseconds."""
    if not (header.isascii() and header.isdecimal() and len(header) <= _DEADLINE_DIGITS_MAX):
        return None
    return asyncio.get_running_loop().time() + min(int(header) / 1000, DEADLINE_S_MAX)


def trace_id_from(header: str) -> str | None:
    """The trace that a W3C `traceparent` names, None when it is not of that form."""
    parts = header.split("-")
    if len(header) < _TRACE_PARENT_LENGTH or not header.isascii() or len(parts) < 4:  # noqa: PLR2004
        return None
    trace_id = parts[1]
    return trace_id if len(trace_id) == 32 and trace_id.isalnum() else None  # noqa: PLR2004
