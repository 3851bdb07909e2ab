"""API keys over HTTP, and what the gateway is told about keys and users."""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import Any

import pytest

from auth_service.app import create_app
from auth_service.config import Config
from auth_service.users import commands as users
from auth_service.workspaces import commands as workspaces
from shared.identity import GATEWAY, Flag, Permission
from tests.kit import identities
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Answer, error

WS = "ws-test"
TOKEN_KEYS = "test=" + "QUFB" * 11 + "QQ=="
DENIED = error(403, "PERMISSION_DENIED", "Permission denied")
BAD_KEY = error(401, "UNAUTHORIZED", "Invalid API key")
BAD_TOKEN = error(401, "UNAUTHORIZED", "Invalid or expired token")


@pytest.fixture
async def auth(services: Services) -> RunningService:
    auth = await services.start(create_app, Config, token_keys=TOKEN_KEYS)
    for workspace_id in (WS, "ws-other"):
        await workspaces.create(auth.database, workspace_id, "Test", 750)
    await auth.database.execute("DELETE FROM outbox")
    return auth


async def new_key(auth: RunningService, **fields: Any) -> dict[str, Any]:
    body = {"name": "Export", "permissions": ["read"], **fields}
    made: dict[str, Any] = (await auth.as_(identities.admin()).post("/api-keys", body)).ok()
    return made


def hash_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


async def who(auth: RunningService, **question: Any) -> Answer:
    return await auth.as_service(GATEWAY).post("/internal/identities", question)


# --- create and list


async def test_a_key_is_shown_once_and_stored_as_its_hash(auth):
    made = await auth.as_(identities.admin()).post(
        "/api-keys",
        {"id": "apikey-sync", "name": "Sync", "permissions": ["update-data", "read", "read"]},
    )
    assert made.status == 201
    assert made.headers["Cache-Control"] == "no-store"
    text, created_at = made.body.pop("key"), made.body["createdAt"]
    assert re.fullmatch(r"sigma_sk_live_[0-9a-z]{32}", text)
    assert made.body == {
        "id": "apikey-sync",
        "name": "Sync",
        "permissions": ["read", "update-data"],
        "active": True,
        "createdAt": created_at,
        "lastUsedAt": None,
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", created_at)
    assert (await auth.as_(identities.admin()).get("/api-keys")).outcome == (200, [made.body])
    row = await auth.database.fetchrow("SELECT k::text AS told, k.key_hash FROM api_keys AS k")
    assert row["key_hash"].hex() == hash_of(text)
    assert text[-32:] not in row["told"]
    (event,) = await auth.staged()
    assert (event.type, event.workspace_id, event.subject) == (
        "auth.key.created",
        WS,
        "apikey-sync",
    )
    assert event.data == {"keyId": "apikey-sync", "version": 1, "keyHash": hash_of(text)}
    assert text not in event.to_json().decode()


async def test_keys_differ_get_ids_and_are_listed_oldest_first(auth):
    made = [await new_key(auth, name=str(n)) for n in range(3)]
    assert len({key["key"] for key in made}) == 3
    assert all(key["id"].startswith("apikey-") for key in made)
    listed = (await auth.as_(identities.admin()).get("/api-keys")).ok()
    assert [key["id"] for key in listed] == [key["id"] for key in made]


async def test_an_id_is_taken_once_also_when_many_want_it(auth):
    admin = auth.as_(identities.admin())
    body = {"id": "apikey-x", "name": "X", "permissions": ["read"]}
    answers = await asyncio.gather(*(admin.post("/api-keys", body) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 7
    assert (await admin.post("/api-keys", body)).outcome == error(
        409, "CONFLICT", "API key with id 'apikey-x' already exists"
    )
    assert (await auth.as_(identities.admin("ws-other")).post("/api-keys", body)).status == 201


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"permissions": ["read"]}, "Field 'name' is required"),
        ({"name": "X"}, "Field 'permissions' is required"),
        ({"name": "", "permissions": ["read"]}, "Field 'name' "),
        ({"name": "X", "permissions": []}, "Field 'permissions' "),
        ({"name": "X", "permissions": "read"}, "Field 'permissions' expects type 'array'"),
        ({"name": "X", "permissions": ["admin"]}, "Field 'permissions.0' must be one of 'read'"),
        ({"name": "X", "permissions": ["read"], "id": "X"}, "Field 'id' must match pattern"),
    ],
)
async def test_a_key_that_is_no_key_is_refused_in_words(auth, body, message):
    answer = await auth.as_(identities.admin()).post("/api-keys", body)
    assert (answer.status, answer.body["error"]) == (400, "VALIDATION_ERROR")
    assert answer.body["message"].startswith(message)
    assert await auth.staged() == []


# --- who may


async def test_only_an_administrator_in_person_handles_keys(auth):
    made = await new_key(auth)
    for caller in (
        auth.as_(identities.user(flags=set(Flag))),
        auth.as_(identities.api_key(permissions=set(Permission))),
    ):
        for answer in (
            await caller.get("/api-keys"),
            await caller.post("/api-keys", {"name": "X", "permissions": ["read"]}),
            await caller.post(f"/api-keys/{made['id']}/deactivate"),
            await caller.delete(f"/api-keys/{made['id']}"),
        ):
            assert answer.outcome == DENIED
    admin_only = auth.as_(identities.user()).having({"Accept": "application/problem+json"})
    assert (await admin_only.get("/api-keys")).body["errors"] == [
        {"pointer": "", "detail": "Only the role 'role-admin' can do this"}
    ]
    stranger = await auth.stranger().get("/api-keys")
    assert stranger.outcome == error(401, "UNAUTHORIZED", "Missing authentication")
    assert (await who(auth, apiKeyHash=hash_of(made["key"]))).status == 200


async def test_another_workspaces_keys_do_not_exist(auth):
    made = await new_key(auth, id="apikey-x")
    foreign = auth.as_(identities.admin("ws-other"))
    missing = error(404, "NOT_FOUND", "API key 'apikey-x' not found")
    assert (await foreign.get("/api-keys")).outcome == (200, [])
    assert (await foreign.post("/api-keys/apikey-x/deactivate")).outcome == missing
    assert (await foreign.delete("/api-keys/apikey-x")).outcome == missing
    assert (await who(auth, apiKeyHash=hash_of(made["key"]))).status == 200


async def test_what_happens_to_a_key_happens_in_one_workspace(auth):
    admin, other = auth.as_(identities.admin()), auth.as_(identities.admin("ws-other"))
    body = {"id": "apikey-x", "name": "X", "permissions": ["read"]}
    for caller in (admin, other):
        (await caller.post("/api-keys", body)).ok()
    before = await other.get("/api-keys")
    (await admin.post("/api-keys/apikey-x/deactivate")).ok()
    (await admin.delete("/api-keys/apikey-x")).ok()
    assert (await other.get("/api-keys")).outcome == before.outcome


# --- the end of a key


async def test_a_deactivated_key_opens_nothing_and_stays_in_the_list(auth):
    made = await new_key(auth, id="apikey-x")
    key_hash = hash_of(made.pop("key"))
    admin = auth.as_(identities.admin())
    assert (await admin.post("/api-keys/apikey-x/deactivate")).outcome == (
        200,
        made | {"active": False},
    )
    assert (await who(auth, apiKeyHash=key_hash)).outcome == BAD_KEY
    assert (await admin.get("/api-keys")).body == [made | {"active": False}]
    # Doing it again changes nothing, and tells nothing.
    assert (await admin.post("/api-keys/apikey-x/deactivate")).status == 200
    assert [(event.type, event.data) for event in await auth.staged()][1:] == [
        (
            "auth.key.deactivated",
            {"keyId": "apikey-x", "version": 2, "keyHash": key_hash},
        )
    ]


async def test_a_deleted_key_opens_nothing_and_is_gone(auth):
    made = await new_key(auth, id="apikey-x")
    key_hash = hash_of(made["key"])
    admin = auth.as_(identities.admin())
    assert (await admin.delete("/api-keys/apikey-x")).outcome == (204, None)
    assert (await who(auth, apiKeyHash=key_hash)).outcome == BAD_KEY
    assert (await admin.get("/api-keys")).body == []
    missing = error(404, "NOT_FOUND", "API key 'apikey-x' not found")
    assert (await admin.delete("/api-keys/apikey-x")).outcome == missing
    assert (await admin.post("/api-keys/apikey-x/deactivate")).outcome == missing
    event = (await auth.staged())[-1]
    assert (event.type, event.data) == (
        "auth.key.deleted",
        {"keyId": "apikey-x", "version": 2, "keyHash": key_hash},
    )


async def test_of_many_who_end_one_key_at_once_each_step_is_told_once(auth):
    await new_key(auth, id="apikey-x")
    admin = auth.as_(identities.admin())
    answers = await asyncio.gather(*(admin.post("/api-keys/apikey-x/deactivate") for _ in range(6)))
    assert {answer.status for answer in answers} == {200}
    answers = await asyncio.gather(*(admin.delete("/api-keys/apikey-x") for _ in range(6)))
    assert sorted(answer.status for answer in answers) == [204] + [404] * 5
    assert [(event.type, event.version) for event in await auth.staged()] == [
        ("auth.key.created", 1),
        ("auth.key.deactivated", 2),
        ("auth.key.deleted", 3),
    ]


# --- what the gateway is told


async def test_a_key_is_told_with_its_permissions_and_its_workspaces_limit(auth):
    made = await new_key(auth, id="apikey-x", permissions=["update-model", "read"])
    assert (await who(auth, apiKeyHash=hash_of(made["key"]))).outcome == (
        200,
        {
            "kind": "api_key",
            "id": "apikey-x",
            "workspaceId": WS,
            "roleId": None,
            "roleVersion": 0,
            "flags": [],
            "permissions": ["read", "update-model"],
            "recordLimit": 750,
        },
    )


async def test_the_last_use_of_a_key_is_noted_at_most_once_a_minute(auth):
    made = await new_key(auth)
    key_hash = hash_of(made["key"])

    async def last_used() -> str | None:
        (key,) = (await auth.as_(identities.admin()).get("/api-keys")).ok()
        used: str | None = key["lastUsedAt"]
        return used

    assert await last_used() is None
    await asyncio.gather(*(who(auth, apiKeyHash=key_hash) for _ in range(6)))
    first = await last_used()
    assert first is not None
    await who(auth, apiKeyHash=key_hash)
    assert await last_used() == first
    await auth.database.execute("UPDATE api_keys SET last_used_at = now() - interval '61 seconds'")
    await who(auth, apiKeyHash=key_hash)
    assert (await last_used() or "") >= first
    assert len(await auth.staged()) == 1


async def add_user(auth: RunningService, role_id: str = "role-admin") -> None:
    await users.create(
        auth.database,
        workspace_id=WS,
        user_id="user-eva",
        email="eva@sigma.io",
        name="Eva",
        role_id=role_id,
        password_hash="no hash",
        quick_login=False,
    )


async def test_a_user_is_told_with_the_role_they_hold_now_and_its_version(auth):
    admin = auth.as_(identities.admin())
    role = {"id": "role-editor", "name": "Editor", "canExport": True}
    (await admin.post("/roles", role)).ok()
    (await admin.put("/roles/role-editor", role | {"canImport": True})).ok()
    await add_user(auth)
    question = {"userId": "user-eva", "workspaceId": WS, "roleId": "role-admin"}
    told = {
        "kind": "user",
        "id": "user-eva",
        "workspaceId": WS,
        "roleId": "role-admin",
        "roleVersion": 1,
        "flags": sorted(Flag),
        "permissions": sorted(Permission),
        "recordLimit": 750,
    }
    assert (await who(auth, **question)).outcome == (200, told)
    # A token that still names the old role does not keep it.
    await users.set_role(auth.database, WS, "user-eva", "role-editor")
    assert (await who(auth, **question)).outcome == (
        200,
        told | {"roleId": "role-editor", "roleVersion": 2, "flags": ["canExport", "canImport"]},
    )
    await workspaces.set_record_limit(auth.database, WS, 10)
    assert (await who(auth, **question)).body["recordLimit"] == 10


async def test_a_user_who_is_disabled_or_unknown_is_nobody(auth):
    await add_user(auth)
    question = {"userId": "user-eva", "workspaceId": WS, "roleId": "role-admin"}
    assert (await who(auth, **question)).status == 200
    assert (await who(auth, **question | {"workspaceId": "ws-other"})).outcome == BAD_TOKEN
    assert (await who(auth, **question | {"userId": "user-none"})).outcome == BAD_TOKEN
    await users.disable(auth.database, WS, "user-eva")
    assert (await who(auth, **question)).outcome == BAD_TOKEN
    await users.enable(auth.database, WS, "user-eva")
    assert (await who(auth, **question)).status == 200


async def test_a_key_that_never_was_is_refused(auth):
    assert (await who(auth, apiKeyHash=hash_of("sigma_sk_live_guess"))).outcome == BAD_KEY


@pytest.mark.parametrize(
    "question",
    [
        {},
        {"userId": "user-eva"},
        {"apiKeyHash": "abc"},
        {"apiKeyHash": "0" * 64, "userId": "user-eva", "workspaceId": WS},
    ],
)
async def test_a_question_about_nobody_or_about_two_is_refused(auth, question):
    answer = await who(auth, **question)
    assert (answer.status, answer.body["error"]) == (400, "VALIDATION_ERROR")


async def test_only_the_gateway_may_ask_who_somebody_is(auth):
    made = await new_key(auth)
    question = {"apiKeyHash": hash_of(made["key"])}
    for caller in (
        auth.as_(identities.admin()),
        auth.as_(identities.api_key()),
        auth.as_service("workflow_service"),
    ):
        assert (await caller.post("/internal/identities", question)).outcome == DENIED
    stranger = await auth.stranger().post("/internal/identities", question)
    assert stranger.outcome == error(401, "UNAUTHORIZED", "Missing authentication")
