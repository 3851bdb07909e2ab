"""Who may change roles, and what they may grant to others."""

from __future__ import annotations

from typing import Any

import pytest

from shared.identity import ADMIN_ROLE, Flag
from tests.kit import identities
from tests.kit.service import RunningService
from tests.kit.sigma import Caller, error
from tests.service.auth.other_services import (
    full_role,
)

# --- who may


async def test_without_the_flag_roles_are_read_only(auth):
    admin = auth.as_(identities.admin())
    (await admin.post("/roles", full_role())).ok()
    reader = auth.as_(identities.user(flags=set(Flag) - {Flag.MANAGE_ROLES}))
    denied = error(403, "PERMISSION_DENIED", "Permission denied")
    assert (await reader.get("/roles")).status == 200
    assert (await reader.get("/roles/role-editor")).status == 200
    assert (await reader.post("/roles", full_role(id="role-y"))).outcome == denied
    assert (await reader.put("/roles/role-editor", full_role())).outcome == denied
    assert (await reader.delete("/roles/role-editor")).outcome == denied


@pytest.mark.parametrize(
    ("permission", "may"),
    [
        ("read", {"list", "get", "resolve"}),
        ("update-model", {"create", "update"}),
        ("delete-model", {"delete"}),
        ("update-data", set()),
        ("delete-data", set()),
    ],
)
async def test_an_api_key_does_what_its_permission_names(auth, permission, may):
    (await auth.as_(identities.admin()).post("/roles", full_role())).ok()
    key = auth.as_(identities.api_key(permissions=[permission]))
    answers = {
        "list": await key.get("/roles"),
        "get": await key.get("/roles/role-editor"),
        "resolve": await key.post(
            "/roles/role-editor/resolve", {"schemaId": "schema-a", "attributeIds": ["x"]}
        ),
        "create": await key.post("/roles", full_role(id="role-y", canManageSchemas=True)),
        "update": await key.put("/roles/role-editor", {"name": "Y"}),
        "delete": await key.delete("/roles/role-editor"),
    }
    assert {name for name, answer in answers.items() if answer.status < 300} == may
    for name, answer in answers.items():
        if name not in may:
            assert answer.outcome == error(403, "PERMISSION_DENIED", "Permission denied")


async def test_a_manager_of_roles_grants_no_more_than_their_own_role_allows(auth):
    admin = auth.as_(identities.admin())
    own = full_role(
        id="role-manager",
        canManageRoles=True,
        canExport=True,
        schemaPermissions=[{"schemaId": "schema-a", "attributePermissions": {"*": "read"}}],
    )
    (await admin.post("/roles", own)).ok()
    manager = auth.as_(identities.user(role="role-manager", flags=[Flag.MANAGE_ROLES, Flag.EXPORT]))
    assert (await manager.post("/roles", {"name": "Fine", "canExport": True})).status == 201
    assert (await manager.post("/roles", {"name": "More", "canImport": True})).outcome == error(
        403,
        "PERMISSION_DENIED",
        "Your own role does not allow 'canImport', so you cannot grant it",
    )
    wider = [{"schemaId": "schema-a", "attributePermissions": {"attr-x": "write"}}]
    assert (
        await manager.put("/roles/role-manager", own | {"schemaPermissions": wider})
    ).outcome == (
        error(
            403,
            "PERMISSION_DENIED",
            "Your own role does not allow 'write' on attribute 'attr-x' of schema 'schema-a',"
            " so you cannot grant it",
        )
    )
    assert (await admin.get("/roles/role-manager")).headers["ETag"] == '"1"'


async def test_what_a_manager_may_grant_is_what_their_role_allows_now(auth):
    """The signed identity may be older than the role."""
    admin = auth.as_(identities.admin())
    (await admin.post("/roles", full_role(id="role-manager", canManageRoles=True))).ok()
    remembered = identities.user(role="role-manager", flags=[Flag.MANAGE_ROLES, Flag.IMPORT])
    answer = await auth.as_(remembered).post("/roles", {"name": "More", "canImport": True})
    assert answer.status == 403
    gone = identities.user(role="role-gone", flags=[Flag.MANAGE_ROLES])
    assert (await auth.as_(gone).post("/roles", {"name": "X"})).status == 403


async def test_another_workspaces_roles_do_not_exist(auth):
    (await auth.as_(identities.admin()).post("/roles", full_role())).ok()
    foreign = auth.as_(identities.admin("ws-other"))
    missing = error(404, "NOT_FOUND", "Role 'role-editor' not found")
    assert (await foreign.get("/roles/role-editor")).outcome == missing
    assert (await foreign.put("/roles/role-editor", {"name": "X"})).outcome == missing
    assert (await foreign.delete("/roles/role-editor")).outcome == missing
    assert (
        await foreign.post("/roles/role-editor/resolve", {"schemaId": "s", "attributeIds": []})
    ).outcome == missing
    assert (await foreign.get("/internal/roles/role-editor")).outcome == missing
    assert (await foreign.post("/internal/roles/missing", {"ids": ["role-editor"]})).body == {
        "missing": ["role-editor"]
    }
    assert [role["id"] for role in (await foreign.get("/roles")).ok()] == [ADMIN_ROLE]


async def test_what_happens_to_a_role_happens_in_one_workspace(auth):
    admin, other = auth.as_(identities.admin()), auth.as_(identities.admin("ws-other"))
    for caller in (admin, other):
        (await caller.post("/roles", full_role())).ok()
    before = await other.get("/roles/role-editor")
    (await admin.put("/roles/role-editor", {"name": "Writer"})).ok()
    (await admin.delete("/roles/role-editor")).ok()
    after = await other.get("/roles/role-editor")
    assert (after.outcome, after.headers["ETag"]) == (before.outcome, before.headers["ETag"])


async def test_a_stranger_is_nobody(auth):
    unauthorized = error(401, "UNAUTHORIZED", "Missing authentication")
    stranger = auth.stranger()
    for answer in (
        await stranger.get("/roles"),
        await stranger.post("/roles/role-admin/resolve", {"schemaId": "s"}),
        await stranger.get("/internal/roles/role-admin"),
        await stranger.post("/internal/roles/missing", {"ids": []}),
    ):
        assert answer.outcome == unauthorized


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


def own_role(**attributes: str) -> dict[str, Any]:
    return full_role(
        id="role-manager",
        canManageRoles=True,
        canManageSchemas=True,
        schemaPermissions=[
            {"schemaId": "*", "attributePermissions": {"*": "write", "attr-x": "hidden"}},
            {"schemaId": "schema-a", "attributePermissions": attributes},
        ],
    )


async def test_an_alias_opens_nothing_that_its_id_does_not(manager):
    assert (await manager.put("/roles/role-manager", own_role(x="write"))).status == 403


async def test_a_name_that_nothing_has_yet_opens_nothing_when_it_is_given(manager, records):
    answer = await manager.put("/roles/role-manager", own_role(zz="write"))
    assert answer.outcome == error(
        403,
        "PERMISSION_DENIED",
        "Attribute 'zz' does not exist yet, so you cannot grant 'write' on it",
    )
    hiding = {"*": "write", "attr-x": "hidden", "zz": "hidden"}
    assert (await manager.put("/roles/role-manager", own_role(**hiding))).status == 200
    words = {"*": "read", "attr-x": "hidden"}
    nowhere = [{"schemaId": "schema-none", "attributePermissions": words}]
    answer = await manager.post("/roles", full_role(schemaPermissions=nowhere))
    assert answer.outcome == error(
        403,
        "PERMISSION_DENIED",
        "Schema 'schema-none' does not exist yet, so you cannot grant 'read' on it",
    )


async def test_what_the_giver_is_denied_by_a_name_to_come_is_denied_to_whom_they_give(
    auth, manager, records
):
    admin = auth.as_(identities.admin())
    own = (await admin.get("/roles/role-manager")).ok()
    own["schemaPermissions"][0]["attributePermissions"]["zz"] = "hidden"
    (await admin.put("/roles/role-manager", own)).ok()
    wide = {"*": "read", "attr-x": "hidden"}
    entries = [{"schemaId": "*", "attributePermissions": {**wide, "zz": "hidden"}}]
    assert (
        await manager.post("/roles", full_role(id="role-1", schemaPermissions=entries))
    ).status == 201
    narrow = [{"schemaId": "*", "attributePermissions": {"attr-y": "read"}}]
    answer = await manager.post("/roles", full_role(id="role-2", schemaPermissions=narrow))
    assert answer.outcome == error(
        403,
        "PERMISSION_DENIED",
        "Your own role restricts attribute 'zz' of schema '*', which does not exist yet, so"
        " every role that you change must restrict it too",
    )
    # The name is that of `attr-y` now, and the giver's role does not hold the id yet.
    records.attributes["attr-y"] = "zz"
    assert (
        await manager.post("/roles", full_role(id="role-2", schemaPermissions=narrow))
    ).status == 403


async def test_a_grant_is_judged_by_the_roles_that_are_there_when_it_is_stored(
    auth, manager, records
):
    """The giver's role is narrowed while records_service is asked."""
    admin = auth.as_(identities.admin())
    own = (await admin.get("/roles/role-manager")).ok()

    async def narrow() -> None:
        records.before_answering.clear()
        own["schemaPermissions"] = []
        (await admin.put("/roles/role-manager", own)).ok()

    records.before_answering.append(narrow)
    given = [{"schemaId": "schema-a", "attributePermissions": {"attr-y": "read"}}]
    answer = await manager.post("/roles", full_role(schemaPermissions=given))
    assert answer.outcome == error(
        403,
        "PERMISSION_DENIED",
        "Your own role does not allow 'read' on attribute 'attr-y' of schema 'schema-a',"
        " so you cannot grant it",
    )
