"""The order of the feed, with transactions that end in any order and processes that are killed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import web

from records_service.app import create_app
from records_service.config import Config
from records_service.feed import sequencing, store
from records_service.feed.placing import Window
from records_service.feed.sequencing import SEQUENCER
from shared.database import Conn, Database
from shared.events import Event
from shared.messaging import outbox
from shared.messaging.connection import BUS, Bus
from shared.messaging.outbox_floor import last_drawn
from shared.messaging.subscribing import subscribe
from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.processes import Process
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Caller
from tests.kit.workspace import schema_body

NEWS = "entity.updated"


def event(subject: str, version: int, workspace_id: str = "ws-1") -> Event:
    data = {"entityId": subject, "version": version, "changes": []}
    return Event(NEWS, "/records_service", workspace_id, subject, data)


@pytest.fixture
async def records(services: Services) -> RunningService:
    """A service that places nothing by itself."""
    return await services.start(create_app, Config)


@pytest.fixture
async def db(records: RunningService) -> Database:
    return records.database


@asynccontextmanager
async def session(db: Database) -> AsyncIterator[Conn]:
    """A connection of one's own."""
    conn = await db.connect(**store.SESSION)
    try:
        yield conn
    finally:
        await conn.close()


async def begin(conn: Conn, *events: Event) -> None:
    """Write, stage, and leave the transaction open."""
    await conn.execute("BEGIN")
    await conn.execute("CREATE TABLE IF NOT EXISTS written (n int)")
    await conn.execute("INSERT INTO written VALUES (1)")
    await outbox.stage(conn, *events)


async def positions(db: Database) -> list[tuple[str, int]]:
    rows = await db.fetch("SELECT subject, version FROM feed ORDER BY position")
    return [(row["subject"], row["version"]) for row in rows]


async def settle(conn: Conn, window: Window) -> None:
    more = True
    while more:
        _, more = await sequencing.place_some(conn, window)


async def test_an_open_transaction_holds_up_nobody(db: Database) -> None:
    """Neither one that has staged events itself nor one of another workspace that never will."""
    await db.execute("CREATE TABLE written (n int)")
    async with session(db) as placing, session(db) as long, session(db) as idle:
        window = Window(await last_drawn(placing))
        await begin(long, event("slow", 1, "ws-2"))
        await idle.execute("BEGIN")
        await idle.execute("INSERT INTO written VALUES (1)")
        for version in range(1, 4):
            async with db.transaction() as conn:
                await outbox.stage(conn, event("r", version))
            await settle(placing, window)
            assert (await positions(db))[-1] == ("r", version)
        await long.execute("COMMIT")
        await settle(placing, window)
        assert await positions(db) == [("r", 1), ("r", 2), ("r", 3), ("slow", 1)]
        await idle.execute("ROLLBACK")
        await settle(placing, window)
        assert window.gaps == []


async def test_a_gap_of_a_later_transaction_is_kept_until_that_has_ended(db: Database) -> None:
    """It has the higher number and the lower id: no later snapshot tells of it."""
    await db.execute("CREATE TABLE written (n int)")
    async with session(db) as placing, session(db) as early, session(db) as late:
        window = Window(await last_drawn(placing))
        await settle(placing, window)
        for conn in (early, late):
            await conn.execute("BEGIN")
            await conn.execute("INSERT INTO written VALUES (1)")
        await outbox.stage(late, event("r", 1))
        await outbox.stage(early, event("other", 1))
        await early.execute("COMMIT")
        for _ in range(4):
            await settle(placing, window)
        assert len(window.gaps) == 1
        await late.execute("COMMIT")
        await settle(placing, window)
        async with db.transaction() as conn:
            await outbox.stage(conn, event("r", 2))
        for _ in range(2):
            await settle(placing, window)
        assert await positions(db) == [("other", 1), ("r", 1), ("r", 2)]
        assert window.gaps == []


async def test_a_new_leader_finds_what_the_one_before_left(db: Database) -> None:
    await db.execute("CREATE TABLE written (n int)")
    async with session(db) as placing, session(db) as long, session(db) as later:
        first = Window(await last_drawn(placing))
        await begin(long, event("slow", 1))
        async with db.transaction() as conn:
            await outbox.stage(conn, *(event(f"r{n}", 1) for n in range(30)))
        await settle(placing, first)
        await begin(later, event("later", 1))
        async with db.transaction() as conn:
            await outbox.stage(conn, event("unplaced", 1))
        # It ends here; the next one knows nothing of the two that are not visible.
        second = Window(await last_drawn(placing))
        await settle(placing, second)
        assert (await positions(db))[-1] == ("unplaced", 1)
        await later.execute("COMMIT")
        await long.execute("COMMIT")
        await settle(placing, second)
        assert (await positions(db))[-2:] == [("slow", 1), ("later", 1)]
        assert len(await positions(db)) == 33


async def test_a_long_backlog_is_placed_in_the_order_of_the_outbox(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PLACED_AT_ONCE", 7)
    for start in range(1, 60, 10):
        async with db.transaction() as conn:
            await outbox.stage(conn, *(event("r", n) for n in range(start, start + 10)))
    async with session(db) as placing:
        await settle(placing, Window(await last_drawn(placing)))
    assert await positions(db) == [("r", n) for n in range(1, 61)]


async def test_two_that_place_at_once_place_nothing_twice(db: Database) -> None:
    """One that was taken for dead and is not: whoever comes second begins anew."""
    async with session(db) as one, session(db) as other:
        windows = [Window(await last_drawn(one)) for _ in range(2)]
        for conn, window in zip((one, other), windows, strict=True):
            await settle(conn, window)
        async with db.transaction() as conn:
            await outbox.stage(conn, event("r", 1))
        async with one.transaction():
            assert await sequencing.place_some(one, windows[0]) == (1, False)
            second = asyncio.create_task(sequencing.place_some(other, windows[1]))
            await eventually(lambda: waits_for_a_lock(db))
        with pytest.raises(asyncpg.UniqueViolationError):
            await second
        windows[1] = Window(await last_drawn(one))
        # And however it comes.
        for version in range(2, 40):
            async with db.transaction() as conn:
                await outbox.stage(conn, event("r", version))
            answers = await asyncio.gather(
                sequencing.place_some(one, windows[0]),
                sequencing.place_some(other, windows[1]),
                return_exceptions=True,
            )
            for number, answer in enumerate(answers):
                if isinstance(answer, asyncpg.UniqueViolationError):
                    windows[number] = Window(await last_drawn(one))
                else:
                    assert not isinstance(answer, BaseException), answer
        await settle(one, Window(await last_drawn(one)))
    assert await positions(db) == [("r", n) for n in range(1, 40)]


async def waits_for_a_lock(db: Database) -> bool:
    return bool(
        await db.fetchval(
            """SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'"""
        )
    )


async def test_the_relay_is_told_of_what_is_not_for_the_feed(db: Database) -> None:
    """Turns of background jobs are published without a look by the clock, too."""
    async with session(db) as placing, session(db) as hearing:
        heard: list[object] = []
        await hearing.add_listener(store.PLACED_CHANNEL, lambda *told: heard.append(told[3]))
        window = Window(await last_drawn(placing))
        turn = Event("records.job", "/records_service", "ws-1", "x", {"version": 1})
        async with db.transaction() as conn:
            await outbox.stage(conn, turn)
        await settle(placing, window)
        await eventually(lambda: heard == ["0 "])
        assert await positions(db) == []
        async with db.transaction() as conn:
            await outbox.stage(conn, event("r", 1))
        await settle(placing, window)
        await eventually(lambda: heard == ["0 ", "1 ws-1"])


async def test_one_leads_and_another_follows_when_it_hangs_up(
    services: Services, records: RunningService
) -> None:
    url = records.config.database_url
    both = [await services.start(create_app, Config, "all", database_url=url) for _ in range(2)]
    await eventually(lambda: any(each.app[SEQUENCER].leads for each in both))
    assert [each.app[SEQUENCER].leads for each in both].count(True) == 1
    for version in range(1, 4):
        async with records.database.transaction() as conn:
            await outbox.stage(conn, event("r", version))

        async def is_placed(version: int = version) -> bool:
            return ("r", version) in await positions(records.database)

        await eventually(is_placed)
        await records.database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            " AND classid::bigint = $1::bigint >> 32 AND objid::bigint = $1::bigint & 4294967295",
            sequencing.LOCK_KEY,
        )
    assert await positions(records.database) == [("r", 1), ("r", 2), ("r", 3)]


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[Process]]:
    """Two processes that place and publish, not started yet."""
    both = [
        Process(f"worker-{n}", tmp_path, module="records_service", role="worker") for n in (1, 2)
    ]
    yield both
    for one in both:
        one.kill()


@asynccontextmanager
async def heard_on_the_bus(url: str) -> AsyncIterator[set[tuple[str, int]]]:
    """Subject and version of what is told of records."""
    heard: set[tuple[str, int]] = set()
    up = asyncio.Event()

    def hear(told: Event) -> None:
        heard.add((told.subject, told.version))

    bus = Bus(url, "test")
    bus.start()
    app = web.Application()
    app[BUS] = bus
    hearing = subscribe("entity.#", hear, on_up=up.set, on_down=up.clear)(app)
    await anext(hearing)
    await up.wait()
    try:
        yield heard
    finally:
        await hearing.aclose()
        await bus.stop()


async def start(worker: Process, config: Config) -> None:
    worker.configure(
        {
            "SIGMA_DATABASE_URL": config.database_url.get_secret_value(),
            "SIGMA_AMQP_URL": config.amqp_url.get_secret_value(),
            "SIGMA_IDENTITY_KEYS": config.identity_keys,
            "SIGMA_AUTH_URL": str(config.auth_url),
            "SIGMA_WORKFLOW_URL": str(config.workflow_url),
        }
    )
    worker.start()
    await asyncio.to_thread(worker.wait_ready)


async def write(admin: Caller, record: str, written: Counter[str], stop: asyncio.Event) -> None:
    """Create a record and change it again and again; `written` counts what was acknowledged."""
    body: dict[str, Any] = {"id": record, "schemaId": "schema-x", "values": {}}
    (await admin.post("/records", body)).ok()
    written[record] += 1
    while not stop.is_set():
        value = [{"scope": {}, "value": written[record]}]
        (await admin.put(f"/records/{record}", {"values": {"n": value}})).ok()
        written[record] += 1


async def kill_in_turn(workers: list[Process], config: Config, db: Database) -> None:
    """Kill each of them twice, while events are being placed."""
    for each in (*workers, *workers):
        before = len(await positions(db))

        async def goes_on(before: int = before) -> bool:
            return len(await positions(db)) > before + 20

        await eventually(goes_on, within_s=60)
        each.kill()
        await start(each, config)


async def versions(admin: Caller, after: str) -> dict[str, list[int]]:
    """Record -> the versions that the feed tells of, in its order."""
    found: dict[str, list[int]] = {}
    more = True
    while more:
        page = (await admin.get(f"/changes?after={after}&limit=1000")).ok()
        for told in page["items"]:
            if told["type"].startswith("entity."):
                found.setdefault(told["subject"], []).append(told["data"]["version"])
        after, more = page["next"], page["more"]
    return found


async def test_nothing_is_lost_or_doubled_when_workers_are_killed(
    services: Services, workers: list[Process]
) -> None:
    """The feed has each change once and in order, and the bus has told them all."""
    records = await services.start(create_app, Config, amqp_url=await services.broker())
    admin = records.as_(identities.admin())
    attribute = {"id": "attr-n", "alias": "n", "name": "N", "type": "number"}
    (await admin.post("/attributes", attribute)).ok()
    (await admin.post("/schemas", schema_body("x", ["n"]))).ok()
    after = (await admin.get("/changes")).ok()["next"]
    stop, written = asyncio.Event(), Counter[str]()
    async with heard_on_the_bus(records.config.amqp_url.get_secret_value()) as heard:
        for each in workers:
            await start(each, records.config)
        writing = [
            asyncio.create_task(write(admin, f"r{number}", written, stop)) for number in range(6)
        ]
        await kill_in_turn(workers, records.config, records.database)
        stop.set()
        await asyncio.gather(*writing)

        async def all_is_published() -> bool:
            return not await records.database.fetchval(
                "SELECT count(*) FROM outbox WHERE type <> 'records.job'"
            )

        await eventually(all_is_published, within_s=60)
        expected = {record: list(range(1, count + 1)) for record, count in written.items()}
        assert await versions(admin, after) == expected
        told = {(record, version) for record, all_ in expected.items() for version in all_}
        await eventually(lambda: heard == told)
