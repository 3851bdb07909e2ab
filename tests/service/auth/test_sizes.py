"""How much a workspace may have of roles and API keys, and how they are listed and told of."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Any

import pytest
from aiohttp import web

from auth_service.app import create_app
from auth_service.config import Config
from auth_service.workspaces import commands as workspaces
from shared.database import listing
from tests.kit import identities
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Caller, error
from tests.service.conftest import Rendered

WS = "ws-test"
TOKEN_KEYS = "test=" + "QUFB" * 11 + "QQ=="


async def _nothing_named(_request: web.Request) -> web.Response:
    return web.json_response({"workflowIds": []})


async def started(services: Services, **settings: Any) -> tuple[RunningService, Caller]:
    workflows = web.Application()
    workflows.router.add_post("/internal/roles/{id}/named", _nothing_named)
    settings["workflow_url"] = await services.serve(workflows)
    auth = await services.start(create_app, Config, token_keys=TOKEN_KEYS, **settings)
    if "database_url" not in settings:
        for workspace_id in (WS, "ws-other"):
            await workspaces.create(auth.database, workspace_id, "Test", 500)
        await auth.database.execute("DELETE FROM outbox")
    return auth, auth.as_(identities.admin())


def role(name: str, **more: Any) -> dict[str, Any]:
    return {"id": f"role-{name}", "name": name, **more}


def key(name: str) -> dict[str, Any]:
    return {"id": f"apikey-{name}", "name": name, "permissions": ["read"]}


def too_many(message: str) -> tuple[int, dict[str, str]]:
    return error(403, "LIMIT_EXCEEDED", message)


async def size(auth: RunningService, kind: str) -> tuple[int, int]:
    row = await auth.database.fetchrow(
        "SELECT objects, bytes FROM sizes WHERE workspace_id = $1 AND kind = $2", WS, kind
    )
    return (0, 0) if row is None else (row["objects"], row["bytes"])


async def counted_anew(auth: RunningService, kind: str) -> tuple[int, int]:
    texts = {
        "roles": "name || coalesce(description, '') || schema_permissions::text"
        " || catalog_permissions::text",
        "api_keys": "name",
    }[kind]
    row = await auth.database.fetchrow(
        f"""SELECT count(*) AS objects, coalesce(sum(length(id || {texts})), 0)::bigint AS bytes
              FROM {kind} WHERE workspace_id = $1""",
        WS,
    )
    assert row is not None
    return row["objects"], row["bytes"]


async def test_whatever_changes_roles_and_keys_is_counted(services: Services):
    auth, admin = await started(services)
    changes = [
        ("post", "/roles", role("a", description="x" * 90)),
        ("post", "/roles", role("a")),
        ("post", "/roles", role("b", catalogPermissions=[{"catalogId": "cat-a"}])),
        ("put", "/roles/role-a", role("a", schemaPermissions=[{"schemaId": "*"}])),
        ("delete", "/roles/role-b", None),
        ("post", "/api-keys", key("a")),
        ("post", "/api-keys", key("a")),
        ("post", "/api-keys", key("b")),
        ("post", "/api-keys/apikey-a/deactivate", {}),
        ("delete", "/api-keys/apikey-a", None),
    ]
    seen = []
    for verb, path, body in changes:
        asking = getattr(admin, verb)
        await (asking(path) if body is None else asking(path, body))
        for kind in ("roles", "api_keys"):
            assert await size(auth, kind) == await counted_anew(auth, kind), (verb, path)
        seen.append((await size(auth, "roles"))[0] + (await size(auth, "api_keys"))[0])
    # With the administrator's role.
    assert seen == [2, 2, 3, 3, 2, 3, 3, 4, 4, 3]


async def test_a_workspace_has_a_bound_of_roles_in_number_and_in_bytes(services: Services):
    auth, admin = await started(services, roles_max=3, roles_bytes_max=2_000)
    for name in "ab":
        (await admin.post("/roles", role(name))).ok()
    assert (await admin.post("/roles", role("c"))).outcome == too_many(
        "This workspace may have at most 3 roles, got 4"
    )
    before = await size(auth, "roles")
    refused = await admin.put("/roles/role-a", role("a", description="x" * 2_000))
    assert (refused.status, refused.body["error"]) == (403, "LIMIT_EXCEEDED")
    assert refused.body["message"].startswith(
        "The roles of this workspace may have at most 2000 bytes, got "
    )
    assert await size(auth, "roles") == before
    assert (await admin.get("/roles/role-a")).headers["ETag"] == '"1"'
    assert len(await auth.staged()) == 2
    (await admin.put("/roles/role-a", role("a", description="x" * 900))).ok()
    # A bound that was lowered refuses what grows, and nothing else.
    _, admin = await started(
        services, database_url=auth.config.database_url, roles_max=1, roles_bytes_max=1_024
    )
    assert (await admin.put("/roles/role-b", role("b", description="x" * 9))).status == 403
    (await admin.put("/roles/role-a", role("a", description="x" * 880))).ok()


async def test_a_workspace_has_a_bound_of_api_keys(services: Services):
    _, admin = await started(services, api_keys_max=2)
    for name in "ab":
        (await admin.post("/api-keys", key(name))).ok()
    (await admin.post("/api-keys/apikey-a/deactivate", {})).ok()
    assert (await admin.post("/api-keys", key("c"))).outcome == too_many(
        "This workspace may have at most 2 API keys, got 3"
    )
    assert (await admin.delete("/api-keys/apikey-a")).status == 204
    (await admin.post("/api-keys", key("c"))).ok()


async def test_two_processes_do_not_pass_the_bound_together(services: Services):
    bounds = {"roles_max": 5, "api_keys_max": 4}
    first, admin = await started(services, **bounds)
    _, beside = await started(services, **bounds, database_url=first.config.database_url)
    for path, body in (("/roles", role), ("/api-keys", key)):
        answers = await asyncio.gather(
            *((admin, beside)[n % 2].post(path, body(f"n{n}")) for n in range(12))
        )
        assert Counter(answer.status for answer in answers) == {201: 4, 403: 8}, path


@pytest.mark.parametrize("rows", [1, 3, 100])
async def test_lists_are_read_in_pieces_beside_the_event_loop_whole_and_in_order(
    services: Services, rendered: Rendered, monkeypatch: pytest.MonkeyPatch, rows: int
):
    auth, admin = await started(services)
    wide = [{"schemaId": "*", "attributePermissions": {"*": "write"}}]
    for n in range(6):
        (await admin.post("/roles", role(f"r{n}", schemaPermissions=wide, canExport=True))).ok()
        (await admin.post("/api-keys", key(f"k{n}"))).ok()
    await auth.database.execute("UPDATE roles SET created_at = '2026-01-01'")
    await auth.database.execute("UPDATE api_keys SET created_at = '2026-01-01'")
    monkeypatch.setattr(listing, "PIECE_ROWS", rows)
    monkeypatch.setattr(listing, "PIECE_BYTES", 30)
    listed = (await admin.get("/roles")).ok()
    assert [one["id"] for one in listed] == ["role-admin", *(f"role-r{n}" for n in range(6))]
    for one in listed:
        assert one == (await admin.get(f"/roles/{one['id']}")).ok()
    assert sum(rendered.pieces) == 7
    assert max(rendered.pieces) < 7
    rendered.pieces.clear()
    keys = (await admin.get("/api-keys")).ok()
    assert [one["id"] for one in keys] == [f"apikey-k{n}" for n in range(6)]
    assert keys[0].keys() == {"id", "name", "permissions", "active", "createdAt", "lastUsedAt"}
    assert sum(rendered.pieces) == 6
    assert max(rendered.pieces) < 6
    assert threading.get_ident() not in rendered.threads


async def test_the_event_of_a_role_is_small_however_large_the_role_is(services: Services):
    auth, admin = await started(services)
    (await admin.post("/roles", role("a", description="x" * 9_000))).ok()
    (await admin.put("/roles/role-a", role("a", description="y" * 9_000))).ok()
    assert (await admin.delete("/roles/role-a")).status == 204
    told = await auth.staged()
    assert [event.data for event in told] == [
        {"roleId": "role-a", "version": version} for version in (1, 2, 3)
    ]
