"""Which threads work is done in, and how many of them."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

from shared.process.offload import THREADS, in_thread

ROOT = Path(__file__).parents[3]


async def test_few_threads_compute_and_what_fills_the_default_executor_keeps_none_waiting():
    release = threading.Event()
    loop = asyncio.get_running_loop()
    filling = [loop.run_in_executor(None, release.wait) for _ in range(64)]
    running = 0
    most = 0
    lock = threading.Lock()

    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return number

    try:
        done = asyncio.gather(*(in_thread(work, n) for n in range(20)))
        assert await asyncio.wait_for(done, timeout=60) == list(range(20))
    finally:
        release.set()
        await asyncio.gather(*filling)
    assert 1 <= most <= THREADS


def test_no_service_computes_in_the_default_executor():
    """Closing a pool is no computing."""
    found = [
        line.strip()
        for service in ("auth_service", "gateway", "records_service", "workflow_service")
        for path in (ROOT / service).rglob("*.py")
        for line in path.read_text().splitlines()
        if "to_thread(" in line or "run_in_executor(None" in line
    ]
    assert found == ["await asyncio.to_thread(pool.close)"]
