"""Prometheus metrics of requests and of the event loop.

Requests are counted in plain Python numbers, because there is only one thread, and exported when
Prometheus asks: a request costs two look-ups and four additions instead of two locks.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterator
from typing import Final

from aiohttp import hdrs, web
from prometheus_client import REGISTRY, Gauge, disable_created_metrics
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from shared import VERSION

# A second series beside every counter, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]

BOUNDS_S: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
OTHER_METHOD: Final = "OTHER"

BUILD: Final = Gauge("sigma_build_info", "Always 1; the version is a label", ["version"])
BUILD.labels(VERSION).set(1)

LOOP_LAG: Final = Gauge("sigma_loop_lag_seconds", "Delay of the event loop's last timer")
LOOP_LAG_EVERY_S: Final = 0.5


class RequestMeasures(Collector):
    """Number of requests, their duration, and requests in progress."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.untimed: set[str] = set()
        """Routes whose requests wait for news: their duration says nothing about this process."""
        self._counts: dict[tuple[str, str, int], int] = {}
        self._buckets: dict[tuple[str, str], list[int]] = {}
        self._sums: dict[tuple[str, str], float] = {}

    def count(self, method: str, route: str, status: int, seconds: float) -> bool:
        """One request was answered, or its client left (499); whether its duration counts."""
        if method not in hdrs.METH_ALL:
            method = OTHER_METHOD
        key = (method, route, status)
        self._counts[key] = self._counts.get(key, 0) + 1
        if route in self.untimed:
            return False
        place = (method, route)
        buckets = self._buckets.get(place)
        if buckets is None:
            buckets = self._buckets[place] = [0] * (len(BOUNDS_S) + 1)
            self._sums[place] = 0.0
        buckets[bisect_left(BOUNDS_S, seconds)] += 1
        self._sums[place] += seconds
        return True

    def collect(self) -> Iterator[Metric]:
        """Export the counters."""
        requests = CounterMetricFamily(
            "sigma_http_requests",
            "Answers, by route and status",
            labels=("method", "route", "status"),
        )
        for (method, route, status), count in self._counts.items():
            requests.add_metric((method, route, str(status)), count)
        durations = HistogramMetricFamily(
            "sigma_http_request_seconds", "Time to answer, by route", labels=("method", "route")
        )
        for (method, route), buckets in self._buckets.items():
            below, cumulated = 0, []
            for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), buckets, strict=True):
                below += count
                cumulated.append((bound, float(below)))
            durations.add_metric((method, route), cumulated, self._sums[method, route])
        yield requests
        yield durations
        yield GaugeMetricFamily(
            "sigma_http_requests_in_flight", "Requests in progress", self.in_flight
        )

    def describe(self) -> Iterator[Metric]:
        """Names only, so that registering does not collect."""
        return iter(())


REQUESTS: Final = RequestMeasures()
REGISTRY.register(REQUESTS)


async def loop_lag(_app: web.Application) -> AsyncIterator[None]:
    """Measure the lag of the event loop while the service runs."""
    loop = asyncio.get_running_loop()

    async def measure() -> None:
        while True:
            due = loop.time() + LOOP_LAG_EVERY_S
            await asyncio.sleep(LOOP_LAG_EVERY_S)
            LOOP_LAG.set(max(0.0, loop.time() - due))

    task = asyncio.create_task(measure(), name="loop lag")
    yield
    task.cancel()
