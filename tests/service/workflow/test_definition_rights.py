"""Who may define workflows, and what is asked of other services before one is stored."""

from __future__ import annotations

import asyncio

import pytest

from shared.identity import Flag
from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Caller, error
from tests.service.workflow.other_services import OtherServices, lifecycle
from workflow_service.app import create_app
from workflow_service.config import Config


async def test_roles_at_a_gate_must_exist(admin: Caller, other_services: OtherServices):
    step = {"from": "draft", "to": "review", "allowedRoleIds": ["role-editor", "role-gone"]}
    answer = await admin.post("/workflows", lifecycle(transitions=[step]))
    assert answer.outcome == error(400, "VALIDATION_ERROR", "Unknown role 'role-gone'")
    step["allowedRoleIds"] = ["role-editor"]
    assert (await admin.post("/workflows", lifecycle(transitions=[step]))).status == 201
    assert other_services.asked == [
        ("POST", "/internal/roles/missing", {"ids": ["role-editor", "role-gone"]}),
        ("POST", "/internal/roles/missing", {"ids": ["role-editor"]}),
    ]


async def test_a_role_that_is_gone_keeps_nobody_from_saving_the_workflow(
    admin: Caller, other_services: OtherServices
):
    step = {"from": "draft", "to": "review", "allowedRoleIds": ["role-editor"]}
    saved = (await admin.post("/workflows", lifecycle(transitions=[step]))).ok()
    other_services.roles.clear()
    assert (await admin.put("/workflows/wf-lifecycle", saved)).status == 200
    saved["transitions"][0]["allowedRoleIds"] = ["role-editor", "role-admin"]
    assert (await admin.put("/workflows/wf-lifecycle", saved)).outcome == error(
        400, "VALIDATION_ERROR", "Unknown role 'role-admin'"
    )


async def test_nobody_is_asked_about_no_roles(admin: Caller, other_services: OtherServices):
    assert (await admin.post("/workflows", lifecycle())).status == 201
    assert other_services.asked == []


async def test_without_auth_service_roles_cannot_be_checked(services: Services):
    service = await services.start(create_app, Config)
    step = {"from": "draft", "to": "review", "allowedRoleIds": ["role-editor"]}
    admin = service.as_(identities.admin())
    answer = await admin.post("/workflows", lifecycle(transitions=[step]))
    assert answer.outcome == error(503, "SERVICE_UNAVAILABLE", "Service unavailable")
    assert (await admin.get("/workflows")).outcome == (200, [])


async def test_changing_takes_the_flag_and_reading_does_not(service: RunningService, admin: Caller):
    await admin.post("/workflows", lifecycle())
    denied = error(403, "PERMISSION_DENIED", "Permission denied")
    editor = service.as_(identities.user(flags=set(Flag) - {Flag.MANAGE_SCHEMAS}))
    assert (await editor.get("/workflows")).status == 200
    assert (await editor.get("/workflows/wf-lifecycle")).status == 200
    assert (await editor.post("/workflows", lifecycle(id="wf-b", alias="b"))).outcome == denied
    assert (await editor.put("/workflows/wf-lifecycle", lifecycle())).outcome == denied
    assert (await editor.delete("/workflows/wf-lifecycle")).outcome == denied
    modeller = service.as_(identities.user(flags=[Flag.MANAGE_SCHEMAS]))
    assert (await modeller.put("/workflows/wf-lifecycle", lifecycle())).status == 200
    assert (await modeller.delete("/workflows/wf-lifecycle")).status == 204


@pytest.mark.parametrize(
    ("permission", "statuses"),
    [
        ("read", [200, 200, 403, 403, 403]),
        ("update-model", [403, 403, 201, 200, 403]),
        ("delete-model", [403, 403, 403, 403, 204]),
        ("update-data", [403, 403, 403, 403, 403]),
        ("delete-data", [403, 403, 403, 403, 403]),
    ],
)
async def test_an_api_key_does_what_its_permissions_name(
    service: RunningService, admin: Caller, permission: str, statuses: list[int]
):
    await admin.post("/workflows", lifecycle())
    key = service.as_(identities.api_key(permissions=[permission]))
    answers = [
        await key.get("/workflows"),
        await key.get("/workflows/wf-lifecycle"),
        await key.post("/workflows", lifecycle(id="wf-b", alias="b")),
        await key.put("/workflows/wf-lifecycle", lifecycle()),
        await key.delete("/workflows/wf-lifecycle"),
    ]
    assert [answer.status for answer in answers] == statuses


async def test_a_stranger_is_told_nothing(service: RunningService):
    answer = await service.stranger().get("/workflows")
    assert answer.outcome == error(401, "UNAUTHORIZED", "Missing authentication")


async def test_a_service_cannot_act_as_a_client(service: RunningService):
    answer = await service.as_service("workflow_service").get("/workflows")
    assert answer.outcome == error(403, "PERMISSION_DENIED", "Permission denied")


async def test_nothing_is_stored_while_nobody_can_say_what_names_mean(services: Services):
    service = await services.start(create_app, Config)
    admin = service.as_(identities.admin())
    states = [{"id": "state-draft", "alias": "draft", "hidden": ["cost"]}]
    sent = lifecycle(states=states, transitions=[])
    answer = await admin.post("/workflows", sent)
    assert answer.outcome == error(
        503,
        "SERVICE_UNAVAILABLE",
        "Cannot resolve the names in this workflow at the moment",
    )
    assert int(answer.headers["Retry-After"]) > 0
    assert (await admin.get("/workflows")).body == []


async def test_nothing_is_stored_while_nobody_can_say_what_its_author_may_read(
    service: RunningService, admin: Caller, other_services: OtherServices
):
    """An older records_service resolves names and says no more."""
    other_services.says_what_is_unreadable = False
    author = service.as_(identities.user(flags=[Flag.MANAGE_SCHEMAS]))
    states = [{"id": "state-draft", "alias": "draft", "required": ["sku"]}]
    sent = lifecycle(states=states, transitions=[])
    answer = await author.post("/workflows", sent)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert (await admin.get("/workflows")).body == []
    (await admin.post("/workflows", sent)).ok()
    other_services.says_what_is_unreadable = True
    (await author.post("/workflows", sent | {"id": "wf-other", "alias": "other"})).ok()


async def test_more_names_than_can_be_asked_about_are_refused(admin: Caller):
    states = [{"id": f"state-{n}", "hidden": [f"n{n}-{i}" for i in range(2_000)]} for n in range(6)]
    sent = lifecycle(states=states, defaultStateId="state-0", transitions=[])
    assert (await admin.post("/workflows", sent)).outcome == error(
        400,
        "VALIDATION_ERROR",
        "Field 'states' names at most 10000 different attributes in all lists together, got 12000",
    )


async def test_a_role_is_asked_about_when_the_saves_that_have_begun_are_over(
    service: RunningService, admin: Caller, other_services: OtherServices
):
    step = {"from": "draft", "to": "review", "allowedRoleIds": ["role-editor"]}
    path = "/internal/roles/role-editor/named"
    assert (await admin.post(path)).body == {"workflowIds": []}
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        begun.set()
        await go_on.wait()

    other_services.before_answering.append(hold)
    saving = asyncio.create_task(admin.post("/workflows", lifecycle(transitions=[step])))
    await begun.wait()
    question = asyncio.create_task(admin.post(path))
    await eventually(lambda: _waits_for_a_lock(service))
    assert not question.done()
    go_on.set()
    assert (await saving).status == 201
    assert (await question).body == {"workflowIds": ["wf-lifecycle"]}
    assert (await admin.post("/internal/roles/role-admin/named")).body == {"workflowIds": []}
    foreign = service.as_(identities.admin("ws-other"))
    assert (await foreign.post(path)).body == {"workflowIds": []}
    denied = error(403, "PERMISSION_DENIED", "Permission denied")
    assert (await service.as_(identities.user()).post(path)).outcome == denied


async def _waits_for_a_lock(service: RunningService) -> bool:
    return bool(
        await service.database.fetchval(
            """SELECT count(*) > 0 FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'"""
        )
    )
