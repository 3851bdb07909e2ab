"""The environment variables of the four services on one machine.

Keys and passwords are made once, for this folder alone, and kept in a file that only its owner can
read. Nothing here is a default that another installation could fall back to.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.identity import GATEWAY, SIGNERS, public_key_of
from shared.process.secret_files import SUFFIX

AUTH, RECORDS, WORKFLOW = "auth_service", "records_service", "workflow_service"
DATABASES: Mapping[str, str] = {
    AUTH: "sigma_auth",
    RECORDS: "sigma_records",
    WORKFLOW: "sigma_workflow",
}
SERVICES = (AUTH, RECORDS, WORKFLOW, GATEWAY)
HOST = "127.0.0.1"
PORT = 8080
_INTERNAL = 1_000  # Probes and metrics stand that much above the port of the API.
_PORT_MAX = 65_535
_PASSED_ON = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ", "VIRTUAL_ENV")
"""What a program needs of its caller's environment; whatever else is there is not the services'."""
_NOT_WISHED_FOR = frozenset({"SIGMA_POSTGRES_URL", "SIGMA_RABBITMQCTL", "SIGMA_API_KEY"})
"""Addresses of administrators and keys of others, which no service reads."""
_DATABASE_URL = "SIGMA_DATABASE_URL"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where each service listens: the gateway on the first port, the others behind it."""

    first: int = PORT

    def api(self, service: str) -> int:
        """For requests."""
        return self.first + (GATEWAY, AUTH, RECORDS, WORKFLOW).index(service)

    def internal(self, service: str, number: int = 1) -> int:
        """For probes and metrics of the first, second, ... process of this service."""
        return self.api(service) + _INTERNAL * number

    def url(self, service: str) -> str:
        """For other services, and for people."""
        return f"http://{HOST}:{self.api(service)}"


def port_max(processes: Mapping[str, int]) -> int:
    """The highest first port with which all ports of so many processes exist."""
    return _PORT_MAX - _INTERNAL * max(processes.values(), default=1) - len(SERVICES) + 1


@dataclass(frozen=True, slots=True)
class Keys:
    """The secrets of this installation."""

    tokens: str
    signing: Mapping[str, str]
    passwords: Mapping[str, str]
    secrets: str

    @classmethod
    def kept_in(cls, file: Path) -> Keys:
        """Those of the file; what an earlier version did not need is made and written."""
        kept = json.loads(file.read_text()) if file.exists() else {}
        made = {
            "tokens": f"local={_secret()}",
            "signing": {name: f"{name}={_secret()}" for name in SIGNERS},
            "passwords": {name: secrets.token_urlsafe(24) for name in DATABASES.values()},
            "secrets": f"local={_secret()}",
        }
        whole = made | kept | {"signing": made["signing"] | kept.get("signing", {})}
        if whole != kept:
            write_closed(file, json.dumps(whole, indent=1))
        return cls(**whole)

    @property
    def public(self) -> str:
        """The public keys of identity signers, for every service."""
        return ",".join(public_key_of(key) for key in self.signing.values())


def environment(
    service: str, keys: Keys, ports: Ports, databases: Mapping[str, str], amqp_url: str
) -> dict[str, str]:
    """Everything this service needs; settings that are only wished for come from the caller's own.

    `SIGMA_LOG_LEVEL=debug make run` works, because settings that are not made here are passed on.
    """
    settings = {
        "SIGMA_HOST": HOST,
        "SIGMA_PORT": str(ports.api(service)),
        "SIGMA_INTERNAL_PORT": str(ports.internal(service)),
        "SIGMA_AMQP_URL": amqp_url,
        "SIGMA_IDENTITY_KEYS": keys.public,
        "SIGMA_AUTH_URL": ports.url(AUTH),
        "SIGMA_RECORDS_URL": ports.url(RECORDS),
        "SIGMA_WORKFLOW_URL": ports.url(WORKFLOW),
        "SIGMA_DRAIN_SECONDS": "0",
    }
    if service in databases:
        settings[_DATABASE_URL] = databases[service]
    if service in keys.signing:
        settings["SIGMA_IDENTITY_SIGNING_KEY"] = keys.signing[service]
    if service == WORKFLOW:
        settings["SIGMA_SECRET_KEYS"] = keys.secrets
    if service in (GATEWAY, AUTH):
        settings["SIGMA_TOKEN_KEYS"] = keys.tokens
    passed_on = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON
        or (name.startswith(("SIGMA_", "OTEL_")) and name not in _NOT_WISHED_FOR)
    }
    return _without_files(passed_on, settings) | settings


def with_database(url: str) -> dict[str, str]:
    """The caller's environment for a command of the operator, with this database."""
    settings = {_DATABASE_URL: url}
    return _without_files(os.environ, settings) | settings


def _without_files(environment: Mapping[str, str], settings: Iterable[str]) -> dict[str, str]:
    """Leave out the files of these settings: a setting and its file together are refused."""
    files = {f"{name}{SUFFIX}" for name in settings}
    return {name: value for name, value in environment.items() if name.upper() not in files}


def _secret() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def write_closed(file: Path, text: str) -> None:
    """Whole or not at all, and from the first moment for its owner only."""
    unfinished = file.with_suffix(".new")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as written:
        written.write(text)
    unfinished.rename(file)
