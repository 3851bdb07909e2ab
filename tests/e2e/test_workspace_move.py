"""A workspace moves to another installation, on another PostgreSQL, while its clients write."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from deploy.local.servers import PrivatePostgres
from deploy.workspaces import arriving, fence
from deploy.workspaces.databases import Failed, occupied, opened
from deploy.workspaces.moving import Move
from deploy.workspaces.tables import AUTH, RECORDS, WORKFLOW
from tests.conftest import NOT_FOR_POWER_CUTS
from tests.kit.eventually import eventually
from tests.kit.pages import block
from tests.kit.receiver import Receiver, receiving
from tests.kit.servers import ROOT, Postgres, Servers
from tests.kit.sigma import Caller
from tests.kit.stack import Stack
from tests.kit.workspace import Workspace

PAGE = ROOT / "docs" / "how-to" / "move-a-workspace.md"
WRITERS = 3
LEFT_BEHIND = """
    SELECT (SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'sigma_move%')
         + (SELECT count(*) FROM pg_publication WHERE pubname LIKE 'sigma_move%')
         + (SELECT count(*) FROM pg_subscription WHERE subname LIKE 'sigma_move%')
         + (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'sigma_move%')
"""


class SecondServers:
    """A PostgreSQL of its own, and the broker of the run."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        server = PrivatePostgres(folder, NOT_FOR_POWER_CUTS)
        server.start()
        self.postgres = Postgres(server.url, server)
        self.rabbit = servers.rabbit


@pytest.fixture(scope="module")
def second_servers(
    servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecondServers]:
    if servers.postgres.private is None:
        pytest.skip("the PostgreSQL of the environment may not be fit for logical replication")
    opened = SecondServers(servers, tmp_path_factory.mktemp("second") / "postgres")
    yield opened
    opened.postgres.close()


@pytest.fixture(scope="module")
def running_target(
    running_stack: Stack, second_servers: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    opened = Stack(second_servers, tmp_path_factory.mktemp("target"), beside=running_stack)
    opened.wait_ready()
    yield opened
    opened.close()


@pytest.fixture
async def target(running_target: Stack) -> AsyncIterator[Stack]:
    async with running_target.lent():
        yield running_target


@pytest.fixture
async def workspace(stack: Stack) -> Workspace:
    workspace: Workspace = await stack.workspace(record_limit=100_000)
    await workspace.attribute("name")
    await workspace.workflow()
    await workspace.schema("shirt", ["name"], "wf-lifecycle")
    return workspace


def environment(source: Stack, target: Stack) -> dict[str, str]:
    names = {AUTH: "AUTH", RECORDS: "RECORDS", WORKFLOW: "WORKFLOW"}
    return {f"SIGMA_{name}_DATABASE_URL": source.databases[of] for of, name in names.items()} | {
        f"SIGMA_TO_{name}_DATABASE_URL": target.databases[of] for of, name in names.items()
    }


async def command(
    source: Stack, target: Stack, workspace: Workspace, name: str = "move", *more: str
) -> tuple[int, str, str]:
    """The command of the page, with more arguments."""
    process = await asyncio.create_subprocess_shell(
        " ".join((block(name, PAGE).strip(), *more)),
        cwd=ROOT,
        env=environment(source, target)
        | {"WORKSPACE": workspace.id, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def left_behind(*databases: str) -> int:
    found = 0
    for url in databases:
        conn = await asyncpg.connect(url)
        found += await conn.fetchval(LEFT_BEHIND)
        await conn.close()
    return found


async def nothing_is_left(installation: Stack, other: Stack, workspace: Workspace) -> None:
    """No row of the workspace there, and nothing of the tool in either."""
    async with opened(installation.databases) as databases:
        assert await occupied(databases, workspace.id) == []
    assert await left_behind(*installation.databases.values(), *other.databases.values()) == 0


async def leave_news(installation: Stack, workspace: Workspace) -> None:
    """What an event leaves that is heard when the workspace is not there."""
    for service in (AUTH, WORKFLOW):
        conn = await asyncpg.connect(installation.databases[service])
        await conn.execute("INSERT INTO news (workspace_id, heard) VALUES ($1, 7)", workspace.id)
        await conn.close()


@dataclass
class Clients:
    """They write to one address, and to another once they are told to."""

    caller: Caller
    acknowledged: dict[str, int] = field(default_factory=dict)
    """Record -> its last version that was answered."""
    refused: Counter[int] = field(default_factory=Counter)
    answered_at: list[float] = field(default_factory=list)
    over: bool = False

    async def write(self, number: int) -> None:
        for each in itertools.count():
            if self.over:
                return
            record = f"ent-{number}-{each // 3}"
            if each % 3 == 0:
                body = {"id": record, "schemaId": "schema-shirt", "values": {}}
                answer = await self._until_done("POST", "/records", body, f"{number}-{each}")
            else:
                body = {"scope": {}, "value": f"name {each}"}
                path = f"/records/{record}/values/name"
                answer = await self._until_done("PATCH", path, body, f"{number}-{each}")
            self.acknowledged[record] = answer["version"]
            self.answered_at.append(time.monotonic())

    async def _until_done(self, method: str, path: str, body: Any, key: str) -> Any:
        while True:
            try:
                answer = await self.caller.ask(
                    method, path, body, headers={"Idempotency-Key": f"move-{key}-0123456789"}
                )
            except aiohttp.ClientError:
                self.refused[0] += 1
                await asyncio.sleep(0.05)
                continue
            if answer.status < 300:
                return answer.body
            assert answer.status in (409, 503, 504), answer.outcome
            assert answer.status != 503 or "Retry-After" in answer.headers
            self.refused[answer.status] += 1
            await asyncio.sleep(0.05)


@dataclass
class Follower:
    caller: Caller
    token: str
    heard: list[tuple[str, int]] = field(default_factory=list)

    async def follow(self) -> None:
        while True:
            answer = await self.caller.get(f"/changes?after={self.token}&limit=1000&wait=1")
            if answer.status != 200:
                await asyncio.sleep(0.05)
                continue
            self.heard += [
                (event["subject"], event["data"]["version"])
                for event in answer.body["items"]
                if event["type"].startswith("entity.")
            ]
            self.token = answer.body["next"]


async def nothing_is_lost_at(
    target: Stack, workspace: Workspace, clients: Clients
) -> list[tuple[str, int]]:
    """Each version that was acknowledged is there once, and no other; all of them."""
    there = {
        record: (await clients.caller.get(f"/records/{record}")).ok()["version"]
        for record in clients.acknowledged
    }
    assert there == clients.acknowledged
    found = (await clients.caller.get("/records?limit=1")).ok()["total"]
    assert found == len(clients.acknowledged)
    conn = await asyncpg.connect(target.databases[RECORDS])
    history = await conn.fetch(
        "SELECT record_id, version FROM audit WHERE workspace_id = $1", workspace.id
    )
    await conn.close()
    expected = [
        (record, version)
        for record, last in clients.acknowledged.items()
        for version in range(1, last + 1)
    ]
    assert Counter((row["record_id"], row["version"]) for row in history) == Counter(expected)
    return expected


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def test_nothing_is_lost_or_doubled(
    stack: Stack, target: Stack, workspace: Workspace, receiver: Receiver
):
    key = await workspace.api_key()
    neighbour = await stack.workspace()
    await neighbour.attribute("name")
    await neighbour.schema("shirt", ["name"])
    body = {"id": "wh-1", "name": "Shop", "url": receiver.url, "events": ["entity.created"]}
    (await workspace.admin.post("/webhooks", body)).ok()
    start = (await key.get("/changes")).ok()["next"]

    clients, others = Clients(key), Clients(await neighbour.api_key())
    follower = Follower(workspace.admin, start)
    following = asyncio.create_task(follower.follow())
    writing = [asyncio.create_task(clients.write(number)) for number in range(WRITERS)]
    beside = asyncio.create_task(others.write(0))
    await eventually(lambda: len(clients.acknowledged) > 20)
    # An event between the services, while they move.
    await workspace.attribute("colour")

    code, said, complaint = await command(stack, target, workspace)
    assert (code, complaint) == (0, ""), said
    print(said)  # noqa: T201  pytest shows it with -s
    assert " has moved, writes paused for " in said

    # The source is closed, its neighbours are not; the route is changed.
    refused = await key.post("/records", {"schemaId": "schema-shirt", "values": {}})
    moved = "The workspace has moved to other servers: it takes changes at its new address only"
    assert refused.outcome == (503, {"error": "SERVICE_UNAVAILABLE", "message": moved})
    at_switch = len(clients.answered_at)
    clients.caller, follower.caller = key.at(target.url), workspace.admin.at(target.url)
    await eventually(lambda: len(clients.answered_at) > at_switch + 60)
    clients.over = others.over = True
    await asyncio.gather(*writing, beside)
    gap = max(b - a for a, b in itertools.pairwise(clients.answered_at))
    print(f"longest gap between answers {gap:.2f} s, refused {dict(clients.refused)}")  # noqa: T201
    assert others.refused == Counter()

    expected = await nothing_is_lost_at(target, workspace, clients)
    await eventually(lambda: len(follower.heard) >= len(expected))
    following.cancel()
    assert Counter(follower.heard) == Counter(expected)
    versions: dict[str, list[int]] = defaultdict(list)
    for record, version in follower.heard:
        versions[record].append(version)
    assert all(heard == sorted(heard) for heard in versions.values())
    # At least once, as webhooks promise: what was being sent at the switch may come again.
    made = set(clients.acknowledged)
    await eventually(lambda: {one.about[1] for one in receiver.received} >= made)

    # What the services know of each other came along, and goes on.
    admin = workspace.admin.at(target.url)
    body = {"id": "attr-size", "alias": "size", "name": "Size", "type": "text"}
    assert (await admin.post("/attributes", body)).status == 201
    assert (await admin.post("/records/ent-0-0/transition", {"toStateId": "state-review"})).ok()

    code, said, complaint = await command(stack, target, workspace, "finish", "--wait 1")
    assert (code, complaint) == (0, ""), said
    await nothing_is_left(stack, target, workspace)
    found = (await neighbour.admin.get("/records?limit=1")).ok()["total"]
    assert found == len(others.acknowledged)


async def test_a_killed_tool_leaves_the_source_open_and_is_taken_back(
    stack: Stack, target: Stack, workspace: Workspace
):
    for number in range(30):
        await workspace.record("schema-shirt", {"name": f"shirt {number}"})

    def quiet(_line: str) -> None:
        pass

    body = {"schemaId": "schema-shirt", "values": {}}

    async def takes_writes() -> bool:
        answer = await workspace.admin.post("/records", body)
        assert answer.status in (201, 503)
        return answer.status == 201

    async with opened(stack.databases) as source, opened(target.databases) as to:
        move = Move(workspace.id, source, to, quiet, pause_s=600.0)
        await move.check()
        await move.begin()
        await move.wait_for_copies()
        # What is counted while nobody writes is counted in indexes alone.
        assert await to[RECORDS].conn.fetchval(
            "SELECT last_vacuum IS NOT NULL FROM pg_stat_user_tables WHERE relname = 'records'"
        )
        for phase, before in ((fence.DRAINING, fence.OPEN), (fence.CLOSED, fence.DRAINING)):
            await move._enter(phase, before)
        assert not await takes_writes()
        for database in source.values():
            # As if the time of the pause had passed.
            await database.conn.execute("UPDATE sigma_moves.moves SET until = now()")
    # Killed: its connections are gone, and nobody opens the fence again.
    await eventually(takes_writes)
    # The target has rows, and nobody can see them there.
    assert (await workspace.admin.at(target.url).get("/records")).status == 401
    code, said, complaint = await command(stack, target, workspace, "move", "--abort")
    assert (code, complaint) == (0, ""), said
    assert said.count("replication slot sigma_move_") == 2
    await nothing_is_left(target, stack, workspace)
    assert await takes_writes()
    code, said, complaint = await command(stack, target, workspace, "move", "--abort")
    assert (code, complaint) == (1, f"no move of '{workspace.id}' has begun\n")
    async with opened(stack.databases) as source, opened(target.databases) as to:
        # The first move of a source, killed before there was a fence.
        for database in source.values():
            await database.conn.execute("DROP SCHEMA sigma_moves CASCADE")
        await arriving.expect(to[AUTH], workspace.id)
    code, said, complaint = await command(stack, target, workspace, "move", "--abort")
    assert (code, complaint) == (0, ""), said
    await nothing_is_left(target, stack, workspace)
    code, said, complaint = await command(stack, target, workspace, "finish")
    assert (code, complaint) == (1, f"'{workspace.id}' has not moved to this target\n")


async def test_what_is_decided_is_ended_by_the_next_run(
    stack: Stack, target: Stack, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    await workspace.record("schema-shirt", id="ent-one")
    await leave_news(target, workspace)
    said: list[str] = []

    class Killed(Exception):
        pass

    async def dies(move: Move) -> None:
        await decides(move)
        raise Killed

    decides = Move._decide
    async with opened(stack.databases) as source, opened(target.databases) as to:
        move = Move(workspace.id, source, to, said.append)
        with monkeypatch.context() as patched:
            patched.setattr(Move, "_decide", dies)
            with pytest.raises(Killed):
                await move.run()
    assert (await workspace.admin.at(target.url).get("/records")).status == 401
    code, _, complaint = await command(stack, target, workspace, "move", "--abort")
    assert (code, complaint.partition(":")[0]) == (1, f"'{workspace.id}' has moved")
    async with opened(stack.databases) as source, opened(target.databases) as to:
        assert await Move(workspace.id, source, to, said.append).run() is None
    there = workspace.admin.at(target.url)

    async def is_open() -> bool:
        return (await there.get("/records/ent-one")).status == 200

    # Its gateway remembers for some seconds whom it has refused.
    await eventually(is_open)
    assert (await workspace.admin.post("/records", {"schemaId": "schema-shirt"})).status == 503
    async with opened(stack.databases) as source, opened(target.databases) as to:
        await Move(workspace.id, source, to, said.append, remembered_s=0.0).finish()
        with pytest.raises(Failed, match="there is no workspace"):
            await Move(workspace.id, source, to, said.append).run()


async def test_what_is_in_the_way_is_said_at_once(
    stack: Stack, target: Stack, workspace: Workspace
):
    await target.workspace()
    # Of an event that came late, when the workspace was here before: it is in nobody's way.
    await leave_news(target, workspace)
    conn = await asyncpg.connect(target.databases[AUTH])
    await conn.execute(
        "INSERT INTO addresses VALUES ($1, 'ws-of-others', 'user-x')",
        workspace.email("user-admin"),
    )
    await conn.execute(
        "INSERT INTO workspaces VALUES ($1, 'Taken', 1, 1, now(), now())", workspace.id
    )
    await conn.close()
    code, said, complaint = await command(stack, target, workspace)
    assert (code, said) == (1, "")
    assert f"the target has this workspace already: {AUTH}.workspaces\n" in complaint
    assert "e-mail addresses of its users that the target has already: 1" in complaint
    assert await left_behind(stack.databases[RECORDS], target.databases[RECORDS]) == 0
