"""What the gateway refuses to start with, all of it in one message and no secret among it."""

from __future__ import annotations

import base64

import pytest

from gateway.config import GatewayConfig
from shared.identity import public_key_of
from shared.process.config import ConfigError, load
from tests.kit.identities import new_signing_key

SIGNING_KEY = new_signing_key("gateway")
# The same in every process: a test's name must not change from run to run.
OF_ANOTHER_SERVICE = f"workflow_service={base64.b64encode(b'w' * 32).decode()}"
OF_NOBODY = f"gateway={base64.b64encode(b'n' * 32).decode()}"
GOOD = {
    "SIGMA_AMQP_URL": "amqp://guest:guest@rabbit/",
    "SIGMA_IDENTITY_KEYS": public_key_of(SIGNING_KEY),
    "SIGMA_IDENTITY_SIGNING_KEY": SIGNING_KEY,
    "SIGMA_TOKEN_KEYS": f"k1={base64.b64encode(b's' * 32).decode()}",
    "SIGMA_AUTH_URL": "http://auth:8081/",
    "SIGMA_RECORDS_URL": "http://records:8082",
    "SIGMA_WORKFLOW_URL": "https://workflow",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch):
    def become(**changes: str) -> None:
        for name in list(GOOD):
            monkeypatch.delenv(name, raising=False)
        for name, value in {**GOOD, **changes}.items():
            monkeypatch.setenv(name, value)

    return become


def test_what_is_not_set_has_a_safe_default(environment):
    environment()
    config = load(GatewayConfig)
    assert (config.port, config.internal_port, config.auth_url) == (8080, 9080, "http://auth:8081")
    assert (config.docs_enabled, config.rate_limit, config.request_timeout_s) == (True, None, 30)


@pytest.mark.parametrize(
    ("told", "origins"),
    [
        ("", set()),
        ("*", {"*"}),
        (
            "https://app.example, http://localhost:5173,http://[::1]:80",
            {"https://app.example", "http://localhost:5173", "http://[::1]:80"},
        ),
    ],
)
def test_origins_are_a_list_with_commas(environment, told: str, origins: set[str]):
    environment(SIGMA_CORS_ORIGINS=told)
    assert load(GatewayConfig).cors_origins == origins


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SIGMA_AUTH_URL", "auth:8081"),
        ("SIGMA_RECORDS_URL", "http://records:8082/api"),
        ("SIGMA_WORKFLOW_URL", "ftp://workflow"),
        ("SIGMA_TOKEN_KEYS", "k1=dG9vIHNob3J0"),
        ("SIGMA_IDENTITY_SIGNING_KEY", OF_ANOTHER_SERVICE),
        ("SIGMA_IDENTITY_SIGNING_KEY", "gateway=nonsense"),
        ("SIGMA_IDENTITY_SIGNING_KEY", OF_NOBODY),
        ("SIGMA_IDENTITY_KEYS", public_key_of(OF_ANOTHER_SERVICE)),
        ("SIGMA_RATE_LIMIT_STORAGE", "redis://host:port"),
        ("SIGMA_RATE_LIMIT_STORAGE", "redis://:secret@:6379"),
        ("SIGMA_INTERNAL_PORT", "8080"),
        ("SIGMA_AMQP_URL", "amqp://:secret@/"),
        ("SIGMA_RATE_LIMIT", "often"),
        ("SIGMA_RATE_LIMIT_STORAGE", "mongodb://secret@host"),
        ("SIGMA_REQUEST_TIMEOUT_S", "0"),
        ("SIGMA_UPSTREAM_CONNECTIONS_MAX", "0"),
        ("SIGMA_DOCS_ENABLED", "perhaps"),
        ("SIGMA_CORS_ORIGINS", "app.example"),
        ("SIGMA_CORS_ORIGINS", "https://app.example/"),
        ("SIGMA_CORS_ORIGINS", "https://App.example"),
        ("SIGMA_CORS_ORIGINS", "https://*.example"),
        ("SIGMA_CORS_ORIGINS", "*,https://app.example"),
        ("SIGMA_CORS_ORIGINS", "null"),
    ],
)
def test_what_is_wrong_is_named_and_not_shown(environment, name: str, value: str):
    environment(**{name: value})
    with pytest.raises(ConfigError) as caught:
        load(GatewayConfig)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert name in lines[1]
    if "KEY" in name or "STORAGE" in name:
        assert value not in str(caught.value)


def test_all_that_is_wrong_is_said_at_once(environment):
    environment(SIGMA_AUTH_URL="x", SIGMA_RATE_LIMIT="x", SIGMA_TOKEN_KEYS="x")
    with pytest.raises(ConfigError) as caught:
        load(GatewayConfig)
    assert [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]] == [
        "SIGMA_AUTH_URL",
        "SIGMA_TOKEN_KEYS",
        "SIGMA_RATE_LIMIT",
    ]
