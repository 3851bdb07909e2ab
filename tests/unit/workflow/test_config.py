"""workflow_service signs in its own name, with a key that the others know."""

from __future__ import annotations

import pytest

from shared.identity import public_key_of
from shared.process.config import ConfigError, load
from tests.kit.identities import new_signing_key
from workflow_service.config import Config

OWN, OF_GATEWAY = new_signing_key("workflow_service"), new_signing_key("gateway")


def problems(monkeypatch: pytest.MonkeyPatch, signing_key: str, url: str = "") -> list[str]:
    settings = {
        "AMQP_URL": "amqp://guest:guest@rabbit/",
        "DATABASE_URL": url or "postgresql://sigma@db/sigma_workflow",
        "IDENTITY_KEYS": f"{public_key_of(OF_GATEWAY)}, {public_key_of(OWN)}",
        "IDENTITY_SIGNING_KEY": signing_key,
        "AUTH_URL": "http://auth:8081",
        "RECORDS_URL": "http://records:8082",
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
