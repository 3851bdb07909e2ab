"""The feed as server-sent events: what a stream says, and how it goes on."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from records_service.app import create_app
from records_service.config import Config
from records_service.feed import handlers, news, sequencing, store
from records_service.feed.following import FOLLOWERS, Followers
from records_service.feed.news import NEWS
from shared.database import Conn
from shared.http import DRAINING
from tests.kit.eventually import eventually
from tests.kit.identities import Keyring
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.servers import Servers
from tests.kit.service import RunningService, Services
from tests.kit.workspace import entries
from tests.service.records.feeds import STREAM, changes, now, stream

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOLLOWED = 5


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(
    servers: Servers, keyring: Keyring
) -> AsyncIterator[tuple[RunningService, RunningService]]:
    """A process that places events, and a second one, whose callers follow."""
    async with Services(servers, keyring) as services:
        worker = await services.start(create_app, Config, "all")
        api = await services.start(
            create_app, Config, "api", database_url=worker.config.database_url
        )
        yield worker, api


@pytest.fixture
def workspace(running: tuple[RunningService, RunningService]) -> RecordsWorkspace:
    """An empty workspace."""
    worker, _ = running
    return RecordsWorkspace(worker, worker, f"ws-{secrets.token_hex(4)}")


@pytest.fixture
def api(running: tuple[RunningService, RunningService]) -> RunningService:
    """The process that is asked by followers."""
    return running[1]


async def model(workspace: RecordsWorkspace) -> None:
    await workspace.attribute("cost", "number")
    await workspace.schema("x", ["cost"])


async def test_a_stream_says_what_pages_say(
    workspace: RecordsWorkspace, api: RunningService
) -> None:
    after = await now(workspace)
    await model(workspace)
    reader = workspace.admin.at(api.url)
    async with stream(reader, f"?after={after}") as first, stream(reader) as fresh:
        assert first.response.headers["Content-Type"] == "text/event-stream"
        found = [await first.event() for _ in range(2)]
        await workspace.record("schema-x", {"cost": 1}, id="r0")
        found.append(await first.event())
        assert (await fresh.event())[1] in [event for _, event in found]
    events = [event for _, event in found]
    assert events == await changes(workspace.admin, after, 3)

    # A token of a stream is one of pages; the header counts before the parameter.
    token = found[1][0]
    assert await changes(reader, token, 1) == events[2:]
    async with stream(reader, f"?after={after}", {"Last-Event-ID": token}) as again:
        assert await again.event() == found[2]
    answer = await reader.get("/changes", headers={**STREAM, "Last-Event-ID": "1"})
    assert answer.status == 400
    assert "'Last-Event-ID' expects a token" in answer.body["message"]


async def test_a_silent_stream_has_comments_and_moves_on(
    workspace: RecordsWorkspace, api: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "COMMENT_EVERY_S", 0.1)
    await model(workspace)
    reader = await workspace.user_with_role({"*": {"*": "read"}}, catalogs={})
    before = await now(workspace)
    async with stream(reader.at(api.url), f"?after={before}") as silent:
        (await workspace.admin.post("/catalogs", {"id": "c", "alias": "c", "name": "C"})).ok()
        # What this reader may not see moves its token all the same.
        after = await now(workspace)
        assert after != before
        reading = asyncio.create_task(silent.event())
        await eventually(lambda: silent.comments > 1 and silent.last_id == after)
        assert not reading.done()
        reading.cancel()


async def test_followers_leave_when_the_process_stops(
    workspace: RecordsWorkspace, api: RunningService, keyring: Keyring, servers: Servers
) -> None:
    await model(workspace)
    async with Services(servers, keyring) as services:
        second = await services.start(
            create_app, Config, "api", database_url=api.config.database_url
        )
        after = await now(workspace)
        reader = workspace.admin.at(second.url)
        async with stream(reader) as open_stream:
            poll = asyncio.create_task(reader.get(f"/changes?after={after}&wait=30"))
            await eventually(lambda: second.app[FOLLOWERS]._of_workspace.total() == 2)
            second.app[DRAINING].set()
            with pytest.raises(EOFError):
                await open_stream.event()
            assert (await poll).ok() == {"items": [], "next": after, "more": False}


async def test_the_number_of_followers_is_bounded(
    workspace: RecordsWorkspace, api: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.app[FOLLOWERS], "_places", 4)
    reader = workspace.admin.at(api.url)
    other = workspace.api_key("read").at(api.url)
    async with stream(reader), stream(reader), stream(other):
        for caller in (reader, other):
            answer = await caller.get("/changes", headers=STREAM)
            assert answer.outcome == (
                429,
                {"error": "RATE_LIMITED", "message": "Too many requests. Retry after 5 seconds."},
            )
            assert answer.headers["Retry-After"] == "5"
            assert (await caller.get("/changes?wait=1")).status == 429
            assert (await caller.get("/changes")).status == 200
    counts: Followers = api.app[FOLLOWERS]
    # A reader that has gone is noticed with the next thing that is written.
    monkeypatch.setattr(handlers, "COMMENT_EVERY_S", 0.05)
    await workspace.attribute("more")
    await eventually(lambda: not counts._of_workspace and not counts._of_caller)


def waiting(api: RunningService, workspace: RecordsWorkspace) -> int:
    """How many followers of the workspace sleep until there is something new."""
    return sum(len(wake._waiters) for wake in api.app[NEWS]._followers.get(workspace.id, ()))


async def test_idle_followers_ask_the_database_nothing(
    workspace: RecordsWorkspace, api: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await model(workspace)
    reader = workspace.admin.at(api.url)
    after = await now(workspace)
    read = store.page
    asked: list[str] = []

    async def counted(conn: Conn, workspace_id: str, *more: int) -> store.Events:
        asked.append(workspace_id)
        return await read(conn, workspace_id, *more)

    monkeypatch.setattr(store, "page", counted)
    polls = [asyncio.create_task(reader.get(f"/changes?after={after}&wait=30")) for _ in range(20)]
    # Each reads once before it waits.
    await eventually(lambda: waiting(api, workspace) == len(polls))
    before = asked.count(workspace.id)
    # Somebody else's events wake nobody here.
    other = RecordsWorkspace(workspace.records, workspace.records, f"ws-{secrets.token_hex(4)}")
    await model(other)
    await now(other)
    await asyncio.sleep(0.5)
    assert asked.count(workspace.id) == before
    await workspace.record("schema-x", {"cost": 1}, id="r")
    for poll in polls:
        assert [each["subject"] for each in (await poll).ok()["items"]] == ["r"]
    # All read the same page at the same moment: a few reads for all of them.
    assert asked.count(workspace.id) - before < len(polls)


async def test_what_was_missed_while_the_news_were_away_is_read(
    workspace: RecordsWorkspace, api: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection that hears is lost, something happens, and it comes back."""
    await model(workspace)
    await now(workspace)
    monkeypatch.setattr(news, "AGAIN_AFTER_S", 1.0)
    # With each comment, a follower looks by itself.
    monkeypatch.setattr(handlers, "COMMENT_EVERY_S", 3_600)
    reader = workspace.admin.at(api.url)
    async with stream(reader) as follower:
        ended = await workspace.database.fetchval(
            """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = $1""",
            news.APPLICATION_NAME,
        )
        assert ended >= 2
        await workspace.record("schema-x", {"cost": 1}, id="r")
        _, event = await follower.event()
        assert event["subject"] == "r"
    assert not api.app[NEWS].is_closing


async def test_a_commit_of_any_process_is_placed_without_a_poll(
    workspace: RecordsWorkspace, api: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await model(workspace)
    await now(workspace)
    monkeypatch.setattr(sequencing, "POLL_S", 3_600)
    writer = workspace.admin.at(api.url)
    async with stream(writer) as follower:
        # The poll that has begun may still find the first.
        for number in range(3):
            body = {"id": f"r{number}", "schemaId": "schema-x", "values": {}}
            (await writer.post("/records", body)).ok()
            assert (await follower.event())[1]["subject"] == f"r{number}"
            (await writer.put(f"/records/r{number}", {"values": entries({"cost": 1})})).ok()
            assert (await follower.event())[1]["type"] == "entity.updated"
