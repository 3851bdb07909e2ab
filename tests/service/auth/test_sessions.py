"""Logging in and staying in, on the real app and a real database."""

from __future__ import annotations

import time
from typing import Any

import argon2
import jwt
import pytest

from auth_service.app import create_app
from auth_service.config import Config
from auth_service.sessions import passwords, store
from auth_service.sessions.commands import TOKEN_KEYS as KEYS
from auth_service.sessions.hashing import HashingPool
from auth_service.users import commands as users
from auth_service.workspaces import commands as workspaces
from shared.identity.tokens import Claims
from shared.process.config import ConfigError
from tests.kit.service import RunningService, Services
from tests.kit.sigma import Answer, error
from tests.service.auth.logins import (
    EMAIL,
    HASH,
    PASSWORD,
    REFUSED,
    TOKEN_KEYS,
    WS,
    add_user,
    counted,
    log_in,
)

BAD_TOKEN = error(401, "UNAUTHORIZED", "Invalid or expired token")
USER = {"id": "user-eva", "email": EMAIL, "name": "Eva", "roleId": "role-admin"}


@pytest.fixture
async def auth(services: Services) -> RunningService:
    auth = await services.start(create_app, Config, token_keys=TOKEN_KEYS)
    await workspaces.create(auth.database, WS, "Test", 500)
    await add_user(auth)
    return auth


@pytest.fixture(scope="module")
def password_hash() -> str:
    return passwords.hashed(PASSWORD)


@pytest.fixture(autouse=True)
def _known_hash(password_hash: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HASH, "of_password", password_hash)


# --- login


async def test_who_knows_the_password_gets_a_token_and_is_told_who_they_are(auth):
    answer = await log_in(auth)
    assert answer.status == 200
    assert set(answer.body) == {"token", "user"}
    assert answer.body["user"] == USER
    assert answer.headers["Cache-Control"] == "no-store"
    claims = auth.app[KEYS].verify(answer.body["token"])
    assert (claims.user_id, claims.workspace_id, claims.role_id) == ("user-eva", WS, "role-admin")
    assert abs(claims.issued_at - time.time()) < 60
    assert claims.expires_at - claims.issued_at == 24 * 60 * 60


@pytest.mark.parametrize("email", ["eva@sigma.io", "EVA@SIGMA.IO", "  Eva@Sigma.io "])
async def test_upper_and_lower_case_make_no_difference_in_an_address(auth, email):
    assert (await log_in(auth, email)).body["user"] == USER


async def test_every_token_is_its_own(auth):
    one, other = (await log_in(auth)).body["token"], (await log_in(auth)).body["token"]
    assert one != other


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": EMAIL},
        {"password": PASSWORD},
        {"email": "", "password": PASSWORD},
        {"email": EMAIL, "password": ""},
        {"email": None, "password": None},
    ],
)
async def test_without_email_or_password_both_are_asked_for(auth, body):
    assert (await auth.stranger().post("/auth/login", body)).outcome == error(
        400, "VALIDATION_ERROR", "Email and password are required"
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"email": 7, "password": "x"}, "Field 'email' expects type 'string', got 'number'"),
        ({"email": "x", "password": {}}, "Field 'password' expects type 'string', got 'object'"),
        ({"email": "x", "password": "x" * 1025}, "Field 'password' "),
        ({"email": "x" * 321, "password": "x"}, "Field 'email' "),
        ([], "Body expects type 'object', got 'array'"),
    ],
)
async def test_fields_of_the_wrong_form_are_told(auth, body, message):
    answer = await auth.stranger().post("/auth/login", body)
    assert (answer.status, answer.body["error"]) == (400, "VALIDATION_ERROR")
    assert answer.body["message"].startswith(message)


@pytest.mark.parametrize(
    ("email", "password"),
    [
        (EMAIL, "wrong horse"),
        (EMAIL, PASSWORD.upper()),
        ("nobody@sigma.io", PASSWORD),
        ("not an address", PASSWORD),
        ("eva@sigma.io😀", PASSWORD),
    ],
)
async def test_every_wrong_login_is_answered_alike(auth, email, password):
    answer = await log_in(auth, email, password)
    assert answer.outcome == REFUSED
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_disabled_user_is_answered_like_a_stranger_and_comes_back_when_enabled(auth):
    await users.disable(auth.database, WS, "user-eva")
    assert (await log_in(auth)).outcome == REFUSED
    await users.enable(auth.database, WS, "user-eva")
    assert (await log_in(auth)).status == 200


async def test_a_new_password_counts_from_now_on(auth):
    await users.set_password(auth.database, WS, "user-eva", passwords.hashed("battery staple"))
    assert (await log_in(auth)).outcome == REFUSED
    assert (await log_in(auth, password="battery staple")).status == 200


async def test_whoever_it_is_one_hash_is_compared_and_the_same_statements_run(auth, monkeypatch):
    """Equal times are proven by equal work: clocks are no witnesses on a busy machine."""
    await add_user(auth, "user-gone", email="gone@sigma.io")
    await users.disable(auth.database, WS, "user-gone")
    work = []
    for email, password in (
        (EMAIL, "wrong"),
        ("gone@sigma.io", PASSWORD),
        ("gone@sigma.io", "wrong"),
        ("nobody@sigma.io", "wrong"),
    ):
        with (
            counted(monkeypatch, passwords._HASHER.__class__, "verify") as verified,
            counted(monkeypatch, passwords._HASHER.__class__, "hash") as hashed,
            counted(monkeypatch, auth.database.__class__, "acquire") as leases,
            counted(monkeypatch, store, "claim_attempt") as claims,
        ):
            assert (await log_in(auth, email, password)).outcome == REFUSED
        compared = argon2.extract_parameters(verified[0][1])
        work.append((len(verified), len(hashed), len(leases), len(claims), compared))
    assert work == [work[0]] * len(work)
    # Counted for the address in this network, for the address, and for the network.
    assert work[0][:4] == (1, 0, 1, 3)


async def test_a_hash_with_old_parameters_is_replaced_by_the_next_login(auth, monkeypatch):
    weak = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    await users.set_password(auth.database, WS, "user-eva", weak)
    hash_of = "SELECT password_hash FROM users WHERE workspace_id = $1 AND id = $2"
    assert (await log_in(auth, password="wrong")).outcome == REFUSED
    assert await auth.database.fetchval(hash_of, WS, "user-eva") == weak
    assert (await log_in(auth)).status == 200
    strong = await auth.database.fetchval(hash_of, WS, "user-eva")
    assert strong != weak
    assert not passwords.is_outdated(strong)
    assert (await log_in(auth)).status == 200
    assert await auth.database.fetchval(hash_of, WS, "user-eva") == strong


# --- refresh


async def test_a_good_token_gives_the_next_one(auth):
    token = (await log_in(auth)).body["token"]
    answer = await auth.stranger().post(
        "/auth/refresh", headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.status == 200
    assert answer.body["user"] == USER
    assert answer.body["token"] != token
    assert auth.app[KEYS].verify(answer.body["token"]).user_id == "user-eva"
    # The old one stays good to its own end.
    again = await auth.stranger().post(
        "/auth/refresh", headers={"Authorization": f"bearer {token}"}
    )
    assert again.status == 200


async def test_the_token_may_come_in_the_body(auth):
    token = (await log_in(auth)).body["token"]
    answer = await auth.stranger().post("/auth/refresh", {"token": token})
    assert answer.body["user"] == USER


async def test_the_header_is_the_one_that_counts(auth):
    token = (await log_in(auth)).body["token"]
    for header in ("Bearer nonsense", "Bearer ", f"Basic {token}"):
        answer = await auth.stranger().post(
            "/auth/refresh", {"token": token}, headers={"Authorization": header}
        )
        assert answer.status == 401
    answer = await auth.stranger().post(
        "/auth/refresh", {"token": "nonsense"}, headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.status == 200


@pytest.mark.parametrize("body", [{}, {"token": ""}, {"token": None}])
async def test_without_a_token_there_is_no_refresh(auth, body):
    missing = error(401, "UNAUTHORIZED", "Missing authentication")
    assert (await auth.stranger().post("/auth/refresh", body)).outcome == missing
    assert (await auth.stranger().post("/auth/refresh")).outcome == missing


async def test_tokens_that_are_not_good_any_more_or_never_were_are_refused_alike(auth):
    good = Claims.new("user-eva", WS, "role-admin", now=time.time())
    keys = auth.app[KEYS]
    expired = Claims.new("user-eva", WS, "role-admin", now=time.time() - 86_401)
    stranger = Claims.new("user-none", WS, "role-admin", now=time.time())
    foreign = Claims.new("user-eva", "ws-none", "role-admin", now=time.time())
    forged = jwt.encode({"userId": "user-eva"}, "x" * 32, "HS256", headers={"kid": "test"})
    assert (await auth.stranger().post("/auth/refresh", {"token": keys.sign(good)})).status == 200
    for token in (*map(keys.sign, (expired, stranger, foreign)), forged, "x.y.z"):
        assert (await auth.stranger().post("/auth/refresh", {"token": token})).outcome == BAD_TOKEN


async def test_a_disabled_user_gets_no_next_token(auth):
    token = (await log_in(auth)).body["token"]
    await users.disable(auth.database, WS, "user-eva")
    assert (await auth.stranger().post("/auth/refresh", {"token": token})).outcome == BAD_TOKEN


async def test_a_changed_role_is_in_the_next_token(auth):
    token = (await log_in(auth)).body["token"]
    async with auth.database.transaction() as conn:
        await conn.execute(
            """INSERT INTO roles
               SELECT workspace_id, 'role-editor', 'Editor', NULL, '{}', '[]', '[]', 1, now(), now()
                 FROM roles WHERE id = 'role-admin'"""
        )
    await users.set_role(auth.database, WS, "user-eva", "role-editor")
    answer = await auth.stranger().post("/auth/refresh", {"token": token})
    assert answer.body["user"] == USER | {"roleId": "role-editor"}
    assert auth.app[KEYS].verify(answer.body["token"]).role_id == "role-editor"


# --- the end of sessions


async def ended_by_a_password(auth: RunningService) -> None:
    await users.set_password(auth.database, WS, "user-eva", HASH["of_password"])


async def ended_by_disabling(auth: RunningService) -> None:
    await users.disable(auth.database, WS, "user-eva")
    await users.enable(auth.database, WS, "user-eva")


async def identity(auth: RunningService, token: str) -> Answer:
    claims = auth.app[KEYS].verify(token)
    return await auth.as_service("gateway").ask(
        "POST",
        "/internal/identities",
        {"userId": "user-eva", "workspaceId": WS, "issuedAt": claims.issued_at},
    )


@pytest.mark.parametrize("end", [ended_by_a_password, ended_by_disabling])
async def test_sessions_from_before_are_ended_and_new_ones_are_not(auth, end):
    before = (await log_in(auth)).body["token"]
    assert (await identity(auth, before)).status == 200
    await end(auth)
    # At once, in the same second, whose tokens say the same time.
    after = (await log_in(auth)).body["token"]
    assert (await auth.stranger().post("/auth/refresh", {"token": before})).outcome == BAD_TOKEN
    assert (await identity(auth, before)).outcome == BAD_TOKEN
    assert (await identity(auth, after)).status == 200
    again = await auth.stranger().post("/auth/refresh", {"token": after})
    assert again.status == 200
    assert (await identity(auth, again.body["token"])).status == 200


async def test_a_login_that_a_change_of_the_password_overtakes_is_refused(auth, monkeypatch):
    real = HashingPool.run

    async def overtaken(self: HashingPool, *work: Any, **more: Any) -> Any:
        matches = await real(self, *work, **more)
        await users.set_password(auth.database, WS, "user-eva", passwords.hashed("another"))
        return matches

    monkeypatch.setattr(HashingPool, "run", overtaken)
    assert (await log_in(auth)).outcome == REFUSED


# --- tenants


async def test_nobody_is_told_who_is_here_unless_it_is_switched_on(auth, services):
    await add_user(auth, "user-demo", email="demo@sigma.io", name="Demo", quick_login=True)
    await add_user(auth, "user-off", email="off@sigma.io", name="Off", quick_login=True)
    await users.disable(auth.database, WS, "user-off")
    await add_user(auth, "user-quiet", email="quiet@sigma.io", name="Quiet", quick_login=False)
    await workspaces.create(auth.database, "ws-empty", "Empty", 500)
    assert (await auth.stranger().get("/auth/tenants")).outcome == (200, [])
    demo = await services.start(
        create_app,
        Config,
        token_keys=TOKEN_KEYS,
        database_url=auth.config.database_url.get_secret_value(),
        quick_login_enabled=True,
    )
    told = {
        "id": "user-demo",
        "name": "Demo",
        "email": "demo@sigma.io",
        "roleId": "role-admin",
    }
    assert (await demo.stranger().get("/auth/tenants")).outcome == (
        200,
        [
            {"id": WS, "name": "Test", "users": [told]},
            {"id": "ws-empty", "name": "Empty", "users": []},
        ],
    )


# --- configuration and readiness


async def test_token_keys_that_are_too_short_stop_the_start_without_being_shown(services):
    with pytest.raises(ConfigError) as caught:
        await services.start(create_app, Config, token_keys="test=c2VjcmV0")
    assert "key 'test' has 6 bytes, expected at least 32" in str(caught.value)
    assert "c2VjcmV0" not in str(caught.value)
