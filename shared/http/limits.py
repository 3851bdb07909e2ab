"""Limits of connections: how many, how long, how much."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of an application and of one connection. Times in seconds."""

    connections_max: int = 2_000
    connections_shared: bool = False
    """If set, an address gets another connection only while it has fewer than are free."""
    first_byte_s_max: float = 10.0
    body_bytes_max: int = 10 << 20
    head_read_s_max: float = 10.0
    body_idle_s_max: float = 15.0
    body_read_s_max: float = 30.0
    body_bytes_per_s_min: int = 16 << 10
    """A body may take `body_read_s_max`, plus one second per this many received bytes."""
    answer_idle_s_max: float = 30.0
    """How long a client may read nothing while an answer waits to be sent."""
    idle_s_max: float = 75.0
    check_every_s: float = 1.0
    linger_s_max: float = 2.0
    """How long the rest of a refused body is read, so that the client gets the answer."""
