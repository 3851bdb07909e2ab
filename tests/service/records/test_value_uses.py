"""Marks tell at once whether a value is stored, and no write gets past them."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
import pytest_asyncio

from records_service.model_objects import search_store, searching
from records_service.records import commands
from records_service.value_uses import filling
from records_service.writes.marking import mark
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Answer, error
from tests.kit.workspace import entries
from tests.service.records import job_turns
from tests.service.records.value_uses import forget_that_all_are_marked, marked, unmarked

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEARCHED: list[tuple[str, str]] = []
NOTHING_SEARCHED: list[tuple[str, str]] = []


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes which tables are searched for values, and of which schemas."""
    SEARCHED.clear()
    search_some = search_store.search_some

    async def noted(
        conn: Any, workspace_id: str, table: str, schema_id: str, *more: Any, **kw: Any
    ):
        SEARCHED.append((table, schema_id))
        return await search_some(conn, workspace_id, table, schema_id, *more, **kw)

    monkeypatch.setattr(search_store, "search_some", noted)
    # As if too much had been written since a mark was set.
    monkeypatch.setattr(searching, "WRITTEN_MAX", 0)


@pytest_asyncio.fixture(loop_scope="module")
async def catalogue(workspace: RecordsWorkspace) -> RecordsWorkspace:
    await workspace.dimension("language", ["en", "da", "de"])
    await workspace.attribute("name", dimensionIds=["dim-language"])
    await workspace.attribute("note")
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.schema("x", ["name", "note", "sku"], variantEnabled=True)
    return workspace


def named(language: str) -> dict[str, list[dict[str, Any]]]:
    return {"name": [{"scope": {"dim-language": f"seg-{language}"}, "value": "A"}]}


async def without(workspace: RecordsWorkspace, language: str) -> Answer:
    """Take a segment out of the dimension."""
    dimension = (await workspace.admin.get("/dimensions/dim-language")).ok()
    left = [each for each in dimension["segments"] if each["alias"] != language]
    return await workspace.admin.put("/dimensions/dim-language", {**dimension, "segments": left})


async def with_again(workspace: RecordsWorkspace, language: str) -> None:
    dimension = (await workspace.admin.get("/dimensions/dim-language")).ok()
    segment = {"id": f"seg-{language}", "alias": language, "name": language}
    body = {**dimension, "segments": [*dimension["segments"], segment]}
    (await workspace.admin.put("/dimensions/dim-language", body)).ok()


async def retyped(workspace: RecordsWorkspace, **changes: Any) -> Answer:
    """Change what decides how values of `note` are stored."""
    body = {"alias": "note", "name": "note", "type": "text", **changes}
    return await workspace.admin.put("/attributes/attr-note", body)


IN_USE = error(409, "CONFLICT", "Segment 'seg-da' is in use and cannot be deleted")


async def test_nothing_is_searched_for_what_never_had_a_value_or_has_one(
    catalogue: RecordsWorkspace,
):
    await catalogue.record("schema-x", named("da"))
    assert (await without(catalogue, "da")).outcome == IN_USE
    assert (await without(catalogue, "de")).status == 200
    assert (await retyped(catalogue, type="number")).status == 200
    assert (await retyped(catalogue)).status == 200
    await catalogue.record("schema-x", {"note": "A"})
    assert (await retyped(catalogue, type="number")).status == 409
    assert SEARCHED == NOTHING_SEARCHED


async def test_what_a_mark_names_may_have_lost_its_value(catalogue: RecordsWorkspace):
    first = await catalogue.record("schema-x", named("da"))
    second = await catalogue.record("schema-x", named("da"))
    (await catalogue.admin.delete(f"/records/{first['id']}")).ok()
    assert (await without(catalogue, "da")).outcome == IN_USE
    assert SEARCHED == [("records", "schema-x")]
    # What was found is remembered.
    assert (await without(catalogue, "da")).outcome == IN_USE
    assert SEARCHED == [("records", "schema-x")]
    (await catalogue.admin.put(f"/records/{second['id']}", {"values": named("en")})).ok()
    assert (await without(catalogue, "da")).status == 200


async def test_only_what_was_written_since_the_mark_is_searched(
    catalogue: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(searching, "WRITTEN_MAX", 5)
    record = await catalogue.record("schema-x", named("da"))
    (await catalogue.admin.delete(f"/records/{record['id']}")).ok()
    assert (await without(catalogue, "da")).status == 200
    assert SEARCHED == NOTHING_SEARCHED


async def test_a_segment_that_comes_back_is_marked_again(catalogue: RecordsWorkspace):
    """A process knows what it has marked, and forgets it when the mark is removed."""
    record = await catalogue.record("schema-x", named("da"))
    (await catalogue.admin.delete(f"/records/{record['id']}")).ok()
    assert (await without(catalogue, "da")).status == 200
    await with_again(catalogue, "da")
    await catalogue.record("schema-x", named("da"))
    assert await unmarked(catalogue) == []
    assert (await without(catalogue, "da")).outcome == IN_USE


async def create(workspace: RecordsWorkspace, values: dict[str, Any]) -> Answer:
    body = {"schemaId": "schema-x", "values": values}
    return await workspace.admin.post("/records", body)


async def update(workspace: RecordsWorkspace, values: dict[str, Any]) -> Answer:
    record = await workspace.record("schema-x", {"sku": "S"})
    return await workspace.admin.put(f"/records/{record['id']}", {"values": values})


@pytest.mark.parametrize("write", [create, update])
async def test_a_value_is_stored_while_its_mark_is_removed(
    catalogue: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch, write: Any
):
    """The write has marked the value and not stored it, when the attribute is found unused."""
    changed: list[Answer] = []

    async def then_change(*arguments: Any, **more: Any) -> None:
        await mark(*arguments, **more)
        if not changed and any(use.attribute_id == "attr-note" for use in arguments[2].holders):
            changed.append(await retyped(catalogue, multiple=True))

    monkeypatch.setattr(commands, "mark", then_change)
    (await write(catalogue, entries({"note": "A"}))).ok()
    assert [answer.status for answer in changed] == [200]
    assert await unmarked(catalogue) == []
    assert (await retyped(catalogue)).status == 409


async def test_a_write_is_refused_whose_segment_has_gone_meanwhile(
    catalogue: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    gone: list[Answer] = []

    async def then_remove(*arguments: Any, **more: Any) -> None:
        await mark(*arguments, **more)
        if not gone:
            gone.append(await without(catalogue, "da"))

    monkeypatch.setattr(commands, "mark", then_remove)
    refused = await create(catalogue, named("da"))
    assert (refused.status, refused.body["error"]) == (400, "VALIDATION_ERROR")
    assert [answer.status for answer in gone] == [200]
    assert await unmarked(catalogue) == []


@pytest.mark.parametrize("header", [{"Prefer": "dry-run"}, {"Idempotency-Key": "key-1"}])
async def test_what_a_transaction_has_marked_is_relied_on_when_it_is_committed(
    catalogue: RecordsWorkspace, header: dict[str, str]
):
    body = {"schemaId": "schema-x", "values": named("da")}
    for _ in range(2):
        (await catalogue.admin.post("/records", body, headers=header)).ok()
    (await catalogue.admin.post("/records", body)).ok()
    assert await unmarked(catalogue) == []
    assert (await without(catalogue, "da")).outcome == IN_USE
    assert SEARCHED == NOTHING_SEARCHED


async def test_every_way_to_store_a_value_marks_it(catalogue: RecordsWorkspace):
    admin = catalogue.admin
    sku = {"schemaId": "schema-x", "values": named("da") | entries({"sku": "A"})}
    (await admin.post("/records/bulk?match=sku", {"operations": [sku]})).ok()
    sku["values"] = entries({"sku": "A", "note": "A"})
    (await admin.post("/records/bulk?match=sku", {"operations": [sku]})).ok()
    record = await catalogue.record("schema-x", {"sku": "B"}, id="ent-b")
    (await admin.patch("/records/ent-b/values/note", {"value": "B"})).ok()
    variant = {"id": "var-b", "values": named("de")}
    (await admin.post("/records/ent-b/variants", variant)).ok()
    (await admin.patch("/records/ent-b/variants/var-b/values/note", {"value": "B"})).ok()
    assert record["id"] == "ent-b"
    assert await unmarked(catalogue) == []
    found = await marked(catalogue)
    assert (True, "attr-name", "dim-language", "seg-de") in found
    assert (False, "attr-name", "dim-language", "seg-de") not in found
    assert (await without(catalogue, "de")).status == 409
    assert SEARCHED == NOTHING_SEARCHED


async def test_writers_and_changes_of_the_model_agree(catalogue: RecordsWorkspace):
    """While segments and forms come and go, no value is ever without its mark."""

    async def writes(number: int) -> None:
        for turn in range(12):
            values = named("da") if turn % 2 else named("en")
            made = await create(catalogue, values | entries({"note": "A"}))
            if made.status == 201:
                (await catalogue.admin.delete(f"/records/{made.body['id']}")).ok()
            assert made.status in (201, 400), (number, made.outcome)

    async def changes() -> None:
        for turn in range(8):
            if (await without(catalogue, "da")).status == 200:
                await with_again(catalogue, "da")
            await retyped(catalogue, multiple=turn % 2 == 0)
            assert await unmarked(catalogue) == []

    await asyncio.gather(*map(writes, range(4)), changes())
    (await create(catalogue, named("da"))).ok()
    assert await unmarked(catalogue) == []


async def test_a_deleted_attribute_leaves_no_marks(catalogue: RecordsWorkspace):
    await catalogue.attribute("spare")
    await catalogue.schema("y", ["name", "spare"])
    record = await catalogue.record("schema-y", {"spare": "A"})
    (await catalogue.admin.delete(f"/records/{record['id']}")).ok()
    body = (await catalogue.admin.get("/schemas/schema-y")).ok()
    body["attributeGroups"][0]["attributeIds"] = ["attr-name"]
    (await catalogue.admin.put("/schemas/schema-y", body)).ok()
    (await catalogue.admin.delete("/attributes/attr-spare")).ok()
    assert not [each for each in await marked(catalogue) if each[1] == "attr-spare"]


async def test_older_records_get_their_marks_in_the_background(
    catalogue: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(filling, "MARKED_AT_ONCE", 1)
    older = [await catalogue.record("schema-x", named("da"), id=f"ent-{n}") for n in range(3)]
    variant = {"id": "var-0", "values": named("de")}
    (await catalogue.admin.post("/records/ent-0/variants", variant)).ok()
    # As code of the version before has written them.
    for sql in (
        "DELETE FROM value_uses WHERE workspace_id = $1",
        "UPDATE models SET version = version + 1 WHERE workspace_id = $1",
        "UPDATE records SET updated_at = now() - interval '1 day' WHERE workspace_id = $1",
    ):
        await catalogue.database.execute(sql, catalogue.id)
    await forget_that_all_are_marked(catalogue)
    assert (await without(catalogue, "da")).outcome == IN_USE
    assert SEARCHED != NOTHING_SEARCHED

    begin = filling.begin_all
    await set_time(catalogue, "now() + interval '1 minute'")
    assert await begin(catalogue.database) == 0
    await set_time(catalogue, "now()")
    assert await begin(catalogue.database) == 1
    assert await begin(catalogue.database) == 0
    # A younger mark says nothing of older records.
    younger = await catalogue.record("schema-x", named("da") | entries({"note": "A"}))
    await job_turns.finish(catalogue)
    assert await unmarked(catalogue) == []
    SEARCHED.clear()
    assert (await without(catalogue, "da")).outcome == IN_USE
    assert (await retyped(catalogue, type="number")).status == 409
    assert SEARCHED == NOTHING_SEARCHED
    monkeypatch.setattr(searching, "WRITTEN_MAX", 5)
    (await catalogue.admin.delete(f"/records/{younger['id']}")).ok()
    assert (await without(catalogue, "da")).outcome == IN_USE
    for record in older:
        (await catalogue.admin.delete(f"/records/{record['id']}")).ok()
    assert (await without(catalogue, "da")).status == 200
    rows = await catalogue.fetch("SELECT * FROM value_use_walks WHERE workspace_id = $1")
    assert rows == []


async def set_time(workspace: RecordsWorkspace, when: str) -> None:
    await workspace.database.execute(
        f"UPDATE models SET uses_from = {when} WHERE workspace_id = $1", workspace.id
    )


async def test_a_known_value_costs_no_statement(
    catalogue: RecordsWorkspace, executed: list[tuple[str, Any]]
):
    (await create(catalogue, named("da"))).ok()
    executed.clear()
    (await create(catalogue, named("da"))).ok()
    assert not [sql for sql, _ in executed if "value_uses" in sql]
    (await create(catalogue, named("de"))).ok()
    assert [sql for sql, _ in executed if "value_uses" in sql]


async def test_marks_of_an_application_that_is_rolled_back_are_set_again(
    workspace: RecordsWorkspace,
):
    """The second variant finds the mark that the first has set in the same transaction."""
    await workspace.attribute("price", "number")
    await workspace.schema("shirt", ["price"], variantEnabled=True)
    await workspace.record("schema-shirt", {}, id="ent-1")
    made = [
        {"id": f"op-{n}", "type": "create", "entityId": "ent-1", "variantId": f"var-{n}"}
        | {"changes": [{"attribute": "price", "newValue": n}]}
        for n in range(2)
    ]
    gone = {"id": "op-gone", "type": "delete", "entityId": "ent-9"}
    body = {"changeSetId": "cs-1", "attempt": 0}
    body["operations"] = orjson.dumps([*made, gone]).decode()
    assert (await workspace.admin.post("/internal/proposals/apply", body)).status == 404
    variant = {"id": "var-3", "values": entries({"price": 3})}
    (await workspace.admin.post("/records/ent-1/variants", variant)).ok()
    assert await unmarked(workspace) == []
    text = {"alias": "price", "name": "price", "type": "text"}
    assert (await workspace.admin.put("/attributes/attr-price", text)).status == 409
