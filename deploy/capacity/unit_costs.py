"""The measured unit costs, as `make bench ARGS=scale` has written them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).parents[2] / "benchmarks" / "unit_costs.json"
GATEWAY: Final = "gateway"
SERVICES: Final = ("auth_service", "records_service", "workflow_service")
APIS: Final = (GATEWAY, *SERVICES)
WORKERS: Final = tuple(f"{service} worker" for service in SERVICES)
BROKER: Final = "RabbitMQ"
REST: Final = "PostgreSQL"
"""What writes WAL and pages for all sessions of the server, and vacuums."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What one request, bulk row, change or delivery costs."""

    cpu_us: Mapping[str, float]
    """Microseconds of CPU, by part of the system."""
    wal_bytes: float
    connection_ms: Mapping[str, float]
    """Milliseconds in which a session of the service's database works for it."""
    alone_ms: float
    """How long the answer takes if nothing else is asked; 0 where nobody waits for one."""
    alone_cpu_us: Mapping[str, float]
    """Microseconds of CPU of a request that shares nothing with others; empty as above."""
    alone_wal_bytes: float


@dataclass(frozen=True, slots=True)
class UnitCosts:
    """Everything that was measured."""

    operations: Mapping[str, Operation]
    idle_cores: Mapping[str, float]
    memory_mb: Mapping[str, float]
    """Of each process, after load."""
    stored: Mapping[str, Mapping[str, Mapping[str, float]]]
    """Bytes of a record and of an update: by what they are for, in tables and in indexes."""
    event_bytes: float
    doubling: Mapping[str, Any]
    run: Mapping[str, Any]
    measured: Mapping[str, Any]
    """When, where and at which load, by part of the measurement."""


def load(file: Path = FILE) -> UnitCosts:
    """Read the file."""
    whole = json.loads(file.read_text())
    costs = whole["costs"]
    return UnitCosts(
        operations={
            name: Operation(
                one["cpu_us"],
                one["wal_bytes"],
                one["connection_ms"],
                one.get("alone_ms", 0.0),
                one.get("alone_cpu_us", {}),
                one.get("alone_wal_bytes", 0.0),
            )
            for name, one in costs["operations"].items()
        },
        idle_cores=costs["idle_cores"],
        memory_mb={part: one["after_load"] for part, one in costs["memory_mb"].items()},
        stored={kind: whole["stored"][kind] for kind in ("record", "update")},
        event_bytes=whole["stored"]["event_bytes"],
        doubling=whole.get("doubling", {}),
        run=whole["run"],
        measured={part: one["measured"] for part, one in whole.items()},
    )
