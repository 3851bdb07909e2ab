"""What a role denies stays denied, and nobody learns of the hidden by shaping the model."""

from __future__ import annotations

from typing import Any

import pytest

from records_service.lifecycles import commands as lifecycles
from records_service.parts.store import FORMER_ALIASES_MAX
from tests.kit.sigma import Caller, error
from tests.service.model_world import World, admin, other_world, running, schema, world

__all__ = ["admin", "other_world", "running", "world"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

DENIED = error(403, "PERMISSION_DENIED", "Permission denied")


async def rename(admin: Caller, path: str, alias: str) -> None:
    part = (await admin.get(path)).ok()
    (await admin.put(path, {**part, "alias": alias})).ok()


def everywhere(value: Any) -> list[dict[str, Any]]:
    return [{"scope": {}, "value": value}]


# Aliases.


async def test_what_is_denied_by_an_alias_stays_denied_under_every_later_one(
    world: World, admin: Caller
):
    for alias in ("name", "cost"):
        await world.attribute(alias)
    await world.schema("x", ["name", "cost"])
    reader = await world.role({"schema-x": {"*": "read", "cost": "hidden"}})
    record = (await world.record("x", name="Parka", cost="12")).ok()["id"]
    for alias in ("price", "cost-2", "cost", "price"):
        await rename(admin, "/attributes/attr-cost", alias)
        assert (await reader.get(f"/records/{record}")).ok()["values"].keys() == {"name"}
    # Another one that takes the alias is denied as well, and neither is given back.
    await world.attribute("other")
    await rename(admin, "/attributes/attr-other", "cost")
    await admin.put("/schemas/schema-x", schema("x", ["name", "cost", "other"]))
    values = {"cost": everywhere("1")}
    (await admin.put(f"/records/{record}", {"values": values})).ok()
    assert (await reader.get(f"/records/{record}")).ok()["values"].keys() == {"name"}
    assert (await admin.get(f"/records/{record}")).ok()["values"].keys() == {
        "name",
        "price",
        "cost",
    }
    # Named by its id it is as the role says.
    reader = await world.role({"schema-x": {"*": "read", "attr-cost": "hidden"}})
    assert (await reader.get(f"/records/{record}")).ok()["values"].keys() == {"name", "cost"}


async def test_what_is_denied_by_the_alias_of_a_schema_stays_denied(world: World, admin: Caller):
    for alias in ("name", "cost"):
        await world.attribute(alias)
    await world.schema("x", ["name", "cost"])
    reader = await world.role({"*": {"*": "read"}, "x": {"attr-cost": "hidden"}})
    record = (await world.record("x", name="Parka", cost="12")).ok()["id"]
    for alias in ("x", "y", "z"):
        await rename(admin, "/schemas/schema-x", alias)
        assert (await reader.get(f"/records/{record}")).ok()["values"].keys() == {"name"}


async def test_an_alias_to_come_gives_nothing(world: World, admin: Caller):
    for alias in ("name", "cost"):
        await world.attribute(alias)
    await world.schema("x", ["name", "cost"])
    writer = await world.role({"schema-x": {"*": "write", "attr-cost": "hidden", "zz": "write"}})
    record = (await world.record("x", name="Parka", cost="12")).ok()["id"]
    await rename(admin, "/attributes/attr-cost", "zz")
    assert (await writer.get(f"/records/{record}")).ok()["values"].keys() == {"name"}
    assert (await writer.patch(f"/records/{record}/values/zz", {"value": "1"})).told == DENIED


async def test_the_history_of_an_attribute_that_is_made_again_stays_closed(
    world: World, admin: Caller
):
    for alias in ("name", "cost"):
        await world.attribute(alias)
    await world.schema("x", ["name", "cost"])
    reader = await world.role({"schema-x": {"*": "read", "cost": "hidden"}})
    record = (await world.record("x", name="Parka", cost="s3cr3t")).ok()["id"]
    (await admin.put("/schemas/schema-x", schema("x", ["name"]))).ok()
    assert (await admin.delete("/attributes/attr-cost")).status == 204
    body = {"id": "attr-cost", "alias": "zz", "name": "Cost", "type": "text"}
    (await admin.post("/attributes", body)).ok()
    (await admin.put("/schemas/schema-x", schema("x", ["name", "cost"]))).ok()
    history = (await reader.get(f"/records/{record}/audit")).ok()["items"]
    assert [c["attribute"] for entry in history for c in entry["changes"]] == ["name"]


async def test_what_a_state_asks_by_an_alias_is_asked_under_every_later_one(
    world: World, admin: Caller
):
    for alias in ("name", "cost", "note"):
        await world.attribute(alias)
    workflow = {
        "id": "wf-w",
        "alias": "w",
        "name": "w",
        "defaultStateId": "state-draft",
        "states": [{"id": "state-draft", "name": "Draft", "alias": "draft"}],
        "transitions": [],
    }
    (await world.workflow_admin.post("/workflows", workflow)).ok()
    await world.schema("x", ["name", "cost", "note"], workflowId="wf-w")
    lists = {"required": ["name"], "readOnly": ["note"], "hidden": ["cost"]}
    states = [{**workflow["states"][0], **lists}]
    async with world.database.transaction() as conn:
        await lifecycles.keep(
            conn, world.workspace, {**workflow, "states": states, "version": 1_000}
        )
    reader = await world.role({"schema-x": {"*": "write"}})
    record = (await world.record("x", cost="12")).ok()["id"]
    for prefix in ("", "one-", "two-"):
        for alias in ("name", "cost", "note"):
            await rename(admin, f"/attributes/attr-{alias}", prefix + alias)
        found = (await admin.get(f"/records/{record}/completeness")).ok()
        assert (found["score"], found["missing"]) == (0, [f"{prefix}name"])
        assert (await reader.get(f"/records/{record}")).ok()["values"] == {}
        note = await admin.patch(f"/records/{record}/values/{prefix}note", {"value": "x"})
        assert note.told == DENIED


async def test_the_number_of_former_aliases_is_bounded(world: World, admin: Caller):
    await world.attribute("sku")
    await world.database.execute(
        """
        INSERT INTO former_aliases (workspace_id, kind, id, alias)
        SELECT $1, 'attributes', 'attr-sku', 'old-' || n FROM generate_series(1, $2::int) n
        """,
        world.workspace,
        FORMER_ALIASES_MAX,
    )
    told = (await admin.get("/attributes/attr-sku")).ok()
    refused = await admin.put("/attributes/attr-sku", {**told, "alias": "new"})
    assert refused.told == error(
        409,
        "CONFLICT",
        "Attribute 'attr-sku' keeps its alias 'sku': it has had 100 others, which is as many as"
        " are remembered",
    )
    (await admin.put("/attributes/attr-sku", {**told, "name": "SKU"})).ok()


async def test_too_many_names_are_refused_and_not_cut(world: World):
    for field in ("schemas", "attributes"):
        answer = await world.admin.post("/internal/names", {field: ["x"] * 10_001})
        assert answer.status == 400
        assert field in answer.body["message"] and "10000" in answer.body["message"]
