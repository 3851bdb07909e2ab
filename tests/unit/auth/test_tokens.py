"""Tokens: what is signed is read back, and nothing else is."""

from __future__ import annotations

import base64
import json

import jwt
import pytest

from shared.errors import Unauthorized
from shared.identity.tokens import TOKEN_LIFETIME_S, Claims, TokenKeys

KEY = base64.b64encode(b"a" * 32).decode()
OTHER = base64.b64encode(b"b" * 32).decode()
NOW = 1_800_000_000


def keys(text: str = f"one={KEY}", now: float = NOW) -> TokenKeys:
    return TokenKeys.parse(text, now=lambda: now)


def claims() -> Claims:
    return Claims.new("user-admin", "ws-demo", "role-admin", now=NOW)


def forged(payload: object | None = None, header: object | None = None, key: bytes = b"a" * 32):
    payload = payload if payload is not None else payload_of(claims())
    header = header if header is not None else {"alg": "HS256", "typ": "JWT", "kid": "one"}
    return jwt.api_jws.PyJWS().encode(
        json.dumps(payload).encode(),
        key,
        algorithm="HS256",
        headers=header,  # type: ignore[arg-type]
    )


def payload_of(claims: Claims) -> dict[str, object]:
    return {
        "userId": claims.user_id,
        "workspaceId": claims.workspace_id,
        "roleId": claims.role_id,
        "iat": claims.issued_at,
        "exp": claims.expires_at,
        "jti": claims.id,
    }


def refused(token: str, by: TokenKeys | None = None) -> bool:
    with pytest.raises(Unauthorized) as caught:
        (by or keys()).verify(token)
    return caught.value.message == "Invalid or expired token"


def test_a_token_says_who_and_how_long_in_the_documented_claims():
    token = keys().sign(claims())
    told = jwt.decode(token, options={"verify_signature": False})
    assert set(told) == {"userId", "workspaceId", "roleId", "iat", "exp", "jti"}
    assert (told["userId"], told["workspaceId"], told["roleId"]) == (
        "user-admin",
        "ws-demo",
        "role-admin",
    )
    assert told["exp"] - told["iat"] == 24 * 60 * 60
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT", "kid": "one"}


def test_what_is_signed_is_read_back():
    mine = claims()
    assert keys().verify(keys().sign(mine)) == mine


def test_two_tokens_of_one_moment_differ():
    assert keys().sign(claims()) != keys().sign(claims())


def test_a_token_ends_with_its_second_and_not_before():
    token = keys().sign(claims())
    assert keys(now=NOW + TOKEN_LIFETIME_S - 0.01).verify(token)
    assert refused(token, keys(now=NOW + TOKEN_LIFETIME_S))


def test_a_token_from_the_future_is_refused_but_for_a_little_skew():
    token = keys().sign(claims())
    assert keys(now=NOW - 5).verify(token)
    assert refused(token, keys(now=NOW - 6))


def test_the_first_key_signs_and_all_of_them_verify():
    old, new = keys(f"one={KEY}"), keys(f"two={OTHER}, one={KEY}")
    assert new.verify(old.sign(claims()))
    assert jwt.get_unverified_header(new.sign(claims()))["kid"] == "two"
    assert refused(new.sign(claims()), old)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "a.b.c",
        "é.é.é",
        "\udce4",
        forged(key=b"b" * 32),
        forged(header={"alg": "HS256", "kid": "nobody"}),
        forged(header={"alg": "HS256"}),
        forged(payload=[]),
        forged(payload={}),
        forged(payload={**payload_of(claims()), "userId": 7}),
        forged(payload={**payload_of(claims()), "userId": ""}),
        forged(payload={**payload_of(claims()), "exp": "tomorrow"}),
        forged(payload={**payload_of(claims()), "exp": True}),
        forged(payload={k: v for k, v in payload_of(claims()).items() if k != "jti"}),
        forged() + "A" * 5000,
        jwt.encode(payload_of(claims()), "", "none", headers={"kid": "one"}),
        base64.urlsafe_b64encode(b"[" * 2500).decode().rstrip("=") + ".e30.AA",
    ],
)
def test_anything_else_is_refused_in_the_same_words(token: str):
    assert refused(token)


def test_the_algorithm_is_pinned_even_with_the_right_key():
    long_key = base64.b64encode(b"a" * 64).decode()
    for algorithm in ("HS384", "HS512"):
        token = jwt.encode(payload_of(claims()), b"a" * 64, algorithm, headers={"kid": "one"})
        assert refused(token, keys(f"one={long_key}"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "entry 1 has no name or no key, expected <name>=<key in base64>"),
        (f"one={KEY},", "entry 2 has no name or no key, expected <name>=<key in base64>"),
        (f"one={KEY},one={OTHER}", "key 'one' is named twice"),
        ("one=%%%", "key 'one' is not base64"),
        ("one=c2hvcnQ=", "key 'one' has 5 bytes, expected at least 32"),
    ],
)
def test_unusable_keys_are_named_and_not_shown(text: str, complaint: str):
    with pytest.raises(ValueError) as caught:
        TokenKeys.parse(text)
    assert str(caught.value) == complaint
