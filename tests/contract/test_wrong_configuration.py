"""Whatever is wrong in the environment: one message that names all of it, 2, and nothing serves."""

from __future__ import annotations

import base64
import importlib
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import structlog

from auth_service import administration
from auth_service.config import Config as AuthConfig
from deploy.local.private_server import free_port
from gateway.config import GatewayConfig
from records_service.config import Config as RecordsConfig
from shared import launch
from shared.database import migrations
from shared.identity import keys
from shared.messaging import dead_letters
from shared.process.config import COLLECTOR_VARIABLES, ConfigError, load
from shared.process.secret_files import file_variables
from tests.kit.identities import Keyring
from tests.kit.servers import ROOT
from workflow_service.config import Config as WorkflowConfig

CONFIGS = {
    "gateway": GatewayConfig,
    "auth_service": AuthConfig,
    "records_service": RecordsConfig,
    "workflow_service": WorkflowConfig,
}
ROLES = ("api", "worker", "all")
ADDRESS = ("", "records", "records:8082", "ftp://records", "http://", "http://records:x", "foo")
BASE = (*ADDRESS, "http://records:8082/api", "http://u:p@records", "http://records?a=b")
WHOLE = ("", "many", "1.5", "-1", "1e999", "9" * 5_000)
SECONDS = ("", "soon", "-1", "nan", "inf")
KEY = ("", "x", "=", "name=", "name=not base64", "name=c2hvcnQ=")
AMQP = ("", "foo", "http://mq:5672", "amqp://", "amqp://mq:port", "amqp://mq1:x,mq2:5672")
POSTGRES = (
    *("", "foo", "mysql://db/x", "postgresql://", "postgresql://db:port/x"),
    "postgresql://db/x?sslmode=perhaps",
    "postgresql://db/x?target_session_attrs=standby",
)
WRONG: dict[str, tuple[str, ...]] = {
    "SIGMA_PORT": ("", "http", "70000", "-1", "80.5"),
    "SIGMA_INTERNAL_PORT": ("", "http", "70000", "-1"),
    "SIGMA_HOST": ("", " ", "0.0.0.0 ", "http://0.0.0.0", "a/b"),
    "SIGMA_AMQP_URL": AMQP,
    "SIGMA_DATABASE_URL": POSTGRES,
    "SIGMA_IDENTITY_KEYS": (*KEY, "auth_service=" + "A" * 43 + "="),
    "SIGMA_IDENTITY_SIGNING_KEY": (*KEY, "somebody=" + "A" * 43 + "="),
    "SIGMA_TOKEN_KEYS": KEY,
    "SIGMA_SECRET_KEYS": KEY,
    "SIGMA_OUTBOUND_ALLOW": ("10.0.0.0/33", "http://shop", "a b"),
    "SIGMA_SHOPIFY_URL": ADDRESS,
    "SIGMA_AUTH_URL": BASE,
    "SIGMA_RECORDS_URL": BASE,
    "SIGMA_WORKFLOW_URL": BASE,
    "SIGMA_CORS_ORIGINS": ("app.example", "https://app.example/path", "*,https://app.example"),
    "SIGMA_RATE_LIMIT": ("", "many", "10/fortnight", "-1/minute"),
    "SIGMA_RATE_LIMIT_STORAGE": ("", "redis", "memcached://host", "redis://host:port"),
    "SIGMA_LOG_LEVEL": ("", "loud"),
    "SIGMA_LOG_FORMAT": ("", "xml"),
    "SIGMA_QUICK_LOGIN_ENABLED": ("", "perhaps"),
    "SIGMA_DOCS_ENABLED": ("", "perhaps"),
}
"""Wrong values of each variable; of all others, what is no number."""


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """The programs that run in here write their logs as JSON from then on."""
    yield
    structlog.reset_defaults()


def names_of(service: str) -> set[str]:
    return {f"SIGMA_{name.upper()}" for name in CONFIGS[service].model_fields}


def wrong_values(service: str, variable: str) -> tuple[str, ...]:
    field = CONFIGS[service].model_fields[variable.removeprefix("SIGMA_").lower()]
    return WRONG.get(variable, SECONDS if field.annotation is float else WHOLE)


@pytest.fixture
def right(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes the environment one with which a service starts."""
    keyring = Keyring("auth_service", "workflow_service")
    key = f"test={base64.b64encode(secrets.token_bytes(32)).decode()}"

    def make(service: str) -> None:
        for name in [*os.environ]:
            if name.upper().startswith(("SIGMA_", "OTEL_")):
                monkeypatch.delenv(name)
        everything = {
            "SIGMA_AMQP_URL": "amqp://user:password@mq:5672/vhost",
            "SIGMA_DATABASE_URL": "postgresql://user:password@db:5432/database",
            "SIGMA_IDENTITY_KEYS": keyring.public,
            "SIGMA_TOKEN_KEYS": key,
            "SIGMA_SECRET_KEYS": key,
            "SIGMA_AUTH_URL": "http://auth:8081",
            "SIGMA_RECORDS_URL": "http://records:8082",
            "SIGMA_WORKFLOW_URL": "https://workflow",
        }
        if service in ("gateway", "auth_service", "workflow_service"):
            everything["SIGMA_IDENTITY_SIGNING_KEY"] = keyring.signing_key(service)
        for name in names_of(service) & everything.keys():
            monkeypatch.setenv(name, everything[name])

    return make


@pytest.mark.parametrize("service", CONFIGS)
def test_each_wrong_value_of_each_variable_is_told_by_its_name(
    service: str, right: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
):
    right(service)
    load(CONFIGS[service])
    accepted = []
    for variable in sorted(names_of(service)):
        for value in wrong_values(service, variable):
            with monkeypatch.context() as patched:
                patched.setenv(variable, value)
                try:
                    load(CONFIGS[service])
                except ConfigError as error:
                    told = [line for line in str(error).splitlines()[1:] if variable in line]
                    assert told, f"{variable}={value!r}: {error}"
                else:
                    accepted.append(f"{variable}={value[:50]!r}")
    assert accepted == []


@pytest.mark.parametrize("variable", COLLECTOR_VARIABLES)
@pytest.mark.parametrize("value", [value for value in ADDRESS if value])
def test_a_collector_that_is_no_address_is_told(
    variable: str, value: str, right: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
):
    right("gateway")
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setenv("SIGMA_PORT", "http")
    with pytest.raises(ConfigError) as raised:
        load(GatewayConfig)
    assert str(raised.value).splitlines()[1:] == [
        "  SIGMA_PORT: expected a whole number",
        f"  {variable}: expected an address such as http://collector:4318",
        "  OTEL_EXPORTER_OTLP_PROTOCOL: expected http/protobuf",
    ]


@pytest.mark.parametrize("service", CONFIGS)
def test_a_process_of_any_role_with_everything_wrong_says_so_and_serves_nothing(
    service: str,
    right: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    right(service)
    monkeypatch.setattr(launch, "exit_on_signal", lambda: None)
    everything = {name: wrong_values(service, name)[-1] for name in names_of(service)}
    for name, value in everything.items():
        monkeypatch.setenv(name, value)
    program = importlib.import_module(f"{service}.__main__")
    monkeypatch.setattr(program, "exit_on_signal", lambda: None)
    for role in ROLES:
        monkeypatch.setattr(sys, "argv", [service, "--role", role])
        with pytest.raises(SystemExit) as ended:
            program.main()
        assert ended.value.code == 2
        said = capsys.readouterr()
        assert said.out == ""
        lines = said.err.splitlines()
        assert lines[0] == "The configuration is not valid:"
        assert {line.split(":")[0].strip() for line in lines[1:]} == set(everything)


def test_a_process_with_one_wrong_variable_takes_no_traffic(
    right: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
):
    """As it is started, with a port of its own: nobody ever listens there."""
    right("gateway")
    port = free_port()
    monkeypatch.setenv("SIGMA_PORT", str(port))
    monkeypatch.setenv("SIGMA_AUTH_URL", "auth:8081")
    done = subprocess.run(
        [sys.executable, "-m", "gateway"],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "The configuration is not valid:\n"
        "  SIGMA_AUTH_URL: expected an address such as http://records:8082\n"
    )
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


COMMANDS: Mapping[str, tuple[Callable[[list[str]], int], list[str], str]] = {
    "migrations": (migrations.main, ["records_service"], "SIGMA_DATABASE_URL"),
    "stamp": (migrations.main, ["records_service", "--stamp", "0001"], "SIGMA_DATABASE_URL"),
    "admin": (administration.main, ["list-workspaces"], "SIGMA_DATABASE_URL"),
    "dead letters": (dead_letters.main, ["list", "records_service"], "SIGMA_AMQP_URL"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_without_its_variable_or_with_a_wrong_one_names_it(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
):
    command, arguments, variable = COMMANDS[name]
    monkeypatch.setattr(migrations, "exit_on_signal", lambda _: None)
    for other in [*os.environ]:
        if other.upper().startswith("SIGMA_"):
            monkeypatch.delenv(other)
    assert command(arguments) == 2
    assert f"{variable} is missing" in capsys.readouterr().err
    for value in WRONG[variable]:
        monkeypatch.setenv(variable, value)
        assert command(arguments) == 2, value
        said = capsys.readouterr().err
        assert variable in said
        assert "Traceback" not in said
    monkeypatch.delenv(variable)
    monkeypatch.setenv(f"{variable}_FILE", str(tmp_path / "missing"))
    assert command(arguments) == 2
    assert f"{variable}_FILE" in capsys.readouterr().err
    monkeypatch.delenv(f"{variable}_FILE")
    misspelled = variable.replace("URL", "ULR")
    monkeypatch.setenv(misspelled, "x")
    assert command(arguments) == 2
    assert f"{misspelled} is not known: is {variable} meant?" in capsys.readouterr().err


def test_migrations_name_a_wrong_service_and_a_missing_variable_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(migrations, "exit_on_signal", lambda _: None)
    monkeypatch.delenv("SIGMA_DATABASE_URL", raising=False)
    assert migrations.main(["record_service"]) == 2
    said = capsys.readouterr().err
    assert "there is no service 'record_service'" in said
    assert "SIGMA_DATABASE_URL is missing" in said
    assert migrations.main(["gateway", "--database-url", "foo"]) == 2
    said = capsys.readouterr().err
    assert "'gateway' has no migrations" in said
    assert "SIGMA_DATABASE_URL: expected an address such as postgresql://" in said


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (migrations.main, []),
        (migrations.main, ["records_service", "--wait", "soon"]),
        (migrations.main, ["records_service", "--history", "--stamp", "0001"]),
        (dead_letters.main, ["list", "records"]),
        (dead_letters.main, ["list", "records_service", "--most", "0"]),
        (dead_letters.main, ["remove", "records_service"]),
        (keys.main, ["identity", "records_service"]),
        (keys.main, ["token", "--name", "a b"]),
        (keys.main, []),
        (administration.main, ["create-workspace", "--id", "ws-1"]),
        (administration.main, ["delete-everything"]),
    ],
)
def test_a_command_that_is_called_wrongly_ends_with_2(
    command: Callable[[list[str]], int],
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(migrations, "exit_on_signal", lambda _: None)
    with pytest.raises(SystemExit) as ended:
        command(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "error: " in said
    assert "Traceback" not in said


def test_every_secret_may_be_in_a_file_that_is_told_when_it_is_wrong(
    right: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    for service, kind in CONFIGS.items():
        right(service)
        for name, variable in file_variables(kind).items():
            with monkeypatch.context() as patched:
                patched.delenv(f"SIGMA_{name.upper()}", raising=False)
                patched.setenv(variable, str(tmp_path / "missing"))
                with pytest.raises(ConfigError, match=f"{variable}: .* does not exist"):
                    load(kind)
