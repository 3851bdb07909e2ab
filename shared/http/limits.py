"""Limits of connections: how many, how long, how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aiohttp import web

READER_IDLE_S: Final = web.RequestKey("reader_idle_s", float)
"""Set by a handler whose reader may pause for longer than `Limits.answer_idle_s_max`: it holds
nothing meanwhile that others wait for."""

USUAL_BODY: Final = 10 << 20
"""How large a body may be by default, in bytes."""


def body_limit(declared: int | None, configured: int) -> int:
    """How large a body one route takes, in bytes; `declared` is None where it declares no limit.

    The configured limit bounds what is usual: a route that takes less than `USUAL_BODY` is held to
    the smaller of both. A route that takes more is made for large bodies, and takes that much.
    """
    if declared is None:
        return configured
    return declared if declared > USUAL_BODY else min(declared, configured)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of an application and of one connection. Times in seconds."""

    connections_max: int = 2_000
    connections_shared: bool = False
    """If set, an address gets another connection only while it has fewer than are free."""
    first_byte_s_max: float = 10.0
    body_bytes_max: int = USUAL_BODY
    """Where a route declares no other (`body_limit`)."""
    head_read_s_max: float = 10.0
    body_idle_s_max: float = 15.0
    body_read_s_max: float = 30.0
    body_bytes_per_s_min: int = 16 << 10
    """A body may take `body_read_s_max`, plus one second per this many received bytes."""
    answer_idle_s_max: float = 30.0
    """How long a client may read nothing while an answer waits to be sent; see `READER_IDLE_S`."""
    idle_s_max: float = 75.0
    check_every_s: float = 1.0
    linger_s_max: float = 2.0
    """How long the rest of a refused body is read, so that the client gets the answer."""
