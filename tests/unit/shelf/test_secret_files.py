"""Secrets in files: which setting, which file, and what is wrong with it, never its content."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from auth_service import administration
from auth_service.config import Config as AuthConfig
from deploy.importers import command
from deploy.importers.akeneo.source import AKENEO
from deploy.local import settings
from gateway.config import GatewayConfig
from shared.database import migrations
from shared.messaging import dead_letters
from shared.process.config import ConfigError, DatabaseUrl, Settings, load, misspelled
from shared.process.secret_files import FILE_BYTES_MAX, file_variables

URL = "postgresql://sigma:top-secret@db:5432/sigma_records"


class Database(Settings):
    database_url: DatabaseUrl


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("SIGMA_"):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that `SIGMA_DATABASE_URL_FILE` names; it does not exist yet."""
    path = tmp_path / "url"
    monkeypatch.setenv("SIGMA_DATABASE_URL_FILE", str(path))
    return path


def problems(kind: type[Settings] = Database) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(kind)
    assert "secret" not in str(caught.value)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_is_read_from_its_file_without_the_line_break(file: Path, end: str):
    file.write_bytes(f"{URL}{end}".encode())
    assert load(Database).database_url.get_secret_value() == URL


def test_the_variable_may_be_written_in_lower_case(file: Path, monkeypatch: pytest.MonkeyPatch):
    file.write_text(URL)
    monkeypatch.delenv("SIGMA_DATABASE_URL_FILE")
    monkeypatch.setenv("sigma_database_url_file", str(file))
    assert load(Database).database_url.get_secret_value() == URL
    file.write_text("secret")
    assert problems()[0].startswith("SIGMA_DATABASE_URL_FILE: ")


@pytest.mark.parametrize("direct", [URL, ""])
def test_a_setting_and_its_file_together_are_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch, direct: str
):
    file.write_text(URL)
    monkeypatch.setenv("SIGMA_DATABASE_URL", direct)
    assert problems() == [
        "SIGMA_DATABASE_URL and SIGMA_DATABASE_URL_FILE are both set, expected one of them"
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "{path} is empty"),
        (b" \n", "{path} is empty"),
        (b"secret-\xff\xfe", "{path} is not UTF-8 text"),
        (b"secret" * FILE_BYTES_MAX, f"{{path}} is larger than {FILE_BYTES_MAX} bytes"),
        (f"{URL}\n{URL}\n".encode(), "{path} has more than one line"),
        (f"{URL}\0".encode(), "{path} contains a NUL character"),
        (
            b"mysql://top-secret@db/records",
            "expected an address such as postgresql://user:password@host:5432/database",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_told_without_its_content(
    file: Path, content: bytes, told: str
):
    file.write_bytes(content)
    assert problems() == [f"SIGMA_DATABASE_URL_FILE: {told.format(path=file)}"]


def test_a_file_that_is_none_is_told(file: Path, monkeypatch: pytest.MonkeyPatch):
    assert problems() == [f"SIGMA_DATABASE_URL_FILE: {file} does not exist"]
    file.mkdir()
    assert problems() == [f"SIGMA_DATABASE_URL_FILE: {file} is not a file"]
    file.rmdir()
    os.mkfifo(file)
    assert problems() == [f"SIGMA_DATABASE_URL_FILE: {file} is not a file"]
    monkeypatch.setenv("SIGMA_DATABASE_URL_FILE", str(file / "below"))
    assert problems() == [f"SIGMA_DATABASE_URL_FILE: {file}/below cannot be read: Not a directory"]
    monkeypatch.setenv("SIGMA_DATABASE_URL_FILE", "")
    assert problems() == ["SIGMA_DATABASE_URL_FILE: expected the path of a file"]
    monkeypatch.setenv("SIGMA_DATABASE_URL_FILE", "/" + "a" * 300)
    assert problems() == [
        f"SIGMA_DATABASE_URL_FILE: /{'a' * 99}… cannot be read: File name too long"
    ]


@pytest.mark.parametrize("secret", [URL, "gateway=c2VjcmV0", "not-a-path"])
def test_a_secret_in_place_of_a_path_is_not_told(secret: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SIGMA_DATABASE_URL_FILE", secret)
    assert problems() == ["SIGMA_DATABASE_URL_FILE: the file that it names does not exist"]


def test_a_file_that_nobody_may_read_is_told(file: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_args: object) -> None:
        raise PermissionError(13, "Permission denied", str(file))

    # Root may read everything, so the refusal of the operating system is put here.
    file.write_text(URL)
    monkeypatch.setattr(Path, "open", refuse)
    assert problems() == [f"SIGMA_DATABASE_URL_FILE: {file} cannot be read: Permission denied"]


def test_all_problems_of_files_and_of_variables_are_told_at_once(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "keys").write_text("top-secret")
    for name in ("SIGMA_IDENTITY_KEYS_FILE", "SIGMA_TOKEN_KEYS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "keys"))
    monkeypatch.setenv("SIGMA_AMQP_URL", "amqp://guest:guest@rabbit/")
    monkeypatch.setenv("SIGMA_AMQP_URL_FILE", str(tmp_path / "amqp"))
    monkeypatch.setenv("SIGMA_PORT", "http")
    monkeypatch.setenv("SIGMA_WORKFLOW_URL_FILE", str(file))
    assert problems(AuthConfig) == [
        "SIGMA_PORT: expected a whole number",
        "SIGMA_AMQP_URL and SIGMA_AMQP_URL_FILE are both set, expected one of them",
        "SIGMA_IDENTITY_KEYS_FILE: expected <name>=<key in base64>, found no name or no key",
        f"SIGMA_DATABASE_URL_FILE: {file} does not exist",
        "SIGMA_IDENTITY_SIGNING_KEY is missing",
        "SIGMA_TOKEN_KEYS_FILE: entry 1 has no name or no key, expected <name>=<key in base64>",
        "SIGMA_RECORDS_URL is missing",
        "SIGMA_WORKFLOW_URL is missing",
        "SIGMA_WORKFLOW_URL_FILE is not known: is SIGMA_WORKFLOW_URL meant?",
    ]


def test_every_secret_and_the_public_keys_beside_them_can_be_files():
    assert set(file_variables(AuthConfig).values()) == {
        "SIGMA_AMQP_URL_FILE",
        "SIGMA_DATABASE_URL_FILE",
        "SIGMA_IDENTITY_KEYS_FILE",
        "SIGMA_IDENTITY_SIGNING_KEY_FILE",
        "SIGMA_TOKEN_KEYS_FILE",
    }
    assert set(file_variables(GatewayConfig).values()) == {
        "SIGMA_AMQP_URL_FILE",
        "SIGMA_IDENTITY_KEYS_FILE",
        "SIGMA_IDENTITY_SIGNING_KEY_FILE",
        "SIGMA_RATE_LIMIT_STORAGE_FILE",
        "SIGMA_TOKEN_KEYS_FILE",
    }


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("SIGMA_AMQP_URL_FIEL", "SIGMA_AMQP_URL_FILE"),
        ("SIGMA_TOKEN_KEY_FILE", "SIGMA_TOKEN_KEYS_FILE"),
        ("SIGMA_PORT_FILE", "SIGMA_PORT"),
        ("sigma_port_file", "SIGMA_PORT"),
    ],
)
def test_a_misspelled_file_variable_is_told_with_the_right_name(sent: str, meant: str):
    assert misspelled(GatewayConfig, [sent, "SIGMA_DATABASE_URL_FILE"]) == [(sent, meant)]


@pytest.fixture
def own_logging() -> Iterator[None]:
    yield
    # A command sets the logging of its process up.
    structlog.reset_defaults()


@pytest.mark.usefixtures("own_logging")
@pytest.mark.parametrize(
    ("main", "variable"),
    [
        (lambda: migrations.main(["records_service"]), "SIGMA_DATABASE_URL_FILE"),
        (lambda: administration.main(["list-workspaces"]), "SIGMA_DATABASE_URL_FILE"),
        (lambda: dead_letters.main(["list", "records_service"]), "SIGMA_AMQP_URL_FILE"),
    ],
)
def test_every_command_reads_its_secret_from_a_file(
    main, variable: str, tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.setattr(migrations, "exit_on_signal", lambda _code: None)
    path = tmp_path / "url"
    monkeypatch.setenv(variable, str(path))
    assert main() == 2
    assert f"{variable}: {path} does not exist" in capsys.readouterr().err
    scheme = "amqp" if "AMQP" in variable else "postgresql"
    path.write_text(f"{scheme}://sigma:top-secret@127.0.0.1:1/sigma\n")
    assert main() == 1
    assert "secret" not in capsys.readouterr().err


def test_the_importer_reads_its_key_from_a_file(tmp_path: Path, monkeypatch, capsys):
    arguments = ["--data", str(tmp_path / "none"), "--url", "http://127.0.0.1:1"]
    monkeypatch.setenv("SIGMA_API_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(SystemExit, match="2"):
        command.main(AKENEO, arguments)
    assert f"SIGMA_API_KEY_FILE: {tmp_path}/key does not exist" in capsys.readouterr().err
    (tmp_path / "key").write_text("top-secret\n")
    assert command.main(AKENEO, arguments) == 2
    assert "API_KEY" not in capsys.readouterr().err


def test_make_run_and_its_commands_leave_out_the_files_of_what_they_set(monkeypatch):
    monkeypatch.setenv("SIGMA_DATABASE_URL_FILE", "/run/secrets/url")
    monkeypatch.setenv("sigma_amqp_url_file", "/run/secrets/amqp")
    monkeypatch.setenv("SIGMA_RATE_LIMIT_STORAGE_FILE", "/run/secrets/redis")
    keys = settings.Keys("local=x", {}, {}, "local=y")
    databases = {settings.RECORDS: URL}
    made = settings.environment(settings.RECORDS, keys, settings.Ports(), databases, "amqp://x")
    assert {name for name in made if name.upper().endswith("_FILE")} == {
        "SIGMA_RATE_LIMIT_STORAGE_FILE"
    }
    assert "SIGMA_DATABASE_URL_FILE" not in settings.with_database(URL)
    assert settings.with_database(URL)["SIGMA_DATABASE_URL"] == URL


def test_an_address_on_the_command_line_is_checked(monkeypatch, capsys):
    monkeypatch.setattr(migrations, "exit_on_signal", lambda _code: None)
    assert migrations.main(["records_service", "--database-url", "mysql://top-secret@db/x"]) == 2
    told = capsys.readouterr().err
    assert "SIGMA_DATABASE_URL: expected an address such as postgresql://" in told
    assert "secret" not in told
