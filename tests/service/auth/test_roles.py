"""Roles over HTTP, on the real app and a real database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from auth_service.app import create_app
from auth_service.config import Config
from auth_service.users import commands as users
from auth_service.workspaces import commands as workspaces
from shared.errors import ApiError
from shared.identity import ADMIN_ROLE, Flag
from tests.kit import identities
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Caller, error

WS = "ws-test"
FLAGS = [flag.value for flag in Flag]
TOKEN_KEYS = "test=" + "QUFB" * 11 + "QQ=="

NOBODYS_FLAGS = dict.fromkeys(FLAGS, False)

Start = Callable[..., Awaitable[RunningService]]


@pytest.fixture
def start(services: Services) -> Start:
    async def started(**settings: Any) -> RunningService:
        auth = await services.start(create_app, Config, token_keys=TOKEN_KEYS, **settings)
        if "database_url" not in settings:
            for workspace_id in (WS, "ws-other"):
                await workspaces.create(auth.database, workspace_id, "Test", 500)
            await auth.database.execute("DELETE FROM outbox")
        return auth

    return started


class Records:
    """records_service as these tests need it: one schema with three attributes."""

    def __init__(self) -> None:
        self.attributes = {"attr-x": "x", "attr-y": "y", "attr-z": "z"}
        self.schemas = {"schema-a": "a", "schema-apparel": "apparel"}
        self.former = {"attr-z": ["once-z"]}
        self.model_version = 7
        self.away = False
        self.before_answering: list[Callable[[], Awaitable[Any]]] = []
        self.after_looking: list[Callable[[], Awaitable[Any]]] = []
        self.asked: list[tuple[str, str | None]] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/internal/names", self._names)
        app.router.add_get("/internal/schemas/{id}/names", self._attributes)
        return app

    async def _names(self, request: web.Request) -> web.StreamResponse:
        if self.away:
            message = "Service unavailable"
            return web.json_response(
                {"error": "SERVICE_UNAVAILABLE", "message": message}, status=503
            )
        asked = await request.json()
        for happens in self.before_answering:
            await happens()

        def ids(names: list[str], known: dict[str, str]) -> dict[str, str]:
            by_name = {alias: one for one, alias in known.items()} | {one: one for one in known}
            return {name: by_name[name] for name in names if name in by_name}

        answer = {
            "modelVersion": self.model_version,
            "schemas": ids(asked["schemas"], self.schemas),
            "attributes": ids(asked["attributes"], self.attributes),
        }
        for happens in self.after_looking:
            await happens()
        return web.json_response(answer)

    async def _attributes(self, request: web.Request) -> web.StreamResponse:
        schema_id = request.match_info["id"]
        self.asked.append((schema_id, request.headers.get("X-Sigma-Identity")))
        if schema_id not in self.schemas:
            message = f"Schema '{schema_id}' not found"
            return web.json_response({"error": "NOT_FOUND", "message": message}, status=404)
        return web.json_response(
            {
                "id": schema_id,
                "aliases": [self.schemas[schema_id]],
                "attributes": [
                    {"id": one, "alias": alias, "aliases": [alias, *self.former.get(one, [])]}
                    for one, alias in self.attributes.items()
                ],
            }
        )


class Workflows:
    """workflow_service as these tests need it: which workflows name a role."""

    def __init__(self) -> None:
        self.naming: dict[str, list[str]] = {}
        self.away = False
        self.before_answering: list[Callable[[], Awaitable[Any]]] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/internal/roles/{id}/named", self._named)
        return app

    async def _named(self, request: web.Request) -> web.StreamResponse:
        if self.away:
            told = {"error": "SERVICE_UNAVAILABLE", "message": "Service unavailable"}
            return web.json_response(told, status=503)
        named_by = self.naming.get(request.match_info["id"], [])
        for happens in self.before_answering:
            await happens()
        return web.json_response({"workflowIds": named_by})


@pytest.fixture
def workflows() -> Workflows:
    return Workflows()


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
async def auth(
    start: Start, services: Services, records: Records, workflows: Workflows
) -> RunningService:
    return await start(
        records_url=await services.serve(records.app()),
        workflow_url=await services.serve(workflows.app()),
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


def full_role(**fields: Any) -> dict[str, Any]:
    """A role as it is answered, but for the two times."""
    return {
        "id": "role-editor",
        "name": "Editor",
        "description": None,
        **NOBODYS_FLAGS,
        "schemaPermissions": [],
        "catalogPermissions": [],
        **fields,
    }


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
    assert (await admin.post("/roles", draft)).told == error(
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
    assert answer.told == error(
        400, "VALIDATION_ERROR", "Field 'id' cannot change: expected 'role-editor', got 'role-y'"
    )


async def test_if_match_names_the_version_that_may_be_changed(auth):
    admin = auth.as_(identities.admin())
    (await admin.post("/roles", full_role())).ok()
    body = {"name": "Writer"}
    stale = await admin.put("/roles/role-editor", body, headers={"If-Match": '"7"'})
    assert stale.told == error(
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
    assert answer.told == (204, None)
    missing = error(404, "NOT_FOUND", "Role 'role-editor' not found")
    assert (await admin.get("/roles/role-editor")).told == missing
    assert (await admin.delete("/roles/role-editor")).told == missing
    assert (await admin.put("/roles/role-editor", {"name": "X"})).told == missing
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
    assert (await admin.delete("/roles/role-editor")).told == in_use
    await users.disable(auth.database, WS, "user-eva")
    assert (await admin.delete("/roles/role-editor")).told == in_use
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
    assert (await deletion).told == error(
        409, "CONFLICT", "Role 'role-editor' is in use and cannot be deleted"
    )


async def test_a_role_that_a_gate_names_stays_and_the_workflow_is_told(auth, workflows):
    admin = auth.as_(identities.admin())
    (await admin.post("/roles", full_role())).ok()
    workflows.naming["role-editor"] = ["wf-a", "wf-b"]
    assert (await admin.delete("/roles/role-editor")).told == error(
        409,
        "CONFLICT",
        "Role 'role-editor' is in use and cannot be deleted: workflow 'wf-a' names it in a"
        " transition",
    )
    workflows.away = True
    away = await admin.delete("/roles/role-editor")
    assert away.told == error(
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
    assert (await admin.post("/roles", full_role())).told == error(
        409,
        "CONFLICT",
        "Role id 'role-editor' cannot be used again: workflow 'wf-old' names it in a transition",
    )
    workflows.naming.clear()
    assert (await admin.post("/roles", full_role())).status == 201


# --- the built-in role


async def test_the_built_in_role_cannot_be_deleted_or_stripped(auth):
    admin = auth.as_(identities.admin())
    assert (await admin.delete("/roles/role-admin")).told == error(
        409, "CONFLICT", "Role 'role-admin' is built in and cannot be deleted"
    )
    assert (await admin.put("/roles/role-admin", {"name": "Nobody"})).told == error(
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
        assert (await caller.put("/roles/role-admin", before | {"name": "Mine"})).told == denied


# --- who may


async def test_without_the_flag_roles_are_read_only(auth):
    admin = auth.as_(identities.admin())
    (await admin.post("/roles", full_role())).ok()
    reader = auth.as_(identities.user(flags=set(Flag) - {Flag.MANAGE_ROLES}))
    denied = error(403, "PERMISSION_DENIED", "Permission denied")
    assert (await reader.get("/roles")).status == 200
    assert (await reader.get("/roles/role-editor")).status == 200
    assert (await reader.post("/roles", full_role(id="role-y"))).told == denied
    assert (await reader.put("/roles/role-editor", full_role())).told == denied
    assert (await reader.delete("/roles/role-editor")).told == denied


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
            assert answer.told == error(403, "PERMISSION_DENIED", "Permission denied")


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
    assert (await manager.post("/roles", {"name": "More", "canImport": True})).told == error(
        403,
        "PERMISSION_DENIED",
        "Your own role does not allow 'canImport', so you cannot grant it",
    )
    wider = [{"schemaId": "schema-a", "attributePermissions": {"attr-x": "write"}}]
    assert (await manager.put("/roles/role-manager", own | {"schemaPermissions": wider})).told == (
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
    assert (await foreign.get("/roles/role-editor")).told == missing
    assert (await foreign.put("/roles/role-editor", {"name": "X"})).told == missing
    assert (await foreign.delete("/roles/role-editor")).told == missing
    assert (
        await foreign.post("/roles/role-editor/resolve", {"schemaId": "s", "attributeIds": []})
    ).told == missing
    assert (await foreign.get("/internal/roles/role-editor")).told == missing
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
    assert (after.told, after.headers["ETag"]) == (before.told, before.headers["ETag"])


async def test_a_stranger_is_nobody(auth):
    unauthorized = error(401, "UNAUTHORIZED", "Missing authentication")
    stranger = auth.stranger()
    for answer in (
        await stranger.get("/roles"),
        await stranger.post("/roles/role-admin/resolve", {"schemaId": "s"}),
        await stranger.get("/internal/roles/role-admin"),
        await stranger.post("/internal/roles/missing", {"ids": []}),
    ):
        assert answer.told == unauthorized


# --- resolve


async def test_resolve_answers_the_permission_on_each_attribute_asked_for(auth):
    admin = auth.as_(identities.admin())
    permissions = [
        {"schemaId": "schema-a", "attributePermissions": {"attr-x": "hidden", "attr-y": "read"}},
        {"schemaId": "*", "attributePermissions": {"attr-z": "write"}},
    ]
    (await admin.post("/roles", full_role(schemaPermissions=permissions))).ok()
    body = {"schemaId": "schema-a", "attributeIds": ["attr-x", "y", "attr-z"]}
    assert (await admin.post("/roles/role-editor/resolve", body)).told == (
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
    assert (await admin.post("/roles/role-editor/resolve", body)).told == error(
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
    assert (await admin.post("/roles", full_role(schemaPermissions=twice))).told == error(
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
        assert answer.told == error(
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
    assert answer.told == error(
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
    assert answer.told == error(
        403,
        "PERMISSION_DENIED",
        "Attribute 'zz' does not exist yet, so you cannot grant 'write' on it",
    )
    hiding = {"*": "write", "attr-x": "hidden", "zz": "hidden"}
    assert (await manager.put("/roles/role-manager", own_role(**hiding))).status == 200
    words = {"*": "read", "attr-x": "hidden"}
    nowhere = [{"schemaId": "schema-none", "attributePermissions": words}]
    answer = await manager.post("/roles", full_role(schemaPermissions=nowhere))
    assert answer.told == error(
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
    assert answer.told == error(
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
    assert answer.told == error(
        403,
        "PERMISSION_DENIED",
        "Your own role does not allow 'read' on attribute 'attr-y' of schema 'schema-a',"
        " so you cannot grant it",
    )


async def test_resolve_is_for_ones_own_role_or_with_the_flag_for_any(auth):
    admin = auth.as_(identities.admin())
    (await admin.post("/roles", full_role())).ok()
    body = {"schemaId": "schema-a", "attributeIds": ["attr-x"]}
    own = auth.as_(identities.user(role="role-editor"))
    assert (await own.post("/roles/role-editor/resolve", body)).status == 200
    for role_id in (ADMIN_ROLE, "role-none"):
        assert (await own.post(f"/roles/{role_id}/resolve", body)).told == error(
            403, "PERMISSION_DENIED", "Permission denied"
        )
    manager = auth.as_(identities.user(role="role-editor", flags=[Flag.MANAGE_ROLES]))
    assert (await manager.post("/roles/role-admin/resolve", body)).status == 200
    assert (await manager.post("/roles/role-none/resolve", body)).told == error(
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
    assert answer.told == error(400, "VALIDATION_ERROR", message)


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
    assert answer.told == error(404, "NOT_FOUND", "Schema 'schema-b' not found")


async def test_without_that_service_the_answer_is_503(start):
    auth = await start()
    answer = await auth.as_(identities.admin()).post(
        "/roles/role-admin/resolve", {"schemaId": "schema-a"}
    )
    assert answer.told == error(503, "SERVICE_UNAVAILABLE", "Service unavailable")
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
        assert (await caller.get("/internal/roles/role-editor")).told == (
            200,
            {**made, "workspaceId": WS, "version": 1},
        )


async def test_missing_roles_are_told_once_each_in_the_order_asked(auth):
    admin = auth.as_(identities.admin())
    asked = {"ids": ["role-z", "role-admin", "role-a", "role-z"]}
    assert (await admin.post("/internal/roles/missing", asked)).told == (
        200,
        {"missing": ["role-z", "role-a"]},
    )
    assert (await admin.post("/internal/roles/missing", {"ids": []})).body == {"missing": []}


async def test_a_service_in_its_own_name_has_no_workspace_to_ask_about(auth):
    service = auth.as_service("workflow_service")
    denied = error(403, "PERMISSION_DENIED", "Permission denied")
    assert (await service.get("/internal/roles/role-admin")).told == denied
    assert (await service.post("/internal/roles/missing", {"ids": []})).told == denied
    assert (await service.get("/roles")).told == denied
