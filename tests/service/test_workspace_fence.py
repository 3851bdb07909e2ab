"""The fence around a workspace that is moved: who may write when, and that it ends by itself."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from deploy.workspaces import fence
from deploy.workspaces.databases import Database, open_one
from deploy.workspaces.tables import AUTH, RECORDS, WORKFLOW
from shared.database import Database as ServiceDatabase
from shared.errors import ServiceUnavailable
from tests.kit.eventually import eventually
from tests.kit.servers import Servers

OURS, NEIGHBOURS = "ws-ours", "ws-neighbours"
Write = Callable[..., Awaitable[object]]


@pytest.fixture
async def records(servers: Servers) -> AsyncIterator[Database]:
    url = await servers.postgres.new_database(RECORDS)
    database = await open_one(RECORDS, url)
    await fence.raise_fence(database, OURS)
    yield database
    await database.conn.close()
    await servers.postgres.drop_database(url)


@pytest.fixture
async def writer(records: Database) -> AsyncIterator[asyncpg.Connection]:
    conn = await asyncpg.connect(records.url)
    yield conn
    await conn.close()


async def write(conn: asyncpg.Connection, workspace_id: str = OURS) -> None:
    await conn.execute(
        """INSERT INTO catalog_versions VALUES ($1, 1)
               ON CONFLICT (workspace_id) DO UPDATE SET version = catalog_versions.version + 1""",
        workspace_id,
    )


async def stage(conn: asyncpg.Connection, kind: str, workspace_id: str = OURS) -> None:
    await conn.execute(
        """INSERT INTO outbox (workspace_id, type, subject, event_id, document)
           VALUES ($1, $2, 'x', gen_random_uuid()::text, '{}')""",
        workspace_id,
        kind,
    )


async def enter(records: Database, phase: str, before: str, for_s: float | None = 60.0) -> None:
    assert await fence.enter(records, OURS, phase, before=(before,), for_s=for_s)


async def test_phases_refuse_more_and_more_of_this_workspace_alone(
    records: Database, writer: asyncpg.Connection
):
    refused = pytest.raises(asyncpg.OperatorInterventionError, match="is being moved")
    await write(writer)
    await stage(writer, "entity.updated")
    await enter(records, fence.DRAINING, fence.OPEN)
    await write(writer)
    await stage(writer, "records.job")
    with refused:
        await stage(writer, "entity.updated")
    await enter(records, fence.CLOSED, fence.DRAINING)
    for forbidden in (
        write(writer),
        stage(writer, "records.job"),
        writer.execute("DELETE FROM catalog_versions WHERE workspace_id = $1", OURS),
        writer.execute("UPDATE catalog_versions SET version = 9 WHERE workspace_id = $1", OURS),
    ):
        with refused:
            await forbidden
    # What is published is deleted.
    assert await writer.execute("DELETE FROM outbox WHERE workspace_id = $1", OURS) == "DELETE 2"
    await write(writer, NEIGHBOURS)
    await stage(writer, "entity.updated", NEIGHBOURS)
    await enter(records, fence.MOVED, fence.CLOSED, None)
    with pytest.raises(asyncpg.OperatorInterventionError, match="has moved"):
        await write(writer)
    await fence.take_down(records, OURS)
    await write(writer)
    left = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'sigma_move%'"
    assert await writer.fetchval(left) == 0


async def test_who_is_refused_is_told_of_the_move_and_nobody_else(records: Database):
    service = ServiceDatabase(records.url)
    for phase, before, told in (
        (fence.CLOSED, fence.OPEN, "The workspace is being moved to other servers: it takes no"),
        (fence.MOVED, fence.CLOSED, "The workspace has moved to other servers: it takes changes"),
    ):
        await enter(records, phase, before)
        with pytest.raises(ServiceUnavailable, match=told) as refused:
            async with service.transaction() as conn:
                await write(conn)
        assert refused.value.headers["Retry-After"]
        async with service.transaction() as conn:
            await write(conn, NEIGHBOURS)
            await conn.fetchval("SELECT count(*) FROM catalog_versions")
    await service.close()


async def test_a_service_may_ask_whether_a_workspace_has_moved_and_see_no_other(
    records: Database, writer: asyncpg.Connection
):
    role = f"sigma_test_{secrets.token_hex(6)}"
    asked = "SELECT sigma_moves.has_moved($1)"
    await writer.execute(f"CREATE ROLE {role}")
    try:
        await writer.execute(f"SET ROLE {role}")
        assert [await writer.fetchval(asked, each) for each in (OURS, "ws-none")] == [False, False]
        await enter(records, fence.CLOSED, fence.OPEN)
        assert not await writer.fetchval(asked, OURS)
        await enter(records, fence.MOVED, fence.CLOSED, None)
        assert await writer.fetchval(asked, OURS)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await writer.fetchval("SELECT count(*) FROM sigma_moves.moves")
    finally:
        await writer.execute(f"RESET ROLE; DROP ROLE {role}")


async def test_a_phase_waits_for_those_who_write_already(
    records: Database, writer: asyncpg.Connection
):
    async with writer.transaction():
        await write(writer)
        entering = asyncio.create_task(enter(records, fence.CLOSED, fence.OPEN))
        other = await asyncpg.connect(records.url)

        async def waits() -> bool:
            return bool(
                await other.fetchval(
                    """SELECT count(*) FROM pg_locks
                        WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND NOT granted
                          AND database = (SELECT oid FROM pg_database
                                           WHERE datname = current_database())"""
                )
            )

        await eventually(waits)
        # Whoever comes now waits for the phase, and obeys it.
        late = asyncio.create_task(write(other))
        await asyncio.sleep(0.05)
        assert not entering.done()
        assert not late.done()
    await entering
    with pytest.raises(asyncpg.OperatorInterventionError):
        await late
    await other.close()


async def test_a_pause_whose_tool_has_died_ends(records: Database, writer: asyncpg.Connection):
    await enter(records, fence.CLOSED, fence.OPEN)
    with pytest.raises(asyncpg.OperatorInterventionError):
        await write(writer)
    # A minute later.
    await writer.execute("UPDATE sigma_moves.moves SET until = until - interval '60 seconds'")
    await write(writer)
    # What has ended cannot be taken for a pause in which nobody wrote.
    assert not await fence.enter(records, OURS, fence.MOVED, before=(fence.CLOSED,), for_s=None)
    assert await fence.phase_of(records, OURS) == fence.OPEN


async def test_that_a_key_was_used_is_left_out_while_nobody_writes(servers: Servers):
    url = await servers.postgres.new_database(AUTH)
    database = await open_one(AUTH, url)
    await fence.raise_fence(database, OURS)
    await database.conn.execute(
        "INSERT INTO workspaces VALUES ($1, 'Ours', 1, 1, now(), now())", OURS
    )
    await database.conn.execute(
        "INSERT INTO api_keys VALUES ($1, 'key', 'Key', '{}', '\\x00', true, 1, 'user', now())",
        OURS,
    )
    await enter(database, fence.CLOSED, fence.OPEN)
    used = "UPDATE api_keys SET last_used_at = now() WHERE workspace_id = $1"
    assert await database.conn.execute(used, OURS) == "UPDATE 0"
    with pytest.raises(asyncpg.OperatorInterventionError):
        await database.conn.execute(
            "UPDATE api_keys SET active = false WHERE workspace_id = $1", OURS
        )
    await database.conn.close()
    await servers.postgres.drop_database(url)


async def test_events_between_services_are_under_way_until_each_hearer_has_handled_them(
    servers: Servers, records: Database, writer: asyncpg.Connection
):
    others = []
    for service in (AUTH, WORKFLOW):
        others.append(await open_one(service, await servers.postgres.new_database(service)))
        await fence.raise_fence(others[-1], OURS)

    async def under_way() -> int:
        return await fence.events_on_their_way([records, *others], OURS)

    await stage(writer, "schema.created")
    await stage(writer, "entity.created")
    await stage(writer, "schema.created", NEIGHBOURS)
    # Both wait to be published, and one for two hearers.
    assert await under_way() == 4
    await writer.execute("DELETE FROM outbox")
    assert await under_way() == 2
    event_id = await writer.fetchval("SELECT event_id FROM sigma_moves.staged")
    for left, other in enumerate(reversed(others)):
        assert await under_way() == 2 - left
        await other.conn.execute(
            "INSERT INTO inbox (consumer, event_id) VALUES ($1, $2)", other.service, event_id
        )
    assert await under_way() == 0
    for other in others:
        await other.conn.close()
        await servers.postgres.drop_database(other.url)
