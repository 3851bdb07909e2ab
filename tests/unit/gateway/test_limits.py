"""Counting callers, and what happens when the counter is away."""

from __future__ import annotations

import time
from typing import Any

import pytest
from limits.aio.storage import MemoryStorage
from limits.errors import StorageError

from gateway import limits as subject
from gateway.limits import RateLimiter
from shared.errors import RateLimited
from shared.identity import Identity

ANNA = Identity("user", "one", "ws-1")
KEY = Identity("api_key", "one", "ws-1")
ELSEWHERE = Identity("user", "one", "ws-2")


async def test_each_caller_of_each_workspace_has_a_rate_of_its_own():
    limiter = RateLimiter("3/minute", MemoryStorage())
    for caller in (ANNA, KEY, ELSEWHERE):
        told = [await limiter.count(caller) for _ in range(3)]
        assert told == [{"X-RateLimit-Remaining": left} for left in ("2", "1", "0")]
        with pytest.raises(RateLimited) as caught:
            await limiter.count(caller)
        wait_s = int(caught.value.headers["Retry-After"])
        assert 1 <= wait_s <= 60
        assert caught.value.message == f"Too many requests. Retry after {wait_s} seconds."
        assert caught.value.headers["X-RateLimit-Remaining"] == "0"


class Broken(MemoryStorage):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    async def incr(self, *args: Any, **more: Any) -> int:
        self.calls += 1
        raise StorageError(ConnectionError("away"))


async def test_requests_pass_while_the_storage_is_away_and_it_is_left_alone_for_a_second(
    monkeypatch: pytest.MonkeyPatch,
):
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    storage = Broken()
    limiter = RateLimiter("1/minute", storage)
    before = subject.UNCOUNTED._value.get()
    assert [await limiter.count(ANNA) for _ in range(5)] == [{}] * 5
    assert storage.calls == 1
    assert subject.UNCOUNTED._value.get() == before + 5
    now = 101.0
    await limiter.count(ANNA)
    assert storage.calls == 2


async def test_the_wait_is_never_longer_than_the_window():
    class Skewed(MemoryStorage):
        async def get_expiry(self, key: str) -> float:
            return time.time() + 9_999

    limiter = RateLimiter("1/minute", Skewed())
    await limiter.count(ANNA)
    with pytest.raises(RateLimited, match=r"^Too many requests\. Retry after 60 seconds\.$"):
        await limiter.count(ANNA)
