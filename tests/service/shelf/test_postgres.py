"""The pool: one round trip per statement, and never a connection in an unclear state."""

from __future__ import annotations

import asyncio
import random

import asyncpg
import orjson
import pytest
from aiohttp import web
from pydantic import SecretStr

from shared.database import DATABASE, Database, connection, mapping_constraints, pool, postgres
from shared.database.constraints import may_have_written
from shared.errors import Conflict, ServiceUnavailable, UpstreamTimeout
from shared.process.config import DatabaseConfig
from tests.kit.eventually import eventually
from tests.kit.service import PATIENCE_S
from tests.kit.wire import Wire


@pytest.mark.parametrize("kind", ["json", "jsonb"])
@pytest.mark.parametrize(
    "value", [{"a": [1, 2.5, None, True]}, [], "text", 7, "ø \N{SNOWMAN}", {"deep": {"er": {}}}]
)
async def test_json_goes_in_and_comes_out_as_it_was(db: Database, kind: str, value: object):
    assert await db.fetchval(f"SELECT $1::{kind}", value) == value
    # In an array a list would be taken for a further dimension, so there it goes in as text.
    told = orjson.dumps(value)
    assert await db.fetchval(f"SELECT $1::{kind}[]", [told, told]) == [value, value]


async def test_json_that_is_already_text_is_not_encoded_again(db: Database):
    row = await db.fetchrow("SELECT $1::jsonb, $2::jsonb", orjson.Fragment(b'{"a":1}'), b"[2]")
    assert row is not None
    assert list(row) == [{"a": 1}, [2]]


async def test_a_connection_is_used_again_without_a_reset(db: Database):
    async with db.acquire() as conn:
        first = conn.get_server_pid()
        await conn.execute("SET application_name = 'kept'")
    async with db.acquire() as conn:
        assert conn.get_server_pid() == first
        # A RESET ALL, as asyncpg's pool sends, would have cost a round trip and this setting.
        assert await conn.fetchval("SHOW application_name") == "kept"


async def test_a_transaction_is_committed_at_its_end_and_rolled_back_on_an_error(db: Database):
    async with db.transaction() as conn:
        await conn.execute("INSERT INTO effects (subject, version) VALUES ('kept', 1)")
    with pytest.raises(ZeroDivisionError):
        async with db.transaction() as conn:
            await conn.execute("INSERT INTO effects (subject, version) VALUES ('lost', 1)")
            raise ZeroDivisionError
    assert [row["subject"] for row in await db.fetch("SELECT subject FROM effects")] == ["kept"]


async def test_a_transaction_that_somebody_left_open_does_not_leak_to_the_next(database_url: str):
    db = Database(database_url, connections_max=1)
    await db.execute("CREATE TABLE t (a int)")
    async with db.acquire() as conn:
        await conn.execute("BEGIN")
        await conn.execute("INSERT INTO t VALUES (1)")
    async with db.acquire() as conn:
        assert not conn.is_in_transaction()
        assert await conn.fetchval("SELECT count(*) FROM t") == 0
    await db.close()


async def test_a_request_cut_off_anywhere_leaves_a_clean_pool(database_url: str):
    """Cancelled anywhere, also inside BEGIN: no connection is lost, none is in a transaction."""
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: reported.append(told))
    db = Database(database_url, connections_max=3, acquire_wait_s=30)
    await db.execute("CREATE TABLE t (a int)")
    dice = random.Random(7)

    async def work() -> None:
        async with db.transaction() as conn:
            await conn.execute("INSERT INTO t VALUES (1)")
            await conn.execute("SELECT pg_sleep(0.002)")
            raise ZeroDivisionError

    for _ in range(20):
        tasks = [asyncio.create_task(work()) for _ in range(12)]
        for task in tasks:
            await asyncio.sleep(dice.uniform(0, 0.003))
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    async with db.acquire() as one, db.acquire() as two, db.acquire() as three:
        for conn in (one, two, three):
            assert not conn.is_in_transaction()
            async with conn.transaction():
                assert await conn.fetchval("SELECT count(*) FROM t") == 0
    assert await eventually(lambda: db.connections == {"lent": 0, "idle": 3, "waiting": 0})
    await db.close()
    assert reported == []


@pytest.mark.parametrize("turns", range(1, 60, 2))
async def test_a_connection_whose_caller_has_gone_is_for_the_next(database_url: str, turns: int):
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: reported.append(told))
    db = Database(database_url, connections_max=1)
    cut_off = asyncio.create_task(db.fetchval("SELECT pg_backend_pid()"))
    for _ in range(turns):
        await asyncio.sleep(0)
    cut_off.cancel()
    await asyncio.gather(cut_off, return_exceptions=True)
    assert await eventually(lambda: db.connections == {"lent": 0, "idle": 1, "waiting": 0})
    await db.close()
    assert reported == []


async def test_a_pool_that_closed_while_it_opened_a_connection_has_none(
    db: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pool, "CLOSE_WAIT_S", 0.1)
    async with Wire(database_url) as wire:
        wire.hold()
        closing = Database(wire.url, connections_max=1, application_name="closing")
        asking = asyncio.create_task(closing.fetchval("SELECT 1"))
        await asyncio.sleep(0)
        await closing.close()
        wire.mend()
        with pytest.raises(ServiceUnavailable):
            await asking
        left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'closing'"

        async def is_gone() -> bool:
            return await db.fetchval(left) == 0

        assert await eventually(is_gone)


async def test_a_transaction_whose_begin_was_cancelled_does_not_leak_to_the_next(database_url: str):
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: reported.append(told))
    async with Wire(database_url) as wire:
        db = Database(wire.url, connections_max=1)
        await db.execute("CREATE TABLE t (a int)")
        wire.hold()

        async def begin() -> None:
            async with db.transaction():
                raise AssertionError("not reached")

        cut_off = asyncio.create_task(begin())
        await eventually(lambda: db.connections["lent"] == 1)
        await asyncio.sleep(0)
        cut_off.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cut_off
        wire.mend()  # Now BEGIN arrives, and after it the request to cancel it.
        await db.execute("INSERT INTO t VALUES (1)")
        elsewhere = Database(database_url)
        assert await elsewhere.fetchval("SELECT count(*) FROM t") == 1
        await elsewhere.close()
        await db.close()
    assert reported == []


async def test_a_deadline_caught_inside_the_block_leaves_a_clean_connection(database_url: str):
    db = Database(database_url, connections_max=1)
    async with db.acquire() as conn:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await conn.execute("SELECT pg_sleep(30)")
    async with asyncio.timeout(25):
        assert await db.fetchval("SELECT 1") == 1
    await db.close()


async def test_more_than_the_pool_holds_wait_and_then_are_told_to_come_back(database_url: str):
    hasty = Database(database_url, connections_max=1, acquire_wait_s=0.2)
    async with hasty.acquire():
        with pytest.raises(ServiceUnavailable) as refused:
            await hasty.fetchval("SELECT 1")
        assert refused.value.headers["Retry-After"] == "1"
    await hasty.close()
    db = Database(database_url, connections_max=1, acquire_wait_s=PATIENCE_S)
    async with db.acquire():
        waiting = asyncio.create_task(db.fetchval("SELECT 2"))
        await eventually(lambda: db.connections["waiting"] == 1)
    assert await waiting == 2
    await db.close()


async def test_no_more_connections_are_opened_than_allowed(database_url: str):
    db = Database(database_url, connections_max=3, acquire_wait_s=30)
    await asyncio.gather(*(db.execute("SELECT pg_sleep(0.01)") for _ in range(60)))
    assert db.connections == {"lent": 0, "idle": 3, "waiting": 0}
    await db.close()


async def test_a_waiter_that_gives_up_in_the_moment_it_is_served_passes_it_on(database_url: str):
    db = Database(database_url, connections_max=1, acquire_wait_s=30)
    async with db.acquire():
        impatient = asyncio.create_task(db.fetchval("SELECT 1"))
        patient = asyncio.create_task(db.fetchval("SELECT 2"))
        await eventually(lambda: db.connections["waiting"] == 2)
    impatient.cancel()  # Its future has been given the connection, but it has not run since.
    async with asyncio.timeout(30):
        assert await patient == 2
    await db.close()


async def test_a_session_that_the_server_ends_is_a_503_and_the_next_request_works(db: Database):
    with pytest.raises(ServiceUnavailable):
        await db.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert await db.fetchval("SELECT 1") == 1


async def test_a_database_that_goes_away_and_comes_back(database_url: str):
    async with Wire(database_url) as wire:
        db = Database(wire.url, connections_max=2)
        assert await db.fetchval("SELECT 1") == 1
        running = asyncio.create_task(db.execute("SELECT pg_sleep(30)"))
        await eventually(lambda: db.connections["lent"] == 1)
        wire.cut()
        with pytest.raises(ServiceUnavailable):
            await running
        with pytest.raises(ServiceUnavailable):
            await db.fetchval("SELECT 1")
        wire.mend()
        assert await db.fetchval("SELECT 1") == 1
        await db.close()


async def test_a_connection_that_breaks_inside_a_transaction_is_a_503(database_url: str):
    async with Wire(database_url) as wire:
        db = Database(wire.url)
        with pytest.raises(ServiceUnavailable):
            async with db.transaction() as conn:
                wire.cut()
                await conn.execute("SELECT 1")
        await db.close()


async def test_a_connection_to_a_demoted_primary_is_left_while_it_is_being_reset(db: Database):
    first, second = await db.take(), await db.take()
    await first.execute("BEGIN")
    db.give_back(first)
    db.give_back(second, asyncpg.ReadOnlySQLTransactionError())
    await eventually(lambda: db.connections["lent"] == 0)
    assert first.is_closed()
    assert db.connections["idle"] == 0
    assert await db.fetchval("SELECT 1") == 1


async def give_up_soon(db: Database) -> None:
    """The client waits for a moment on the connection that the pool has; the server is patient."""
    async with db.acquire() as conn:
        conn._config = conn._config._replace(command_timeout=0.1)


async def test_a_database_that_falls_silent_is_a_503_in_bounded_time(database_url: str):
    async with Wire(database_url) as wire:
        db = Database(wire.url, connections_max=1)
        await give_up_soon(db)
        wire.hold()
        with pytest.raises(ServiceUnavailable):
            async with asyncio.timeout(30):
                await db.fetchval("SELECT 1")
        wire.mend()
        assert await db.fetchval("SELECT 1") == 1
        await db.close()


@pytest.mark.parametrize("statement", ["SELECT", "INSERT INTO t SELECT 1 FROM"])
async def test_a_statement_that_takes_too_long_says_that_trying_again_is_in_vain(
    database_url: str, statement: str
):
    # What is to succeed is asked without the limit: it may take as long on a busy machine.
    db, patient = Database(database_url, statement_timeout_s=0.1), Database(database_url)
    await patient.execute("CREATE TABLE t (a int)")
    with pytest.raises(UpstreamTimeout, match="nothing was changed") as told:
        await db.execute(f"{statement} pg_sleep(5)")
    assert told.value.headers == {}
    assert await patient.fetchval("SELECT count(*) FROM t") == 0
    with pytest.raises(UpstreamTimeout, match="nothing was changed"):
        async with db.transaction() as conn:
            await conn.execute("INSERT INTO t VALUES (1)")
            await conn.execute(f"{statement} pg_sleep(5)")
    assert await patient.fetchval("SELECT count(*) FROM t") == 0
    await db.close()
    await patient.close()


async def test_a_write_whose_answer_is_lost_may_have_been_made(database_url: str):
    async with Wire(database_url) as wire:
        direct, db = Database(database_url), Database(wire.url, connections_max=1)
        await db.execute("CREATE TABLE t (a int)")
        wire.hold_answers()
        writing = asyncio.create_task(db.execute("INSERT INTO t VALUES (1)"))
        await eventually(lambda: direct.fetchval("SELECT count(*) = 1 FROM t"))
        wire.cut()
        with pytest.raises(UpstreamTimeout, match="may have been made") as told:
            await writing
        assert told.value.headers == {}
        with pytest.raises(ServiceUnavailable):  # This one reaches nobody.
            await db.execute("INSERT INTO t VALUES (2)")
        await db.close()
        await direct.close()


async def test_a_write_that_is_never_answered_may_have_been_made(database_url: str):
    async with Wire(database_url) as wire:
        direct = Database(database_url)
        await direct.execute("CREATE TABLE t (a int)")
        db = Database(wire.url, connections_max=1)
        await give_up_soon(db)
        wire.hold_answers()
        with pytest.raises(UpstreamTimeout, match="may have been made"):
            await db.execute("INSERT INTO t VALUES (1)")
        await eventually(lambda: direct.fetchval("SELECT count(*) = 1 FROM t"))
        await db.close()
        await direct.close()


async def test_a_database_that_is_silent_from_the_start_is_a_503(
    database_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT_S", 0.1)
    async with Wire(database_url) as wire:
        db = Database(wire.url)
        wire.hold()
        with pytest.raises(ServiceUnavailable):
            await db.execute("INSERT INTO effects (subject, version) VALUES ('x', 1)")
        await db.close()


async def test_a_transaction_that_breaks_before_its_commit_is_a_503(database_url: str):
    async with Wire(database_url) as wire:
        direct, db = Database(database_url), Database(wire.url)
        await db.execute("CREATE TABLE t (a int)")
        with pytest.raises(ServiceUnavailable):
            async with db.transaction() as conn:
                await conn.execute("INSERT INTO t VALUES (1)")
                wire.hold_answers()
                lost = asyncio.create_task(conn.execute("INSERT INTO t VALUES (2)"))
                await asyncio.sleep(0)
                wire.cut()
                await lost
        assert await direct.fetchval("SELECT count(*) FROM t") == 0
        await db.close()
        await direct.close()


async def test_a_commit_whose_answer_is_lost_may_have_been_made(database_url: str):
    async with Wire(database_url) as wire:
        direct, db = Database(database_url), Database(wire.url)
        await db.execute("CREATE TABLE t (a int)")

        async def write() -> None:
            async with db.transaction() as conn:
                await conn.execute("INSERT INTO t VALUES (1)")
                wire.hold_answers()

        writing = asyncio.create_task(write())
        await eventually(lambda: direct.fetchval("SELECT count(*) = 1 FROM t"))
        wire.cut()
        with pytest.raises(UpstreamTimeout, match="may have been made"):
            await writing
        await db.close()
        await direct.close()


async def test_a_write_that_was_made_before_another_was_refused_is_no_503(database_url: str):
    db = Database(database_url, lock_timeout_s=0.1)
    await db.execute("CREATE TABLE t (a int)")
    await db.execute("CREATE TABLE other (a int)")

    async def write(conn: asyncpg.Connection[asyncpg.Record]) -> None:
        await conn.execute("INSERT INTO other VALUES (1)")
        await conn.execute("INSERT INTO t VALUES (1)")

    async with db.transaction() as holder:
        await holder.execute("LOCK TABLE t")
        with pytest.raises(UpstreamTimeout):
            async with db.acquire() as conn:
                await write(conn)
        with pytest.raises(ServiceUnavailable):
            async with db.transaction() as conn:
                await write(conn)
    assert await db.fetchval("SELECT count(*) FROM other") == 1
    await db.close()


@pytest.mark.parametrize(
    ("sent", "may"),
    [
        ([], False),
        (["SELECT 1", "\n  WITH a AS (SELECT 1) SELECT * FROM a", "show x"], False),
        (["SELECT a FROM t FOR NO KEY UPDATE", "SELECT a FROM t FOR UPDATE OF t"], False),
        (["SELECT 1", "INSERT INTO t VALUES (1)"], True),
        (["UPDATE t SET a = 1"], True),
        (["WITH gone AS (DELETE FROM t RETURNING a) SELECT * FROM gone"], True),
        (["CREATE TABLE t (a int)"], True),
        (["BEGIN;", "UPDATE t SET a = 1", "ROLLBACK;", "SELECT 1"], False),
        (["BEGIN ISOLATION LEVEL SERIALIZABLE;", "UPDATE t SET a = 1"], False),
        (["BEGIN;", "SELECT 1", "COMMIT;"], False),
        (["BEGIN;", "UPDATE t SET a = 1", "SAVEPOINT a;", "ROLLBACK TO a;", "COMMIT;"], True),
        (["BEGIN;", "UPDATE t SET a = 1", "ROLLBACK;", "BEGIN;", "SELECT 1", "COMMIT;"], False),
    ],
)
def test_what_was_sent_tells_whether_anything_can_have_been_written(sent: list[str], may: bool):
    assert may_have_written(sent) is may


async def test_a_lock_that_does_not_come_is_a_503(database_url: str):
    db = Database(database_url, lock_timeout_s=0.1)
    await db.execute("CREATE TABLE t (a int)")
    async with db.transaction() as holder:
        await holder.execute("LOCK TABLE t")
        with pytest.raises(ServiceUnavailable):
            await db.execute("INSERT INTO t VALUES (1)")
    await db.close()


async def test_a_constraint_that_is_named_becomes_its_meaning_and_others_stay(db: Database):
    await db.execute(
        "CREATE TABLE t (a int CONSTRAINT a_taken UNIQUE, b int CONSTRAINT b_low CHECK (b > 0))"
    )
    await db.execute("INSERT INTO t VALUES (1, 1)")
    outcomes = {"a_taken": lambda: Conflict.taken("Thing", "1")}
    with pytest.raises(Conflict) as told, mapping_constraints(outcomes):
        await db.execute("INSERT INTO t VALUES (1, 1)")
    assert told.value.message == "Thing with id '1' already exists"
    with pytest.raises(asyncpg.CheckViolationError), mapping_constraints(outcomes):
        await db.execute("INSERT INTO t VALUES (2, 0)")


async def test_closing_lets_running_work_finish_and_refuses_new_work(
    database_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pool, "CLOSE_WAIT_S", PATIENCE_S)
    db = Database(database_url)
    running = asyncio.create_task(db.fetchval("SELECT 1 FROM pg_sleep(0.3)"))
    await eventually(lambda: db.connections["lent"] == 1)
    await db.close()
    assert await running == 1
    with pytest.raises(ServiceUnavailable):
        await db.fetchval("SELECT 1")


async def test_a_service_starts_without_its_database():
    config = DatabaseConfig.model_construct(
        database_url=SecretStr("postgresql://nobody@127.0.0.1:1/none"), database_connections_max=1
    )
    app = web.Application()
    app.cleanup_ctx.append(postgres(config))
    runner = web.AppRunner(app)
    await runner.setup()
    with pytest.raises(ServiceUnavailable):
        await app[DATABASE].fetchval("SELECT 1")
    await runner.cleanup()
