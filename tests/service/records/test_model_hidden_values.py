"""Nobody learns of values that are hidden, or changes them, by shaping the model."""

from __future__ import annotations

from typing import Any

import pytest

from shared.identity import Flag
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error
from tests.kit.workspace import schema_body
from tests.service.records.half_hidden import DENIED, PROBLEMS, half_hidden

pytestmark = pytest.mark.asyncio(loop_scope="module")


def guarded(alias: str, on: str) -> dict[str, Any]:
    guards = [{"attributeId": on, "operator": "equals", "value": "12"}]
    body = {"id": f"attr-{alias}", "alias": alias, "name": alias, "type": "text"}
    return {**body, "validation": {"required": True}, "guards": guards}


@pytest.mark.parametrize("name", ["cost", "attr-cost"])
async def test_a_guard_looks_only_at_what_its_author_may_read(
    workspace: RecordsWorkspace, admin: Caller, name: str
):
    manager = await half_hidden(workspace)
    assert (await manager.post("/attributes", guarded("probe", name))).outcome == DENIED
    own = (await manager.post("/attributes", {**guarded("probe", name), "guards": []})).ok()
    assert (await manager.put("/attributes/attr-probe", guarded("probe", name))).outcome == DENIED
    problems = manager.having({"Accept": "application/problem+json"})
    told = (await problems.put("/attributes/attr-probe", guarded("probe", name))).body["errors"]
    assert told == [
        {
            "pointer": "/guards/0/attributeId",
            "detail": "A guard may refer only to attributes that its author may read",
        }
    ]
    (await manager.put("/attributes/attr-probe", {**own, **guarded("probe", "name")})).ok()
    # What an administrator has made stays while other things change.
    (await admin.put("/attributes/attr-probe", guarded("probe", name))).ok()
    renamed = {**guarded("probe", name), "name": "Renamed"}
    (await manager.put("/attributes/attr-probe", renamed)).ok()
    more = {**renamed, "guards": [{**renamed["guards"][0], "value": "13"}]}
    assert (await manager.put("/attributes/attr-probe", more)).outcome == DENIED


async def test_a_guard_does_not_wait_for_values_that_their_schema_has_lost(
    workspace: RecordsWorkspace, admin: Caller
):
    manager = await half_hidden(workspace)
    (await workspace.post_record("x", name="Parka", cost="12")).ok()
    (await manager.put("/schemas/schema-x", schema_body("x", ["name"]))).ok()
    assert (await manager.post("/attributes", guarded("probe", "cost"))).outcome == DENIED
    (await manager.post("/attributes", guarded("probe", "name"))).ok()


async def test_no_schema_brings_a_guard_to_what_its_author_may_not_read(
    workspace: RecordsWorkspace, admin: Caller
):
    """Made while the attribute was in no schema, or by somebody else."""
    manager = await half_hidden(workspace)
    (await admin.post("/attributes", guarded("probe", "attr-cost"))).ok()
    added = schema_body("x", ["name", "cost", "probe"])
    assert (await manager.put("/schemas/schema-x", added)).outcome == DENIED
    (await manager.put("/schemas/schema-x", schema_body("x", ["name", "probe"]))).ok()
    assert (await manager.put("/schemas/schema-x", added)).outcome == DENIED
    (await admin.put("/schemas/schema-x", added)).ok()
    (await manager.put("/schemas/schema-x", {**added, "name": "X"})).ok()
    # A schema in which the role may read both is its own affair.
    (await manager.post("/schemas", schema_body("y", ["cost", "probe"]))).ok()


async def test_making_values_unique_needs_write_wherever_they_are(
    workspace: RecordsWorkspace, admin: Caller
):
    manager = await half_hidden(workspace)
    for _ in range(2):
        (await workspace.post_record("x", cost="12")).ok()
    cost = (await admin.get("/attributes/attr-cost")).ok()
    unique = {**cost, "validation": {"unique": True}}
    assert (await manager.put("/attributes/attr-cost", unique)).outcome == DENIED
    # Neither in a schema of one's own, nor out of all schemas.
    (await manager.post("/schemas", schema_body("y", ["cost"]))).ok()
    assert (await manager.put("/attributes/attr-cost", unique)).outcome == DENIED
    (await manager.put("/schemas/schema-x", schema_body("x", ["name"]))).ok()
    assert (await manager.put("/attributes/attr-cost", unique)).outcome == DENIED
    # Who may write everywhere is not told which records, who may read all of them is.
    writer = await workspace.user_with_role(
        {"*": {"*": "write"}}, Flag.MANAGE_SCHEMAS, name="role-writer"
    )
    two = "Attribute 'cost' cannot become unique: two records have the same value"
    refused = error(409, "CONFLICT", two)
    assert (await writer.put("/attributes/attr-cost", unique)).outcome == refused
    assert (
        await workspace.api_key("update-model").put("/attributes/attr-cost", unique)
    ).outcome == (refused)
    named = (await admin.put("/attributes/attr-cost", unique)).body["message"]
    ids = [one["id"] for one in (await admin.get("/records")).ok()["items"]]
    assert named == two.replace("two records", f"'{ids[0]}' and '{ids[1]}'")


async def test_a_unique_attribute_joins_a_schema_only_by_who_may_write_it_everywhere(
    workspace: RecordsWorkspace, admin: Caller
):
    manager = await half_hidden(workspace, validation={"unique": True})
    (await workspace.post_record("x", cost="12")).ok()
    for where in (schema_body("y", ["cost"]), schema_body("y", ["name", "cost"])):
        assert (await manager.post("/schemas", where)).outcome == DENIED
    (await manager.post("/schemas", schema_body("y", ["name"]))).ok()
    assert (await manager.put("/schemas/schema-y", schema_body("y", ["cost"]))).outcome == DENIED
    # Also when no schema has it and only records hold its values.
    (await admin.put("/schemas/schema-x", schema_body("x", ["name"]))).ok()
    assert (await manager.put("/schemas/schema-y", schema_body("y", ["cost"]))).outcome == DENIED
    writer = await workspace.user_with_role(
        {"*": {"*": "write"}}, Flag.MANAGE_SCHEMAS, name="role-writer"
    )
    (await writer.put("/schemas/schema-y", schema_body("y", ["cost"]))).ok()


@pytest.mark.parametrize(
    "change",
    [
        {"type": "number"},
        {"dimensionIds": ["dim-language"]},
        {"validation": {"required": True}},
    ],
)
async def test_what_depends_on_values_is_not_changed_by_who_may_not_read_them(
    workspace: RecordsWorkspace, admin: Caller, change: dict[str, Any]
):
    language = {
        "id": "dim-language",
        "alias": "language",
        "name": "Language",
        "defaultSegmentId": "seg-en",
        "segments": [{"id": "seg-en", "alias": "en", "name": "English"}],
    }
    (await admin.post("/dimensions", language)).ok()
    manager = await half_hidden(workspace)
    cost = (await admin.get("/attributes/attr-cost")).ok()
    for values in ({}, {"cost": "12"}):
        (await workspace.post_record("x", **values)).ok()
        assert (await manager.put("/attributes/attr-cost", {**cost, **change})).outcome == DENIED
    (await manager.put("/attributes/attr-cost", {**cost, "name": "Cost"})).ok()


async def test_an_option_is_not_felt_for_by_removing_it(workspace: RecordsWorkspace, admin: Caller):
    options = {
        "id": "ol-list",
        "alias": "list",
        "name": "List",
        "values": [{"id": f"val-{n}", "alias": f"v{n}", "label": f"{n}"} for n in (1, 2)],
    }
    (await admin.post("/option-lists", options)).ok()
    manager = await half_hidden(
        workspace,
        Flag.MANAGE_OPTION_LISTS,
        Flag.MANAGE_SCHEMAS,
        kind="option",
        optionListId="ol-list",
    )
    (await workspace.post_record("x", cost="val-1")).ok()

    async def asked() -> None:
        for value in ("val-1", "val-2"):
            assert (await manager.delete(f"/option-lists/ol-list/values/{value}")).outcome == DENIED
            left = [one for one in options["values"] if one["id"] != value]
            put = await manager.put("/option-lists/ol-list", {**options, "values": left})
            assert put.outcome == DENIED

    await asked()
    (await manager.put("/schemas/schema-x", schema_body("x", ["name"]))).ok()
    await asked()
    (await manager.put("/option-lists/ol-list", {**options, "name": "Renamed"})).ok()
    (await manager.post("/option-lists/ol-list/values", {"alias": "v3", "label": "3"})).ok()


async def test_a_segment_is_not_felt_for_by_removing_it(workspace: RecordsWorkspace, admin: Caller):
    language = {
        "id": "dim-language",
        "alias": "language",
        "name": "Language",
        "defaultSegmentId": "seg-en",
        "segments": [
            {"id": f"seg-{name}", "alias": name, "name": name} for name in ("en", "da", "de")
        ],
    }
    (await admin.post("/dimensions", language)).ok()
    manager = await half_hidden(
        workspace, Flag.MANAGE_DIMENSIONS, Flag.MANAGE_SCHEMAS, dimensionIds=["dim-language"]
    )
    values = {"cost": [{"scope": {"dim-language": "seg-da"}, "value": "12"}]}
    (await admin.post("/records", {"schemaId": "schema-x", "values": values})).ok()
    for gone in ("seg-da", "seg-de"):
        left = [one for one in language["segments"] if one["id"] != gone]
        put = await manager.put("/dimensions/dim-language", {**language, "segments": left})
        assert put.outcome == DENIED
    (await manager.put("/dimensions/dim-language", {**language, "name": "Tongue"})).ok()


async def test_the_default_segment_is_not_moved_by_who_may_not_read_what_varies_by_it(
    workspace: RecordsWorkspace, admin: Caller
):
    """Completeness is judged by it, so an open gate would tell where a hidden value is."""
    segments = [{"id": f"seg-{name}", "alias": name, "name": name} for name in ("en", "da")]
    language = {"id": "dim-language", "alias": "language", "name": "Language"}
    english = {**language, "defaultSegmentId": "seg-en", "segments": segments}
    (await admin.post("/dimensions", english)).ok()
    manager = await half_hidden(
        workspace, Flag.MANAGE_DIMENSIONS, Flag.MANAGE_SCHEMAS, dimensionIds=["dim-language"]
    )
    marked = [segments[0], {**segments[1], "isDefault": True}]
    for danish in ({**english, "defaultSegmentId": "seg-da"}, {**language, "segments": marked}):
        put = await manager.having(PROBLEMS).put("/dimensions/dim-language", danish)
        assert (put.status, put.body["errors"]) == (
            403,
            [
                {
                    "pointer": "/defaultSegmentId",
                    "detail": "This depends on values that your role may not read",
                }
            ],
        )
    # Values that their schema has lost count again when it gets the attribute back.
    values = {"cost": [{"scope": {"dim-language": "seg-da"}, "value": "12"}]}
    (await admin.post("/records", {"schemaId": "schema-x", "values": values})).ok()
    (await manager.put("/schemas/schema-x", schema_body("x", ["name"]))).ok()
    danish = {**english, "defaultSegmentId": "seg-da"}
    assert (await manager.put("/dimensions/dim-language", danish)).outcome == DENIED
    (await manager.put("/dimensions/dim-language", {**english, "segments": segments[::-1]})).ok()
    reader = await workspace.user_with_role(
        {"*": {"*": "read"}}, Flag.MANAGE_DIMENSIONS, name="role-reader"
    )
    (await reader.put("/dimensions/dim-language", danish)).ok()
