"""A queueing simulation of the request path: does the plan hold when requests come at random?

Requests arrive by chance (Poisson) and pass a process of the gateway and one of their service, each
chosen by chance and serving one at a time, as an event loop does; then a core of the database. How
long each works is exponential around the measured CPU time, which is more uneven than the truth.
What an answer takes beyond CPU when nothing else is asked (a commit, waking up) is added as it is.
The generator of chance has a fixed seed, so the same costs give the same figures.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import simpy

from deploy.capacity.model import RECORDS
from deploy.capacity.unit_costs import GATEWAY, SERVICES, UnitCosts

REQUESTS: Final = 12_000
WARM_UP: Final = 2_000
"""Requests that are not counted: the first ones meet empty queues."""
ANSWERED: Final[Mapping[str, str]] = {
    "read": RECORDS,
    "list": RECORDS,
    "search": RECORDS,
    "create": RECORDS,
    "update": RECORDS,
}
"""The requests whose latency is looked at, and the service that answers them."""
_BULK: Final = "bulk_record"
_BULK_SLICE: Final = 20
"""Rows of a bulk call between which a process turns to other requests."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How many processes and cores there are."""

    gateways: int
    apis: int
    database_cores: int


@dataclass(slots=True)
class Outcome:
    """Milliseconds by kind of request, sorted; and what was busy, as a part of its whole."""

    took_ms: dict[str, list[float]] = field(default_factory=dict)
    busy: dict[str, float] = field(default_factory=dict)

    def percentile(self, kind: str, part: float) -> float:
        """The time that so many do not exceed."""
        ordered = self.took_ms[kind]
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def simulate(costs: UnitCosts, rates: Mapping[str, float], layout: Layout) -> Outcome:
    """The outcome for `REQUESTS` requests at these rates a second."""
    run = _Run(costs, layout)
    kinds = {kind: rates.get(kind, 0.0) for kind in ANSWERED}
    # Bulk rows only keep a process and the database busy.
    kinds[_BULK] = rates.get(_BULK, 0.0) / _BULK_SLICE
    run.environment.process(_arrivals(run, kinds))
    run.environment.run()
    for ordered in run.outcome.took_ms.values():
        ordered.sort()
    passed = run.environment.now
    run.outcome.busy = {
        GATEWAY: run.worked[GATEWAY] / passed / layout.gateways,
        RECORDS: run.worked[RECORDS] / passed / layout.apis,
        "PostgreSQL": run.worked["PostgreSQL"] / passed / layout.database_cores,
    }
    return run.outcome


class _Run:
    """One simulation; times are in milliseconds."""

    def __init__(self, costs: UnitCosts, layout: Layout) -> None:
        self.costs = costs
        self.environment = simpy.Environment()
        self.chance = random.Random(20)  # noqa: S311 - chance, not secrets
        one = self.environment
        self.stations = {
            GATEWAY: [simpy.Resource(one) for _ in range(layout.gateways)],
            RECORDS: [simpy.Resource(one) for _ in range(layout.apis)],
            # A query goes to whichever core is free.
            "PostgreSQL": [simpy.Resource(one, layout.database_cores)],
        }
        self.worked = dict.fromkeys(self.stations, 0.0)
        self.outcome = Outcome({kind: [] for kind in ANSWERED})

    def work_ms(self, kind: str) -> dict[str, float]:
        """The mean CPU time at each station."""
        times = self.costs.operations[kind].cpu_us
        rows = _BULK_SLICE if kind == _BULK else 1
        databases = sum(times[f"PostgreSQL for {service}"] for service in SERVICES)
        return {
            GATEWAY: rows * times[GATEWAY] / 1000,
            RECORDS: rows * times[RECORDS] / 1000,
            "PostgreSQL": rows * (databases + times["PostgreSQL"]) / 1000,
        }


def _arrivals(run: _Run, rates: Mapping[str, float]) -> Generator[Any, Any, None]:
    kinds, weights = list(rates), list(rates.values())
    total_a_ms = sum(weights) / 1000
    work = {kind: run.work_ms(kind) for kind in kinds}
    for number in range(REQUESTS):
        yield run.environment.timeout(run.chance.expovariate(total_a_ms))
        (kind,) = run.chance.choices(kinds, weights)
        run.environment.process(_request(run, kind, work[kind], counts=number >= WARM_UP))


def _request(
    run: _Run, kind: str, work: Mapping[str, float], *, counts: bool
) -> Generator[Any, Any, None]:
    began = run.environment.now
    for name, mean_ms in work.items():
        if mean_ms <= 0:
            continue
        station = run.chance.choice(run.stations[name])
        with station.request() as turn:
            yield turn
            took_ms = run.chance.expovariate(1 / mean_ms)
            run.worked[name] += took_ms
            yield run.environment.timeout(took_ms)
    if kind == _BULK:
        return
    rest_ms = run.costs.operations[kind].alone_ms - sum(work.values())
    if rest_ms > 0:
        yield run.environment.timeout(rest_ms)
    if counts:
        run.outcome.took_ms[kind].append(run.environment.now - began)
