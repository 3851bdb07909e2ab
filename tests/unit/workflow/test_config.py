"""workflow_service signs in its own name, with a key that the others know."""

from __future__ import annotations

import base64

import pytest

from shared.identity import public_key_of
from shared.process.config import ConfigError, load
from tests.kit.identities import new_signing_key
from workflow_service.config import Config

OWN, OF_GATEWAY = new_signing_key("workflow_service"), new_signing_key("gateway")


def problems(
    monkeypatch: pytest.MonkeyPatch, signing_key: str = OWN, url: str = "", **more: str
) -> list[str]:
    settings = {
        "AMQP_URL": "amqp://guest:guest@rabbit/",
        "DATABASE_URL": url or "postgresql://sigma@db/sigma_workflow",
        "IDENTITY_KEYS": f"{public_key_of(OF_GATEWAY)}, {public_key_of(OWN)}",
        "IDENTITY_SIGNING_KEY": signing_key,
        "AUTH_URL": "http://auth:8081",
        "RECORDS_URL": "http://records:8082",
        "SECRET_KEYS": f"first={base64.b64encode(bytes(32)).decode()}",
        **more,
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"SIGMA_{name}", value)
    try:
        load(Config)
    except ConfigError as error:
        return [line.strip() for line in str(error).splitlines()[1:]]
    return []


def test_a_signing_key_is_its_own_and_known(monkeypatch: pytest.MonkeyPatch):
    assert problems(monkeypatch, OWN) == []
    assert problems(monkeypatch, OF_GATEWAY) == [
        "SIGMA_IDENTITY_SIGNING_KEY: the issuer must be 'workflow_service'"
    ]
    assert problems(monkeypatch, new_signing_key("workflow_service")) == [
        "SIGMA_IDENTITY_SIGNING_KEY: its public key is not in SIGMA_IDENTITY_KEYS"
    ]


def test_a_wrong_parameter_of_the_database_is_told(monkeypatch: pytest.MonkeyPatch):
    url = "postgresql://sigma@db/sigma_workflow?sslmode="
    assert problems(monkeypatch, OWN, f"{url}verify-full") == []
    (told,) = problems(monkeypatch, OWN, f"{url}on")
    assert told.startswith("SIGMA_DATABASE_URL: expected sslmode to be one of disable, ")


def test_an_address_may_name_several_servers(monkeypatch: pytest.MonkeyPatch):
    url = "postgresql://sigma@a:5432,b,c:5433/sigma_workflow"
    assert problems(monkeypatch, OWN, url) == []
    assert problems(monkeypatch, OWN, f"{url}?target_session_attrs=read-write") == []
    assert problems(monkeypatch, OWN, f"{url}?target_session_attrs=standby") == [
        "SIGMA_DATABASE_URL: expected target_session_attrs to be read-write or primary"
    ]
    form = "postgresql://user:password@host:5432/database"
    for wrong in ("postgresql://sigma@a,,b/d", "postgresql://a,b:port/d", "postgresql://a,/d"):
        assert problems(monkeypatch, OWN, wrong) == [
            f"SIGMA_DATABASE_URL: expected an address such as {form}"
        ]


def test_a_ring_of_secret_keys_is_complete_and_its_keys_are_never_told(
    monkeypatch: pytest.MonkeyPatch,
):
    def told(ring: str) -> str:
        (problem,) = problems(monkeypatch, SECRET_KEYS=ring)
        return problem.removeprefix("SIGMA_SECRET_KEYS: ")

    key, short = base64.b64encode(bytes(32)).decode(), base64.b64encode(bytes(16)).decode()
    assert problems(monkeypatch, SECRET_KEYS=f"new={key}, old={key}") == []
    assert told(key) == "entry 1 has no name or no key, expected <name>=<key in base64>"
    assert told(f"a={key},a={key}") == "key 'a' is named twice"
    assert told(f"a={short}") == "key 'a' must have 32 bytes, got 16"
    assert told("a=...") == "key 'a' is not in base64"


def test_what_outgoing_requests_may_reach_is_checked_when_the_service_starts(
    monkeypatch: pytest.MonkeyPatch,
):
    assert problems(monkeypatch, OUTBOUND_ALLOW="10.1.0.0/16, ::1,shop.internal") == []
    (told,) = problems(monkeypatch, OUTBOUND_ALLOW="10.1.0.1/16")
    assert told == (
        "SIGMA_OUTBOUND_ALLOW: expected addresses, networks such as 10.1.0.0/16, or host names,"
        " separated by commas, got '10.1.0.1/16'"
    )
