"""Rate limiting per caller.

Off unless `SIGMA_RATE_LIMIT` (such as `1000/minute`) is set. A caller is one API key or one user of
one workspace; the open addresses have no caller and are not counted here. Counters are kept in this
process, or in Redis (`SIGMA_RATE_LIMIT_STORAGE=redis://…`) when several gateways share one rate.

Fail open: if Redis is unreachable or slower than 0.25 seconds, requests pass uncounted, the log
says so, and the metric `sigma_rate_limit_uncounted_total` counts them. A limit that protects the
system must not take it down. After a failure Redis is not asked for one second, so that not every
request waits for the time-out.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any, cast

import structlog
from limits import parse
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.errors import StorageError
from prometheus_client import Counter

from gateway.config import GatewayConfig
from shared.errors import RateLimited
from shared.identity import Identity

log = structlog.get_logger("limits")

UNCOUNTED = Counter(
    "sigma_rate_limit_uncounted_total", "Requests that passed because Redis did not answer"
)
REFUSED = Counter("sigma_rate_limit_refused_total", "Requests answered with 429")

REMAINING_HEADER = "X-RateLimit-Remaining"
_STORAGE_S_MAX = 0.25
_PAUSE_AFTER_FAILURE_S = 1.0


class RateLimiter:
    """One rate for every caller, in windows that begin with a caller's first request."""

    def __init__(self, rate: str, storage: Storage) -> None:
        self._rate = parse(rate)
        self._storage = storage
        self._paused_until = 0.0

    @classmethod
    def from_config(cls, config: GatewayConfig) -> RateLimiter | None:
        """The limiter of this configuration; None if it sets no limit."""
        if config.rate_limit is None:
            return None
        address = config.rate_limit_storage.get_secret_value()
        if address == "memory":
            return cls(config.rate_limit, MemoryStorage())
        options = cast(
            dict[str, Any],
            {"socket_timeout": _STORAGE_S_MAX, "socket_connect_timeout": _STORAGE_S_MAX},
        )
        return cls(
            config.rate_limit,
            RedisStorage(
                f"async+{address}", wrap_exceptions=True, implementation="redispy", **options
            ),
        )

    async def count(self, identity: Identity) -> dict[str, str]:
        """Count a request; returns headers for its response. Raises `RateLimited`."""
        now = time.monotonic()
        if now < self._paused_until:
            UNCOUNTED.inc()
            return {}
        caller = (identity.workspace_id, identity.kind, identity.id)
        key = self._rate.key_for(*caller)
        try:
            async with asyncio.timeout(_STORAGE_S_MAX):
                count = await self._storage.incr(key, self._rate.get_expiry())
                left = self._rate.amount - count
                if left >= 0:
                    return {REMAINING_HEADER: str(left)}
                resets_at = await self._storage.get_expiry(key)
        except (StorageError, TimeoutError, OSError) as error:
            self._paused_until = now + _PAUSE_AFTER_FAILURE_S
            UNCOUNTED.inc()
            log.warning("rate_limit_storage_away", reason=repr(error))
            return {}
        REFUSED.inc()
        # A window cannot last longer than the rate says, whatever the two clocks say.
        wait_s = min(max(1, math.ceil(resets_at - time.time())), self._rate.get_expiry())
        raise RateLimited.after(wait_s)
