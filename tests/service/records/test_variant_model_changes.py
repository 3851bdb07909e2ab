"""Changes of the data model look at the values of variants as at those of records."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio

from records_service.model_objects import searching
from records_service.value_removal import commands as value_removal
from shared.identity import Flag
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Answer, Caller, error
from tests.kit.workspace import entries, schema_body
from tests.service.records.job_turns import turn
from tests.service.records.value_uses import forget_that_all_are_marked

pytestmark = pytest.mark.asyncio(loop_scope="module")

ATTRIBUTES = ("color", "part", "name", "sku")


@pytest_asyncio.fixture(loop_scope="module")
async def caller(workspace: RecordsWorkspace) -> Caller:
    """A record without values; only its variant has some."""
    await workspace.option_list("colors", ["red", "blue"])
    await workspace.dimension("language", ["en", "da"])
    await workspace.attribute("color", "option", optionListId="ol-colors")
    fields = [{"alias": "hue", "name": "Hue", "type": "option", "optionListId": "ol-colors"}]
    await workspace.attribute("part", "complex", attributes=fields)
    await workspace.attribute("name", dimensionIds=["dim-language"])
    await workspace.attribute("sku")
    await workspace.schema("x", ATTRIBUTES, variantEnabled=True)
    await workspace.record("schema-x", id="ent-a")
    return workspace.admin


async def add(caller: Caller, variant_id: str = "var-1", **values: Any) -> Answer:
    body = {"id": variant_id, "values": entries(values)}
    made = await caller.post("/records/ent-a/variants", body)
    assert made.status == 201, made.outcome
    return made


def attribute(alias: str, kind: str = "text", **more: Any) -> dict[str, Any]:
    return {"id": f"attr-{alias}", "alias": alias, "name": alias, "type": kind, **more}


@pytest.mark.parametrize("values", [{"color": "val-red"}, {"part": {"hue": "val-red"}}])
async def test_an_option_that_only_a_variant_has_is_in_use(caller: Caller, values: dict[str, Any]):
    await add(caller, **values)
    refused = await caller.delete("/option-lists/ol-colors/values/val-red")
    assert (refused.status, refused.body["error"]) == (409, "CONFLICT")
    assert (await caller.delete("/option-lists/ol-colors/values/val-blue")).status == 204
    (await caller.delete("/records/ent-a/variants/var-1")).ok()
    assert (await caller.delete("/option-lists/ol-colors/values/val-red")).status == 204


async def test_a_segment_that_only_a_variant_has_is_in_use(caller: Caller):
    await add(caller, name=[{"scope": {"dim-language": "seg-da"}, "value": "Hue"}])
    language = (await caller.get("/dimensions/dim-language")).ok()
    kept = [each for each in language["segments"] if each["id"] != "seg-da"]
    refused = await caller.put("/dimensions/dim-language", language | {"segments": kept})
    assert (refused.status, refused.body["error"]) == (409, "CONFLICT")
    (await caller.put("/records/ent-a/variants/var-1", {"values": {"name": None}})).ok()
    answer = await caller.put("/dimensions/dim-language", language | {"segments": kept})
    assert answer.status == 200, answer.outcome


async def test_the_type_of_values_that_only_a_variant_has_stays(caller: Caller):
    await add(caller, sku="A")
    refused = await caller.put("/attributes/attr-sku", attribute("sku", "number"))
    assert refused.outcome == error(
        409, "CONFLICT", "Field 'type' of attribute 'sku' cannot change while values exist"
    )
    (await caller.delete("/records/ent-a")).ok()
    assert (await caller.put("/attributes/attr-sku", attribute("sku", "number"))).status == 200


async def test_a_value_that_a_variant_gets_during_the_search_is_found(
    workspace: RecordsWorkspace, caller: Caller, monkeypatch: pytest.MonkeyPatch
):
    await forget_that_all_are_marked(workspace)
    await add(caller)
    search_all = searching._search_all
    done = []

    async def then_write(*arguments: Any) -> Any:
        found = await search_all(*arguments)
        if not done:
            done.append(
                await caller.patch("/records/ent-a/variants/var-1/values/sku", {"value": "A"})
            )
        return found

    monkeypatch.setattr(searching, "_search_all", then_write)
    refused = await caller.put("/attributes/attr-sku", attribute("sku", "number"))
    assert done[0].status == 200
    assert refused.status == 409, refused.outcome


async def test_stored_values_of_variants_become_unique(workspace: RecordsWorkspace, caller: Caller):
    await workspace.record("schema-x", {"sku": "A"}, id="ent-b")
    await add(caller, "var-1", sku="B")
    await add(caller, "var-2", sku="A")
    unique = attribute("sku", validation={"unique": True})
    refused = await caller.put("/attributes/attr-sku", unique)
    assert refused.outcome == error(
        409,
        "CONFLICT",
        "Attribute 'sku' cannot become unique: 'ent-b' and 'var-2' have the same value",
    )
    (await caller.patch("/records/ent-a/variants/var-2/values/sku", {"value": "B"})).ok()
    refused = await caller.put("/attributes/attr-sku", unique)
    assert refused.outcome == error(
        409,
        "CONFLICT",
        "Attribute 'sku' cannot become unique: 'var-1' and 'var-2' have the same value",
    )
    (await caller.patch("/records/ent-a/variants/var-2/values/sku", {"value": "C"})).ok()
    assert (await caller.put("/attributes/attr-sku", unique)).status == 200
    body = {"schemaId": "schema-x", "values": entries({"sku": "C"})}
    assert (await caller.post("/records", body)).status == 409
    # The claim is the variant's: it goes with it.
    (await caller.delete("/records/ent-a/variants/var-2")).ok()
    assert (await caller.post("/records", body)).status == 201


async def test_a_schema_with_variants_keeps_them(caller: Caller):
    body = schema_body("x", ATTRIBUTES, variantEnabled=False)
    assert (await caller.put("/schemas/schema-x", body)).status == 200
    (await caller.put("/schemas/schema-x", body | {"variantEnabled": True})).ok()
    await add(caller)
    assert (await caller.put("/schemas/schema-x", body)).outcome == error(
        409,
        "CONFLICT",
        "Field 'variantEnabled' of schema 'schema-x' cannot become false"
        " while its records have variants",
    )
    assert (await caller.delete("/schemas/schema-x")).status == 409
    (await caller.delete("/records/ent-a/variants/var-1")).ok()
    assert (await caller.put("/schemas/schema-x", body)).status == 200


async def test_what_only_a_variant_holds_of_a_lost_attribute_is_remembered(
    workspace: RecordsWorkspace, caller: Caller
):
    await add(caller, sku="A")
    (await caller.put("/schemas/schema-x", schema_body("x", ["name"], variantEnabled=True))).ok()
    lost = await workspace.fetch("SELECT attribute_id FROM lost_attributes WHERE workspace_id = $1")
    assert lost == [{"attribute_id": "attr-sku"}]
    words = {"schema-x": {"*": "write", "attr-sku": "hidden"}, "*": {"*": "write"}}
    blind = await workspace.user_with_role(words, Flag.MANAGE_SCHEMAS)
    assert (await blind.delete("/attributes/attr-sku")).status == 403
    refused = await caller.put("/attributes/attr-sku", attribute("sku", "number"))
    assert refused.status == 409


async def holding(workspace: RecordsWorkspace) -> int:
    (row,) = await workspace.fetch(
        "SELECT count(*) AS n FROM variants WHERE workspace_id = $1 AND values ? 'attr-sku'"
    )
    return int(row["n"])


async def lose_sku(workspace: RecordsWorkspace, caller: Caller) -> None:
    for number in range(7):
        await add(caller, f"var-{number}", sku=str(number), color="val-red")
    body = schema_body("x", ["name", "color"], variantEnabled=True)
    (await caller.put("/schemas/schema-x", body)).ok()


async def test_values_of_variants_go_with_their_attribute(
    workspace: RecordsWorkspace, caller: Caller
):
    await lose_sku(workspace, caller)
    assert await holding(workspace) == 7
    (await caller.delete("/attributes/attr-sku")).ok()
    assert await holding(workspace) == 0
    assert not await turn(workspace)
    await kept(caller)


async def kept(caller: Caller) -> None:
    for number in range(7):
        found = (await caller.get(f"/records/ent-a/variants/var-{number}")).ok()
        assert found["values"] == entries({"color": "val-red"})


async def test_many_values_of_variants_are_removed_in_slices(
    workspace: RecordsWorkspace, caller: Caller, monkeypatch: pytest.MonkeyPatch
):
    for name in ("REMOVED_IN_REQUEST", "REMOVED_AT_ONCE", "WRITTEN_AT_ONCE"):
        monkeypatch.setattr(value_removal, name, 2)
    await lose_sku(workspace, caller)
    (await caller.delete("/attributes/attr-sku")).ok()
    assert await holding(workspace) == 7
    taken = await caller.post("/attributes", attribute("sku"))
    assert taken.status == 409
    while await turn(workspace):
        pass
    assert await holding(workspace) == 0
    assert await workspace.fetch("SELECT FROM attribute_removals WHERE workspace_id = $1") == []
    await kept(caller)


async def test_a_variant_that_got_its_value_back_loses_it_at_the_end(
    workspace: RecordsWorkspace, caller: Caller, monkeypatch: pytest.MonkeyPatch
):
    for name in ("REMOVED_IN_REQUEST", "REMOVED_AT_ONCE"):
        monkeypatch.setattr(value_removal, name, 2)
    await lose_sku(workspace, caller)
    (await caller.delete("/attributes/attr-sku")).ok()
    while await holding(workspace):
        assert await turn(workspace)
    # What a write puts back that had read the values before a slice removed them.
    (await caller.patch("/records/ent-a/variants/var-0/values/color", {"value": "val-blue"})).ok()
    await workspace.database.execute(
        """UPDATE variants SET values = values || '{"attr-sku": [{"scope": {}, "value": "0"}]}'
            WHERE workspace_id = $1 AND id = 'var-0'""",
        workspace.id,
    )
    while await turn(workspace):
        pass
    assert await holding(workspace) == 0
