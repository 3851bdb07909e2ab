"""Requests that are safe to repeat (`Idempotency-Key`), and those that only try (`dry-run`)."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import asyncpg
import orjson
import pytest
import pytest_asyncio

from records_service.app import create_app
from records_service.blueprint.blueprint import BLUEPRINTS
from records_service.config import Config
from records_service.model_objects.commands import take_lock
from records_service.records import store as records
from records_service.writes import store
from shared.database import idempotency, retries, unbound
from shared.database.request_transactions import bind
from shared.http import DEADLINE_HEADER
from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.identities import Keyring
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.servers import Servers
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Answer, Caller, error
from tests.kit.workspace import entries

pytestmark = pytest.mark.asyncio(loop_scope="module")

DRY = {"Prefer": "dry-run"}


@pytest_asyncio.fixture(loop_scope="module")
async def modelled(workspace: RecordsWorkspace) -> RecordsWorkspace:
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.attribute("text")
    await workspace.schema("x", ["sku", "text"])
    await workspace.record("schema-x", {"sku": "taken"}, id="ent-0")
    return workspace


def draft(sku: str, **more: Any) -> dict[str, Any]:
    return {"schemaId": "schema-x", "values": entries({"sku": sku}), **more}


async def create(caller: Caller, sku: str, headers: dict[str, str], **more: Any) -> Answer:
    return await caller.post("/records", draft(sku, **more), headers=headers)


async def written(workspace: RecordsWorkspace) -> list[int]:
    """How many records, entries of the history, events, counted records and kept answers."""
    found = []
    for count, table in (
        ("count(*)", "records"),
        ("count(*)", "audit"),
        ("count(*)", "outbox"),
        ("sum(records)", "usage"),
        ("count(*)", "idempotency_keys"),
    ):
        sql = f"SELECT coalesce({count}, 0) AS n FROM {table} WHERE workspace_id = $1"
        found.append((await workspace.fetch(sql))[0]["n"])
    return found


async def test_a_repeated_create_gives_the_first_answer(modelled: RecordsWorkspace):
    first = await create(modelled.admin, "a", {"Idempotency-Key": "one"})
    before = await written(modelled)
    again = await create(modelled.admin, "a", {"Idempotency-Key": "one"})
    assert (first.status, again.outcome) == (201, first.outcome)
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    for name in ("ETag", "Location", "Content-Type"):
        assert again.headers[name] == first.headers[name]
    assert await written(modelled) == before
    # Also when the record has changed since.
    (await modelled.admin.patch(f"/records/{first.body['id']}/values/text", {"value": "x"})).ok()
    assert (await create(modelled.admin, "a", {"Idempotency-Key": "one"})).outcome == first.outcome


@pytest.mark.parametrize("what", ["method", "path", "query", "body"])
async def test_a_key_belongs_to_one_request(modelled: RecordsWorkspace, what: str):
    caller = modelled.admin.having({"Idempotency-Key": f"k-{what}"})
    body = {"values": entries({"text": "a"})}
    (await caller.put("/records/ent-0", body)).ok()
    sent: dict[str, Callable[[], Awaitable[Answer]]] = {
        "method": lambda: caller.delete("/records/ent-0"),
        "path": lambda: caller.put("/records/ent-1", body),
        "query": lambda: caller.put("/records/ent-0?x=1", body),
        "body": lambda: caller.put("/records/ent-0", {"values": {}}),
    }
    assert (await sent[what]()).outcome == error(
        400,
        "VALIDATION_ERROR",
        f"Idempotency-Key 'k-{what}' was used for another request: expected the same method, path,"
        " query and body",
    )
    assert (await caller.put("/records/ent-0", body)).headers["Idempotency-Replayed"] == "true"


async def test_a_body_is_the_same_however_it_is_packed(modelled: RecordsWorkspace):
    body = orjson.dumps(draft("packed"))
    headers = {"Idempotency-Key": "packed", "Content-Type": "application/json"}
    first = await modelled.admin.post("/records", data=body, headers=headers)
    again = await modelled.admin.post(
        "/records", data=gzip.compress(body), headers={**headers, "Content-Encoding": "gzip"}
    )
    assert (first.status, again.outcome) == (201, first.outcome)


async def test_keys_of_others_are_others(modelled: RecordsWorkspace, other_workspace: Any):
    key = {"Idempotency-Key": "shared"}
    user = await modelled.user_with_role({"*": {"*": "write"}})
    callers = [modelled.admin, user, modelled.api_key(), other_workspace.admin]
    answers = [await create(one, f"s{n}", key) for n, one in enumerate(callers)]
    assert [one.status for one in answers] == [201, 201, 201, 404]
    assert not any("Idempotency-Replayed" in one.headers for one in answers)


async def test_an_answer_shows_nothing_that_a_role_hides_by_now(modelled: RecordsWorkspace):
    words = {"schema-x": {"attr-sku": "write", "attr-text": "read"}}
    user = await modelled.user_with_role(words)
    update, headers = {"values": entries({"sku": "new"})}, {"Idempotency-Key": "k-role"}
    text = {"value": "s3cr3t"}
    (await modelled.admin.patch("/records/ent-0/values/text", text)).ok()
    first = await user.put("/records/ent-0", update, headers=headers)
    assert first.ok()["values"].keys() == {"sku", "text"}
    again = await user.put("/records/ent-0", update, headers=headers)
    assert (again.outcome, again.headers["ETag"]) == (first.outcome, first.headers["ETag"])
    assert not {name for name in again.headers if "shown" in name.lower()}
    changed = await modelled.user_with_role({"schema-x": {"attr-sku": "write"}})
    later = await changed.put("/records/ent-0", update, headers=headers)
    assert later.outcome == (200, {"id": "ent-0"})
    assert (later.headers["ETag"], later.headers["Idempotency-Replayed"]) == (
        first.headers["ETag"],
        "true",
    )


async def test_what_was_refused_may_be_sent_again(modelled: RecordsWorkspace):
    key = {"Idempotency-Key": "refused"}
    before = await written(modelled)
    refused = await create(modelled.admin, "taken", key)
    assert refused.outcome == error(
        409, "CONFLICT", "Value 'taken' for attribute 'sku' must be unique"
    )
    assert await written(modelled) == before
    assert (await create(modelled.admin, "free", key)).status == 201


async def test_a_read_has_no_key(modelled: RecordsWorkspace):
    caller = modelled.admin.having({"Idempotency-Key": "read", **DRY})
    first, second = await caller.get("/records/ent-0"), await caller.get("/records")
    assert (first.status, second.status) == (200, 200)
    for name in ("Idempotency-Replayed", "Preference-Applied"):
        assert name not in second.headers


async def test_a_key_without_read_gets_the_id_again(modelled: RecordsWorkspace):
    blind = modelled.api_key("update-data")
    first = await create(blind, "blind", {"Idempotency-Key": "blind"})
    again = await create(blind, "blind", {"Idempotency-Key": "blind"})
    assert first.body == {"id": first.body["id"]}
    assert again.outcome == first.outcome


class Held:
    """Keeps the statement that stores a record until the test lets go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self._insert = store.insert
        monkeypatch.setattr(store, "insert", self._held)

    async def _held(self, *arguments: Any, **more: Any) -> None:
        await self._insert(*arguments, **more)
        self.begun.set()
        await self.go.wait()


@pytest_asyncio.fixture(loop_scope="module")
async def second(
    modelled: RecordsWorkspace, servers: Servers, keyring: Keyring
) -> AsyncIterator[RunningService]:
    """A second process of the service."""
    async with Services(servers, keyring) as services:
        url = modelled.records.config.database_url
        yield await services.start(create_app, Config, database_url=url)


async def test_the_second_does_not_wait_for_the_first(
    modelled: RecordsWorkspace, second: RunningService, monkeypatch: pytest.MonkeyPatch
):
    """Nor in another process: the database knows who is first."""
    callers = (modelled.admin, second.as_(identities.admin(modelled.id)))
    held, key = Held(monkeypatch), {"Idempotency-Key": "two"}
    first = asyncio.create_task(create(modelled.admin, "two", key))
    await held.begun.wait()
    for caller in callers:
        refused = await create(caller, "two", key)
        assert refused.outcome == error(
            409, "CONFLICT", "The first request with Idempotency-Key 'two' is still running"
        )
        assert refused.headers["Retry-After"] == "1"
    held.go.set()
    stored = await first
    assert stored.status == 201
    for caller in callers:
        assert (await create(caller, "two", key)).outcome == stored.outcome


async def test_processes_on_two_nodes_store_one_answer(
    modelled: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    """Where a lock of one is not seen by the other, the primary key settles it at the end."""

    async def claim(*_: Any) -> bool:
        return True

    monkeypatch.setattr(idempotency, "claim", claim)
    key = {"Idempotency-Key": "nodes"}
    answers = await asyncio.gather(
        *(create(modelled.admin, f"node-{n % 1}", key, id="ent-nodes") for n in range(4))
    )
    assert sorted({one.status for one in answers}) in ([201], [201, 409])
    stored = [one for one in answers if one.status == 201]
    assert len({orjson.dumps(one.body) for one in stored}) == 1
    rows = await modelled.fetch("SELECT id FROM records WHERE workspace_id = $1")
    assert [row["id"] for row in rows].count("ent-nodes") == 1


async def test_a_request_that_is_given_up_leaves_nothing(
    modelled: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    before = await written(modelled)
    held = Held(monkeypatch)
    headers = {"Idempotency-Key": "late", DEADLINE_HEADER: "300"}
    while not held.begun.is_set():
        # On a busy machine the time may be over before it begins.
        assert (await create(modelled.admin, "late", headers)).status == 504
    held.go.set()
    assert await written(modelled) == before
    assert (await create(modelled.admin, "late", {"Idempotency-Key": "late"})).status == 201


async def test_an_answer_that_was_never_sent_is_kept(
    modelled: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    """As if the process had died between its commit and its answer."""

    def die(_: Any) -> None:
        raise ConnectionResetError("killed")

    key = {"Idempotency-Key": "killed"}
    with monkeypatch.context() as dying:
        dying.setattr("shared.database.request_transactions.RequestTransaction.committed", die)
        assert (await create(modelled.admin, "killed", key)).status == 500
    again = await create(modelled.admin, "killed", key)
    assert (again.status, again.headers["Idempotency-Replayed"]) == (201, "true")


async def test_answers_are_kept_for_a_while(modelled: RecordsWorkspace):
    key = {"Idempotency-Key": "old"}
    first = await create(modelled.admin, "old", key)
    await modelled.database.execute(
        "UPDATE idempotency_keys SET stored_at = now() - make_interval(hours => 25)"
        " WHERE workspace_id = $1 AND key = 'old'",
        modelled.id,
    )
    assert (await create(modelled.admin, "old", key)).status == 409
    second = await create(modelled.admin, "new", key)
    assert second.status == 201
    assert second.body["id"] != first.body["id"]
    assert (await create(modelled.admin, "new", key)).outcome == second.outcome


async def test_old_answers_are_removed_in_steps(
    modelled: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    for number in range(3):
        (await create(modelled.admin, f"r{number}", {"Idempotency-Key": f"r{number}"})).ok()
    await modelled.database.execute(
        "UPDATE idempotency_keys SET stored_at = now() - make_interval(hours => 25)"
        " WHERE workspace_id = $1 AND key <> 'r0'",
        modelled.id,
    )
    monkeypatch.setattr(idempotency, "REMOVED_AT_ONCE", 1)
    while await idempotency.remove_old(modelled.database, 24 * 3600):
        pass
    rows = await modelled.fetch("SELECT key FROM idempotency_keys WHERE workspace_id = $1")
    assert [row["key"] for row in rows] == ["r0"]


async def test_an_answer_that_is_too_large_to_keep_changes_nothing(
    modelled: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(retries, "KEPT_BYTES_MAX", 10)
    before = await written(modelled)
    answer = await create(modelled.admin, "large", {"Idempotency-Key": "large"})
    assert (answer.status, answer.body["error"]) == (413, "PAYLOAD_TOO_LARGE")
    assert await written(modelled) == before


async def test_the_record_limit_is_shared_out_in_the_transaction(modelled: RecordsWorkspace):
    """The first create of a workspace finds no room in its stripe, and goes on in a savepoint."""
    caller = modelled.as_(replace(identities.admin(modelled.id), record_limit=2))
    assert (await create(caller, "l1", {"Idempotency-Key": "l1"})).status == 201
    answer = await create(caller, "l2", {"Idempotency-Key": "l2"})
    assert answer.outcome == error(403, "LIMIT_EXCEEDED", "Entity limit of 2 reached")


async def test_a_dry_run_sees_what_would_be_refused(modelled: RecordsWorkspace):
    before = await written(modelled)
    for sku in ("free", "taken"):
        tried = await create(modelled.admin, sku, DRY)
        assert tried.headers["Preference-Applied"] == "dry-run"
        assert await written(modelled) == before
        real = await create(modelled.admin, sku, {})
        assert tried.status == real.status
        assert real.status == 201 or tried.body == real.body
        before = await written(modelled)


async def test_with_both_headers_nothing_is_kept(modelled: RecordsWorkspace):
    key = {"Idempotency-Key": "both"}
    assert (await create(modelled.admin, "both", {**key, **DRY})).status == 201
    first = await create(modelled.admin, "both", key)
    assert first.status == 201
    tried = await create(modelled.admin, "both", {**key, **DRY})
    assert tried.status == 409
    assert "Idempotency-Replayed" not in tried.headers


async def test_a_model_that_was_only_tried_is_remembered_nowhere(modelled: RecordsWorkspace):
    admin = modelled.admin
    schema = (await admin.get("/schemas/schema-x")).ok()
    await modelled.attribute("more")
    group = schema["attributeGroups"][0]
    group["attributeIds"] = [*group["attributeIds"], "attr-more"]
    tried = await admin.put("/schemas/schema-x", schema, headers=DRY)
    assert tried.ok()["attributeGroups"][0]["attributeIds"][-1] == "attr-more"
    wanted = {"schemaId": "schema-x", "values": entries({"more": "x"})}
    refused = error(400, "VALIDATION_ERROR", "Unknown attribute 'more'")
    assert (await admin.post("/records", wanted)).outcome == refused
    # The version that was tried is given to another model now.
    await modelled.attribute("other")
    assert (await admin.post("/records", wanted)).outcome == refused
    (await admin.put("/schemas/schema-x", schema)).ok()
    assert (await admin.post("/records", wanted)).status == 201


async def test_a_write_that_starts_again_does_so_in_its_transaction(
    modelled: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    """Another write comes in between: the attempt is rolled back, and the next sees that write."""
    get_many, calls = records.get_many, 0

    async def overtaken(*arguments: Any) -> Any:
        nonlocal calls
        found = await get_many(*arguments)
        calls += 1
        if calls == 1:
            await modelled.database.execute(
                "UPDATE records SET version = version + 1 WHERE workspace_id = $1 AND id = 'ent-0'",
                modelled.id,
            )
        return found

    # A connection of its own, as another process has.
    monkeypatch.setattr(records, "get_many", overtaken)
    answer = await modelled.admin.patch(
        "/records/ent-0/values/text", {"value": "mine"}, headers={"Idempotency-Key": "again"}
    )
    assert (answer.status, answer.headers["ETag"]) == (200, '"3"')
    assert calls == 2


async def test_dry_runs_hold_half_of_the_connections_at_most(
    modelled: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    held = Held(monkeypatch)
    count = modelled.records.config.database_connections_max
    tried = [
        asyncio.create_task(create(modelled.admin, f"d{n}", DRY, id=f"ent-d{n}"))
        for n in range(count)
    ]
    await held.begun.wait()
    await eventually(lambda: modelled.database.connections["lent"] == count // 2)
    (await modelled.admin.get("/records/ent-0")).ok()
    held.go.set()
    assert {one.status for one in await asyncio.gather(*tried)} <= {201, 503}


async def test_a_bulk_call_is_repeated_and_tried_as_a_whole(modelled: RecordsWorkspace):
    """Its answer is sent in parts, and groups of rows are transactions of their own."""
    rows = [draft("b1"), draft("taken"), draft("b2")]
    body = b"\n".join(map(orjson.dumps, rows))
    headers = {"Content-Type": "application/x-ndjson", "Accept": "application/x-ndjson"}

    async def ask(more: dict[str, str]) -> Answer:
        return await modelled.admin.post("/records/bulk", data=body, headers={**headers, **more})

    before = await written(modelled)
    tried = await ask(DRY)
    assert (tried.status, tried.headers["Preference-Applied"]) == (200, "dry-run")
    assert await written(modelled) == before
    first = await ask({"Idempotency-Key": "bulk"})
    lines = [orjson.loads(line) for line in first.body.splitlines()]
    assert [one.get("status") for one in lines[:3]] == [201, 409, 201], lines
    assert [orjson.loads(line).get("status") for line in tried.body.splitlines()[:3]] == [
        *(201, 409, 201)
    ]
    before = await written(modelled)
    again = await ask({"Idempotency-Key": "bulk"})
    assert again.outcome == first.outcome
    assert again.headers["Content-Type"] == first.headers["Content-Type"]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert await written(modelled) == before


class Undone(Exception):
    """Rolls a transaction back."""


async def test_a_blueprint_of_changes_that_are_undone_is_not_kept(modelled: RecordsWorkspace):
    db, blueprints = modelled.database, modelled.records.app[BLUEPRINTS]
    before = await blueprints.get(db, modelled.id)
    with suppress(Undone):
        async with bind(db):
            async with db.transaction() as conn:
                await take_lock(conn, modelled.id)
            assert (await blueprints.get(db, modelled.id)).version == before.version + 1
            raise Undone
    assert blueprints.known(modelled.id) is before


async def test_an_error_in_a_bound_transaction_leaves_what_was_done_before(
    modelled: RecordsWorkspace,
):
    db = modelled.database
    count = "SELECT count(*) FROM records WHERE workspace_id = $1"
    delete = "DELETE FROM records WHERE workspace_id = $1"
    told: list[str] = []
    with suppress(Undone):
        async with bind(db) as (_, bound):
            bound.after_commit(lambda: told.append("committed"))
            await db.execute(delete, modelled.id)
            with suppress(asyncpg.DivisionByZeroError):
                await db.fetchval("SELECT 1 / 0")
            with suppress(Undone):
                async with db.transaction() as conn:
                    await conn.execute("SELECT 1 FROM records WHERE workspace_id = $1", modelled.id)
                    raise Undone
            # Tasks of the request take turns.
            assert (
                await asyncio.gather(*(db.fetchval(count, modelled.id) for _ in range(3)))
                == [0] * 3
            )
            with unbound():
                assert await db.fetchval(count, modelled.id) == 1
            raise Undone
    assert await db.fetchval(count, modelled.id) == 1
    assert told == []
