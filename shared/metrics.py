"""What Prometheus is told about requests and the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web
from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter(
    "sigma_http_requests_total", "Answers by route and status", ["method", "route", "status"]
)
DURATION = Histogram(
    "sigma_http_request_seconds",
    "Time to answer by route",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
IN_FLIGHT = Gauge("sigma_http_requests_in_flight", "Requests being answered now")
LOOP_LAG = Gauge("sigma_loop_lag_seconds", "How late the event loop ran its last timer")

LOOP_LAG_EVERY_S = 0.5


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
