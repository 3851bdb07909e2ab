"""The feed of changes: what is in it, in which order, for whom, and what a token is worth."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import pytest_asyncio

from records_service.app import create_app
from records_service.config import Config
from records_service.feed.removing import remove_old
from records_service.feed.tokens import token
from records_service.history.retention import commands
from tests.kit.eventually import eventually
from tests.kit.identities import Keyring
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.servers import Servers
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Caller, error
from tests.kit.workspace import entries, workflow_body
from tests.service.records.feeds import (
    Mirror,
    all_is_placed,
    changes,
    changes_until,
    now,
    told,
)
from workflow_service.app import create_app as create_workflow_app
from workflow_service.clients import RECORDS
from workflow_service.config import Config as WorkflowConfig

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(
    servers: Servers, keyring: Keyring
) -> AsyncIterator[tuple[RunningService, RunningService]]:
    """records_service with its background work, and without a broker: the feed needs none."""
    async with Services(servers, keyring) as services:
        workflows = await services.start(create_workflow_app, WorkflowConfig)
        records = await services.start(create_app, Config, "all", workflow_url=workflows.url)
        workflows.app[RECORDS]._base_url = records.url
        yield records, workflows


@pytest.fixture
def workspace(running: tuple[RunningService, RunningService]) -> RecordsWorkspace:
    """An empty workspace."""
    return RecordsWorkspace(*running, f"ws-{secrets.token_hex(4)}")


async def model(workspace: RecordsWorkspace) -> None:
    await workspace.attribute("name")
    await workspace.attribute("cost", "number")
    await workspace.schema("x", ["name", "cost"], variantEnabled=True)


async def test_every_change_is_in_the_feed_once_and_as_on_the_bus(
    workspace: RecordsWorkspace,
) -> None:
    admin, after = workspace.admin, await now(workspace)
    await model(workspace)
    long = secrets.token_hex(1_000)
    await workspace.record("schema-x", {"name": long, "cost": 1}, id="r")
    (await admin.put("/records/r", {"values": entries({"cost": 2})})).ok()
    (await admin.post("/records/r/variants", {"id": "v", "values": entries({"cost": 3})})).ok()
    (await admin.put("/records/r/variants/v", {"values": entries({"cost": 4})})).ok()
    (await admin.delete("/records/r/variants/v")).ok()
    (await admin.post("/catalogs", {"id": "c", "alias": "c", "name": "C"})).ok()
    body = {"id": "k", "code": "k", "name": "K"}
    (await admin.post("/catalogs/c/categories", body)).ok()
    (await admin.post("/categories/k/assign", {"entityId": "r"})).ok()
    (await admin.delete("/records/r")).ok()

    found = await changes(admin, after, 12)

    assert [(each["type"], each["subject"]) for each in found] == [
        ("schema.attribute.created", "attr-name"),
        ("schema.attribute.created", "attr-cost"),
        ("schema.created", "schema-x"),
        ("entity.created", "r"),
        ("entity.updated", "r"),
        ("variant.created", "v"),
        ("variant.updated", "v"),
        ("variant.deleted", "v"),
        ("catalog.created", "c"),
        ("category.created", "k"),
        ("category.assigned", "k/r"),
        ("entity.deleted", "r"),
    ]
    # What waits for the broker is what was told, to the letter.
    staged = [each for each in await workspace.staged() if each.type != "records.job"]
    assert found == [orjson.loads(each.to_json()) for each in staged]
    # Large documents of records are not stored a second time.
    stored = await workspace.fetch(
        "SELECT type, document IS NULL AS left_out FROM feed WHERE workspace_id = $1"
        " AND type LIKE 'entity.%' ORDER BY position"
    )
    assert [(row["type"], row["left_out"]) for row in stored] == [
        ("entity.created", True),
        ("entity.updated", False),
        ("entity.deleted", True),
    ]


async def test_pages_go_on_where_the_one_before_ended(workspace: RecordsWorkspace) -> None:
    await model(workspace)
    admin, after = workspace.admin, await now(workspace)
    for number in range(7):
        await workspace.record("schema-x", {"cost": number}, id=f"r{number}")
    whole, end = await changes_until(admin, after, 7)

    in_twos = await changes(admin, after, 7, limit=2)

    assert in_twos == whole
    assert [each["subject"] for each in whole] == [f"r{number}" for number in range(7)]
    last = (await admin.get(f"/changes?after={end}")).ok()
    assert last == {"items": [], "next": end, "more": False}
    first = (await admin.get(f"/changes?after={after}&limit=3")).ok()
    assert (len(first["items"]), first["more"]) == (3, True)
    assert (await admin.get("/changes")).ok() == last


async def test_a_long_poll_ends_with_the_first_event(workspace: RecordsWorkspace) -> None:
    await model(workspace)
    await asyncio.sleep(0.5)
    after = await now(workspace)
    polls = [
        asyncio.create_task(workspace.admin.get(f"/changes?after={after}&wait=30"))
        for _ in range(3)
    ]
    await asyncio.sleep(0.2)
    assert not any(poll.done() for poll in polls)

    await workspace.record("schema-x", {"cost": 1}, id="r")

    for poll in polls:
        page = (await asyncio.wait_for(poll, 30)).ok()
        assert told(page["items"]) == [("entity.created", "r", 1)]


async def test_hidden_is_judged_by_the_role_and_the_state_of_today(
    workspace: RecordsWorkspace,
) -> None:
    states = {"draft": {"hidden": ["attr-cost"]}, "open": {}}
    flow = workflow_body("f", states, [("draft", "open")])
    (await workspace.workflow_admin.post("/workflows", flow)).ok()
    await workspace.attribute("name")
    await workspace.attribute("cost", "number")
    await workspace.attribute("secret")
    await workspace.schema("x", ["name", "cost", "secret"], workflowId=flow["id"])
    words = {"schema-x": {"*": "read", "attr-secret": "hidden"}}
    reader = await workspace.user_with_role(words)
    after = await now(workspace)
    values = {"name": secrets.token_hex(800), "cost": 1, "secret": "s"}
    await workspace.record("schema-x", values, id="r")
    body = {"values": entries({"secret": "t"})}
    (await workspace.admin.put("/records/r", body)).ok()

    async def seen() -> list[list[str]]:
        return [
            [change["attribute"] for change in each["data"]["changes"]]
            for each in await changes(reader, after, 2)
        ]

    assert await seen() == [["name"], []]

    (await workspace.admin.post("/records/r/transition", {"toStateId": "state-open"})).ok()
    await changes(workspace.admin, after, 3)
    assert (await seen())[0] == ["name", "cost"]

    reader = await workspace.user_with_role({"schema-x": {"*": "read"}})
    assert (await seen())[:2] == [["name", "cost", "secret"], ["secret"]]

    (await workspace.admin.delete("/records/r")).ok()
    found = await changes(reader, after, 4)
    assert [change["attribute"] for change in found[3]["data"]["changes"]] == [
        "name",
        "cost",
        "secret",
    ]


async def test_catalogs_that_may_not_be_viewed_are_absent(workspace: RecordsWorkspace) -> None:
    await model(workspace)
    admin, after = workspace.admin, await now(workspace)
    reader = await workspace.user_with_role({"*": {"*": "read"}}, catalogs={"seen": "view"})
    for name in ("hidden", "seen"):
        (await admin.post("/catalogs", {"id": name, "alias": name, "name": name})).ok()
        body = {"id": f"k-{name}", "code": "k", "name": "K"}
        (await admin.post(f"/catalogs/{name}/categories", body)).ok()
    await changes(admin, after, 4)

    found = await changes(reader, after, 2)

    assert [each["subject"] for each in found] == ["seen", "k-seen"]
    page = (await reader.get(f"/changes?after={after}&limit=1")).ok()
    assert [each["subject"] for each in page["items"]] == ["seen"]


async def test_tokens_are_of_one_workspace(
    workspace: RecordsWorkspace, running: tuple[RunningService, RunningService]
) -> None:
    other = RecordsWorkspace(*running, f"ws-{secrets.token_hex(4)}")
    foreign = await now(other)
    wrong = foreign[:-1] + ("A" if foreign[-1] != "A" else "B")
    for sent in (foreign, wrong, "x", "%20", token(workspace.id, -1), "1" * 5_000):
        answer = await workspace.admin.get("/changes", params={"after": sent})
        assert answer.status == 400, sent
        assert answer.body["error"] == "VALIDATION_ERROR"
        assert answer.body["message"].startswith(
            "Field 'after' expects a token from the change feed of this workspace, got '"
        )
        assert len(answer.body["message"]) < 200
    for query in ("limit=0", "limit=1001", "wait=31", "wait=-1", "wait=x", "limit=1.5"):
        assert (await workspace.admin.get(f"/changes?{query}")).status == 400, query
    # Each workspace has its own.
    after = await now(workspace)
    await model(other)
    await changes(other.admin, foreign, 3)
    assert (await workspace.admin.get(f"/changes?after={after}")).ok()["items"] == []


async def test_old_events_are_removed_and_their_tokens_are_gone(
    workspace: RecordsWorkspace,
) -> None:
    admin = workspace.admin
    before = await now(workspace)
    await model(workspace)
    _, after_model = await changes_until(admin, before, 3)
    database = workspace.database
    await database.execute(
        "DELETE FROM outbox WHERE workspace_id = $1 AND subject <> 'schema-x'", workspace.id
    )
    await database.execute(
        "UPDATE feed SET placed_at = now() - interval '8 days' WHERE workspace_id = $1",
        workspace.id,
    )
    week_ago = datetime.now(UTC) - timedelta(days=7)

    # The last one still waits for the broker, which must not lose it.
    assert await remove_old(database, week_ago) == 2
    assert await remove_old(database, week_ago) == 0
    gone = error(
        410,
        "GONE",
        "The change feed no longer has what came after this token: take a new snapshot",
    )
    assert (await admin.get(f"/changes?after={before}")).outcome == gone
    streams = {"Accept": "text/event-stream"}
    assert (await admin.get(f"/changes?after={before}", headers=streams)).outcome == gone
    await database.execute("DELETE FROM outbox WHERE workspace_id = $1", workspace.id)
    assert await remove_old(database, week_ago) == 1

    # Who has read everything is not cut off, however long ago that was.
    assert (await admin.get(f"/changes?after={after_model}")).ok()["items"] == []
    assert await now(workspace) == after_model
    await workspace.record("schema-x", {"cost": 1}, id="r")
    assert told(await changes(admin, after_model, 1)) == [("entity.created", "r", 1)]


async def test_a_token_from_a_database_that_was_set_back_is_gone(
    workspace: RecordsWorkspace,
) -> None:
    answer = await workspace.admin.get(f"/changes?after={token(workspace.id, 2**40)}")
    assert answer.outcome[0] == 410


async def test_who_may_read_may_follow(workspace: RecordsWorkspace) -> None:
    """Also without `canExport`, and no more than the lists of records tell the same role."""
    await model(workspace)
    await workspace.record("schema-x", {"name": "seen", "cost": 7}, id="r1")
    seeing = await workspace.user_with_role({"schema-x": {"*": "read", "attr-cost": "hidden"}})
    lines = (await seeing.get("/changes/snapshot")).ok().splitlines()
    assert orjson.loads(lines[1])["values"].keys() == {"name"}
    assert (await seeing.get("/export?format=ndjson")).status == 403
    writer = workspace.api_key("update-data")
    for path in ("/changes", "/changes/snapshot"):
        assert (await writer.get(path)).status == 403
        assert (await workspace.api_key("read").get(path)).status == 200
        assert (await seeing.get(path)).status == 200
    answer = await workspace.admin.get("/changes/snapshot?schemaId=nope")
    assert answer.outcome == error(404, "NOT_FOUND", "Schema 'nope' not found")


async def test_history_that_the_feed_reads_is_not_removed(workspace: RecordsWorkspace) -> None:
    """Whoever chooses to keep less history has the events of the last days all the same."""
    await model(workspace)
    admin, after = workspace.admin, await now(workspace)
    first, second = secrets.token_hex(1_000), secrets.token_hex(1_000)
    await workspace.record("schema-x", {"name": first}, id="r1")
    await changes(admin, after, 1)
    (await admin.put("/audit/retention", {"days": 1})).ok()
    await workspace.record("schema-x", {"name": second}, id="r2")
    await changes(admin, after, 2)
    later = datetime.now(UTC) + timedelta(days=3)
    async with workspace.database.transaction() as conn:
        await commands.remover(lambda: later)(conn, workspace.id, "")

    found = await changes(admin, after, 2)

    assert [each["data"]["changes"][0]["newValue"] for each in found] == [first, second]
    await workspace.database.execute(
        "UPDATE feed SET document = '{}' WHERE workspace_id = $1", workspace.id
    )
    async with workspace.database.transaction() as conn:
        await commands.remover(lambda: later)(conn, workspace.id, "")
    assert (await workspace.fetch("SELECT count(*) FROM audit WHERE workspace_id = $1"))[0][
        "count"
    ] == 0


async def test_a_snapshot_and_what_follows_is_the_state(workspace: RecordsWorkspace) -> None:
    """While records come, change and go, a copy of them is right as soon as it has caught up."""
    await model(workspace)
    stop = asyncio.Event()
    writing = [asyncio.create_task(_write(workspace, number, stop)) for number in range(4)]
    mirrors = []
    for _ in range(6):
        await asyncio.sleep(0.05)
        mirrors.append(await Mirror.of(workspace.admin))
        await mirrors[0].follow(workspace.admin)
    stop.set()
    await asyncio.gather(*writing)
    await eventually(lambda: all_is_placed(workspace))
    end = await Mirror.of(workspace.admin)
    assert await end.follow(workspace.admin) == 0

    for mirror in mirrors:
        await mirror.follow(workspace.admin)
        assert mirror.items == end.items
    assert end.items


async def _write(workspace: RecordsWorkspace, number: int, stop: asyncio.Event) -> None:
    """Create, change and delete a few records, among others who do the same."""
    for turn in range(400):
        if stop.is_set() and turn > 20:
            return
        record = f"r{(turn * 7 + number * 3) % 12}"
        values = entries({"cost": turn, "name": f"n{turn}" * (1 + 200 * (turn % 2))})
        await _write_one(workspace.admin, (turn + number) % 5, record, values)


async def _write_one(caller: Caller, what: int, record: str, values: Any) -> None:
    if what == 0:
        body = {"id": record, "schemaId": "schema-x", "values": values}
        answer = await caller.post("/records", body)
    elif what == 1:
        answer = await caller.delete(f"/records/{record}")
    elif what == 2:
        body = {"id": f"v-{record}", "values": values}
        answer = await caller.post(f"/records/{record}/variants", body)
    elif what == 3:
        path = f"/records/{record}/variants/v-{record}"
        answer = await caller.put(path, {"values": values})
    else:
        answer = await caller.put(f"/records/{record}", {"values": values})
    assert answer.status in (200, 201, 204, 404, 409), answer
