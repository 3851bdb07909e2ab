"""Roles over HTTP, on the real app and a real database."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from auth_service.users import commands as users
from shared.errors import ApiError
from shared.identity import ADMIN_ROLE, Flag
from tests.kit import identities
from tests.kit.service import RunningService
from tests.kit.sigma import error
from tests.service.auth.other_services import (
    FLAGS,
    WS,
    full_role,
)


async def add_user(auth: RunningService, user_id: str, role_id: str) -> None:
    await users.create(
        auth.database,
        workspace_id=WS,
        user_id=user_id,
        email=f"{user_id}@{WS}",
        name=user_id,
        role_id=role_id,
        password_hash="no hash",
        quick_login=False,
    )


def without_times(role: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in role.items() if name not in ("createdAt", "updatedAt")}


# --- create, read, list


async def test_a_role_is_created_as_asked_and_told_with_its_version(auth):
    admin = auth.as_(identities.admin())
    asked = full_role(
        description="Content, not pricing",
        canExport=True,
        schemaPermissions=[
            {
                "schemaId": "schema-apparel",
                "attributePermissions": {"*": "write", "attr-price": "read"},
            },
            {"schemaId": "*", "attributePermissions": {"*": "read"}},
        ],
        catalogPermissions=[{"catalogId": "cat-webshop", "canView": True, "canAssign": False}],
    )
    made = await admin.post("/roles", asked)
    assert made.status == 201
    assert without_times(made.body) == asked
    assert made.body["createdAt"] == made.body["updatedAt"]
    assert made.body["createdAt"].endswith("Z") and len(made.body["createdAt"]) == 24
    assert made.headers["ETag"] == '"1"'
    assert made.headers["Location"] == "/api/v1/roles/role-editor"
    got = await admin.get("/roles/role-editor")
    assert (got.status, got.body, got.headers["ETag"]) == (200, made.body, '"1"')
    (event,) = await auth.staged()
    assert (event.type, event.source, event.workspace_id, event.subject) == (
        "auth.role.created",
        "/auth_service",
        WS,
        "role-editor",
    )
    assert event.data == {"roleId": "role-editor", "version": 1}


async def test_a_role_without_an_id_gets_one_and_allows_nothing(auth):
    made = (await auth.as_(identities.admin()).post("/roles", {"name": "Editor"})).ok()
    assert made["id"].startswith("role-")
    assert without_times(made) == full_role(id=made["id"])


async def test_the_list_is_a_bare_array_oldest_first(auth):
    admin = auth.as_(identities.admin())
    for role_id in ("role-z", "role-a", "role-m"):
        (await admin.post("/roles", {"id": role_id, "name": role_id})).ok()
    listed = (await admin.get("/roles")).ok()
    assert [role["id"] for role in listed] == [ADMIN_ROLE, "role-z", "role-a", "role-m"]
    assert listed[1] == (await admin.get("/roles/role-z")).ok()


async def test_every_workspace_begins_with_an_administrators_role(auth):
    admin = (await auth.as_(identities.admin()).get("/roles/role-admin")).ok()
    assert without_times(admin) == {
        "id": ADMIN_ROLE,
        "name": "Admin",
        "description": "May do everything. Built in: it cannot be deleted or restricted.",
        **dict.fromkeys(FLAGS, True),
        "schemaPermissions": [{"schemaId": "*", "attributePermissions": {"*": "write"}}],
        "catalogPermissions": [{"catalogId": "*", "canView": True, "canAssign": True}],
    }


async def test_an_id_is_taken_once_in_a_workspace_and_free_in_another(auth):
    admin, other = auth.as_(identities.admin()), auth.as_(identities.admin("ws-other"))
    draft = {"id": "role-x", "name": "X"}
    assert (await admin.post("/roles", draft)).status == 201
    assert (await admin.post("/roles", draft)).outcome == error(
        409, "CONFLICT", "Role with id 'role-x' already exists"
    )
    assert (await other.post("/roles", draft)).status == 201
    assert len(await auth.staged()) == 2


async def test_of_many_creations_of_one_id_at_once_one_wins(auth):
    admin = auth.as_(identities.admin())
    answers = await asyncio.gather(
        *(admin.post("/roles", {"id": "role-x", "name": str(n)}) for n in range(12))
    )
    assert sorted(answer.status for answer in answers) == [201] + [409] * 11
    assert len(await auth.staged()) == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Field 'name' is required"),
        ([], "Body expects type 'object', got 'array'"),
        ({"name": 7}, "Field 'name' expects type 'string', got 'number'"),
        ({"name": ""}, "Field 'name' "),
        ({"name": "x" * 256}, "Field 'name' "),
        ({"name": "a\x00"}, "Field 'name' contains a NUL character"),
        (
            {"name": "X", "id": "Role X"},
            "Field 'id' must match pattern '^[a-z0-9][a-z0-9._-]{0,127}$'",
        ),
        (
            {"name": "X", "canExport": "yes"},
            "Field 'canExport' expects type 'boolean', got 'string'",
        ),
        (
            {"name": "X", "schemaPermissions": {}},
            "Field 'schemaPermissions' expects type 'array', got 'object'",
        ),
        (
            {"name": "X", "schemaPermissions": [{"attributePermissions": {}}]},
            "Field 'schemaPermissions.0.schemaId' is required",
        ),
        (
            {
                "name": "X",
                "schemaPermissions": [{"schemaId": "s", "attributePermissions": {"a": "all"}}],
            },
            "Field 'schemaPermissions.0.attributePermissions.a' ",
        ),
        (
            {"name": "X", "schemaPermissions": [{"schemaId": "s"}, {"schemaId": "s"}]},
            "Schema 's' is listed twice in 'schemaPermissions'",
        ),
        (
            {"name": "X", "catalogPermissions": [{"catalogId": "Ä"}]},
            "Field 'catalogPermissions.0.catalogId' must match pattern ",
        ),
    ],
)
async def test_a_role_that_is_no_role_is_refused_in_words(auth, body, message):
    admin = auth.as_(identities.admin())
    for answer in (await admin.post("/roles", body), await admin.put("/roles/role-admin", body)):
        assert (answer.status, answer.body["error"]) == (400, "VALIDATION_ERROR")
        assert answer.body["message"].startswith(message)
    assert await auth.staged() == []


async def test_an_attribute_key_that_is_no_id_is_refused(auth):
    body = {
        "name": "X",
        "schemaPermissions": [{"schemaId": "s", "attributePermissions": {"Attr X": "read"}}],
    }
    answer = await auth.as_(identities.admin()).post("/roles", body)
    assert answer.status == 400
    assert "Attr X" in answer.body["message"]


# --- update


async def test_a_put_replaces_the_whole_role_and_counts_its_version(auth):
    admin = auth.as_(identities.admin())
    made = (
        await admin.post("/roles", full_role(description="old", canExport=True, canImport=True))
    ).ok()
    answer = await admin.put("/roles/role-editor", {"name": "Writer", "canImport": True})
    assert answer.status == 200
    assert without_times(answer.body) == full_role(name="Writer", canImport=True)
    assert answer.headers["ETag"] == '"2"'
    assert answer.body["createdAt"] == made["createdAt"]
    assert (await admin.get("/roles/role-editor")).body == answer.body
    event = (await auth.staged())[-1]
    assert (event.type, event.version) == ("auth.role.updated", 2)


async def test_what_was_answered_can_be_sent_back(auth):
    admin = auth.as_(identities.admin())
    made = (await admin.post("/roles", full_role())).ok()
    answer = (await admin.put("/roles/role-editor", made)).ok()
    assert without_times(answer) == without_times(made)


async def test_the_id_in_the_body_must_be_the_one_in_the_path(auth):
    admin = auth.as_(identities.admin())
    (await admin.post("/roles", full_role())).ok()
    answer = await admin.put("/roles/role-editor", {"id": "role-y", "name": "X"})
    assert answer.outcome == error(
        400, "VALIDATION_ERROR", "Field 'id' cannot change: expected 'role-editor', got 'role-y'"
    )


async def test_if_match_names_the_version_that_may_be_changed(auth):
    admin = auth.as_(identities.admin())
    (await admin.post("/roles", full_role())).ok()
    body = {"name": "Writer"}
    stale = await admin.put("/roles/role-editor", body, headers={"If-Match": '"7"'})
    assert stale.outcome == error(
        412,
        "PRECONDITION_FAILED",
        "Role 'role-editor' is at version 1; If-Match names another version",
    )
    assert (
        await admin.put("/roles/role-editor", body, headers={"If-Match": 'W/"7", "1"'})
    ).status == 200
    assert (await admin.put("/roles/role-editor", body, headers={"If-Match": "*"})).status == 200
    # A refused change counts nothing.
    assert (await admin.delete("/roles/role-editor", headers={"If-Match": '"1"'})).status == 412
    assert (await admin.delete("/roles/role-editor", headers={"If-Match": '"3"'})).status == 204


async def test_of_two_updates_of_one_version_at_once_one_wins(auth):
    admin = auth.as_(identities.admin())
    (await admin.post("/roles", full_role())).ok()
    answers = await asyncio.gather(
        *(
            admin.put("/roles/role-editor", {"name": str(n)}, headers={"If-Match": '"1"'})
            for n in range(8)
        )
    )
    assert sorted(answer.status for answer in answers) == [200] + [412] * 7


async def test_updates_at_once_get_versions_in_the_order_of_their_commits(auth):
    admin = auth.as_(identities.admin())
    (await admin.post("/roles", full_role())).ok()
    await asyncio.gather(*(admin.put("/roles/role-editor", {"name": str(n)}) for n in range(12)))
    told = await auth.staged()
    assert [event.version for event in told] == list(range(1, 14))
    last = await admin.get("/roles/role-editor")
    assert last.headers["ETag"] == '"13"'


# --- delete


async def test_a_deleted_role_is_gone_and_its_versions_go_on_when_it_comes_back(auth):
    admin = auth.as_(identities.admin())
    (await admin.post("/roles", full_role())).ok()
    answer = await admin.delete("/roles/role-editor")
    assert answer.outcome == (204, None)
    missing = error(404, "NOT_FOUND", "Role 'role-editor' not found")
    assert (await admin.get("/roles/role-editor")).outcome == missing
    assert (await admin.delete("/roles/role-editor")).outcome == missing
    assert (await admin.put("/roles/role-editor", {"name": "X"})).outcome == missing
    again = await admin.post("/roles", full_role())
    assert again.headers["ETag"] == '"3"'
    assert [(event.type, event.version) for event in await auth.staged()] == [
        ("auth.role.created", 1),
        ("auth.role.deleted", 2),
        ("auth.role.created", 3),
    ]


async def test_a_role_that_a_user_holds_stays_also_when_the_user_is_disabled(auth):
    admin = auth.as_(identities.admin())
    (await admin.post("/roles", full_role())).ok()
    await add_user(auth, "user-eva", "role-editor")
    in_use = error(409, "CONFLICT", "Role 'role-editor' is in use and cannot be deleted")
    assert (await admin.delete("/roles/role-editor")).outcome == in_use
    told = await admin.delete("/roles/role-editor", headers={"Accept": "application/problem+json"})
    assert told.body["errors"][0]["detail"].endswith(": users have it (user-eva)")
    await users.disable(auth.database, WS, "user-eva")
    assert (await admin.delete("/roles/role-editor")).outcome == in_use
    await users.set_role(auth.database, WS, "user-eva", ADMIN_ROLE)
    assert (await admin.delete("/roles/role-editor")).status == 204


async def test_of_two_deletions_at_once_one_finds_the_role(auth):
    admin = auth.as_(identities.admin())
    (await admin.post("/roles", full_role())).ok()
    answers = await asyncio.gather(*(admin.delete("/roles/role-editor") for _ in range(6)))
    assert sorted(answer.status for answer in answers) == [204] + [404] * 5
    assert [event.type for event in await auth.staged()].count("auth.role.deleted") == 1


async def test_a_role_is_never_deleted_from_under_a_user_who_is_being_created(auth):
    """Either the role stays, or there is no such user: never a user without a role."""
    admin = auth.as_(identities.admin())
    outcomes = set()
    for attempt in range(12):
        role_id = f"role-{attempt}"
        (await admin.post("/roles", {"id": role_id, "name": "X"})).ok()

        async def create(role_id: str = role_id, attempt: int = attempt) -> str:
            try:
                await add_user(auth, f"user-{attempt}", role_id)
            except ApiError as problem:
                return problem.message
            return "created"

        created, deleted = await asyncio.gather(create(), admin.delete(f"/roles/{role_id}"))
        exists = (await admin.get(f"/roles/{role_id}")).status == 200
        outcomes.add((created == "created", deleted.status, exists))
        if created != "created":
            assert created == f"Role '{role_id}' not found"
    assert outcomes <= {(True, 409, True), (False, 204, False)}


async def test_a_deletion_waits_for_a_user_who_is_being_created(auth):
    """The same race, held open in its middle."""
    admin = auth.as_(identities.admin())
    (await admin.post("/roles", full_role())).ok()
    async with auth.database.transaction() as conn:
        await conn.execute(
            """INSERT INTO users (workspace_id, id, email, name, role_id, password_hash, active,
                                  quick_login, version, created_at, updated_at)
               VALUES ('ws-test', 'user-eva', 'e@x', 'Eva', 'role-editor', '', true, false, 1,
                       now(), now())"""
        )
        deletion = asyncio.create_task(admin.delete("/roles/role-editor"))
        done, _ = await asyncio.wait([deletion], timeout=0.3)
        assert not done
    assert (await deletion).outcome == error(
        409, "CONFLICT", "Role 'role-editor' is in use and cannot be deleted"
    )


async def test_a_role_that_a_gate_names_stays_and_the_workflow_is_told(auth, workflows):
    admin = auth.as_(identities.admin())
    (await admin.post("/roles", full_role())).ok()
    workflows.naming["role-editor"] = ["wf-a", "wf-b"]
    assert (await admin.delete("/roles/role-editor")).outcome == error(
        409,
        "CONFLICT",
        "Role 'role-editor' is in use and cannot be deleted: workflow 'wf-a' names it in a"
        " transition",
    )
    workflows.away = True
    away = await admin.delete("/roles/role-editor")
    assert away.outcome == error(
        503,
        "SERVICE_UNAVAILABLE",
        "Cannot check at the moment whether a workflow names role 'role-editor'",
    )
    assert int(away.headers["Retry-After"]) > 0
    workflows.away = False
    workflows.naming.clear()
    assert (await admin.delete("/roles/role-editor")).status == 204


async def test_a_workflow_that_claims_a_role_while_it_is_being_deleted_is_asked_about(
    auth, workflows
):
    """The save began after the question was answered, and is committed before the deletion."""
    admin = auth.as_(identities.admin())
    (await admin.post("/roles", full_role())).ok()

    async def name_it() -> None:
        workflows.before_answering.clear()
        answer = await admin.post("/internal/roles/missing", {"ids": ["role-editor", "role-x"]})
        assert answer.ok() == {"missing": ["role-x"]}
        workflows.naming["role-editor"] = ["wf-late"]

    workflows.before_answering.append(name_it)
    answer = await admin.delete("/roles/role-editor")
    assert (answer.status, "workflow 'wf-late' names it" in answer.body["message"]) == (409, True)
    assert (await admin.get("/roles/role-editor")).status == 200


async def test_an_id_that_opens_a_gate_still_is_not_used_again(auth, workflows):
    admin = auth.as_(identities.admin())
    (await admin.post("/roles", full_role())).ok()
    (await admin.delete("/roles/role-editor")).ok()
    workflows.naming["role-editor"] = ["wf-old"]
    assert (await admin.post("/roles", full_role())).outcome == error(
        409,
        "CONFLICT",
        "Role id 'role-editor' cannot be used again: workflow 'wf-old' names it in a transition",
    )
    workflows.naming.clear()
    assert (await admin.post("/roles", full_role())).status == 201


# --- the built-in role


async def test_the_built_in_role_cannot_be_deleted_or_stripped(auth):
    admin = auth.as_(identities.admin())
    assert (await admin.delete("/roles/role-admin")).outcome == error(
        409, "CONFLICT", "Role 'role-admin' is built in and cannot be deleted"
    )
    assert (await admin.put("/roles/role-admin", {"name": "Nobody"})).outcome == error(
        409, "CONFLICT", "Role 'role-admin' is built in and its permissions cannot be changed"
    )
    before = (await admin.get("/roles/role-admin")).ok()
    renamed = (await admin.put("/roles/role-admin", before | {"name": "Boss"})).ok()
    assert without_times(renamed) == without_times(before) | {"name": "Boss"}


async def test_nobody_but_an_administrator_touches_the_built_in_role(auth):
    before = (await auth.as_(identities.admin()).get("/roles/role-admin")).ok()
    denied = error(403, "PERMISSION_DENIED", "Permission denied")
    (await auth.as_(identities.admin()).post("/roles", full_role(canManageRoles=True))).ok()
    for caller in (
        auth.as_(identities.user(flags=[Flag.MANAGE_ROLES])),
        auth.as_(identities.api_key()),
    ):
        assert (await caller.put("/roles/role-admin", before | {"name": "Mine"})).outcome == denied
