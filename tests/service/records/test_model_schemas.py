from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from records_service.app import create_app
from records_service.config import Config
from records_service.workflow_copies import store as workflow_copies
from tests.kit import identities
from tests.kit.identities import Keyring
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.service import Services
from tests.kit.sigma import Caller, error
from tests.kit.workspace import schema_body, workflow_body

pytestmark = pytest.mark.asyncio(loop_scope="module")


def refused(message: str) -> tuple[int, dict[str, str]]:
    return error(400, "VALIDATION_ERROR", message)


async def workflow(
    workspace: RecordsWorkspace, alias: str, *states: str, **changes: Any
) -> dict[str, Any]:
    body = workflow_body(alias, states, list(pairwise(states))) | changes
    created: dict[str, Any] = (await workspace.workflow_admin.post("/workflows", body)).ok()
    return created


async def references(workspace: RecordsWorkspace) -> list[tuple[str, str]]:
    rows = await workspace.workflows.database.fetch(
        "SELECT workflow_id, schema_id FROM workflow_references WHERE workspace_id = $1",
        workspace.id,
    )
    return [(row["workflow_id"], row["schema_id"]) for row in rows]


async def test_every_field_is_answered_as_it_was_sent(workspace: RecordsWorkspace, admin: Caller):
    await workflow(workspace, "life", "draft", "done")
    for alias in ("a", "b", "c"):
        await workspace.attribute(alias)
    sent = {
        "id": "schema-x",
        "alias": "x",
        "name": "X",
        "description": "All of them",
        "icon": "shirt",
        "variantEnabled": True,
        "workflowId": "wf-life",
        "labels": {},
        "externalKey": "X (all)",
        "attributeGroups": [
            {
                "id": f"grp-{place}",
                "name": f"Group {place}",
                "labels": {},
                "externalKey": None,
                "sortOrder": place,
                "attributeIds": attribute_ids,
            }
            for place, attribute_ids in ((0, ["attr-b", "attr-a"]), (1.5, ["attr-c"]), (7, []))
        ],
    }
    created = (await admin.post("/schemas", sent)).ok()
    assert {**created, "createdAt": 0, "updatedAt": 0} == {**sent, "createdAt": 0, "updatedAt": 0}
    again = (await admin.put("/schemas/schema-x", created)).ok()
    assert {**again, "updatedAt": 0} == {**created, "updatedAt": 0}
    (event, _) = [
        e for e in await workspace.staged() if e.type in ("schema.created", "schema.updated")
    ]
    assert event.data == {
        "id": "schema-x",
        "schemaId": "schema-x",
        "alias": "x",
        "version": 4,  # The model's: three attributes came before.
        "workflowId": "wf-life",
        "modelVersion": 4,
        "formerAliases": [],
        "othersNamed": [],
    }


async def test_groups_are_answered_in_their_order(admin: Caller):
    groups = [
        {"name": "Last", "sortOrder": 9},
        {"name": "First", "sortOrder": -1},
        {"name": "Where it was sent"},
    ]
    created = (await admin.post("/schemas", schema_body("x", [], attributeGroups=groups))).ok()
    told = [(group["name"], group["sortOrder"]) for group in created["attributeGroups"]]
    assert told == [("First", -1), ("Where it was sent", 2), ("Last", 9)]
    assert all(group["id"].startswith("grp-") for group in created["attributeGroups"])
    assert (
        await admin.put("/schemas/schema-x", schema_body("x", [], attributeGroups=groups))
    ).ok()["attributeGroups"] == created["attributeGroups"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variantEnabled": None}, "Field 'variantEnabled' expects type 'boolean', got 'null'"),
        ({"variantEnabled": "yes"}, "Field 'variantEnabled' expects type 'boolean', got 'string'"),
        ({"attributeGroups": [{}]}, "Field 'attributeGroups.0.name' is required"),
        (
            {"attributeGroups": [{"name": "A", "attributeIds": ["attr-no"]}]},
            "Field 'attributeIds': Attribute 'attr-no' not found",
        ),
        (
            {
                "attributeGroups": [
                    {"name": "A", "attributeIds": ["attr-a"]},
                    {"name": "B", "attributeIds": ["a"]},
                ]
            },
            "Attribute 'attr-a' is in the schema twice",
        ),
        (
            {"attributeGroups": [{"id": "grp-a", "name": "A"}, {"id": "grp-a", "name": "B"}]},
            "Group id 'grp-a' is used twice",
        ),
        ({"workflowId": "wf-no"}, "Field 'workflowId': Workflow 'wf-no' not found"),
    ],
)
async def test_a_schema_that_is_none_is_refused(
    workspace: RecordsWorkspace, admin: Caller, changes: dict[str, Any], message: str
):
    await workspace.attribute("a")
    assert (await admin.post("/schemas", schema_body("x", [], **changes))).outcome == refused(
        message
    )
    there = await workspace.schema("x", ["a"])
    answer = await admin.put("/schemas/schema-x", schema_body("x", [], **changes))
    assert answer.outcome == refused(message)
    assert (await admin.get("/schemas")).ok() == [there]
    assert await references(workspace) == []


async def test_whether_it_has_variants_is_required(admin: Caller):
    body = schema_body("x", [])
    del body["variantEnabled"]
    answer = await admin.post("/schemas", body)
    assert answer.outcome == refused("Field 'variantEnabled' is required")


async def test_attributes_may_be_named_by_alias(workspace: RecordsWorkspace, admin: Caller):
    await workspace.attribute("a")
    groups = [{"name": "All", "attributeIds": ["a"]}]
    created = (await admin.post("/schemas", schema_body("x", [], attributeGroups=groups))).ok()
    assert created["attributeGroups"][0]["attributeIds"] == ["attr-a"]


async def test_an_attribute_of_another_workspace_cannot_be_named(
    workspace: RecordsWorkspace, other_workspace: RecordsWorkspace
):
    await other_workspace.attribute("a")
    answer = await workspace.admin.post("/schemas", schema_body("x", ["a"]))
    assert answer.outcome == refused("Field 'attributeIds': Attribute 'attr-a' not found")


async def test_the_attributes_of_a_schema_come_in_its_order(
    workspace: RecordsWorkspace, admin: Caller
):
    made = {alias: await workspace.attribute(alias) for alias in ("a", "b", "c", "d")}
    groups = [
        {"name": "Two", "sortOrder": 2, "attributeIds": ["attr-a"]},
        {"name": "One", "sortOrder": 1, "attributeIds": ["attr-d", "attr-b"]},
    ]
    await workspace.schema("x", [], attributeGroups=groups)
    listed = (await admin.get("/schemas/schema-x/attributes")).outcome
    assert listed == (200, [made["d"], made["b"], made["a"]])
    assert (await admin.get("/schemas/schema-no/attributes")).outcome == error(
        404, "NOT_FOUND", "Schema 'schema-no' not found"
    )


async def test_a_schema_holds_on_to_its_workflow(workspace: RecordsWorkspace, admin: Caller):
    await workspace.attribute("a")
    made = await workflow(workspace, "life", "draft", "done")
    await workspace.schema("x", ["a"], workflowId="wf-life")
    assert await references(workspace) == [("wf-life", "schema-x")]
    assert (await workspace.workflow_admin.delete("/workflows/wf-life")).status == 409
    record = (await workspace.post_record("x")).ok()
    assert record["lifecycleStateId"] == made["defaultStateId"] == "state-draft"


async def test_a_schema_that_is_refused_registers_nothing(
    workspace: RecordsWorkspace, admin: Caller
):
    await workflow(workspace, "life", "draft")
    await workspace.attribute("a")
    await workspace.schema("x", ["a"])
    bound = {"workflowId": "wf-life"}
    assert (await admin.post("/schemas", schema_body("x", [], **bound))).status == 409
    assert (
        await admin.post("/schemas", schema_body("x", [], id="schema-y", **bound))
    ).status == 409
    assert (await admin.post("/schemas", schema_body("y", ["no"], **bound))).status == 400
    assert (await admin.put("/schemas/schema-y", schema_body("y", [], **bound))).status == 404
    assert (await admin.put("/schemas/schema-x", schema_body("x", ["no"], **bound))).status == 400
    stale = {"If-Match": '"7"'}
    assert (
        await admin.put("/schemas/schema-x", schema_body("x", [], **bound), headers=stale)
    ).status == 412
    strange = "/schemas/..%2F..%2Finternal%2Fworkflow-references%2Fschema-z"
    unnamed = {**schema_body("z", [], **bound), "id": None}
    assert (await admin.put(strange, unnamed)).status == 404
    assert await references(workspace) == []


async def test_a_workflow_of_another_workspace_cannot_be_named(
    workspace: RecordsWorkspace, other_workspace: RecordsWorkspace
):
    await workflow(other_workspace, "life", "draft")
    answer = await workspace.admin.post("/schemas", schema_body("x", [], workflowId="wf-life"))
    assert answer.outcome == refused("Field 'workflowId': Workflow 'wf-life' not found")


async def test_without_workflow_service_only_schemas_without_workflow_are_saved(
    workspace: RecordsWorkspace, servers: Any, keyring: Keyring
):
    async with Services(servers, keyring) as services:
        alone = await services.start(
            create_app, Config, database_url=workspace.records.config.database_url
        )
        caller = workspace.admin.at(alone.url)
        answer = await caller.post("/schemas", schema_body("x", [], workflowId="wf-life"))
        assert (answer.status, answer.body["error"]) == (503, "SERVICE_UNAVAILABLE")
        assert (await caller.get("/schemas")).ok() == []
        assert (await caller.post("/schemas", schema_body("x", []))).status == 201


async def test_a_new_workflow_takes_over_the_records(workspace: RecordsWorkspace, admin: Caller):
    await workspace.attribute("a")
    await workflow(workspace, "old", "draft", "review", "published")
    await workflow(workspace, "new", "idea", "review")
    await workspace.schema("x", ["a"], workflowId="wf-old")
    await workspace.schema("y", ["a"], workflowId="wf-old")
    draft = (await workspace.post_record("x")).ok()
    review = (await workspace.post_record("x")).ok()
    elsewhere = (await workspace.post_record("y")).ok()
    moved = await admin.post(f"/records/{review['id']}/transition", {"toStateId": "review"})
    moved.ok()
    before = len(await workspace.staged())
    (await admin.put("/schemas/schema-x", schema_body("x", ["a"], workflowId="wf-new"))).ok()

    async def state(record: dict[str, Any]) -> tuple[str, str]:
        answer = await admin.get(f"/records/{record['id']}")
        return answer.ok()["lifecycleStateId"], answer.headers["ETag"]

    assert await state(draft) == ("state-idea", '"2"')
    assert await state(review) == ("state-review", '"2"')
    assert await state(elsewhere) == ("state-draft", '"1"')
    history = (await admin.get(f"/records/{draft['id']}/audit")).ok()["items"]
    assert (history[0]["action"], history[0]["fromStateId"], history[0]["toStateId"]) == (
        "transition",
        "state-draft",
        "state-idea",
    )
    assert history[0]["userId"] == "user-admin"
    told = (await workspace.staged())[before:]
    assert [(event.type, event.subject) for event in told] == [
        ("entity.transition", draft["id"]),
        ("schema.updated", "schema-x"),
    ]
    assert told[0].data == {
        "entityId": draft["id"],
        "schemaId": "schema-x",
        "version": 2,
        "lifecycleStateId": "state-idea",
        "userId": "user-admin",
        "changes": [],
        "fromStateId": "state-draft",
        "toStateId": "state-idea",
        "comment": None,
    }


async def test_records_get_a_state_with_the_first_workflow_and_lose_it_with_the_last(
    workspace: RecordsWorkspace, admin: Caller
):
    await workspace.attribute("a")
    await workflow(workspace, "life", "draft", "done")
    await workspace.schema("x", ["a"])
    record = (await workspace.post_record("x")).ok()
    assert record["lifecycleStateId"] is None
    for workflow_id, state_id in (("wf-life", "state-draft"), (None, None)):
        (await admin.put("/schemas/schema-x", schema_body("x", ["a"], workflowId=workflow_id))).ok()
        shown = (await admin.get(f"/records/{record['id']}")).ok()
        assert shown["lifecycleStateId"] == state_id
    history = (await admin.get(f"/records/{record['id']}/audit")).ok()["items"]
    assert [entry["action"] for entry in history] == ["transition", "transition", "create"]


async def test_records_written_during_the_change_of_workflow_are_in_a_known_state(
    workspace: RecordsWorkspace, admin: Caller
):
    await workspace.attribute("a")
    await workflow(workspace, "old", "draft")
    await workflow(workspace, "new", "idea")
    await workspace.schema("x", ["a"], workflowId="wf-old")
    _, *written = await asyncio.gather(
        admin.put("/schemas/schema-x", schema_body("x", ["a"], workflowId="wf-new")),
        *(workspace.post_record("x") for _ in range(10)),
    )
    assert {answer.status for answer in written} == {201}
    records = (await admin.get("/records")).ok()["items"]
    assert {record["lifecycleStateId"] for record in records} == {"state-idea"}


async def test_the_newest_definition_of_a_workflow_counts(
    workspace: RecordsWorkspace, admin: Caller
):
    await workspace.attribute("a")
    made = await workflow(workspace, "life", "draft")
    later = {**made, "version": 9, "defaultStateId": "state-idea"}
    later["states"] = [{"id": "state-idea", "name": "Idea"}]
    async with workspace.database.transaction() as conn:
        await workflow_copies.upsert(conn, workspace.id, later)
    await workspace.schema("x", ["a"])
    record = (await workspace.post_record("x")).ok()
    (await admin.put("/schemas/schema-x", schema_body("x", ["a"], workflowId="wf-life"))).ok()
    shown = (await admin.get(f"/records/{record['id']}")).ok()
    assert shown["lifecycleStateId"] == "state-idea"


async def test_no_record_is_moved_to_a_state_that_is_about_to_go(
    workspace: RecordsWorkspace, admin: Caller
):
    await workflow(workspace, "life", "draft", "done")
    await workspace.attribute("a")
    await workspace.schema("x", ["a"])
    record = (await workspace.post_record("x")).ok()
    bound = schema_body("x", ["a"], workflowId="wf-life")
    (await admin.put("/schemas/schema-x", bound)).ok()
    (await admin.put("/schemas/schema-x", schema_body("x", ["a"], workflowId=None))).ok()
    retiring = workspace.records.as_(identities.admin(workspace.id))
    path = "/internal/workflows/wf-life/retire-states"
    (await retiring.post(path, {"states": ["state-draft"], "version": 2})).ok()
    assert (await admin.put("/schemas/schema-x", bound)).outcome == error(
        503, "SERVICE_UNAVAILABLE", "The workflow of schema 'schema-x' is being changed"
    )
    shown = (await admin.get(f"/records/{record['id']}")).ok()
    assert shown["lifecycleStateId"] is None


async def test_a_schema_with_records_stays(workspace: RecordsWorkspace, admin: Caller):
    await workspace.attribute("a")
    await workspace.schema("x", ["a"])
    record = (await workspace.post_record("x")).ok()
    in_use = error(409, "CONFLICT", "Schema 'schema-x' is in use and cannot be deleted")
    assert (await admin.delete("/schemas/schema-x")).outcome == in_use
    (await admin.delete(f"/records/{record['id']}")).ok()
    assert (await admin.delete("/schemas/schema-x")).outcome == (204, None)


async def test_a_schema_that_relations_point_to_stays(workspace: RecordsWorkspace, admin: Caller):
    await workspace.schema("x", [])
    await workspace.attribute("related", "relation", targetSchemaId="schema-x")
    in_use = error(409, "CONFLICT", "Schema 'schema-x' is in use and cannot be deleted")
    assert (await admin.delete("/schemas/schema-x")).outcome == in_use
    (await admin.delete("/attributes/attr-related")).ok()
    assert (await admin.delete("/schemas/schema-x")).outcome == (204, None)


async def test_a_schema_goes_or_its_first_record_comes_but_never_both(
    workspace: RecordsWorkspace, admin: Caller
):
    await workspace.attribute("a")
    for number in range(5):
        await workspace.schema(f"s{number}", ["a"])
        deleted, *written = await asyncio.gather(
            admin.delete(f"/schemas/schema-s{number}"),
            *(workspace.post_record(f"s{number}") for _ in range(5)),
        )
        statuses = {answer.status for answer in written}
        assert (deleted.status, statuses) in [(204, {404}), (409, {201})]


async def test_values_of_an_attribute_that_leaves_are_kept_out_of_sight(
    workspace: RecordsWorkspace, admin: Caller
):
    for alias in ("a", "b"):
        await workspace.attribute(alias)
    await workspace.schema("x", ["a", "b"])
    record = (await workspace.post_record("x", a="1", b="2")).ok()
    path = f"/records/{record['id']}"
    (await admin.put("/schemas/schema-x", schema_body("x", ["b"]))).ok()
    assert set((await admin.get(path)).ok()["values"]) == {"b"}
    (await admin.put("/schemas/schema-x", schema_body("x", ["a", "b"]))).ok()
    assert (await admin.get(path)).ok()["values"] == record["values"]


async def test_a_schema_keeps_its_workflow_and_groups_where_they_are_left_out(
    workspace: RecordsWorkspace, admin: Caller
):
    await workflow(workspace, "life", "draft", "done")
    await workspace.attribute("a")
    made = await workspace.schema("x", ["a"], workflowId="wf-life")
    record = (await workspace.post_record("x", a="kept")).ok()
    renamed = {"alias": "x", "name": "Renamed", "variantEnabled": False}
    changed = (await admin.put("/schemas/schema-x", renamed)).ok()
    assert changed == {**made, "name": "Renamed", "updatedAt": changed["updatedAt"]}
    assert (await admin.get(f"/records/{record['id']}")).ok() == record
    emptied = {**renamed, "workflowId": None, "attributeGroups": []}
    changed = (await admin.put("/schemas/schema-x", emptied)).ok()
    assert (changed.get("workflowId"), changed["attributeGroups"]) == (None, [])
    read = (await admin.get(f"/records/{record['id']}")).ok()
    assert (read["lifecycleStateId"], read["values"]) == (None, {})


@pytest.mark.parametrize("how", ["unbound", "deleted", "never saved"])
async def test_a_workflow_is_free_at_once_when_its_last_schema_lets_go_of_it(
    workspace: RecordsWorkspace, how: str
):
    """No event is heard in between: in these services none is."""
    flow = workflow_body("free", ("draft",), [])
    (await workspace.workflow_admin.post("/workflows", flow)).ok()
    bound = schema_body("bound", [], attributeGroups=[], workflowId="wf-free")
    if how == "never saved":
        path = "/internal/workflow-references/schema-bound"
        (await workspace.workflow_admin.put(path, {"workflowId": "wf-free"})).ok()
    else:
        (await workspace.admin.post("/schemas", bound)).ok()
        assert (await workspace.workflow_admin.delete("/workflows/wf-free")).status == 409
        if how == "unbound":
            (await workspace.admin.put("/schemas/schema-bound", {**bound, "workflowId": None})).ok()
        else:
            assert (await workspace.admin.delete("/schemas/schema-bound")).status == 204
    assert (await workspace.workflow_admin.delete("/workflows/wf-free")).status == 204
