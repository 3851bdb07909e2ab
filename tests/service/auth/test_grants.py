"""Grants: a service acts for somebody absent, with the rights of this moment."""

from __future__ import annotations

from typing import Any

import pytest

from auth_service.app import create_app
from auth_service.config import Config
from auth_service.users import commands as users
from auth_service.workspaces import commands as workspaces
from shared.errors import Unauthorized
from shared.identity import GATEWAY, Flag, Identity, IdentitySigner, IdentityVerifier, Permission
from tests.kit import identities
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Answer, error
from tests.service.auth.other_services import TOKEN_KEYS

WS, WORKFLOW = "ws-test", "workflow_service"
EVA = {"workspaceId": WS, "kind": "user", "id": "user-eva"}
KEY = {"workspaceId": WS, "kind": "api_key", "id": "apikey-sync"}
DENIED = error(403, "PERMISSION_DENIED", "Permission denied")


@pytest.fixture
async def auth(services: Services) -> RunningService:
    """With a user and an API key, both of which have granted nothing."""
    auth = await services.start(create_app, Config, token_keys=TOKEN_KEYS)
    for workspace_id in (WS, "ws-other"):
        await workspaces.create(auth.database, workspace_id, "Test", 750)
    role = {"id": "role-editor", "name": "Editor"}
    (await auth.as_(identities.admin()).post("/roles", role)).ok()
    await new_user(auth, WS, "role-editor")
    await new_key(auth)
    return auth


async def new_user(auth: RunningService, workspace_id: str, role_id: str) -> None:
    await users.create(
        auth.database,
        workspace_id=workspace_id,
        user_id="user-eva",
        email=f"eva@{workspace_id}.example",
        name="Eva",
        role_id=role_id,
        password_hash="unused",
        quick_login=False,
    )


async def new_key(auth: RunningService) -> None:
    body = {"id": "apikey-sync", "name": "Sync", "permissions": ["read"]}
    (await auth.as_(identities.admin()).post("/api-keys", body)).ok()


def eva() -> Identity:
    return identities.user(role="role-editor", user_id="user-eva")


def key() -> Identity:
    return identities.api_key(permissions=["read"], key_id="apikey-sync")


async def grant(auth: RunningService, caller: Identity, **body: Any) -> Answer:
    return await auth.as_(caller).post("/internal/grants", {"service": WORKFLOW, **body})


async def ask(auth: RunningService, question: dict[str, Any], service: str = WORKFLOW) -> Answer:
    return await auth.as_service(service).post("/internal/grants/identity", question)


async def lent(auth: RunningService, question: dict[str, Any]) -> Identity:
    """The identity as any service verifies it."""
    token = (await ask(auth, question)).ok()["identity"]
    return IdentityVerifier.parse(auth.config.identity_keys).verify(token)


async def test_a_user_is_acted_for_with_the_role_of_this_moment(auth):
    assert (await grant(auth, eva())).status == 204
    assert (await grant(auth, eva())).status == 204
    identity = await lent(auth, EVA)
    assert (identity.kind, identity.id, identity.workspace_id) == ("user", "user-eva", WS)
    assert (identity.role_id, identity.flags, identity.record_limit) == (
        "role-editor",
        frozenset(),
        750,
    )
    role = {"name": "Editor", "canExport": True}
    (await auth.as_(identities.admin()).put("/roles/role-editor", role)).ok()
    changed = await lent(auth, EVA)
    assert changed.flags == {Flag.EXPORT}
    assert changed.role_version > identity.role_version
    await users.set_role(auth.database, WS, "user-eva", "role-admin")
    assert (await lent(auth, EVA)).is_admin


async def test_a_key_is_acted_for_with_its_permissions(auth):
    await grant(auth, key())
    identity = await lent(auth, KEY)
    assert (identity.kind, identity.id, identity.role_id) == ("api_key", "apikey-sync", None)
    assert identity.permissions == {Permission.READ}


@pytest.mark.parametrize("subject", [EVA, KEY], ids=["user", "key"])
async def test_nobody_is_acted_for_who_has_not_granted_it(auth, subject):
    assert (await ask(auth, subject)).outcome == (200, {"absent": "noGrant"})


async def test_a_grant_is_of_one_workspace_and_one_kind(auth):
    await new_user(auth, "ws-other", "role-admin")
    await grant(auth, eva())
    other = EVA | {"workspaceId": "ws-other"}
    assert (await ask(auth, other)).outcome == (200, {"absent": "noGrant"})
    assert (await ask(auth, EVA | {"kind": "api_key"})).outcome == (200, {"absent": "deleted"})


async def test_a_disabled_user_is_not_acted_for_until_enabled(auth):
    await grant(auth, eva())
    await users.disable(auth.database, WS, "user-eva")
    assert (await ask(auth, EVA)).outcome == (200, {"absent": "disabled"})
    await users.enable(auth.database, WS, "user-eva")
    assert (await lent(auth, EVA)).id == "user-eva"


async def test_a_deactivated_key_is_not_acted_for(auth):
    await grant(auth, key())
    (await auth.as_(identities.admin()).post("/api-keys/apikey-sync/deactivate")).ok()
    assert (await ask(auth, KEY)).outcome == (200, {"absent": "disabled"})


async def test_a_deleted_user_is_not_acted_for(auth):
    await grant(auth, eva())
    await users.delete(auth.database, WS, "user-eva")
    assert (await ask(auth, EVA)).outcome == (200, {"absent": "deleted"})
    assert (await grant(auth, eva())).outcome == error(
        404, "NOT_FOUND", "User 'user-eva' not found"
    )


async def test_a_new_key_inherits_nothing_from_a_deleted_one_with_its_id(auth):
    await grant(auth, key())
    assert (await auth.as_(identities.admin()).delete("/api-keys/apikey-sync")).status == 204
    assert (await ask(auth, KEY)).outcome == (200, {"absent": "deleted"})
    await new_key(auth)
    assert (await ask(auth, KEY)).outcome == (200, {"absent": "noGrant"})


async def test_only_the_service_itself_asks_and_only_people_and_keys_grant(auth):
    await grant(auth, eva())
    assert (await ask(auth, EVA, GATEWAY)).outcome == DENIED
    for caller in (eva(), identities.admin()):
        answer = await auth.as_(caller).post("/internal/grants/identity", EVA)
        assert answer.outcome == DENIED
    answer = await auth.as_service(WORKFLOW).post("/internal/grants", {"service": WORKFLOW})
    assert answer.outcome == DENIED
    assert (await grant(auth, eva(), service="gateway")).status == 400


def test_a_service_cannot_speak_for_a_user_but_auth_service_can(keyring):
    verifier = IdentityVerifier.parse(keyring.public)

    def signed_by(issuer: str) -> str:
        return IdentitySigner.parse(keyring.signing_key(issuer)).sign(eva())

    assert verifier.verify(signed_by("auth_service")) == eva()
    with pytest.raises(Unauthorized):
        verifier.verify(signed_by(WORKFLOW))
