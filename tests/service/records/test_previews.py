"""A preview of a change of the model tells what the PUT then does to records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from records_service.option_lists.model import HELD_VALUES_MAX
from records_service.previews import duplicates, store, tally, walk
from records_service.reactions import upsert_workflow
from shared.events import Event, EventType
from shared.identity import Flag
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Answer
from tests.kit.workspace import entries, schema_body, workflow_body

pytestmark = pytest.mark.asyncio(loop_scope="module")

ATTRIBUTES = ["name", "note", "price", "sku", "color", "part", "size"]
NOTHING = {
    "losingValues": 0,
    "failingValidation": 0,
    "uniqueConflicts": 0,
    "changingState": 0,
    "completeness": {"rising": 0, "falling": 0},
}
RECORDS: Mapping[str, Mapping[str, Any]] = {
    "ent-0": {"name": "Parka", "price": 5, "sku": "A", "color": "red", "size": {"width": 1}},
    "ent-1": {"name": "Coat", "note": "warm", "price": 15, "sku": "B", "color": "blue"},
    "ent-2": {"name": "Cap", "price": 25, "sku": "B", "part": "ent-0"},
    "ent-3": {"note": "lost", "sku": "C", "color": "red", "part": "ent-gone"},
    "ent-4": {"name": "", "note": "n", "price": 10},
}
IDS = [*RECORDS]


def attribute(alias: str, kind: str = "text", **more: Any) -> dict[str, Any]:
    return {"alias": alias, "name": alias, "type": kind, **more}


def of_options(*names: str) -> dict[str, Any]:
    values = [{"id": f"val-{name}", "alias": name, "label": name} for name in names]
    return {"alias": "colors", "name": "colors", "values": values}


def of_schema(*left_out: str, **more: Any) -> dict[str, Any]:
    usual = {"workflowId": "wf-old", "variantEnabled": True}
    return schema_body("x", [one for one in ATTRIBUTES if one not in left_out], **usual | more)


@pytest_asyncio.fixture(loop_scope="module")
async def catalogue(workspace: RecordsWorkspace) -> RecordsWorkspace:
    """Five records in two states, one of them with a variant."""
    await workspace.option_list("colors", ["red", "blue", "green"])
    for name in ("name", "note", "sku"):
        await workspace.attribute(name)
    await workspace.attribute("price", "number")
    await workspace.attribute("color", "option", optionListId="ol-colors")
    await workspace.attribute("part", "relation")
    width = {"alias": "width", "type": "number"}
    await workspace.attribute("size", "complex", attributes=[width])
    await workspace.workflow("old", {"draft": {"required": ["name", "part"]}, "review": {}})
    await workspace.workflow("new", {"start": {"required": ["note"]}, "review": {}})
    await workspace.schema("x", ATTRIBUTES, workflowId="wf-old", variantEnabled=True)
    await workspace.record("schema-x", id="ent-gone")
    for record_id, values in RECORDS.items():
        await workspace.record("schema-x", values, id=record_id)
    admin = workspace.admin
    (await admin.delete("/records/ent-gone")).ok()
    (await admin.post("/records/ent-1/transition", {"toStateId": "review"})).ok()
    variant = {"id": "var-0", "values": entries({"price": 50, "color": "green", "sku": "C"})}
    (await admin.post("/records/ent-0/variants", variant)).ok()
    return workspace


@dataclass(frozen=True)
class Case:
    """A change, and what it does to records."""

    path: str
    body: Mapping[str, Any]
    figures: Mapping[str, Any]
    put: int = 200

    def caller(self, workspace: RecordsWorkspace) -> Any:
        return workspace.workflow_admin if "workflows" in self.path else workspace.admin


CASES = {
    "a rule": Case(
        "/attributes/attr-price",
        attribute("price", "number", validation={"max": 12}),
        # ent-0 by its variant alone.
        {"failingValidation": 3},
    ),
    "a pattern": Case(
        "/attributes/attr-name",
        attribute("name", validation={"pattern": "^[A-Z]"}),
        {"failingValidation": 1},
    ),
    "required": Case(
        "/attributes/attr-note",
        attribute("note", validation={"required": True}),
        # In `draft`, name and part count as well; in `review` nothing else does.
        {"completeness": {"rising": 2, "falling": 2}},
    ),
    "a guard": Case(
        "/attributes/attr-part",
        attribute("part", "relation", guards=[{"attributeId": "note", "operator": "isNotEmpty"}]),
        {"completeness": {"rising": 1, "falling": 0}},
    ),
    "a name": Case("/attributes/attr-name", attribute("title"), {}),
    "unique": Case(
        "/attributes/attr-sku",
        attribute("sku", validation={"unique": True}),
        {"uniqueConflicts": 4},
        put=409,
    ),
    "unique without doubles": Case(
        "/attributes/attr-note", attribute("note", validation={"unique": True}), {}
    ),
    "a type": Case(
        "/attributes/attr-note",
        attribute("note", "number"),
        {"losingValues": 3, "failingValidation": 3},
        put=409,
    ),
    "several values": Case(
        "/attributes/attr-price",
        attribute("price", "number", multiple=True),
        # As they are stored, they would be taken for lists of one.
        {"losingValues": 4},
        put=409,
    ),
    "a field less": Case(
        "/attributes/attr-size",
        attribute("size", "complex", attributes=[]),
        {"losingValues": 1},
        put=409,
    ),
    "a used option": Case(
        "/option-lists/ol-colors",
        of_options("blue"),
        {"losingValues": 2, "failingValidation": 2},
        put=409,
    ),
    "a label": Case("/option-lists/ol-colors", of_options("red", "blue", "green"), {}),
    "an attribute less": Case("/schemas/schema-x", of_schema("price"), {}),
    "a required attribute less": Case(
        "/schemas/schema-x", of_schema("part"), {"completeness": {"rising": 1, "falling": 0}}
    ),
    "another workflow": Case(
        "/schemas/schema-x",
        of_schema(workflowId="wf-new"),
        {"changingState": 4, "completeness": {"rising": 2, "falling": 2}},
    ),
    "no workflow": Case(
        "/schemas/schema-x",
        of_schema(workflowId=None),
        {"changingState": 5, "completeness": {"rising": 3, "falling": 0}},
    ),
    "no variants": Case(
        "/schemas/schema-x", of_schema(variantEnabled=False), {"losingValues": 1}, put=409
    ),
    "another list of a state": Case(
        "/workflows/wf-old",
        workflow_body(
            "old", {"draft": {"required": ["name"]}, "review": {"required": ["size"]}}, []
        ),
        {"completeness": {"rising": 1, "falling": 1}},
    ),
    "a state less": Case(
        "/workflows/wf-old",
        workflow_body("old", {"draft": {"required": ["name", "part"]}}, []),
        {"changingState": 1, "completeness": {"rising": 0, "falling": 1}},
        put=409,
    ),
}


each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@each_case
async def test_a_preview_tells_what_the_put_does(catalogue: RecordsWorkspace, case: Case):
    caller = case.caller(catalogue)
    before = await seen(catalogue)
    staged = await catalogue.staged()
    found = (await caller.post(f"{case.path}/preview", case.body)).ok()
    samples = found.pop("samples")
    assert found == NOTHING | {"records": len(RECORDS), "complete": True} | dict(case.figures)
    assert bool(samples) == bool(case.figures)
    assert {one["entityId"] for one in samples} <= set(IDS)
    assert await seen(catalogue) == before
    assert await catalogue.staged() == staged

    put = await caller.put(case.path, case.body)
    assert put.status == case.put, put.outcome
    if put.status == 200:
        if "workflows" in case.path:
            await hear_of(catalogue, "wf-old")
        assert figures(before, await seen(catalogue)) == without(found, "records", "complete")


async def seen(workspace: RecordsWorkspace) -> dict[str, Any]:
    """Of each record: its state, its score, and whether its values could be written once more."""
    found = {}
    for one in IDS:
        record = (await workspace.admin.get(f"/records/{one}")).ok()
        score = (await workspace.admin.get(f"/records/{one}/completeness")).ok()["score"]
        variants = (await workspace.admin.get(f"/records/{one}/variants")).ok()["items"]
        writes = [(f"/records/{one}", record["values"])]
        writes += [(f"/records/{one}/variants/{each['id']}", each["values"]) for each in variants]
        valid = [await rewritten(workspace, path, values) for path, values in writes]
        found[one] = (record["lifecycleStateId"], score, all(valid))
    return found


async def hear_of(workspace: RecordsWorkspace, workflow_id: str) -> None:
    """Deliver the event of a changed workflow."""
    answer: Answer = await workspace.workflow_admin.get(f"/workflows/{workflow_id}")
    version = int(answer.headers["ETag"].strip('"'))
    told = {"definition": {**answer.ok(), "version": version}}
    event = Event(EventType.WORKFLOW_UPDATED, "/workflow_service", workspace.id, workflow_id, told)
    async with workspace.database.transaction() as conn:
        await upsert_workflow(conn, event)


async def rewritten(workspace: RecordsWorkspace, path: str, values: Any) -> bool:
    """Whether values can be written as they are, those of deleted records left out."""
    caller = workspace.admin.having({"Prefer": "dry-run"})
    answer: Answer = await caller.put(path, {"values": values})
    assert answer.status in (200, 400), answer.outcome
    return answer.status == 200


def figures(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    pairs = [(before[one], after[one]) for one in IDS]
    return NOTHING | {
        "failingValidation": sum(old[2] and not new[2] for old, new in pairs),
        "changingState": sum(old[0] != new[0] for old, new in pairs),
        "completeness": {
            "rising": sum(new[1] > old[1] for old, new in pairs),
            "falling": sum(new[1] < old[1] for old, new in pairs),
        },
    }


def without(found: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name not in names}


@pytest.mark.parametrize("name", ["a rule", "unique", "another workflow", "no variants"])
async def test_slices_make_no_difference(
    catalogue: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch, name: str
):
    case = CASES[name]
    at_once = (await catalogue.admin.post(f"{case.path}/preview", case.body)).ok()
    monkeypatch.setattr(walk, "FIRST_SLICE_ROWS", 2)
    monkeypatch.setattr(walk, "SLICE_ROWS_MIN", 1)
    monkeypatch.setattr(walk, "SLICE_ROWS_MAX", 2)
    assert (await catalogue.admin.post(f"{case.path}/preview", case.body)).ok() == at_once
    # As if each record had the size of a slice.
    monkeypatch.setattr(store, "SLICE_BYTES_MAX", 1)
    assert (await catalogue.admin.post(f"{case.path}/preview", case.body)).ok() == at_once


async def test_a_preview_ends_in_time_and_says_that_it_was_cut(
    catalogue: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(walk, "PREVIEW_S", 0)
    monkeypatch.setattr(walk, "FIRST_SLICE_ROWS", 2)
    case = CASES["a rule"]
    found = (await catalogue.admin.post(f"{case.path}/preview", case.body)).ok()
    assert without(found, "samples") == NOTHING | {
        "records": 2,
        "failingValidation": 1,
        "complete": False,
    }


async def test_where_too_much_would_have_to_be_remembered_it_is_cut(
    catalogue: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(walk, "FIRST_SLICE_ROWS", 2)
    monkeypatch.setattr(walk, "SLICE_ROWS_MIN", 1)
    monkeypatch.setattr(walk, "SLICE_ROWS_MAX", 2)
    for place, name, preview_of in (
        (duplicates, "KEYS_MAX", "unique"),
        (tally, "KNOWN_MAX", "a rule"),
    ):
        case = CASES[preview_of]
        with monkeypatch.context() as patched:
            patched.setattr(place, name, 1)
            found = (await catalogue.admin.post(f"{case.path}/preview", case.body)).ok()
        assert found["complete"] is False


@each_case
async def test_what_may_not_be_read_is_neither_counted_nor_named(
    catalogue: RecordsWorkspace, case: Case
):
    """By a role that sees the names of records and nothing else."""
    flags = (Flag.MANAGE_SCHEMAS, Flag.MANAGE_OPTION_LISTS)
    words = {"*": {"attr-name": "read"}}
    caller = await catalogue.user_with_role(words, *flags)
    if "workflows" in case.path:
        caller = case.caller(catalogue).having(caller.headers)
    preview = await caller.post(f"{case.path}/preview", case.body)
    put = await caller.put(case.path, case.body)
    if put.status == 403:
        assert preview.outcome == put.outcome
        return
    told = preview.ok()
    sees = {"/attributes/attr-name", "/schemas/schema-x"}
    if case.path not in sees:
        told |= {"changingState": 0}  # Everybody sees the state of a record.
        assert without(told, "records", "complete", "samples") == NOTHING
    assert told["uniqueConflicts"] == 0


async def test_a_state_hides_values_from_previews_of_roles(catalogue: RecordsWorkspace):
    hiding = {"draft": {"hidden": ["price"]}, "review": {}}
    body = workflow_body("old", hiding, [("draft", "review")])
    (await catalogue.workflow_admin.put("/workflows/wf-old", body)).ok()
    await hear_of(catalogue, "wf-old")
    caller = await catalogue.user_with_role({"*": {"*": "write"}}, Flag.MANAGE_SCHEMAS)
    case = CASES["a rule"]
    found = (await caller.post(f"{case.path}/preview", case.body)).ok()
    assert found["failingValidation"] == 1
    assert [one["entityId"] for one in found["samples"]] == ["ent-1"]
    unrestricted = (await catalogue.admin.post(f"{case.path}/preview", case.body)).ok()
    assert unrestricted["failingValidation"] == 3


async def test_a_key_that_may_not_read_is_told_nothing(catalogue: RecordsWorkspace):
    for case in CASES.values():
        if "workflows" not in case.path:
            answer = await catalogue.api_key("update-model").post(f"{case.path}/preview", case.body)
            assert answer.outcome == (200, {})
            both = catalogue.api_key("update-model", "read")
            (await both.post(f"{case.path}/preview", case.body)).ok()


BAD = (
    ("/attributes/attr-price", {"alias": "price", "name": "Price", "type": "colour"}, {}),
    ("/attributes/attr-price", attribute("price", validation={"min": 1}), {}),
    ("/attributes/attr-price", attribute("price", "relation", targetSchemaId="schema-none"), {}),
    ("/attributes/attr-price", attribute("price", "number", id="attr-other"), {}),
    ("/attributes/attr-none", attribute("none"), {}),
    ("/attributes/attr-price", attribute("price", "number"), {"If-Match": '"99"'}),
    ("/attributes/attr-price", attribute("price", "number"), {"If-Match": "nine"}),
    ("/schemas/schema-x", of_schema(workflowId="wf-none"), {}),
    ("/schemas/schema-x", schema_body("x", ["none"], variantEnabled=True), {}),
    ("/schemas/schema-x", of_schema(), {"If-Match": '"99"'}),
    ("/schemas/schema-none", of_schema(id="schema-none"), {}),
    ("/option-lists/ol-colors", {**of_options("red"), "values": [{"alias": "red"}]}, {}),
    ("/option-lists/ol-colors", of_options("red", "red"), {}),
    ("/option-lists/ol-colors", of_options("red"), {"If-Match": '"99"'}),
    ("/option-lists/ol-none", of_options("red"), {}),
    ("/workflows/wf-old", workflow_body("old", ["draft"], [("draft", "none")]), {}),
    (
        "/workflows/wf-old",
        workflow_body("old", ["draft", "review"], []) | {"defaultStateId": "none"},
        {},
    ),
    ("/workflows/wf-old", workflow_body("old", ["draft"], []), {"If-Match": '"99"'}),
    ("/workflows/wf-none", workflow_body("none", ["draft"], []), {}),
)


@pytest.mark.parametrize(("path", "body", "headers"), BAD)
async def test_a_draft_that_is_wrong_is_refused_as_by_the_put(
    catalogue: RecordsWorkspace, path: str, body: Any, headers: dict[str, str]
):
    caller = (catalogue.workflow_admin if "workflows" in path else catalogue.admin).having(headers)
    answer = await caller.post(f"{path}/preview", body)
    assert answer.status in (400, 404, 412)
    assert answer.outcome == (await caller.put(path, body)).outcome


async def test_a_preview_registers_no_reference_to_a_workflow(catalogue: RecordsWorkspace):
    case = CASES["another workflow"]
    asked = "SELECT workflow_id FROM workflow_references WHERE workspace_id = $1"
    before = await catalogue.workflows.database.fetch(asked, catalogue.id)
    (await catalogue.admin.post(f"{case.path}/preview", case.body)).ok()
    assert await catalogue.workflows.database.fetch(asked, catalogue.id) == before


async def test_a_taken_alias_is_no_matter_of_records(catalogue: RecordsWorkspace):
    body = attribute("note", "number", validation={"max": 12})
    found = (await catalogue.admin.post("/attributes/attr-price/preview", body)).ok()
    assert found["failingValidation"] == 3
    assert (await catalogue.admin.put("/attributes/attr-price", body)).status == 409


async def test_values_of_a_schema_that_lost_the_attribute_stand_against_it(
    catalogue: RecordsWorkspace,
):
    (await catalogue.admin.put("/schemas/schema-x", of_schema("note", "sku"))).ok()
    for name, figures_then in (
        ("a type", {"losingValues": 3}),
        ("unique", {"uniqueConflicts": 4}),
    ):
        case = CASES[name]
        found = (await catalogue.admin.post(f"{case.path}/preview", case.body)).ok()
        told = without(found, "records", "complete", "samples")
        assert told == NOTHING | figures_then
        assert (await catalogue.admin.put(case.path, case.body)).status == 409
    (await catalogue.admin.put("/schemas/schema-x", of_schema("sku"))).ok()
    body = attribute("note", validation={"pattern": "^w"})
    (await catalogue.admin.put("/attributes/attr-note", body)).ok()
    (await catalogue.admin.put("/schemas/schema-x", of_schema("note", "sku"))).ok()
    back = (await catalogue.admin.post("/schemas/schema-x/preview", of_schema("sku"))).ok()
    assert back["failingValidation"] == 2


async def test_stored_options_of_a_large_list_stay_options(catalogue: RecordsWorkspace):
    many = ["red", "blue", "green", *(f"shade-{n}" for n in range(HELD_VALUES_MAX))]
    admin = catalogue.admin
    (await admin.put("/option-lists/ol-colors", of_options(*many))).ok()
    (await admin.put("/schemas/schema-x", of_schema("color"))).ok()
    back = (await admin.post("/schemas/schema-x/preview", of_schema())).ok()
    assert without(back, "records", "complete", "samples") == NOTHING
    case = CASES["a used option"]
    assert (await admin.post(f"{case.path}/preview", case.body)).ok()["losingValues"] == 2


def count(found: Mapping[str, Any]) -> Mapping[str, Any]:
    return without(found, "records", "complete", "samples")


PATTERN = attribute("sku", validation={"pattern": "^B"})


async def test_a_hidden_attribute_that_comes_back_to_a_schema_tells_nothing(
    catalogue: RecordsWorkspace,
):
    words = {"*": {"*": "write"}, "schema-x": {"*": "write", "attr-sku": "hidden"}}
    caller = await catalogue.user_with_role(words, Flag.MANAGE_SCHEMAS)
    (await caller.put("/schemas/schema-x", of_schema("sku"))).ok()
    (await caller.put("/attributes/attr-sku", PATTERN)).ok()
    told = (await caller.post("/schemas/schema-x/preview", of_schema())).ok()
    assert (count(told), told["samples"]) == (NOTHING, [])
    unrestricted = (await catalogue.admin.post("/schemas/schema-x/preview", of_schema())).ok()
    assert unrestricted["failingValidation"] == 2  # ent-0 and ent-3.


async def test_a_role_that_hides_by_the_alias_of_a_schema_outlasts_the_alias(
    catalogue: RecordsWorkspace,
):
    words = {"*": {"*": "write"}, "x": {"attr-sku": "hidden"}}
    caller = await catalogue.user_with_role(words, Flag.MANAGE_SCHEMAS)
    (await caller.put("/schemas/schema-x", of_schema("sku", workflowId=None))).ok()
    (await caller.put("/attributes/attr-sku", PATTERN)).ok()
    required = attribute("sku", validation={"pattern": "^B", "required": True})
    (await catalogue.admin.put("/attributes/attr-sku", required)).ok()
    renamed = of_schema(workflowId=None) | {"alias": "y"}
    told = (await caller.post("/schemas/schema-x/preview", renamed)).ok()
    assert (count(told), told["samples"]) == (NOTHING, [])
    unrestricted = (await catalogue.admin.post("/schemas/schema-x/preview", renamed)).ok()
    assert unrestricted["failingValidation"] == 2
    assert unrestricted["completeness"] == {"rising": 0, "falling": 1}


async def test_what_a_state_hides_is_not_told_of_an_attribute_that_left_the_schema(
    catalogue: RecordsWorkspace,
):
    hiding = workflow_body(
        "old", {"draft": {"hidden": ["note", "sku", "color"]}, "review": {}}, [("draft", "review")]
    )
    (await catalogue.workflow_admin.put("/workflows/wf-old", hiding)).ok()
    await hear_of(catalogue, "wf-old")
    flags = (Flag.MANAGE_SCHEMAS, Flag.MANAGE_OPTION_LISTS)
    caller = await catalogue.user_with_role({"*": {"*": "write"}}, *flags)
    (await caller.put("/schemas/schema-x", of_schema("note", "sku", "color"))).ok()
    # Only ent-1 is in a state that hides nothing; its number is no double.
    for name, figures_then, of_all in (
        ("a type", {"losingValues": 1}, {"losingValues": 3}),
        ("unique", {}, {"uniqueConflicts": 4}),
        ("a used option", {}, {"losingValues": 2}),
    ):
        case = CASES[name]
        told = (await caller.post(f"{case.path}/preview", case.body)).ok()
        assert count(told) == NOTHING | figures_then
        assert {one["entityId"] for one in told["samples"]} <= {"ent-1"}
        unrestricted = (await catalogue.admin.post(f"{case.path}/preview", case.body)).ok()
        assert count(unrestricted) == NOTHING | of_all
    (await caller.put("/attributes/attr-sku", PATTERN)).ok()
    back = (await caller.post("/schemas/schema-x/preview", of_schema())).ok()
    assert count(back) == NOTHING
