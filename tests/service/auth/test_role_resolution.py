"""What a role allows, resolved for a schema; and roles as other services read them."""

from __future__ import annotations

import pytest

from shared.identity import ADMIN_ROLE, Flag
from tests.kit import identities
from tests.kit.service import RunningService
from tests.kit.sigma import Caller, error
from tests.service.auth.other_services import (
    WS,
    full_role,
)

# --- resolve


async def test_resolve_answers_the_permission_on_each_attribute_asked_for(auth):
    admin = auth.as_(identities.admin())
    permissions = [
        {"schemaId": "schema-a", "attributePermissions": {"attr-x": "hidden", "attr-y": "read"}},
        {"schemaId": "*", "attributePermissions": {"attr-z": "write"}},
    ]
    (await admin.post("/roles", full_role(schemaPermissions=permissions))).ok()
    body = {"schemaId": "schema-a", "attributeIds": ["attr-x", "y", "attr-z"]}
    assert (await admin.post("/roles/role-editor/resolve", body)).outcome == (
        200,
        {
            "roleId": "role-editor",
            "schemaId": "schema-a",
            "permissions": {"attr-x": "hidden", "attr-y": "read", "attr-z": "write"},
        },
    )
    resolved = (await admin.post("/roles/role-admin/resolve", body)).ok()
    assert set(resolved["permissions"].values()) == {"write"}
    body = {"schemaId": "schema-a", "attributeIds": ["attr-x", "attr-none"]}
    assert (await admin.post("/roles/role-editor/resolve", body)).outcome == error(
        400,
        "VALIDATION_ERROR",
        "Field 'attributeIds.1' names no attribute of schema 'schema-a', got 'attr-none'",
    )


async def test_names_become_ids_so_that_an_alias_may_change(auth, records):
    admin = auth.as_(identities.admin())
    sent = [
        {"schemaId": "a", "attributePermissions": {"*": "write", "x": "hidden", "later": "read"}}
    ]
    stored = [
        {
            "schemaId": "schema-a",
            "attributePermissions": {"*": "write", "attr-x": "hidden", "later": "read"},
        }
    ]
    made = (await admin.post("/roles", full_role(schemaPermissions=sent))).ok()
    assert made["schemaPermissions"] == stored
    changed = (await admin.put("/roles/role-editor", full_role(schemaPermissions=sent))).ok()
    assert changed["schemaPermissions"] == stored
    # Until the role holds its id, a name takes away and gives nothing, also one of before.
    records.attributes["attr-late"] = "later"
    resolved = await admin.post("/roles/role-editor/resolve", {"schemaId": "schema-a"})
    assert resolved.body["permissions"]["attr-late"] == "read"
    records.former["attr-y"] = ["later"]
    resolved = await admin.post("/roles/role-editor/resolve", {"schemaId": "schema-a"})
    assert resolved.body["permissions"] == {
        "attr-x": "hidden",
        "attr-y": "read",
        "attr-z": "write",
        "attr-late": "read",
    }
    twice = [{"schemaId": "schema-a", "attributePermissions": {"x": "hidden", "attr-x": "write"}}]
    assert (await admin.post("/roles", full_role(schemaPermissions=twice))).outcome == error(
        400, "VALIDATION_ERROR", "Attribute 'attr-x' is listed twice in 'attributePermissions'"
    )


async def test_nothing_is_stored_while_nobody_can_say_what_names_mean(auth, records):
    admin = auth.as_(identities.admin())
    (await admin.post("/roles", full_role())).ok()
    records.away = True
    sent = full_role(
        schemaPermissions=[{"schemaId": "schema-a", "attributePermissions": {"x": "hidden"}}]
    )
    for answer in (
        await admin.post("/roles", sent | {"id": "role-new"}),
        await admin.put("/roles/role-editor", sent),
    ):
        assert answer.outcome == error(
            503,
            "SERVICE_UNAVAILABLE",
            "Cannot resolve the names in this role at the moment",
        )
        assert int(answer.headers["Retry-After"]) > 0
    # A role that names nothing needs nobody.
    everything = [{"schemaId": "*", "attributePermissions": {"*": "read"}}]
    assert (
        await admin.put("/roles/role-editor", full_role(schemaPermissions=everything))
    ).status == 200
    assert len(await auth.staged()) == 2


async def test_a_role_with_too_many_names_is_refused_before_anybody_is_asked(auth, records):
    records.away = True
    entries = [
        {
            "schemaId": f"s{n}",
            "attributePermissions": {f"n{n}-{i}": "hidden" for i in range(1_999)},
        }
        for n in range(6)
    ]
    answer = await auth.as_(identities.admin()).post("/roles", full_role(schemaPermissions=entries))
    assert answer.outcome == error(
        400,
        "VALIDATION_ERROR",
        "Field 'schemaPermissions' holds at most 10000 different attributes in all entries"
        " together, got 11994",
    )


# --- nobody grants what they do not hold


@pytest.fixture
async def manager(auth: RunningService) -> Caller:
    """Holds a role that hides `attr-x` and manages roles and schemas."""
    own = full_role(
        id="role-manager",
        canManageRoles=True,
        canManageSchemas=True,
        schemaPermissions=[
            {"schemaId": "*", "attributePermissions": {"*": "write", "attr-x": "hidden"}}
        ],
    )
    (await auth.as_(identities.admin()).post("/roles", own)).ok()
    return auth.as_(
        identities.user(role="role-manager", flags=[Flag.MANAGE_ROLES, Flag.MANAGE_SCHEMAS])
    )


async def test_resolve_is_for_ones_own_role_or_with_the_flag_for_any(auth):
    admin = auth.as_(identities.admin())
    (await admin.post("/roles", full_role())).ok()
    body = {"schemaId": "schema-a", "attributeIds": ["attr-x"]}
    own = auth.as_(identities.user(role="role-editor"))
    assert (await own.post("/roles/role-editor/resolve", body)).status == 200
    for role_id in (ADMIN_ROLE, "role-none"):
        assert (await own.post(f"/roles/{role_id}/resolve", body)).outcome == error(
            403, "PERMISSION_DENIED", "Permission denied"
        )
    manager = auth.as_(identities.user(role="role-editor", flags=[Flag.MANAGE_ROLES]))
    assert (await manager.post("/roles/role-admin/resolve", body)).status == 200
    assert (await manager.post("/roles/role-none/resolve", body)).outcome == error(
        404, "NOT_FOUND", "Role 'role-none' not found"
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Field 'schemaId' is required"),
        (
            {"schemaId": "s", "attributeIds": "attr-x"},
            "Field 'attributeIds' expects type 'array', got 'string'",
        ),
    ],
)
async def test_a_question_that_is_none_is_refused(auth, body, message):
    answer = await auth.as_(identities.admin()).post("/roles/role-admin/resolve", body)
    assert answer.outcome == error(400, "VALIDATION_ERROR", message)


async def test_without_attributes_the_service_that_owns_the_schema_is_asked(auth, records):
    admin = auth.as_(identities.admin())
    permissions = [{"schemaId": "schema-a", "attributePermissions": {"attr-x": "read"}}]
    (await admin.post("/roles", full_role(schemaPermissions=permissions))).ok()
    answer = await admin.post("/roles/role-editor/resolve", {"schemaId": "schema-a"})
    assert answer.body["permissions"] == {
        "attr-x": "read",
        "attr-y": "hidden",
        "attr-z": "hidden",
    }
    assert records.asked == [("schema-a", admin.headers["X-Sigma-Identity"])]
    # What the other service says arrives as it left.
    answer = await admin.post("/roles/role-editor/resolve", {"schemaId": "schema-b"})
    assert answer.outcome == error(404, "NOT_FOUND", "Schema 'schema-b' not found")


async def test_without_that_service_the_answer_is_503(start):
    auth = await start()
    answer = await auth.as_(identities.admin()).post(
        "/roles/role-admin/resolve", {"schemaId": "schema-a"}
    )
    assert answer.outcome == error(503, "SERVICE_UNAVAILABLE", "Service unavailable")
    assert answer.headers["Retry-After"] == "1"


# --- for other services


async def test_another_service_gets_the_whole_role_with_its_version(auth):
    admin = auth.as_(identities.admin())
    made = (await admin.post("/roles", full_role())).ok()
    for caller in (
        admin,
        auth.as_(identities.user()),
        auth.as_(identities.api_key(permissions=[])),
    ):
        assert (await caller.get("/internal/roles/role-editor")).outcome == (
            200,
            {**made, "workspaceId": WS, "version": 1},
        )


async def test_missing_roles_are_told_once_each_in_the_order_asked(auth):
    admin = auth.as_(identities.admin())
    asked = {"ids": ["role-z", "role-admin", "role-a", "role-z"]}
    assert (await admin.post("/internal/roles/missing", asked)).outcome == (
        200,
        {"missing": ["role-z", "role-a"]},
    )
    assert (await admin.post("/internal/roles/missing", {"ids": []})).body == {"missing": []}


async def test_a_service_in_its_own_name_has_no_workspace_to_ask_about(auth):
    service = auth.as_service("workflow_service")
    denied = error(403, "PERMISSION_DENIED", "Permission denied")
    assert (await service.get("/internal/roles/role-admin")).outcome == denied
    assert (await service.post("/internal/roles/missing", {"ids": []})).outcome == denied
    assert (await service.get("/roles")).outcome == denied
