"""What a size needs: arithmetic over the unit costs, without a clock and without chance.

The rules, which docs/scale.md explains:

- A process runs at most `TARGET` of its core, so that the others hold when one of three is lost.
- A database server and a broker run at most at half of their cores.
- Half of the writes are rows of bulk calls; there are three reads for each single write.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from deploy.capacity.unit_costs import APIS, BROKER, GATEWAY, REST, SERVICES, WORKERS, UnitCosts

FULL: Final = 0.9
"""Of its core that a process can use before answers become slow."""
REPLICAS_LOST_OF: Final = 3
TARGET: Final = round(FULL * (REPLICAS_LOST_OF - 1) / REPLICAS_LOST_OF, 2)
SERVER_TARGET: Final = 0.5
REPLICAS_MIN: Final = 2
MEMORY_HEADROOM: Final = 1.25
AVERAGE_SHARE: Final = 0.1
"""What a year has on average of the rates of its busiest minutes."""
FEED_DAYS: Final = 7
DAYS: Final = 365
DAY_S: Final = 86_400
VALUES_PER_RECORD: Final = 10
POOL_FACTOR: Final = 4
"""How many more connections a pool has than are busy on average."""
POOL_MIN: Final = 6
POOL_DEFAULT: Final = 16
MB: Final = 1_000_000

RECORDS: Final = "records_service"
EVENTS: Final = ("create", "update", "bulk_record")
"""The operations of which each is one event of a record."""
MIX: Final[Mapping[str, float]] = {
    "create": 0.1,
    "update": 0.4,
    "bulk_record": 0.5,
    "read": 1.5,
    "list": 0.15,
    "search": 0.1,
    "webhook_delivery": 0.1,
    "roles": 0.002,
    "workflows": 0.002,
    "login": 0.001,
    "role_change": 0.0002,
}
"""Requests, rows and deliveries for each write."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is stored, and how much happens in the busiest minutes."""

    name: str
    workspaces: int
    records: int
    writes: float
    """A second."""

    @property
    def rates(self) -> dict[str, float]:
        """By operation, a second."""
        return {name: part * self.writes for name, part in MIX.items()}

    @property
    def events(self) -> float:
        """Of records, a second."""
        return sum(self.rates[name] for name in EVENTS)


SIZES: Final = (
    Size("small", 100, 1_000_000, 50),
    Size("medium", 1_000, 10_000_000, 500),
    Size("large", 10_000, 100_000_000, 5_000),
)
REFERENCE: Final = SIZES[1]
"""What two pods of each kind are to carry: what Kubernetes requests follows from it."""


@dataclass(frozen=True, slots=True)
class Tier:
    """All processes of a kind: what they use together, and how many they have to be."""

    name: str
    cores: float
    processes: int
    memory_mb: float
    """Of all of them, with headroom."""


@dataclass(frozen=True, slots=True)
class DatabasePlan:
    """One database at a size."""

    service: str
    cores: float
    """Used; the server has twice as many."""
    busy_connections: float
    pool: int
    """A `SIGMA_DATABASE_CONNECTIONS_MAX` that is enough."""
    open_connections: int
    """With that pool in all processes."""
    default_connections: int
    """With the default pool."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes after a year."""

    records: float
    indexes: float
    """Of the records alone, without those of history and feed."""
    history_a_year: float
    feed: float

    @property
    def total(self) -> float:
        """With the history of one year."""
        return self.records + self.history_a_year + self.feed


@dataclass(frozen=True, slots=True)
class Plan:
    """What a size needs."""

    size: Size
    tiers: Mapping[str, Tier]
    databases: Mapping[str, DatabasePlan]
    broker_cores: float
    broker_bytes_s: float
    wal_bytes_s: float
    stored: Stored
    relay_cores: float
    """Of the one process that publishes the events of records."""


def cores(costs: UnitCosts, rates: Mapping[str, float], *, alone: bool = False) -> dict[str, float]:
    """Cores in use by part, without what the parts use when nothing is asked.

    Where requests come one at a time (`alone`), each costs more.
    """
    parts: dict[str, float] = dict.fromkeys(costs.idle_cores, 0.0)
    for name, rate in rates.items():
        operation = costs.operations[name]
        for part, microseconds in (operation.alone_cpu_us if alone else operation.cpu_us).items():
            parts[part] += rate * microseconds / 1e6
    return parts


def plan(costs: UnitCosts, size: Size) -> Plan:
    """What this size needs."""
    used = cores(costs, size.rates)
    tiers = {name: _tier(costs, name, used[name]) for name in (*APIS, *WORKERS)}
    databases = {service: _database(costs, size, used, tiers, service) for service in SERVICES}
    return Plan(
        size=size,
        tiers=tiers,
        databases=databases,
        broker_cores=used[BROKER] + costs.idle_cores[BROKER],
        broker_bytes_s=size.events * costs.event_bytes,
        wal_bytes_s=sum(
            rate * costs.operations[name].wal_bytes for name, rate in size.rates.items()
        ),
        stored=_stored(costs, size),
        relay_cores=_relay_cores(costs, size),
    )


def processes_for(used_cores: float, idle_cores: float) -> int:
    """How many processes carry this, each with what it uses when nothing is asked."""
    return max(REPLICAS_MIN, math.ceil(used_cores / (TARGET - idle_cores)))


def _tier(costs: UnitCosts, name: str, used: float) -> Tier:
    count = processes_for(used, costs.idle_cores[name])
    return Tier(
        name,
        cores=used + count * costs.idle_cores[name],
        processes=count,
        memory_mb=count * costs.memory_mb[name] * MEMORY_HEADROOM,
    )


def _database(
    costs: UnitCosts,
    size: Size,
    used: Mapping[str, float],
    tiers: Mapping[str, Tier],
    service: str,
) -> DatabasePlan:
    busy = sum(
        rate * costs.operations[name].connection_ms.get(service, 0.0) / 1000
        for name, rate in size.rates.items()
    )
    processes = tiers[service].processes + tiers[f"{service} worker"].processes
    pool = max(POOL_MIN, math.ceil(POOL_FACTOR * busy / processes))
    beside = _sessions_beside_pools(service, tiers)
    of_server = used[f"PostgreSQL for {service}"]
    if service == RECORDS:
        # Nearly all of the WAL and of the pages is of this database.
        of_server += used[REST] + costs.idle_cores[REST]
    return DatabasePlan(
        service,
        cores=of_server,
        busy_connections=busy,
        pool=pool,
        open_connections=processes * pool + beside,
        default_connections=processes * POOL_DEFAULT + beside,
    )


def _sessions_beside_pools(service: str, tiers: Mapping[str, Tier]) -> int:
    """One for the relay in each worker; of the change feed, one in each process and worker."""
    workers = tiers[f"{service} worker"].processes
    feed = tiers[service].processes + 2 * workers if service == RECORDS else 0
    return workers + feed


def _stored(costs: UnitCosts, size: Size) -> Stored:
    record, update = costs.stored["record"], costs.stored["update"]
    writes_a_year = size.writes * AVERAGE_SHARE * DAYS * DAY_S
    kept_s = AVERAGE_SHARE * FEED_DAYS * DAY_S
    updates, creates = size.rates["update"], size.events - size.rates["update"]
    of_record = {kind: sum(record[kind].values()) for kind in record}
    return Stored(
        records=size.records * (of_record["records"] + of_record["search"]),
        indexes=size.records * (record["records"]["indexes"] + record["search"]["indexes"]),
        history_a_year=size.records * of_record["history"]
        + writes_a_year * sum(update["history"].values()),
        feed=kept_s * (updates * sum(update["feed"].values()) + creates * of_record["feed"]),
    )


def _relay_cores(costs: UnitCosts, size: Size) -> float:
    """An update's worker publishes one event and does little else."""
    return size.events * costs.operations["update"].cpu_us[f"{RECORDS} worker"] / 1e6


@dataclass(frozen=True, slots=True)
class Limit:
    """What ends first when everything grows alike, and the writes a second at which it does."""

    what: str
    writes: float
    answer: str


def limits(costs: UnitCosts) -> list[Limit]:
    """Each limit of one installation, the nearest first; the mix stays as it is."""
    size = SIZES[-1]
    large = plan(costs, size)
    databases = {name: one.cores for name, one in large.databases.items()}
    found = [
        _limit(
            size,
            "all three databases on one server of 8 cores",
            sum(databases.values()),
            4,
            "a server for each database",
        ),
        _limit(
            size,
            "the database of records_service on a server of 32 cores",
            databases[RECORDS],
            16,
            "move workspaces to a second installation, or Citus",
        ),
        _limit(
            size,
            "100 MB of WAL a second to disk and standby",
            large.wal_bytes_s / MB,
            100,
            "as for the cores of that database",
        ),
        _limit(
            size,
            "one process that publishes the events of records",
            large.relay_cores,
            FULL,
            "move workspaces to a second installation",
        ),
        _limit(
            size, "the broker at half of 4 cores", large.broker_cores, 2, "more cores for its nodes"
        ),
        _limit(
            size,
            "500 connections to the database of records_service, with pools of 16",
            large.databases[RECORDS].default_connections,
            500,
            "smaller pools: SIGMA_DATABASE_CONNECTIONS_MAX",
        ),
        _limit(
            size,
            "12 gateways, the most that the autoscaler starts",
            large.tiers[GATEWAY].processes,
            12,
            "a higher maxReplicas",
        ),
        _limit(
            size,
            "12 processes of records_service that answer",
            large.tiers[RECORDS].processes,
            12,
            "a higher maxReplicas",
        ),
    ]
    return sorted(found, key=lambda limit: limit.writes)


def _limit(size: Size, what: str, needed: float, there: float, answer: str) -> Limit:
    return Limit(what, size.writes * there / needed, answer)
