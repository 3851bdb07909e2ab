"""Reading credentials, and remembering which tokens have been verified."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from gateway import authenticate as subject
from gateway.authenticate import Authenticator, ask_auth_service
from gateway.identities import Credential
from shared.errors import InternalError, ServiceUnavailable, Unauthorized
from shared.identity import Flag, Identity, Permission
from shared.identity.tokens import TOKEN_LIFETIME_S, Claims, TokenKeys

KEYS = f"test={base64.b64encode(b't' * 32).decode()}"


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def bearing(token: str) -> Any:
    return make_mocked_request("GET", "/", headers={"Authorization": f"Bearer {token}"})


def token_of(user: str, clock: Clock) -> str:
    return TokenKeys.parse(KEYS, clock).sign(Claims.new(user, "ws-1", "role-x", now=clock.now))


async def test_a_token_that_was_verified_once_still_expires():
    clock = Clock()
    authenticator = Authenticator(TokenKeys.parse(KEYS, clock), clock)
    request = bearing(token_of("user-1", clock))
    known = Credential(
        user_id="user-1", workspace_id="ws-1", role_id="role-x", issued_at=int(clock.now)
    )
    for _ in range(2):
        assert authenticator.credential(request) == known
    clock.now += TOKEN_LIFETIME_S - 1
    assert authenticator.credential(request) == known
    clock.now += 1
    for _ in range(2):
        with pytest.raises(Unauthorized, match="Invalid or expired token"):
            authenticator.credential(request)
    assert not authenticator._verified


async def test_verified_tokens_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(subject, "_VERIFIED_MAX", 3)
    clock = Clock()
    authenticator = Authenticator(TokenKeys.parse(KEYS, clock), clock)
    for n in range(10):
        authenticator.credential(bearing(token_of(f"user-{n}", clock)))
        with pytest.raises(Unauthorized):
            authenticator.credential(bearing(f"wrong-{n}"))
    assert len(authenticator._verified) == 3


ASKED = Credential(key_hash="aa" * 32)
TOLD = {
    "kind": "user",
    "id": "user-1",
    "workspaceId": "ws-1",
    "roleId": "role-x",
    "roleVersion": 4,
    "flags": ["canExport"],
    "permissions": ["read"],
    "recordLimit": 500,
}


def answering(answer: Any) -> Any:
    async def post(question: dict[str, str], request: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask_auth_service(post)


async def test_an_answer_becomes_an_identity():
    assert await answering(TOLD)(ASKED, None) == Identity(
        kind="user",
        id="user-1",
        workspace_id="ws-1",
        role_id="role-x",
        role_version=4,
        flags=frozenset({Flag.EXPORT}),
        permissions=frozenset({Permission.READ}),
        record_limit=500,
    )


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {**TOLD, "kind": "service"},
        {**TOLD, "permissions": ["everything"]},
        {**TOLD, "flags": [{}]},
        {**TOLD, "recordLimit": "many"},
    ],
)
async def test_an_answer_that_is_none_is_nobodys_fault_outside(answer: Any):
    with pytest.raises(InternalError):
        await answering(answer)(ASKED, None)


async def test_refusals_speak_the_documented_words_whatever_auth_service_said():
    refusing = answering(Unauthorized("Key expired at noon"))
    with pytest.raises(Unauthorized, match=r"^Invalid API key$"):
        await refusing(ASKED, None)
    with pytest.raises(Unauthorized, match=r"^Invalid or expired token$"):
        await refusing(Credential(user_id="user-1"), None)


async def test_auth_service_not_believing_the_gateway_is_no_refusal_of_the_caller():
    with pytest.raises(ServiceUnavailable):
        await answering(Unauthorized("Missing authentication"))(ASKED, None)
