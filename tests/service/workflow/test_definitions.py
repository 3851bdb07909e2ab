"""Workflow definitions over HTTP: what is answered, refused, changed and told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit import identities
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Caller, error
from tests.kit.workspace import workflow_body
from tests.service.workflow.other_services import OtherServices, lifecycle
from workflow_service.app import create_app
from workflow_service.config import Config

WORKSPACE = "ws-test"
COLOR = "^#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"


async def test_a_workflow_is_answered_as_it_was_sent_with_what_it_left_out(admin: Caller):
    sent = lifecycle(
        description="How products grow up",
        states=[
            {"id": "state-draft", "name": "Draft", "alias": "draft", "color": "#22c55e"},
            {
                "id": "state-live",
                "hidden": ["attr-cost"],
                "required": ["sku"],
                "readOnly": ["later"],
            },
        ],
        transitions=[
            {
                "id": "tr-publish",
                "name": "Publish",
                "fromStateId": "state-draft",
                "toStateId": "state-live",
                "requiresCompleteness": 99.5,
            },
            {"from": "state-live", "to": "state-draft"},
        ],
    )
    created = await admin.post("/workflows", sent)
    body = created.body
    assert created.status == 201
    assert created.headers["ETag"] == '"1"'
    assert created.headers["Location"] == "/api/v1/workflows/wf-lifecycle"
    assert body == {
        "id": "wf-lifecycle",
        "alias": "lifecycle",
        "name": "lifecycle",
        "labels": {},
        "externalKey": None,
        "description": "How products grow up",
        "defaultStateId": "state-draft",
        "states": [
            {
                "id": "state-draft",
                "name": "Draft",
                "alias": "draft",
                "color": "#22c55e",
                "labels": {},
                "externalKey": None,
                "hidden": [],
                "required": [],
                "readOnly": [],
            },
            {
                "id": "state-live",
                "name": None,
                "alias": None,
                "color": None,
                "labels": {},
                "externalKey": None,
                "hidden": ["attr-cost"],
                "required": ["attr-sku"],
                "readOnly": ["later"],
            },
        ],
        "transitions": [
            {
                "id": "tr-publish",
                "name": "Publish",
                "fromStateId": "state-draft",
                "toStateId": "state-live",
                "allowedRoleIds": [],
                "requiresCompleteness": 99.5,
            },
            {
                "id": body["transitions"][1]["id"],
                "name": None,
                "fromStateId": "state-live",
                "toStateId": "state-draft",
                "allowedRoleIds": [],
                "requiresCompleteness": None,
            },
        ],
        "createdAt": body["createdAt"],
        "updatedAt": body["createdAt"],
    }
    assert body["createdAt"].endswith("Z")
    assert (await admin.get("/workflows/wf-lifecycle")).outcome == (200, body)
    assert (await admin.get("/workflows")).outcome == (200, [body])


async def test_whole_percentages_stay_whole_numbers(admin: Caller):
    await admin.post("/workflows", lifecycle())
    raw = (await admin.get("/workflows/wf-lifecycle")).body["transitions"][0]
    assert repr(raw["requiresCompleteness"]) == "80"


async def test_an_id_is_made_when_none_is_sent(admin: Caller):
    sent = lifecycle()
    del sent["id"]
    body = (await admin.post("/workflows", sent)).ok()
    assert body["id"].startswith("wf-")
    assert (await admin.get(f"/workflows/{body['id']}")).status == 200


async def test_ids_and_aliases_are_taken_once(admin: Caller):
    await admin.post("/workflows", lifecycle())
    assert (await admin.post("/workflows", lifecycle(alias="other"))).outcome == error(
        409, "CONFLICT", "Workflow with id 'wf-lifecycle' already exists"
    )
    assert (await admin.post("/workflows", lifecycle(id="wf-other"))).outcome == error(
        409, "CONFLICT", "Workflow with alias 'lifecycle' already exists"
    )
    await admin.post("/workflows", lifecycle(id="wf-other", alias="other"))
    assert (await admin.put("/workflows/wf-other", lifecycle(id="wf-other"))).outcome == error(
        409, "CONFLICT", "Workflow with alias 'lifecycle' already exists"
    )


async def test_another_workspace_sees_nothing_of_it(service: RunningService, admin: Caller):
    await admin.post("/workflows", lifecycle())
    other = service.as_(identities.admin(workspace="ws-other"))
    missing = error(404, "NOT_FOUND", "Workflow 'wf-lifecycle' not found")
    assert (await other.get("/workflows")).outcome == (200, [])
    assert (await other.get("/workflows/wf-lifecycle")).outcome == missing
    assert (await other.put("/workflows/wf-lifecycle", lifecycle())).outcome == missing
    assert (await other.delete("/workflows/wf-lifecycle")).outcome == missing
    assert (await other.post("/workflows", lifecycle())).status == 201


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alias": None}, "Field 'alias' expects type 'string', got 'null'"),
        ({"name": 7}, "Field 'name' expects type 'string', got 'number'"),
        ({"states": {}}, "Field 'states' expects type 'array', got 'object'"),
        ({"transitions": None}, "Field 'transitions' expects type 'array', got 'null'"),
        ({"states": []}, "Field 'states' must have at least 1 item, got 0"),
        ({"states": [{"name": "Draft"}]}, "Field 'states.0.id' is required"),
        (
            {"id": "Ä"},
            "Field 'id' must match pattern '^[a-z0-9][a-z0-9._-]{0,127}$', got 'Ä'",
        ),
        (
            {"states": [{"id": "state-draft", "color": "x"}]},
            f"Field 'states.0.color' must match pattern '{COLOR}', got 'x'",
        ),
        (
            {"transitions": [{"fromStateId": "state-draft"}]},
            "Field 'transitions.0.toStateId' is required",
        ),
        (
            {"defaultStateId": "state-gone"},
            "Field 'defaultStateId' names unknown state 'state-gone'",
        ),
    ],
)
async def test_what_is_wrong_is_told(admin: Caller, changes: dict[str, Any], message: str):
    answer = await admin.post("/workflows", lifecycle(**changes))
    assert answer.outcome == error(400, "VALIDATION_ERROR", message)


@pytest.mark.parametrize(
    ("minimum", "message"),
    [
        (-1, "must be at least 0, got -1"),
        (100.5, "must be at most 100, got 100.5"),
        ("80", "expects type 'number', got 'string'"),
        (True, "expects type 'number', got 'boolean'"),
    ],
)
async def test_a_minimum_is_a_percentage(admin: Caller, minimum: Any, message: str):
    step = {"from": "draft", "to": "review", "requiresCompleteness": minimum}
    answer = await admin.post("/workflows", lifecycle(transitions=[step]))
    told = f"Field 'transitions.0.requiresCompleteness' {message}"
    assert answer.outcome == error(400, "VALIDATION_ERROR", told)


@pytest.mark.parametrize("field", ["alias", "name", "defaultStateId", "states"])
async def test_required_fields_are_required(admin: Caller, field: str):
    sent = lifecycle()
    del sent[field]
    expected = error(400, "VALIDATION_ERROR", f"Field '{field}' is required")
    assert (await admin.post("/workflows", sent)).outcome == expected
    await admin.post("/workflows", lifecycle())
    assert (await admin.put("/workflows/wf-lifecycle", sent)).outcome == expected


async def test_every_violation_is_told_to_who_asks_for_problems(admin: Caller):
    answer = await admin.post(
        "/workflows",
        lifecycle(defaultStateId="x", transitions=[{"from": "draft", "to": "y"}]),
        headers={"Accept": "application/problem+json"},
    )
    assert [(e["pointer"], e["detail"]) for e in answer.body["errors"]] == [
        ("/defaultStateId", "Field 'defaultStateId' names unknown state 'x'"),
        ("/transitions/0/toStateId", "Field 'transitions.0.toStateId' names unknown state 'y'"),
    ]


async def test_a_change_replaces_the_whole_object(admin: Caller):
    before = (await admin.post("/workflows", lifecycle(description="old"))).ok()
    changed = lifecycle(name="New name")
    answer = await admin.put("/workflows/wf-lifecycle", changed)
    assert answer.status == 200
    assert answer.headers["ETag"] == '"2"'
    assert answer.body == before | {
        "name": "New name",
        "description": None,
        "updatedAt": answer.body["updatedAt"],
    }
    assert answer.body["updatedAt"] > before["updatedAt"]
    assert (await admin.get("/workflows/wf-lifecycle")).outcome == (200, answer.body)


async def test_the_whole_object_can_be_sent_back(admin: Caller):
    before = (await admin.post("/workflows", lifecycle())).ok()
    answer = await admin.put("/workflows/wf-lifecycle", before)
    assert answer.body == before | {"updatedAt": answer.body["updatedAt"]}


async def test_the_body_cannot_rename_the_workflow(admin: Caller):
    await admin.post("/workflows", lifecycle())
    assert (await admin.put("/workflows/wf-lifecycle", lifecycle(id="wf-new"))).outcome == error(
        400, "VALIDATION_ERROR", "Field 'id' cannot change: expected 'wf-lifecycle', got 'wf-new'"
    )


async def test_if_match_refuses_an_older_version(admin: Caller):
    await admin.post("/workflows", lifecycle())
    await admin.put("/workflows/wf-lifecycle", lifecycle(name="second"))
    outdated = {"headers": {"If-Match": '"1"'}}
    expected = error(
        412,
        "PRECONDITION_FAILED",
        "Workflow 'wf-lifecycle' is at version 2; If-Match names another version",
    )
    path = "/workflows/wf-lifecycle"
    assert (await admin.put(path, lifecycle(name="third"), **outdated)).outcome == expected
    assert (await admin.delete(path, **outdated)).outcome == expected
    assert (await admin.get(path)).body["name"] == "second"
    current = {"headers": {"If-Match": '"2"'}}
    assert (await admin.put(path, lifecycle(name="third"), **current)).status == 200
    assert (await admin.delete(path, headers={"If-Match": "*"})).status == 204


async def test_a_state_that_records_are_in_stays(admin: Caller, other_services: OtherServices):
    await admin.post("/workflows", lifecycle())
    other_services.states_in_use = {"state-review"}
    fewer = workflow_body("lifecycle", ("draft", "published"), [("draft", "published")])
    answer = await admin.put("/workflows/wf-lifecycle", fewer)
    assert answer.outcome == error(
        409, "CONFLICT", "State 'state-review' is in use and cannot be deleted"
    )
    assert len((await admin.get("/workflows/wf-lifecycle")).body["states"]) == 3


async def test_a_state_is_retired_before_it_goes(admin: Caller, other_services: OtherServices):
    await admin.post("/workflows", lifecycle())
    fewer = workflow_body("lifecycle", ("draft", "published"), [("draft", "published")])
    assert (await admin.put("/workflows/wf-lifecycle", fewer)).status == 200
    assert other_services.asked == [
        (
            "POST",
            "/internal/workflows/wf-lifecycle/retire-states",
            {"states": ["state-review"], "version": 2},
        )
    ]


async def test_states_are_readmitted_when_the_change_fails(
    admin: Caller, other_services: OtherServices
):
    await admin.post("/workflows", lifecycle())
    await admin.post("/workflows", lifecycle(id="wf-other", alias="other"))
    fewer = workflow_body("lifecycle", ("draft", "published"), [("draft", "published")])
    answer = await admin.put("/workflows/wf-lifecycle", fewer | {"alias": "other"})
    assert answer.outcome == error(409, "CONFLICT", "Workflow with alias 'other' already exists")
    assert [(method, path) for method, path, _ in other_services.asked] == [
        ("POST", "/internal/workflows/wf-lifecycle/retire-states"),
        ("DELETE", "/internal/workflows/wf-lifecycle/retired-states"),
    ]


async def test_without_records_service_no_state_goes(services: Services):
    service = await services.start(create_app, Config)
    admin = service.as_(identities.admin())
    await admin.post("/workflows", lifecycle())
    fewer = workflow_body("lifecycle", ("draft", "published"), [("draft", "published")])
    answer = await admin.put("/workflows/wf-lifecycle", fewer)
    assert answer.outcome == error(503, "SERVICE_UNAVAILABLE", "Service unavailable")
    assert (await admin.put("/workflows/wf-lifecycle", lifecycle(name="new"))).status == 200


async def test_a_deleted_workflow_is_gone(admin: Caller):
    await admin.post("/workflows", lifecycle())
    assert (await admin.delete("/workflows/wf-lifecycle")).outcome == (204, None)
    missing = error(404, "NOT_FOUND", "Workflow 'wf-lifecycle' not found")
    assert (await admin.get("/workflows/wf-lifecycle")).outcome == missing
    assert (await admin.delete("/workflows/wf-lifecycle")).outcome == missing


async def test_every_change_is_told_with_the_whole_definition(
    service: RunningService, admin: Caller
):
    created = (await admin.post("/workflows", lifecycle())).ok()
    changed = (await admin.put("/workflows/wf-lifecycle", lifecycle(name="new"))).ok()
    await admin.delete("/workflows/wf-lifecycle")
    again = (await admin.post("/workflows", lifecycle())).ok()
    told = [
        (event.type, event.source, event.workspace_id, event.subject, event.data)
        for event in await service.staged()
    ]
    assert told == [
        (
            f"workflow.{what}",
            "/workflow_service",
            WORKSPACE,
            "wf-lifecycle",
            {
                "workflowId": "wf-lifecycle",
                "version": version,
                "definition": {**definition, "version": version},
            },
        )
        for what, version, definition in [
            ("created", 1, created),
            ("updated", 2, changed),
            ("deleted", 3, changed),
            # An id that is used again goes on counting, so nobody takes it for old news.
            ("created", 4, again),
        ]
    ]


async def test_what_is_refused_is_not_told(service: RunningService, admin: Caller):
    await admin.post("/workflows", lifecycle(defaultStateId="x"))
    await admin.post("/workflows", lifecycle())
    await admin.post("/workflows", lifecycle())
    await admin.put("/workflows/wf-lifecycle", lifecycle(), headers={"If-Match": '"9"'})
    await admin.delete("/workflows/wf-gone")
    assert [event.type for event in await service.staged()] == ["workflow.created"]


async def test_labels_and_keys_are_kept_by_a_put_without_them(admin: Caller):
    naming = {"labels": {"seg-da": "Udkast"}, "externalKey": "status/1"}
    states = [{"id": "state-draft", **naming}, {"id": "state-live"}]
    plain = [{"id": one["id"]} for one in states]
    made = (await admin.post("/workflows", lifecycle(states=states, transitions=[], **naming))).ok()
    place = f"/workflows/{made['id']}"
    kept = (await admin.put(place, lifecycle(states=plain, transitions=[]))).ok()
    for answer in (made, kept, (await admin.get(place)).ok()):
        assert answer.items() >= naming.items()
        assert answer["states"][0].items() >= naming.items()
        assert answer["states"][1].items() >= {"labels": {}, "externalKey": None}.items()
    nothing: dict[str, Any] = {"labels": {}, "externalKey": None}
    emptied = lifecycle(states=[one | nothing for one in plain], transitions=[], **nothing)
    answer = (await admin.put(place, emptied)).ok()
    assert answer.items() >= nothing.items()
    assert answer["states"][0].items() >= nothing.items()


async def test_an_external_key_has_one_workflow_and_one_state_in_it(admin: Caller):
    made = (await admin.post("/workflows", lifecycle(externalKey="A/1"))).ok()
    other = lifecycle(id="wf-other", alias="other")
    taken = error(409, "CONFLICT", "Workflow with external key 'A/1' already exists")
    assert (await admin.post("/workflows", other | {"externalKey": "A/1"})).outcome == taken
    (await admin.post("/workflows", other)).ok()
    sent = await admin.put("/workflows/wf-other", other | {"externalKey": "A/1"})
    assert sent.outcome == taken
    states = [{"id": f"state-{one}", "externalKey": "1"} for one in ("draft", "live")]
    sent = await admin.put(f"/workflows/{made['id']}", lifecycle(states=states, transitions=[]))
    assert sent.outcome == error(
        400, "VALIDATION_ERROR", "State externalKey '1' is used more than once"
    )
