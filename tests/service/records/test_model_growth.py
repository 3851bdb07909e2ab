"""Changes of the model ask the records of few schemas, however many others there are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from records_service.attributes import store as attributes
from records_service.dimensions import store as dimensions
from records_service.model_changes import store as model_changes
from records_service.model_objects import commands, search_store, searching
from records_service.model_objects.searching import Searcher
from records_service.option_lists import usage_store as option_lists
from records_service.permissions import store as permissions
from records_service.schemas import store as schemas
from records_service.workflow_copies import store as workflow_copies
from records_service.writes import model_changes as writes
from shared.database import Conn
from shared.identity import Flag
from tests.kit.eventually import eventually
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error
from tests.kit.workspace import schema_body
from tests.service.records.costed import Costed
from tests.service.records.value_uses import forget_that_all_are_marked

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECORDS_LOOKED_AT = 1_000
"""A schema with more records is not searched when it loses an attribute."""

MANY = 2_000
PAGES_MAX = 100

DIMENSION = {
    "id": "dim-market",
    "alias": "market",
    "name": "Market",
    "segments": [{"id": "seg-dk", "alias": "dk", "name": "DK"}],
    "defaultSegmentId": "seg-dk",
}
OPTIONS = {
    "id": "ol-colors",
    "alias": "colors",
    "name": "Colors",
    "values": [{"id": f"val-{c}", "alias": c, "label": c} for c in ("red", "blue")],
}


async def store_records(
    workspace: RecordsWorkspace, schema_id: str, count: int, values: str = "{}"
) -> None:
    """Many records at once, under ids that begin with their schema's."""
    await workspace.database.execute(
        """
        INSERT INTO records (workspace_id, id, schema_id, state_id, version, values,
                             created_at, updated_at, created_by, updated_by)
        SELECT $1, $2 || '-' || n, $2, 'state-x', 1, $4::text::jsonb,
               now() - interval '1 hour' + n * interval '1 ms', now(), 'user-x', 'user-x'
          FROM generate_series(1, $3::bigint) AS n
        """,
        workspace.id,
        schema_id,
        count,
        values,
    )


async def seed(workspace: RecordsWorkspace) -> None:
    """`rare` is in a schema with a few records, `color` in one with very many."""
    (await workspace.admin.post("/dimensions", DIMENSION)).ok()
    (await workspace.admin.post("/option-lists", OPTIONS)).ok()
    await workspace.attribute("color")
    await workspace.attribute("unset")
    await workspace.attribute(
        "rare", "option", optionListId="ol-colors", dimensionIds=["dim-market"]
    )
    await workspace.schema("small", ["rare"])
    await workspace.schema("big", ["color", "unset"])
    entries = json.dumps({"attr-color": [{"scope": {}, "value": "x" * 1_000}]})
    await store_records(workspace, "schema-big", MANY, entries)
    await store_records(workspace, "schema-small", 3)


Check = Callable[[Any, str], Awaitable[Any]]

CHECKS: dict[str, Check] = {
    "values of an attribute": lambda conn, ws: attributes.has_values(
        conn, ws, "attr-rare", Searcher()
    ),
    "uses of an attribute": lambda conn, ws: attributes.uses_of(conn, ws, "attr-color"),
    "values that a deleted attribute takes along": lambda conn, ws: writes.remove_values(
        conn, ws, "attr-rare", "schema-small", None, rows_max=100
    ),
    "schemas that lost an attribute": lambda conn, ws: permissions.lost(conn, ws, ["attr-color"]),
    "a segment": lambda conn, ws: dimensions.used_segment(
        conn, ws, "dim-market", ["seg-dk"], Searcher()
    ),
    "an option": lambda conn, ws: option_lists.used_value(
        conn, ws, "ol-colors", ["val-red"], Searcher()
    ),
    "records of a schema": lambda conn, ws: model_changes.has_records(conn, ws, "schema-none"),
    "relations to a schema": lambda conn, ws: schemas.pointing_to(conn, ws, "schema-big"),
    "records in a state": lambda conn, ws: workflow_copies.state_in_use(
        conn, ws, "wf-x", ["state-x"]
    ),
}


@pytest.mark.parametrize("of", CHECKS)
async def test_no_check_reads_the_records_of_other_schemas_or_workspaces(
    workspace: RecordsWorkspace, other_workspace: RecordsWorkspace, of: str
):
    for one in (workspace, other_workspace):
        await seed(one)
    await workspace.database.execute("VACUUM ANALYZE records, schemas, attributes, lost_attributes")
    size = "SELECT pg_relation_size('records') / current_setting('block_size')::int"
    assert await workspace.database.fetchval(size) > 5 * PAGES_MAX
    async with workspace.database.acquire() as conn:
        costed = Costed(conn)
        await CHECKS[of](costed, workspace.id)
    assert costed.pages < PAGES_MAX


# The search before the model lock.

NUMBER = {"id": "attr-cost", "alias": "cost", "name": "Cost", "type": "number"}
HELD = error(409, "CONFLICT", "Field 'type' of attribute 'cost' cannot change while values exist")


async def test_under_the_lock_only_what_has_changed_is_searched(workspace: RecordsWorkspace):
    await seed(workspace)
    await workspace.database.execute("VACUUM ANALYZE records, audit")
    async with workspace.database.acquire() as conn:
        searcher = Searcher()
        assert not await attributes.has_values(conn, workspace.id, "attr-unset", searcher)
        (await workspace.post_record("big", unset="12")).ok()
        (await workspace.post_record("small")).ok()
        costed: Any = Costed(conn)
        assert await attributes.has_values(costed, workspace.id, "attr-unset", searcher)
        assert costed.pages < PAGES_MAX


@pytest.mark.parametrize("changed_max", [10_000, 0])
async def test_what_is_written_after_the_search_is_found_under_the_lock(
    workspace: RecordsWorkspace, admin: Caller, monkeypatch: pytest.MonkeyPatch, changed_max: int
):
    monkeypatch.setattr(searching, "CHANGED_MAX", changed_max)
    await two_of(workspace)
    (await workspace.post_record("x", name="Parka")).ok()
    take_lock = commands.take_lock

    async def late(conn: Conn, workspace_id: str) -> commands.ModelSize:
        (await workspace.post_record("x", cost="12")).ok()
        return await take_lock(conn, workspace_id)

    monkeypatch.setattr(commands, "take_lock", late)
    assert (await admin.put("/attributes/attr-cost", NUMBER)).outcome == HELD


async def test_what_was_still_being_written_when_the_search_began_is_found(
    workspace: RecordsWorkspace,
):
    await two_of(workspace)
    (await workspace.post_record("x", name="Parka")).ok()
    searcher = Searcher()
    async with workspace.database.acquire() as writing, workspace.database.acquire() as asking:
        async with writing.transaction():
            await writing.fetch(
                "SELECT FROM models WHERE workspace_id = $1 FOR SHARE", workspace.id
            )
            asked = asyncio.create_task(
                attributes.has_values(asking, workspace.id, "attr-cost", searcher)
            )
            await eventually(workspace.records.waits_for_a_lock)
            await writing.execute(
                """UPDATE records SET values = '{"attr-cost": []}' WHERE workspace_id = $1""",
                workspace.id,
            )
        assert await asked


async def test_another_question_under_the_lock_is_asked_of_all_records(workspace: RecordsWorkspace):
    await two_of(workspace)
    await workspace.schema("y", ["name"])
    (await workspace.post_record("x", name="Parka")).ok()
    await store_records(workspace, "schema-y", 1, '{"attr-cost": []}')
    async with workspace.database.acquire() as conn:
        searcher = Searcher()
        assert not await attributes.has_values(conn, workspace.id, "attr-cost", searcher)
        (await workspace.admin.put("/schemas/schema-y", schema_body("y", ["name", "cost"]))).ok()
        async with conn.transaction():
            assert await attributes.has_values(conn, workspace.id, "attr-cost", searcher)


async def test_a_search_before_the_lock_keeps_no_writer_waiting(
    workspace: RecordsWorkspace, admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    await two_of(workspace)
    (await workspace.post_record("x", name="Parka")).ok()
    search_some = search_store.search_some

    async def slow(conn: Conn, *arguments: Any, **more: Any) -> Any:
        (await workspace.post_record("x", name="Parka")).ok()
        return await search_some(conn, *arguments, **more)

    monkeypatch.setattr(search_store, "search_some", slow)
    monkeypatch.setattr(searching, "WRITTEN_MAX", 0)
    assert (await admin.put("/attributes/attr-cost", NUMBER)).status == 200
    assert len((await admin.get("/records")).ok()["items"]) == 2


# Values that records hold of what their schema has lost.


async def remembered(workspace: RecordsWorkspace) -> list[tuple[str, str]]:
    rows = await workspace.fetch(
        """SELECT schema_id, attribute_id FROM lost_attributes
            WHERE workspace_id = $1 ORDER BY 1, 2"""
    )
    return [(row["schema_id"], row["attribute_id"]) for row in rows]


async def two_of(workspace: RecordsWorkspace) -> None:
    for alias in ("name", "cost"):
        await workspace.attribute(alias)
    await workspace.schema("x", ["name", "cost"])
    await forget_that_all_are_marked(workspace)


async def lose_cost(workspace: RecordsWorkspace) -> None:
    (await workspace.admin.put("/schemas/schema-x", schema_body("x", ["name"]))).ok()


async def blind(workspace: RecordsWorkspace) -> Caller:
    words = {"schema-x": {"*": "write", "attr-cost": "hidden"}, "*": {"*": "write"}}
    return await workspace.user_with_role(words, Flag.MANAGE_SCHEMAS)


PROBE = {
    "id": "attr-probe",
    "alias": "probe",
    "name": "Probe",
    "type": "text",
    "guards": [{"attributeId": "attr-cost", "operator": "isNotEmpty"}],
}


async def test_a_schema_that_loses_an_attribute_without_values_is_not_remembered(
    workspace: RecordsWorkspace,
):
    await two_of(workspace)
    (await workspace.post_record("x", name="Parka")).ok()
    await lose_cost(workspace)
    assert await remembered(workspace) == []
    (await (await blind(workspace)).post("/attributes", PROBE)).ok()


async def test_a_schema_with_many_records_is_assumed_to_have_values(workspace: RecordsWorkspace):
    await two_of(workspace)
    await store_records(workspace, "schema-x", RECORDS_LOOKED_AT + 1)
    await lose_cost(workspace)
    assert await remembered(workspace) == [("schema-x", "attr-cost")]
    manager = await blind(workspace)
    assert (await manager.post("/attributes", PROBE)).status == 403
    await workspace.database.execute("DELETE FROM records WHERE workspace_id = $1", workspace.id)
    (await manager.post("/attributes", PROBE)).ok()


async def test_what_a_schema_has_again_is_not_lost(workspace: RecordsWorkspace, admin: Caller):
    await two_of(workspace)
    (await workspace.post_record("x", cost="12")).ok()
    await lose_cost(workspace)
    await lose_cost(workspace)
    assert await remembered(workspace) == [("schema-x", "attr-cost")]
    (await admin.put("/schemas/schema-x", schema_body("x", ["name", "cost"]))).ok()
    assert await remembered(workspace) == []


async def test_a_deleted_attribute_takes_along_what_records_hold_of_it(
    workspace: RecordsWorkspace, admin: Caller
):
    await two_of(workspace)
    record = (await workspace.post_record("x", name="Parka", cost="12")).ok()["id"]
    await lose_cost(workspace)
    assert (await admin.delete("/attributes/attr-cost")).status == 204
    assert await remembered(workspace) == []
    rows = await workspace.fetch("SELECT id, values FROM records WHERE workspace_id = $1")
    assert [(row["id"], set(row["values"])) for row in rows] == [(record, {"attr-name"})]


async def test_a_deleted_schema_has_lost_nothing(workspace: RecordsWorkspace, admin: Caller):
    await two_of(workspace)
    record = (await workspace.post_record("x", cost="12")).ok()["id"]
    await lose_cost(workspace)
    assert (await admin.delete(f"/records/{record}")).status == 204
    assert (await admin.delete("/schemas/schema-x")).status == 204
    assert await remembered(workspace) == []


async def test_what_a_schema_has_lost_stands_against_another_type(
    workspace: RecordsWorkspace, admin: Caller
):
    await two_of(workspace)
    (await workspace.post_record("x", cost="12")).ok()
    await lose_cost(workspace)
    assert (await admin.put("/attributes/attr-cost", NUMBER)).outcome == HELD


async def test_what_is_found_late_is_found(
    workspace: RecordsWorkspace, admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(searching, "SEARCHED_AT_ONCE", 2)
    monkeypatch.setattr(searching, "WRITTEN_MAX", 0)
    await two_of(workspace)
    await workspace.attribute("note")
    await workspace.schema("y", ["note", "cost"])
    for _ in range(4):
        for alias, attribute in (("x", "name"), ("y", "note")):
            (await workspace.post_record(alias, **{attribute: "Parka"})).ok()
    (await workspace.post_record("y", cost="12")).ok()
    assert (await admin.put("/attributes/attr-cost", NUMBER)).status == 409


async def test_too_many_records_to_search_in_time_are_told_so(
    workspace: RecordsWorkspace, admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(searching, "SEARCHED_AT_ONCE", 1)
    monkeypatch.setattr(searching, "SEARCHING_S_MAX", 0)
    monkeypatch.setattr(searching, "WRITTEN_MAX", 0)
    await two_of(workspace)
    for _ in range(2):
        (await workspace.post_record("x", name="Parka")).ok()
    answer = await admin.put("/attributes/attr-cost", NUMBER)
    assert answer.outcome == error(
        504,
        "UPSTREAM_TIMEOUT",
        "There are too many records to find out within 0 seconds whether one of them stands"
        " against this change, so nothing was changed; retrying does not help",
    )
    assert (await admin.get("/attributes/attr-cost")).ok()["type"] == "text"
