"""The rate that operations may set, in this process and in a Redis that several gateways share."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local.private_server import free_port
from gateway import limits
from tests.kit.eventually import eventually
from tests.kit.wire import Wire
from tests.service.gateway.system import READER_KEY, System


async def test_there_is_no_limit_unless_it_is_set(system: System):
    answer = await system.program().get("/records")
    assert "X-RateLimit-Remaining" not in answer.headers


async def test_every_answer_says_what_is_left_and_the_last_one_when_to_come_back(system: System):
    gateway = await system.another(rate_limit="3/minute")
    caller = system.program(gateway)
    answers = [
        await caller.get("/records"),
        await caller.post("/records", {}),
        await caller.get("/records/ent-1"),
        await caller.get("/records"),
        await caller.post("/records", {}),
    ]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    left = [answer.headers["X-RateLimit-Remaining"] for answer in answers]
    assert left == ["2", "1", "0", "0", "0"]
    wait_s = int(answers[3].headers["Retry-After"])
    assert 1 <= wait_s <= 60
    assert answers[3].body == {
        "error": "RATE_LIMITED",
        "message": f"Too many requests. Retry after {wait_s} seconds.",
    }
    assert len(system.echo.received) == 3
    # Others are not held to it, nor is what is open.
    assert (await system.program(gateway, READER_KEY).get("/records")).status == 200
    assert (await system.person(gateway).get("/records")).status == 200
    open_answers = [await system.caller(gateway).post("/auth/login", {}) for _ in range(5)]
    assert {answer.status for answer in open_answers} == {200}


async def test_what_is_refused_counts_and_says_what_is_left(system: System):
    gateway = await system.another(rate_limit="5/minute", workflow_url="http://127.0.0.1:9")
    caller = system.program(gateway, READER_KEY)
    answers = [
        await caller.post("/records", {}),
        await caller.get("/nowhere"),
        await caller.ask("TRACE", "/records"),
        await caller.get("/workflows"),
        await caller.get("/records"),
        await caller.post("/records", {}),
    ]
    assert [answer.status for answer in answers] == [403, 404, 405, 503, 200, 429]
    left = [answer.headers["X-RateLimit-Remaining"] for answer in answers]
    assert left == ["4", "3", "2", "1", "0", "0"]


@pytest.fixture
async def redis_url(tmp_path: Path) -> AsyncIterator[str]:
    """A Redis of this test's own, where the machine has one."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("there is no redis-server on this machine")
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        program,
        *("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)),
        stdout=asyncio.subprocess.DEVNULL,
    )

    async def answers() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    await eventually(answers)
    yield f"redis://127.0.0.1:{port}"
    process.terminate()
    await process.wait()


async def test_gateways_share_a_rate_through_redis(system: System, redis_url: str):
    gateways = [
        await system.another(rate_limit="4/minute", rate_limit_storage=redis_url) for _ in range(2)
    ]
    answers = [await system.program(gateways[turn % 2]).get("/records") for turn in range(6)]
    assert [answer.status for answer in answers] == [200, 200, 200, 200, 429, 429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60


@pytest.mark.parametrize("how", ["cut", "hold"])
async def test_requests_pass_while_redis_is_away(
    system: System, redis_url: str, how: str, monkeypatch: pytest.MonkeyPatch
):
    # On a busy machine Redis may well take longer than in operation.
    monkeypatch.setattr(limits, "_STORAGE_S_MAX", 2.0)
    async with Wire(redis_url) as wire:
        gateway = await system.another(rate_limit="2/minute", rate_limit_storage=wire.url)
        caller = system.program(gateway)
        assert [(await caller.get("/records")).status for _ in range(3)] == [200, 200, 429]
        getattr(wire, how)()
        answers = [await caller.get("/records") for _ in range(5)]
        assert {answer.status for answer in answers} == {200}
        assert not any("X-RateLimit-Remaining" in answer.headers for answer in answers)
        wire.mend()

        async def counted_again() -> bool:
            return (await caller.get("/records")).status == 429

        await eventually(counted_again)
