"""What Prometheus is told about requests and the event loop.

Requests are counted in plain numbers and turned into Prometheus' shapes when somebody scrapes:
the library's own counters take a lock each, which a request would pay for four times.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from itertools import accumulate

from aiohttp import web
from prometheus_client import REGISTRY, Gauge
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LOOP_LAG_EVERY_S = 0.5

LOOP_LAG = Gauge("sigma_loop_lag_seconds", "How late the event loop ran its last timer")


class Timing:
    """The answers of one route, by status and by time."""

    __slots__ = ("buckets", "in_flight", "method", "route", "seconds", "statuses")

    def __init__(self, method: str, route: str) -> None:
        self.method = method
        self.route = route
        self.in_flight = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.statuses: Counter[int] = Counter()

    def observe(self, status: int, seconds: float) -> None:
        """One more answer."""
        self.statuses[status] += 1
        self.seconds += seconds
        self.buckets[bisect_left(BUCKETS_S, seconds)] += 1


_TIMINGS: dict[tuple[str, str], Timing] = {}


def timing(method: str, route: str) -> Timing:
    """The numbers of one route; the same for two applications in one process."""
    return _TIMINGS.setdefault((method, route), Timing(method, route))


class _Requests(Collector):
    """Turns the numbers into metrics when somebody asks."""

    def collect(self) -> Iterator[Metric]:
        counts = CounterMetricFamily(
            "sigma_http_requests",
            "Answers by route and status",
            labels=["method", "route", "status"],
        )
        times = HistogramMetricFamily(
            "sigma_http_request_seconds", "Time to answer by route", labels=["method", "route"]
        )
        in_flight = GaugeMetricFamily(
            "sigma_http_requests_in_flight",
            "Requests being answered now by route",
            labels=["method", "route"],
        )
        bounds = [*map(str, BUCKETS_S), "+Inf"]
        for one in list(_TIMINGS.values()):
            labels = [one.method, one.route]
            in_flight.add_metric(labels, one.in_flight)
            for status, count in list(one.statuses.items()):
                counts.add_metric([*labels, str(status)], count)
            sums = list(accumulate(one.buckets))
            times.add_metric(labels, list(zip(bounds, sums, strict=True)), one.seconds)
        yield counts
        yield times
        yield in_flight


REGISTRY.register(_Requests())


async def loop_lag(_app: web.Application) -> AsyncIterator[None]:
    """Measure the lag of the event loop while the service runs."""
    loop = asyncio.get_running_loop()

    async def measure() -> None:
        while True:
            due = loop.time() + LOOP_LAG_EVERY_S
            await asyncio.sleep(LOOP_LAG_EVERY_S)
            LOOP_LAG.set(max(0.0, loop.time() - due))

    task = asyncio.create_task(measure())
    yield
    task.cancel()
