"""Every setting is documented, and a wrong configuration is told in one message."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from auth_service.config import Config as AuthConfig
from gateway.config import GatewayConfig
from records_service.config import Config as RecordsConfig
from shared.http.client import IDLE_S_MAX
from shared.process.config import ServiceConfig, misspelled
from shared.process.secret_files import FILE_BYTES_MAX, file_variables
from workflow_service.config import Config as WorkflowConfig

ROOT = Path(__file__).parents[2]
CONFIGS = {
    "auth_service": AuthConfig,
    "gateway": GatewayConfig,
    "records_service": RecordsConfig,
    "workflow_service": WorkflowConfig,
}


def variables(config):
    return {f"SIGMA_{name.upper()}" for name in config.model_fields}


def rows():
    """The table of variables: name to its cells, without backticks."""
    page = (ROOT / "docs" / "operations.md").read_text()
    split = (
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in page.splitlines()
        if line.startswith("| `SIGMA_")
    )
    return {cells[0].strip("` "): [cell.strip("`") for cell in cells[1:]] for cells in split}


@pytest.mark.parametrize("service", CONFIGS)
def test_a_variable_of_another_service_is_not_taken_for_a_misspelled_one(service):
    others = set().union(*map(variables, CONFIGS.values())) - variables(CONFIGS[service])
    others |= set().union(*(file_variables(config).values() for config in CONFIGS.values()))
    tools = {"SIGMA_POSTGRES_URL", "SIGMA_RABBITMQCTL", "SIGMA_API_KEY", "SIGMA_URL"}
    tools |= {"SIGMA_API_KEY_FILE"}
    assert misspelled(CONFIGS[service], others | tools) == []


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("SIGMA_AUTH_ULR", "SIGMA_AUTH_URL"),
        ("SIGMA_PROT", "SIGMA_PORT"),
        ("SIGMA_RATE_LIMITS", "SIGMA_RATE_LIMIT"),
        ("SIGMA_LOG_LEVL", "SIGMA_LOG_LEVEL"),
        ("sigma_log_fromat", "SIGMA_LOG_FORMAT"),
        ("SIGMA_DOCS_ENABLE", "SIGMA_DOCS_ENABLED"),
    ],
)
def test_a_misspelled_variable_is_told_with_the_right_name(sent, meant):
    names = ["PATH", "sigma_port", "SIGMA_SOMETHING_ELSE", "SIGMA_" + "X" * 100_000, sent]
    assert misspelled(GatewayConfig, names) == [(sent, meant)]


def test_operations_lists_every_setting_and_no_other():
    assert set(rows()) == set().union(*map(variables, CONFIGS.values()))


@pytest.mark.parametrize(
    ("column", "service"),
    [(0, "gateway"), (1, "auth_service"), (2, "records_service"), (3, "workflow_service")],
)
def test_operations_says_who_needs_which_setting_and_its_default(column, service):
    fields = CONFIGS[service].model_fields
    for variable, cells in rows().items():
        field = fields.get(variable.removeprefix("SIGMA_").lower())
        needed = "" if field is None else "required" if field.is_required() else "optional"
        assert cells[column] == needed, variable
        if field is not None and not field.is_required() and not variable.endswith("_PORT"):
            value = field.default
            value = value.get_secret_value() if isinstance(value, SecretStr) else value
            told = "off" if value in (None, frozenset()) else str(value).lower()
            assert cells[4] == told.removesuffix(".0"), variable


def test_operations_lists_every_file_variable_and_no_other():
    page = (ROOT / "docs" / "operations.md").read_text()
    section = page.split("\n### Secrets from files\n")[1].split("\n### ")[0]
    files = set().union(*(file_variables(config).values() for config in CONFIGS.values()))
    assert set(re.findall(r"SIGMA_[A-Z_]+_FILE\b", section)) == files
    assert f"{FILE_BYTES_MAX >> 10} KiB" in section


def test_operations_lists_the_ports():
    page = (ROOT / "docs" / "operations.md").read_text()
    for service, config in CONFIGS.items():
        ports = [config.model_fields[name].default for name in ("port", "internal_port")]
        assert f"\n| {service} | {ports[0]} | {ports[1]} |\n" in page


@pytest.mark.parametrize("service", CONFIGS)
def test_a_service_without_settings_names_all_it_needs(service):
    """One message, every variable, exit code 2; and nothing was opened."""
    done = subprocess.run(
        [sys.executable, "-m", service],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    needed = {
        f"SIGMA_{name.upper()}"
        for name, field in CONFIGS[service].model_fields.items()
        if field.is_required()
    }
    assert set(re.findall(r"(SIGMA_[A-Z_]+) is missing", done.stderr)) == needed


@pytest.mark.parametrize("service", CONFIGS)
def test_the_help_of_a_service_names_its_variables_and_its_roles(service):
    done = subprocess.run(
        [sys.executable, "-m", service, "--help"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "COLUMNS": "1000"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    required, optional = done.stdout.split("Required: ")[1].split("Optional: ")
    fields = CONFIGS[service].model_fields.items()
    for name, field in fields:
        assert f"SIGMA_{name.upper()}" in (required if field.is_required() else optional)
    from_files = optional.split("Paths of files")[1]
    assert set(re.findall(r"SIGMA_[A-Z_]+", from_files)) == {
        *file_variables(CONFIGS[service]).values()
    }
    assert ("--role" in done.stdout) == (service != "gateway")
    assert ("worker: only publish" in done.stdout) == (service != "gateway")
    assert ("admin --help" in done.stdout) == (service == "auth_service")


def test_a_secret_that_is_wrong_is_not_repeated():
    wrong = "local=bm90LTMyLWJ5dGVz"
    done = subprocess.run(
        [sys.executable, "-m", "auth_service"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "SIGMA_TOKEN_KEYS": wrong},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "SIGMA_TOKEN_KEYS" in done.stderr
    assert wrong not in done.stderr + done.stdout


def test_what_is_wrong_is_told_in_plain_words_all_at_once():
    wrong = {
        "SIGMA_PORT": "http",
        "SIGMA_INTERNAL_PORT": "70000",
        "SIGMA_AMQP_URL": "foo-secret",
        "SIGMA_DATABASE_URL": "mysql://x-secret",
        "SIGMA_IDENTITY_KEYS": "secret",
        "SIGMA_IDENTITY_SIGNING_KEY": "gateway=c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlYw==",
        "SIGMA_TOKEN_KEYS": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlYw==",
        "SIGMA_RECORDS_URL": "records:8082",
        "SIGMA_WORKFLOW_URL": "http://workflows:8083",
        "SIGMA_LOG_LEVEL": "loud",
        "SIGMA_QUICK_LOGIN_ENABLED": "perhaps",
        "SIGMA_HASHING_THREADS": "0",
    }
    done = subprocess.run(
        [sys.executable, "-m", "auth_service"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **wrong},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    told = dict(line.strip().split(": ", 1) for line in done.stderr.splitlines()[1:])
    assert told == {
        "SIGMA_PORT": "expected a whole number",
        "SIGMA_INTERNAL_PORT": "expected a number of at most 65535",
        "SIGMA_AMQP_URL": "expected an address such as amqp://user:password@host:5672/vhost",
        "SIGMA_DATABASE_URL": (
            "expected an address such as postgresql://user:password@host:5432/database"
        ),
        "SIGMA_IDENTITY_KEYS": "expected <name>=<key in base64>, found no name or no key",
        "SIGMA_IDENTITY_SIGNING_KEY": "key 'gateway' has 31 bytes, expected 32",
        "SIGMA_TOKEN_KEYS": "entry 1 has no name or no key, expected <name>=<key in base64>",
        "SIGMA_RECORDS_URL": "expected an address such as http://records:8082",
        "SIGMA_LOG_LEVEL": "expected 'debug', 'info', 'warning' or 'error'",
        "SIGMA_QUICK_LOGIN_ENABLED": "expected true or false",
        "SIGMA_HASHING_THREADS": "expected a number of at least 1",
    }
    assert "secret" not in done.stderr


def test_no_connection_is_used_that_was_idle_for_as_long_as_a_service_drains():
    assert ServiceConfig.model_fields["drain_seconds"].default >= IDLE_S_MAX + 1


def test_every_metric_that_operations_names_exists():
    page = (ROOT / "docs" / "operations.md").read_text()
    named = set(re.findall(r"\bsigma_[a-z_]+(?=[^a-z_]*?[{)\[` ])", page))
    named -= {"sigma_auth", "sigma_records", "sigma_workflow"}
    packages = ("shared", "gateway", "auth_service", "records_service", "workflow_service")
    source = "".join(
        file.read_text() for package in packages for file in (ROOT / package).rglob("*.py")
    )
    known = set(re.findall(r'"(sigma_[a-z_]+)"', source))
    known |= {f"{name}_total" for name in known} | {f"{name}_bucket" for name in known}
    assert len(named) > 8
    assert named <= known
