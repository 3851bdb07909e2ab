"""Who may pass: credentials, their three refusals, and permissions."""

from __future__ import annotations

import asyncio
import base64
import time

import pytest

from gateway.identities import NEW_KEYS_AT_ONCE_MAX
from shared.identity import Permission
from tests.kit.eventually import eventually
from tests.kit.sigma import error
from tests.service.gateway.system import (
    API_KEY,
    READER_KEY,
    System,
    hash_of,
    parsed,
    raw,
    request_bytes,
    token,
    value_of,
)

MISSING = error(401, "UNAUTHORIZED", "Missing authentication")
BAD_TOKEN = error(401, "UNAUTHORIZED", "Invalid or expired token")
BAD_KEY = error(401, "UNAUTHORIZED", "Invalid API key")
DENIED = error(403, "PERMISSION_DENIED", "Permission denied")


async def test_health_needs_nothing_and_asks_nobody(system: System):
    answer = await system.caller().get("/healthz")
    assert answer.outcome == (200, {"status": "ok"})
    assert len(answer.headers["X-Request-Id"]) == 32
    assert system.auth.asked == []
    assert system.echo.received == []
    head = await system.caller().ask("HEAD", "/healthz")
    assert (head.status, head.body) == (200, None)
    refused = await system.caller().post("/healthz")
    assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD")


async def test_a_program_is_known_by_its_key(system: System):
    told = (await system.program().get("/records/ent-1")).ok()
    identity = system.identity_in(told)
    assert (identity.kind, identity.id, identity.workspace_id) == ("api_key", "apikey-all", "ws-1")
    assert identity.permissions == frozenset(Permission)
    assert system.auth.asked == [{"apiKeyHash": hash_of(API_KEY)}]


async def test_a_person_is_known_by_the_token(system: System):
    began = int(time.time())
    told = (await system.person().get("/records/ent-1")).ok()
    identity = system.identity_in(told)
    assert (identity.kind, identity.id, identity.role_id) == ("user", "user-1", "role-editor")
    assert (identity.role_version, sorted(identity.flags)) == (3, ["canExport"])
    (asked,) = system.auth.asked
    assert began <= asked.pop("issuedAt") <= time.time()
    assert asked == {"userId": "user-1", "workspaceId": "ws-1", "roleId": "role-editor"}


async def test_the_question_carries_the_id_of_the_request(system: System):
    await system.program().get("/records/ent-1", headers={"X-Request-Id": "request-4711"})
    assert system.auth.request_ids == ["request-4711"]


OTHER_KEYS = f"test={base64.b64encode(b'x' * 32).decode()}"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], MISSING),
        ([("Cookie", "token=x")], MISSING),
        ([("X_Sigma_ApiKey", API_KEY)], MISSING),
        ([("X-Sigma-ApiKey", "sigma_sk_live_unknown")], BAD_KEY),
        ([("X-Sigma-ApiKey", "")], BAD_KEY),
        ([("X-Sigma-ApiKey", "k" * 5000)], BAD_KEY),
        ([("X-Sigma-ApiKey", "ключ")], BAD_KEY),
        ([("X-Sigma-ApiKey", API_KEY), ("X-Sigma-ApiKey", API_KEY)], BAD_KEY),
        ([("Authorization", "")], BAD_TOKEN),
        ([("Authorization", "Bearer")], BAD_TOKEN),
        ([("Authorization", "Bearer nonsense")], BAD_TOKEN),
        ([("Authorization", "Bearer \udcff\udcfe")], BAD_TOKEN),
        ([("Authorization", "Basic dTpw")], BAD_TOKEN),
        ([("Authorization", f"Bearer {token(keys=OTHER_KEYS)}")], BAD_TOKEN),
        ([("Authorization", f"Bearer {token(issued_s_ago=90_000)}")], BAD_TOKEN),
        ([("Authorization", f"Bearer {token(user='user-gone')}")], BAD_TOKEN),
        ([("Authorization", f"Bearer {token()}")] * 2, BAD_TOKEN),
        # A bad token is not made good by a key beside it.
        ([("Authorization", "Bearer nonsense"), ("X-Sigma-ApiKey", API_KEY)], BAD_TOKEN),
        ([("X-Sigma-ApiKey", API_KEY), ("Authorization", "Basic dTpw")], BAD_TOKEN),
    ],
)
async def test_there_are_three_refusals(
    system: System, headers: list[tuple[str, str]], expected: tuple[int, dict[str, str]]
):
    for target in ("/api/v1/records/ent-1", "/api/v1/nowhere", "/nowhere", "/"):
        payload = request_bytes(target, headers=headers, key=None)
        status, told, body = parsed(await raw(system.gateway.url, payload))
        assert (status, body.decode()) == (
            401,
            f'{{"error":"UNAUTHORIZED","message":"{expected[1]["message"]}"}}',
        )
        assert told["www-authenticate"] == "Bearer"
    assert system.echo.received == []


async def test_an_unsigned_or_otherwise_signed_token_is_no_token(system: System):
    head = base64.urlsafe_b64encode(b'{"alg":"none","kid":"test"}').rstrip(b"=").decode()
    unsigned = ".".join((head, token().split(".")[1], ""))
    answer = await system.caller(Authorization=f"Bearer {unsigned}").get("/records")
    assert answer.outcome == BAD_TOKEN


async def test_the_scheme_is_read_in_any_case(system: System):
    caller = system.caller(Authorization=f"bEaReR {token()}")
    assert (await caller.get("/records")).status == 200


async def test_an_unknown_address_is_told_only_to_those_who_are_known(system: System):
    for path in (
        "/api/v1/nowhere",
        "/api/v1/nothing-such",
        "/api/v1/",
        "/api/v2/records",
        "/internal/identities",
    ):
        expected = error(404, "NOT_FOUND", f"Route '{path}' not found")
        assert (await system.program().get(path)).outcome == expected
        assert (await system.caller().get(path)).outcome == MISSING
    assert system.echo.received == []


async def test_a_key_may_do_what_its_permissions_say(system: System):
    reader = system.program(key=READER_KEY)
    assert (await reader.get("/records")).status == 200
    assert (await reader.post("/dimensions/scope-matrix", {})).status == 200
    assert (await reader.post("/roles/role-editor/resolve", {})).status == 200
    for method, path in (
        ("POST", "/records"),
        ("PUT", "/records/ent-1"),
        ("PATCH", "/records/ent-1/values/sku"),
        ("POST", "/records/ent-1/transition"),
        ("DELETE", "/records/ent-1"),
        ("POST", "/schemas"),
        ("POST", "/dimensions"),
        ("DELETE", "/workflows/wf-1"),
        ("PUT", "/roles/role-editor"),
    ):
        assert (await reader.ask(method, path)).outcome == DENIED, (method, path)


async def test_keys_are_managed_by_people(system: System):
    assert (await system.program().get("/api-keys")).outcome == DENIED
    assert (await system.program().post("/api-keys", {})).outcome == DENIED
    assert (await system.person().get("/api-keys")).status == 200


async def test_a_problem_document_says_what_a_key_lacks(system: System):
    reader = system.program(key=READER_KEY).having({"Accept": "application/problem+json"})
    denied = await reader.delete("/schemas/schema-1")
    assert (denied.status, denied.body["message"]) == (403, "Permission denied")
    assert denied.body["errors"] == [
        {"pointer": "", "detail": "The API key lacks the permission 'delete-model'"}
    ]
    denied = await reader.get("/api-keys")
    assert denied.body["errors"] == [
        {"pointer": "", "detail": "Only users can do this, not API keys"}
    ]


async def test_login_is_open_and_the_token_to_refresh_passes(system: System):
    answer = await system.caller().post("/auth/login", {"email": "x"})
    told = answer.ok()
    assert told["target"] == "/api/v1/auth/login"
    assert "x-sigma-identity" not in [name.lower() for name, _ in told["headers"]]
    refreshed = await system.caller(
        Authorization="Bearer whatever", X_Sigma_ApiKey=API_KEY, Cookie="a=b"
    ).post("/auth/refresh")
    told = refreshed.ok()
    assert value_of(told, "Authorization") == "Bearer whatever"
    names = [name.lower() for name, _ in told["headers"]]
    assert "x-sigma-apikey" not in names
    assert "cookie" not in names
    assert system.auth.asked == []


async def test_options_and_unknown_methods(system: System):
    """OPTIONS is the service's to answer, for those who are known: no foreign page is let in."""
    assert (await system.caller().ask("OPTIONS", "/records")).outcome == MISSING
    assert (await system.program().ask("OPTIONS", "/records")).ok()["method"] == "OPTIONS"
    answer = await system.program().ask("PROPFIND", "/records")
    assert answer.outcome == error(405, "METHOD_NOT_ALLOWED", "Method 'PROPFIND' is not allowed")
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS, PATCH, POST, PUT, DELETE"
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


async def test_auth_service_away_is_told_as_such(system: System):
    gateway = await system.another(auth_url="http://127.0.0.1:9")
    for caller in (system.program(gateway), system.person(gateway)):
        answer = await caller.get("/records")
        assert answer.outcome == error(503, "SERVICE_UNAVAILABLE", "Service unavailable")
        assert answer.headers["Retry-After"] == "1"
    assert (await system.caller(gateway).get("/records")).outcome == MISSING


async def test_auth_service_too_slow_is_told_within_the_deadline(system: System):
    gateway = await system.another(request_timeout_s=0.3)
    system.auth.pause_s = 2
    answer = await system.program(gateway).get("/records")
    assert answer.outcome == error(504, "UPSTREAM_TIMEOUT", "The request timed out")


async def test_a_first_use_of_a_key_waits_for_a_slot_as_long_as_is_configured(system: System):
    gateway = await system.another(wait_seconds=0.1)
    system.auth.held = asyncio.Event()
    # One address has half of the slots.
    first = [
        asyncio.create_task(system.program(gateway, f"sigma_sk_live_{n:018}").get("/records/ent-1"))
        for n in range(NEW_KEYS_AT_ONCE_MAX // 2)
    ]
    await eventually(lambda: len(system.auth.asked) == len(first))
    refused = await system.program(gateway, "sigma_sk_live_bbbbbbbbbbbbbbbbbb").get(
        "/records/ent-1"
    )
    assert refused.outcome == error(
        503,
        "SERVICE_UNAVAILABLE",
        "Too many API keys are being used for the first time at once",
    )
    system.auth.held.set()
    assert [(await answer).outcome for answer in first] == [BAD_KEY] * len(first)
