"""This service's copy of the workflows: states that are being removed, and late news."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from records_service.app import create_app
from records_service.config import Config
from records_service.reactions import upsert_workflow
from records_service.workflow_copies import store
from shared.database import DATABASE
from shared.events import Event, EventType
from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.sigma import error

WORKSPACE = "ws-test"


def definition(version, *states):
    return {
        "id": "wf-simple",
        "version": version,
        "alias": "simple",
        "name": "Simple",
        "defaultStateId": f"state-{states[0]}",
        "states": [{"id": f"state-{state}", "name": state} for state in states],
        "transitions": [],
    }


@pytest.fixture
async def service(services):
    """records_service beside another service that knows one workflow, in version 1."""

    async def register(_request):
        return web.json_response(definition(1, "draft", "review"))

    other_service = web.Application()
    other_service.router.add_put("/internal/workflow-references/{schema}", register)
    url = await services.serve(other_service)
    return await services.start(create_app, Config, auth_url=url, workflow_url=url)


@pytest.fixture
async def admin(service):
    caller = service.as_(identities.admin())
    schema = {
        "id": "schema-a",
        "alias": "a",
        "name": "A",
        "variantEnabled": False,
        "workflowId": "wf-simple",
    }
    (await caller.post("/schemas", schema)).ok()
    return caller


async def hear(service, told, workspace=WORKSPACE):
    event = Event(
        EventType.WORKFLOW_UPDATED,
        "/workflow_service",
        workspace,
        told["id"],
        {"workflowId": told["id"], "version": told["version"], "definition": told},
    )
    async with service.app[DATABASE].transaction() as conn:
        await upsert_workflow(conn, event)


async def create(admin):
    return await admin.post("/records", {"schemaId": "schema-a"})


async def retire(admin, states, version):
    return await admin.post(
        "/internal/workflows/wf-simple/retire-states", {"states": states, "version": version}
    )


async def push_time(service):
    """As if everything had been looked at a minute earlier."""
    await service.database.execute(
        "UPDATE lifecycles SET retired_checked_at = retired_checked_at - interval '1 minute'"
    )


async def claim(service, limit=10):
    due = {"afterSeconds": 30, "limit": limit}
    caller = service.as_service("workflow_service")
    return (await caller.post("/internal/retirements/claim", due)).ok()["retirements"]


async def reinstate(service, claimed):
    caller = service.as_service("workflow_service")
    return (await caller.post("/internal/retirements/readmit", claimed)).ok()["readmitted"]


async def test_a_state_that_a_record_is_in_cannot_be_retired(admin):
    record = (await create(admin)).ok()
    assert (await retire(admin, ["state-draft"], 2)).outcome == error(
        409,
        "CONFLICT",
        f"State 'state-draft' is in use and cannot be deleted: record '{record['id']}', and maybe"
        " others, are in it",
    )
    assert (await create(admin)).status == 201


async def test_no_record_is_born_into_a_state_that_is_going(service, admin):
    assert (await retire(admin, ["state-draft"], 2)).status == 204
    refused = await create(admin)
    assert (refused.status, refused.body["error"]) == (503, "SERVICE_UNAVAILABLE")
    await hear(service, definition(2, "review"))
    assert (await create(admin)).ok()["lifecycleStateId"] == "state-review"


async def test_late_news_of_an_earlier_version_does_not_readmit_a_state(service, admin):
    assert (await retire(admin, ["state-draft"], 3)).status == 204
    await hear(service, definition(2, "draft", "review"))
    assert (await create(admin)).status == 503
    await hear(service, definition(3, "review"))
    assert (await create(admin)).ok()["lifecycleStateId"] == "state-review"


async def test_a_state_that_stays_after_all_is_open_again(admin):
    assert (await retire(admin, ["state-draft"], 2)).status == 204
    assert (await admin.delete("/internal/workflows/wf-simple/retired-states")).status == 204
    assert (await create(admin)).status == 201


async def test_a_retirement_that_the_definition_has_overtaken_comes_too_late(service, admin):
    await hear(service, definition(2, "review"))
    assert (await retire(admin, ["state-review"], 2)).status == 204
    assert (await create(admin)).ok()["lifecycleStateId"] == "state-review"


async def test_what_is_retired_for_long_is_claimed_once_and_readmitted(service, admin):
    (await retire(admin, ["state-draft"], 2)).ok()
    assert await claim(service) == []
    await push_time(service)
    (claimed,) = await claim(service)
    assert (claimed["workspaceId"], claimed["workflowId"], claimed["version"]) == (
        WORKSPACE,
        "wf-simple",
        2,
    )
    assert await claim(service) == []
    assert await reinstate(service, claimed) is True
    assert (await create(admin)).status == 201
    await push_time(service)
    assert await claim(service) == []
    assert await reinstate(service, claimed) is False


async def test_late_word_of_a_dead_revision_does_not_readmit_for_the_next_one(service, admin):
    """Both would have made the same version."""
    (await retire(admin, ["state-draft"], 2)).ok()
    await push_time(service)
    (claimed,) = await claim(service)
    (await retire(admin, ["state-draft"], 2)).ok()
    assert await reinstate(service, claimed) is False
    assert (await create(admin)).status == 503


async def test_late_word_of_one_claim_does_not_readmit_after_the_next_one(service, admin):
    (await retire(admin, ["state-draft"], 2)).ok()
    await push_time(service)
    (first,) = await claim(service)
    await push_time(service)
    (second,) = await claim(service)
    assert await reinstate(service, first) is False
    assert await reinstate(service, second) is True


async def test_what_nobody_looked_at_for_longest_is_claimed_first(service, admin):
    for workspace in ("ws-a", "ws-b"):
        await hear(service, definition(1, "draft", "review"), workspace)
        caller = service.as_(identities.admin(workspace=workspace))
        (await retire(caller, ["state-draft"], 2)).ok()
    await push_time(service)
    turns = [[one["workspaceId"] for one in await claim(service, limit=1)] for _ in range(3)]
    assert turns == [["ws-a"], ["ws-b"], []]


async def test_what_speaks_of_all_workspaces_is_for_services_alone(admin):
    denied = error(403, "PERMISSION_DENIED", "Permission denied")
    due = {"afterSeconds": 1, "limit": 1}
    one = {
        "workspaceId": "ws-other",
        "workflowId": "wf-simple",
        "version": 2,
        "checkedAt": "2026-01-01T00:00:00Z",
    }
    assert (await admin.post("/internal/retirements/claim", due)).outcome == denied
    assert (await admin.post("/internal/retirements/readmit", one)).outcome == denied


async def test_what_is_asked_of_workflows_is_for_those_who_may_change_them(service, admin):
    denied = error(403, "PERMISSION_DENIED", "Permission denied")
    user = service.as_(identities.user())
    asked = {"references": []}
    assert (await admin.post("/internal/workflow-references/check", asked)).outcome == denied
    gateway = service.as_service("gateway")
    assert (await gateway.post("/internal/workflow-references/check", asked)).outcome == denied
    workflow = service.as_service("workflow_service")
    assert (await workflow.post("/internal/workflow-references/check", asked)).status == 200
    for caller in (user, workflow):
        assert (await retire(caller, ["state-draft"], 2)).outcome == denied
        readmitted = await caller.delete("/internal/workflows/wf-simple/retired-states")
        assert readmitted.outcome == denied
        assert (await caller.post("/internal/workflows/wf-simple/binds")).outcome == denied


async def test_a_workflow_is_free_when_the_saves_that_have_begun_are_over(service, admin):
    path = "/internal/workflows/wf-simple/binds"
    assert (await admin.post(path)).body == {"bound": True}
    assert (await admin.post("/internal/workflows/wf-other/binds")).body == {"bound": False}
    foreign = service.as_(identities.admin("ws-other"))
    assert (await foreign.post(path)).body == {"bound": False}
    schema = (await admin.get("/schemas/schema-a")).ok()
    (await admin.put("/schemas/schema-a", {**schema, "workflowId": None})).ok()
    async with service.app[DATABASE].transaction() as conn:
        await store.binding(conn, WORKSPACE)
        question = asyncio.create_task(admin.post(path))
        await eventually(lambda: waits_for_a_lock(service))
        assert not question.done()
        await conn.execute(
            """UPDATE schemas SET body = jsonb_set(body, '{workflowId}', '"wf-simple"')"""
        )
    assert (await question).body == {"bound": True}


async def test_a_schema_is_bound_under_the_lock_that_deletions_wait_for(services):
    """Its reference is registered when the lock is held already."""
    held = []

    async def register(request):
        if request.headers.get("Prefer") == "dry-run":  # It asks whose alias a name is.
            return web.json_response(definition(1, "draft", "review"))
        held.append(
            await records.database.fetchval(
                """SELECT count(*) FROM pg_locks
                    WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted
                      AND database = (SELECT oid FROM pg_database
                                       WHERE datname = current_database())"""
            )
        )
        return web.json_response(definition(1, "draft", "review"))

    other_service = web.Application()
    other_service.router.add_put("/internal/workflow-references/{schema}", register)
    url = await services.serve(other_service)
    records = await services.start(create_app, Config, auth_url=url, workflow_url=url)
    caller = records.as_(identities.admin())
    body = {"id": "schema-a", "alias": "a", "name": "A", "variantEnabled": False}
    (await caller.post("/schemas", {**body, "workflowId": "wf-simple"})).ok()
    (await caller.put("/schemas/schema-a", {**body, "workflowId": "wf-simple"})).ok()
    assert held == [1, 1]


async def waits_for_a_lock(service):
    return await service.database.fetchval(
        """SELECT count(*) > 0 FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'"""
    )


async def test_old_news_changes_nothing(service, admin):
    await hear(service, definition(5, "fresh"))
    await hear(service, definition(4, "stale"))
    assert (await create(admin)).ok()["lifecycleStateId"] == "state-fresh"


async def test_references_are_compared_within_their_workspace(service, admin):
    def reference(workspace_id: str, schema_id: str, workflow_id: str) -> dict[str, str]:
        return {"workspaceId": workspace_id, "schemaId": schema_id, "workflowId": workflow_id}

    bound = reference(WORKSPACE, "schema-a", "wf-simple")
    stale = [
        reference(WORKSPACE, "schema-a", "wf-other"),
        reference(WORKSPACE, "schema-gone", "wf-simple"),
        reference("ws-other", "schema-a", "wf-simple"),
    ]
    workflow = service.as_service("workflow_service")
    asked = {"references": [stale[2], bound, *stale[:2]]}
    answer = (await workflow.post("/internal/workflow-references/check", asked)).ok()
    assert sorted(map(str, answer["stale"])) == sorted(map(str, stale))


async def test_a_copy_goes_with_its_workflow_and_not_at_an_older_version(service, admin):
    async with service.app[DATABASE].acquire() as conn:
        for version, is_there in ((0, True), (2, False)):
            await store.delete(conn, WORKSPACE, "wf-simple", version)
            copies = await store.get_many(conn, WORKSPACE, ["wf-simple"])
            assert bool(copies) == is_there
