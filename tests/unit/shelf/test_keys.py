"""Keys made by the command work, and are replaced without a refused request."""

from __future__ import annotations

import pytest

from shared.errors import Unauthorized
from shared.identity import Identity, IdentitySigner, IdentityVerifier, keys
from shared.identity.tokens import Claims, TokenKeys

NOW = 1_800_000_000.0


def made(capsys, *arguments: str) -> dict[str, str]:
    """The variables that the command prints."""
    assert keys.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all("=" in line or line.startswith("#") for line in lines)
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def signed(signing_key: str) -> str:
    return IdentitySigner.parse(signing_key).sign(
        Identity("user", "user-ann", "ws-acme", "role-admin")
    )


@pytest.mark.parametrize("issuer", ["gateway", "workflow_service"])
def test_an_identity_key_signs_what_its_public_line_verifies(capsys, issuer):
    pair = made(capsys, "identity", issuer)
    assert set(pair) == {"SIGMA_IDENTITY_SIGNING_KEY", "SIGMA_IDENTITY_KEYS"}
    token = IdentitySigner.parse(pair["SIGMA_IDENTITY_SIGNING_KEY"]).sign_service()
    assert IdentityVerifier.parse(pair["SIGMA_IDENTITY_KEYS"]).verify(token).id == issuer


def test_a_token_key_signs_and_verifies_and_each_has_a_name_of_its_own(capsys):
    first, second = (made(capsys, "token")["SIGMA_TOKEN_KEYS"] for _ in range(2))
    tokens = TokenKeys.parse(f"{second},{first}", now=lambda: NOW)
    claims = Claims.new("user-ann", "ws-acme", "role-admin", now=NOW)
    for signer in (first, second):
        token = TokenKeys.parse(signer, now=lambda: NOW).sign(claims)
        assert tokens.verify(token) == claims
    assert made(capsys, "token", "--name", "k1")["SIGMA_TOKEN_KEYS"].startswith("k1=")


@pytest.mark.parametrize("arguments", [(), ("identity",), ("identity", "x"), ("token", "--name=,")])
def test_a_usage_error_ends_with_2(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        keys.main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().out == ""


def test_while_an_identity_key_is_replaced_both_are_good_in_either_order(capsys):
    old, new = (made(capsys, "identity", "gateway") for _ in range(2))
    for pairs in ((old, new), (new, old)):
        public = ",".join(pair["SIGMA_IDENTITY_KEYS"] for pair in pairs)
        for pair in pairs:
            token = signed(pair["SIGMA_IDENTITY_SIGNING_KEY"])
            assert IdentityVerifier.parse(public).verify(token).id == "user-ann"
    after = IdentityVerifier.parse(new["SIGMA_IDENTITY_KEYS"])
    with pytest.raises(Unauthorized):
        after.verify(signed(old["SIGMA_IDENTITY_SIGNING_KEY"]))
