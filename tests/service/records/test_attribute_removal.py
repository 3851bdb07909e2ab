"""Values of a deleted attribute, removed in the background: never seen again, whatever happens."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from records_service.attributes import store as attributes
from records_service.value_removal import commands as value_removal
from tests.kit.eventually import eventually
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error
from tests.kit.workspace import schema_body
from tests.service.records.job_turns import turn

pytestmark = pytest.mark.asyncio(loop_scope="module")

STILL_REMOVED = error(
    409,
    "CONFLICT",
    "Attribute 'attr-sku' was deleted and its values are still being removed: use another id, or"
    " try again later",
)
SKU = {"id": "attr-sku", "alias": "sku", "name": "SKU", "type": "text"}
COUNT = 7


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two records in the request, two in a slice, two entries of the history in a slice."""
    monkeypatch.setattr(value_removal, "REMOVED_IN_REQUEST", 2)
    monkeypatch.setattr(value_removal, "REMOVED_AT_ONCE", 2)
    monkeypatch.setattr(value_removal, "WRITTEN_AT_ONCE", 2)


async def lose_sku(workspace: RecordsWorkspace, **sku: Any) -> list[str]:
    """Records with values of `sku`, which their schema loses, and of `name`; their ids."""
    await workspace.attribute("sku", **sku)
    await workspace.attribute("name")
    await workspace.schema("x", ["sku", "name"])
    created = [
        (await workspace.post_record("x", sku=f"S{n}", name="Parka")).ok() for n in range(COUNT)
    ]
    (await workspace.admin.put("/schemas/schema-x", schema_body("x", ["name"]))).ok()
    return [one["id"] for one in created]


async def with_values(workspace: RecordsWorkspace) -> int:
    rows = await workspace.fetch(
        "SELECT FROM records WHERE workspace_id = $1 AND values ? 'attr-sku'"
    )
    return len(rows)


async def finish(workspace: RecordsWorkspace) -> None:
    while await turn(workspace):
        pass
    assert await with_values(workspace) == 0
    for table in ("jobs", "attribute_removals", "unique_values"):
        assert await workspace.fetch(f"SELECT FROM {table} WHERE workspace_id = $1") == []


async def test_few_values_are_removed_with_their_attribute(
    workspace: RecordsWorkspace, admin: Caller
):
    await lose_sku(workspace, validation={"unique": True})
    (await admin.delete("/attributes/attr-sku")).ok()
    await finish(workspace)
    (await admin.post("/attributes", SKU)).ok()


@pytest.mark.usefixtures("small_slices")
async def test_many_values_are_removed_afterwards_and_nothing_else_changes(
    workspace: RecordsWorkspace, admin: Caller
):
    ids = await lose_sku(workspace, validation={"unique": True})
    before = [(await admin.get(f"/records/{one}")).ok() for one in ids]
    assert (await admin.delete("/attributes/attr-sku")).outcome == (204, None)
    assert await with_values(workspace) == COUNT
    assert (await admin.get("/attributes/attr-sku")).status == 404
    await finish(workspace)
    assert [(await admin.get(f"/records/{one}")).ok() for one in ids] == before


@pytest.mark.usefixtures("small_slices")
async def test_no_attribute_gets_the_values_of_an_earlier_one(
    workspace: RecordsWorkspace, admin: Caller
):
    ids = await lose_sku(workspace)
    (await admin.delete("/attributes/attr-sku")).ok()
    while await workspace.fetch("SELECT FROM attribute_removals WHERE workspace_id = $1"):
        assert (await admin.post("/attributes", SKU)).outcome == STILL_REMOVED
        assert await turn(workspace)
    (await admin.post("/attributes", SKU)).ok()
    (await admin.put("/schemas/schema-x", schema_body("x", ["sku", "name"]))).ok()
    for one in ids:
        assert list((await admin.get(f"/records/{one}")).ok()["values"]) == ["name"]


@pytest.mark.usefixtures("small_slices")
async def test_a_process_of_the_version_before_cannot_create_it_either(
    workspace: RecordsWorkspace, admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    async def not_asked(*_: object) -> None:
        pass

    await workspace.database.execute(
        """CREATE TRIGGER refuse_ids_with_values BEFORE INSERT ON attributes
              FOR EACH ROW EXECUTE FUNCTION refuse_ids_with_values()"""
    )
    await lose_sku(workspace)
    (await admin.delete("/attributes/attr-sku")).ok()
    monkeypatch.setattr(attributes, "is_being_removed", not_asked)
    assert (await admin.post("/attributes", SKU)).status == 409
    await workspace.database.execute("DROP TRIGGER refuse_ids_with_values ON attributes")
    await finish(workspace)
    (await admin.post("/attributes", SKU)).ok()


@pytest.mark.usefixtures("small_slices")
async def test_the_alias_is_free_at_once(workspace: RecordsWorkspace, admin: Caller):
    await lose_sku(workspace)
    (await admin.delete("/attributes/attr-sku")).ok()
    (await admin.post("/attributes", {**SKU, "id": "attr-other"})).ok()
    await finish(workspace)


@pytest.mark.usefixtures("small_slices")
async def test_a_value_that_a_write_brings_back_is_removed_at_the_end(
    workspace: RecordsWorkspace, admin: Caller
):
    ids = await lose_sku(workspace)
    held = await workspace.fetch("SELECT id, values FROM records WHERE workspace_id = $1")
    (await admin.delete("/attributes/attr-sku")).ok()
    while await with_values(workspace):
        assert await turn(workspace)
    # As five writes do that read a record before its slice, and write it afterwards.
    for row in held[:5]:
        await workspace.database.execute(
            "UPDATE records SET values = $3 WHERE workspace_id = $1 AND id = $2",
            workspace.id,
            row["id"],
            row["values"],
        )
        name = {"values": {"name": [{"scope": {}, "value": "Anorak"}]}}
        (await admin.put(f"/records/{row['id']}", name)).ok()
    assert await with_values(workspace) == 5
    await finish(workspace)
    assert len(ids) == COUNT


@pytest.mark.usefixtures("small_slices")
async def test_a_write_that_read_before_the_end_starts_again(
    workspace: RecordsWorkspace, admin: Caller
):
    await lose_sku(workspace)
    (await admin.delete("/attributes/attr-sku")).ok()
    version = "SELECT version FROM models WHERE workspace_id = $1"
    before = (await workspace.fetch(version))[0]["version"]
    await finish(workspace)
    assert (await workspace.fetch(version))[0]["version"] > before


@pytest.mark.usefixtures("small_slices")
async def test_records_are_written_during_a_slice_and_the_model_is_not_changed(
    workspace: RecordsWorkspace, admin: Caller
):
    ids = await lose_sku(workspace)
    (await admin.delete("/attributes/attr-sku")).ok()
    async with workspace.database.transaction() as conn:
        assert await value_removal.remove_some(conn, workspace.id, "")
        name = {"values": {"name": [{"scope": {}, "value": "Anorak"}]}}
        (await admin.put(f"/records/{ids[-1]}", name)).ok()
        changing = asyncio.create_task(workspace.attribute("later"))
        await eventually(workspace.records.waits_for_a_lock)
    await changing
    await finish(workspace)


@pytest.mark.usefixtures("small_slices")
async def test_attributes_that_are_deleted_meanwhile_join_the_job(
    workspace: RecordsWorkspace, admin: Caller
):
    await lose_sku(workspace)
    (await admin.delete("/attributes/attr-sku")).ok()
    assert await turn(workspace)
    (await admin.put("/schemas/schema-x", schema_body("x", []))).ok()
    (await admin.delete("/attributes/attr-name")).ok()
    assert len(await workspace.fetch("SELECT FROM jobs WHERE workspace_id = $1")) == 1
    await finish(workspace)
    rows = await workspace.fetch("SELECT values FROM records WHERE workspace_id = $1")
    assert [row["values"] for row in rows] == [{}] * COUNT


@pytest.mark.usefixtures("small_slices")
async def test_the_schema_and_its_records_may_go_meanwhile(
    workspace: RecordsWorkspace, admin: Caller
):
    ids = await lose_sku(workspace)
    (await admin.delete("/attributes/attr-sku")).ok()
    assert await turn(workspace)
    for one in ids:
        (await admin.delete(f"/records/{one}")).ok()
    (await admin.delete("/schemas/schema-x")).ok()
    await finish(workspace)
