"""Clients that read large answers slowly or not at all, and what is left to everybody else."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import pytest
from aiohttp import web

from gateway import forward
from gateway.fairness import CallerKey, FairSlots, anonymous
from gateway.routes import Service
from gateway.upstream.pool import UpstreamPool
from shared.errors import ServiceUnavailable, UpstreamTimeout
from tests.kit.eventually import always, eventually, machine_watched
from tests.kit.service import RunningService
from tests.kit.sigma import error
from tests.service.gateway.system import (
    API_KEY,
    READER_KEY,
    System,
    hash_of,
    key_identity,
    parsed,
    raw,
    request_bytes,
)

LARGE = "/api/v1/records/large"
SIZE = 8 << 20
FULL = error(503, "SERVICE_UNAVAILABLE", "Too many large answers are being read at once")
CONNECTIONS = 32
# Of which one caller gets half.
PLACES = 8
LINE = 4


@pytest.fixture
async def gateway(system: System, monkeypatch: pytest.MonkeyPatch) -> RunningService:
    """A gateway that never loses patience with a reader, unless a test says so."""
    monkeypatch.setattr(forward, "_READER_LATE_S_MAX", 600.0)

    async def answer(request: web.Request) -> web.StreamResponse:
        large = request.path == LARGE
        return web.Response(body=b"x" * SIZE if large else b"small")

    system.echo.answer = answer
    return await system.another(
        upstream_connections_max=CONNECTIONS, request_timeout_s=60, wait_seconds=60
    )


class SlowReader:
    """Asks for the large answer and takes of it what a test says."""

    def __init__(self, gateway: RunningService, key: str = API_KEY, target: str = LARGE) -> None:
        host, port = gateway.url.removeprefix("http://").split(":")
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 15)
        self._socket.connect((host, int(port)))
        self._socket.setblocking(False)
        self._socket.sendall(request_bytes(target, key=key))

    @property
    def status(self) -> int | None:
        """As far as it has come, without taking any of it."""
        try:
            head = self._socket.recv(12, socket.MSG_PEEK)
        except BlockingIOError:
            return None
        return int(head[9:12])

    async def read(self, bytes_max: int = 1 << 16) -> bytes:
        return await self._loop.sock_recv(self._socket, bytes_max)

    async def rest(self, pause_s: float = 0.0) -> bytes:
        """All that still comes; with a pause after each 64 KB at most."""
        parts = []
        try:
            while part := await self.read():
                parts.append(part)
                await asyncio.sleep(pause_s)
        except ConnectionError:
            pass
        return b"".join(parts)

    def leave(self) -> None:
        self._socket.close()


MakeReader = Callable[..., SlowReader]


@pytest.fixture
async def reader(gateway: RunningService) -> AsyncIterator[MakeReader]:
    made: list[SlowReader] = []

    def make(key: str = API_KEY) -> SlowReader:
        made.append(SlowReader(gateway, key))
        return made[-1]

    yield make
    for one in made:
        one.leave()


def answered_with(readers: list[SlowReader], status: int | None) -> int:
    return sum(one.status == status for one in readers)


def body_of(answer: bytes) -> bytes:
    return parsed(answer)[2]


def all_free(system: System, gateway: RunningService) -> bool:
    pool = system.gate(gateway).pools[Service.RECORDS]
    places = pool._response_slots
    return (
        not pool._slot_holders
        and not places._waiting
        and (places._slots._free, places._line._free) == (PLACES, LINE)
        and not places._slots._held
    )


async def settled(readers: list[SlowReader]) -> None:
    """Half of the places have gone to them, half of the line is theirs, and the rest was told."""
    expected = (PLACES // 2, len(readers) - PLACES // 2 - LINE // 2, LINE // 2)

    def check() -> bool:
        assert tuple(answered_with(readers, status) for status in (200, 503, None)) == expected
        return True

    await eventually(check)


async def test_silent_readers_take_nothing_from_small_requests(
    system: System, gateway: RunningService, reader: MakeReader
):
    readers = [reader() for _ in range(CONNECTIONS + 8)]
    small = [await system.program(gateway).get("/records/ent-1") for _ in range(3)]
    assert {answer.status for answer in small} == {200}
    await settled(readers)
    small = [await system.program(gateway, READER_KEY).get("/records/ent-1") for _ in range(3)]
    assert {answer.status for answer in small} == {200}
    # The service is rid of all but those.
    pool = system.gate(gateway).pools[Service.RECORDS]
    assert len(pool._open) - len(pool._idle) == PLACES // 2 + LINE // 2


async def test_who_finds_no_place_is_told_when_to_come_back(
    system: System, gateway: RunningService, reader: MakeReader
):
    await settled([reader() for _ in range(PLACES)])
    answer = await system.program(gateway).get("/records/large")
    assert answer.outcome == FULL
    assert answer.headers["Retry-After"] == "5"


async def test_who_changed_something_is_told_that_it_was_done(
    system: System, gateway: RunningService, reader: MakeReader
):
    """Whoever tried a POST again, as a 503 suggests, would do it twice."""
    await settled([reader() for _ in range(PLACES)])
    answer = await system.program(gateway).post("/records/large", {})
    assert answer.outcome == error(
        504, "UPSTREAM_TIMEOUT", f"The change was made. {FULL[1]['message']}"
    )
    assert "Retry-After" not in answer.headers


async def test_one_caller_leaves_places_to_the_others(
    system: System, gateway: RunningService, reader: MakeReader
):
    await settled([reader() for _ in range(CONNECTIONS)])
    answer = await raw(gateway.url, request_bytes(LARGE, key=READER_KEY))
    assert len(body_of(answer)) == SIZE
    slow = reader(READER_KEY)
    assert len(body_of(await slow.rest(pause_s=0.001))) == SIZE


async def test_one_workspace_leaves_places_to_the_others(
    system: System, gateway: RunningService, reader: MakeReader
):
    keys = [f"sigma_sk_live_{n:018}" for n in range(6)]
    for key in keys:
        system.auth.known[hash_of(key)] = key_identity(key)
    readers = [reader(key) for _ in range(PLACES) for key in keys]
    await eventually(
        lambda: answered_with(readers, 503) + answered_with(readers, 200) >= len(readers) - LINE
    )
    foreign = "sigma_sk_live_elsewhere000000000"
    system.auth.known[hash_of(foreign)] = {**key_identity("key-x"), "workspaceId": "ws-2"}
    answer = await raw(gateway.url, request_bytes(LARGE, key=foreign))
    assert len(body_of(answer)) == SIZE


async def test_places_are_given_back(system: System, gateway: RunningService, reader: MakeReader):
    readers = [reader() for _ in range(CONNECTIONS)]
    await settled(readers)
    for one in readers:
        one.leave()
    await eventually(lambda: all_free(system, gateway))
    for _ in range(2 * PLACES):
        answer = await raw(gateway.url, request_bytes(LARGE))
        assert len(body_of(answer)) == SIZE
    await eventually(lambda: all_free(system, gateway))


async def test_who_waits_in_line_gets_the_place_that_comes_free(
    gateway: RunningService, reader: MakeReader
):
    readers = [reader() for _ in range(PLACES // 2)]
    await eventually(lambda: answered_with(readers, 200) == PLACES // 2)
    waiting = reader()
    await always(lambda: waiting.status is None, during_s=0.2)
    readers[0].leave()
    assert len(body_of(await waiting.rest())) == SIZE


async def test_who_takes_nothing_is_given_up(
    system: System, gateway: RunningService, reader: MakeReader, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(forward, "_READER_LATE_S_MAX", 0.3)
    silent = reader()
    await eventually(lambda: silent.status == 200)
    await eventually(lambda: all_free(system, gateway))
    # It is told by the end of the connection, never by an answer that looks whole.
    assert len(body_of(await silent.rest())) < SIZE


@pytest.mark.parametrize(
    ("bytes_per_s_min", "whole"), [(1 << 18, True), (64 << 20, False)], ids=["steady", "drip"]
)
async def test_a_slow_reader_gets_the_whole_answer_if_it_keeps_some_pace(
    reader: MakeReader, monkeypatch: pytest.MonkeyPatch, bytes_per_s_min: int, whole: bool
):
    """It is never silent for long, nor seems so for what the kernel holds; its pace is judged."""
    monkeypatch.setattr(forward, "_READER_LATE_S_MAX", 0.5)
    monkeypatch.setattr(forward, "_READER_BYTES_PER_S_MIN", bytes_per_s_min)
    for _ in range(20):
        async with machine_watched() as waits:
            slow = reader()
            body = body_of(await slow.rest(pause_s=0.02))
        # In a machine that stands still, the most regular reader seems silent.
        if (len(body) == SIZE) is whole or waits.longest_s < 0.2:
            break
    assert (len(body) == SIZE) is whole


async def test_the_pace_is_the_readers_not_the_services(
    system: System, gateway: RunningService, monkeypatch: pytest.MonkeyPatch
):
    """What the service takes its time for is not held against a reader who then takes a moment."""
    monkeypatch.setattr(forward, "_READER_LATE_S_MAX", 0.5)
    monkeypatch.setattr(forward, "_READER_BYTES_PER_S_MIN", 1 << 20)

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = SIZE
        await response.prepare(request)
        for _ in range(12):
            await asyncio.sleep(0.1)
            await response.write(b"x")
        await response.write(b"x" * (SIZE - 12))
        return response

    system.echo.answer = answer
    assert len(body_of(await raw(gateway.url, request_bytes(LARGE)))) == SIZE


async def test_a_reader_that_leaves_at_the_end_takes_nobodys_connection_along(system: System):
    """What was read to its end is given up in vain: its connection carries another request."""
    loop = asyncio.get_running_loop()
    pool = UpstreamPool(system.urls["records_url"], connections_max=1)
    held = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/2":
            await held.wait()
        return web.Response(body=b"x" * 300_000)

    system.echo.answer = answer
    head = b"GET /%d HTTP/1.1\r\nHost: records\r\n\r\n"
    first = await pool.send(head % 1, deadline=loop.time() + 60)
    await first.hold_slot(CallerKey("ws-1", "user", "user-1"), loop.time() + 60)
    received = 0
    async with aclosing(first.parts()) as parts:
        async for part in parts:
            received += len(part)
            if received == 300_000:
                # The last of it is in the reader's hands, however long that takes.
                second = asyncio.create_task(pool.send(head % 2, deadline=loop.time() + 60))
                await eventually(lambda: not pool._idle and len(pool._open) == 1)
                assert not pool._slot_holders
                break
    first.close()
    held.set()
    assert len(await (await second).read(loop.time() + 60)) == 300_000
    await pool.close()


async def test_who_loses_the_connection_in_line_takes_no_place(system: System):
    loop = asyncio.get_running_loop()
    pool = UpstreamPool(system.urls["records_url"], connections_max=8)

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"x" * SIZE)

    system.echo.answer = answer
    party = CallerKey("ws-1", "user", "user-1")
    first, second = [
        await pool.send(b"GET / HTTP/1.1\r\nHost: records\r\n\r\n", deadline=loop.time() + 60)
        for _ in range(2)
    ]
    await first.hold_slot(party, loop.time() + 60)
    waiting = asyncio.create_task(second.hold_slot(party, loop.time() + 60))
    await eventually(lambda: pool._response_slots._waiting)
    second._connection.close()
    first.close()
    await waiting
    assert pool._response_slots._slots._free == 2
    with pytest.raises(UpstreamTimeout):
        await second.read(loop.time() + 60)
    await pool.close()


def soon() -> float:
    return asyncio.get_running_loop().time() + 30


async def test_a_place_that_is_given_and_not_taken_goes_to_the_next():
    places = FairSlots(2, 4, "Too many")
    one, two = CallerKey("ws-1", "user", "ann"), CallerKey("ws-2", "user", "bob")
    await places.take(one, soon())
    first, second = (asyncio.create_task(places.take(one, soon())) for _ in range(2))
    await eventually(lambda: len(places._waiting) == 2)
    places.give_back(one)
    first.cancel()
    await asyncio.wait_for(second, 30)
    places.give_back(one)
    # And nobody has kept anything.
    assert (places._slots._free, places._line._free) == (2, 4)
    await places.take(two, soon())


async def test_an_address_leaves_slots_to_others_however_many_workspaces_it_has():
    slots = FairSlots(32, 1, "Too many")
    for n in range(28):
        await slots.take(CallerKey(f"ws-{n}", "user", "ann", "192.0.2.1"), 0)
    with pytest.raises(ServiceUnavailable, match="Too many"):
        await slots.take(CallerKey("ws-28", "user", "ann", "192.0.2.1"), 0)
    await slots.take(CallerKey("ws-1", "user", "ann", "192.0.2.2"), 0)


async def test_strangers_are_shared_out_by_address():
    slots = FairSlots(8, 1, "Too many")
    for _ in range(4):
        await slots.take(anonymous("192.0.2.1"), 0)
    with pytest.raises(ServiceUnavailable, match="Too many"):
        await slots.take(anonymous("192.0.2.1"), 0)
    await slots.take(anonymous("192.0.2.2"), 0)


async def test_the_line_is_shared_out_as_well():
    places = FairSlots(2, 4, "Too many")
    one, two = CallerKey("ws-1", "user", "ann"), CallerKey("ws-2", "user", "bob")
    await places.take(one, soon())
    waiting = [asyncio.create_task(places.take(one, soon())) for _ in range(2)]
    await eventually(lambda: len(places._waiting) == 2)
    with pytest.raises(ServiceUnavailable, match="Too many"):
        await places.take(one, soon())
    await places.take(two, soon())
    waiting.append(asyncio.create_task(places.take(two, soon())))
    await eventually(lambda: len(places._waiting) == 3)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert places._line._free == 4


@pytest.mark.parametrize(("line_s", "deadline_s"), [(0.05, 600.0), (600.0, 0.05)])
async def test_the_line_is_for_a_moment_and_no_longer_than_the_deadline(
    line_s: float, deadline_s: float
):
    places = FairSlots(1, 1, "Too many", line_s)
    party = CallerKey("ws-1", "user", "ann")
    await places.take(party, soon())
    with pytest.raises(ServiceUnavailable, match="Too many"):
        await asyncio.wait_for(
            places.take(party, asyncio.get_running_loop().time() + deadline_s), timeout=30
        )
    assert places._line._free == 1
