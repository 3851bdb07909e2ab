"""Reads a service's settings from environment variables and reports all problems at once."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import parse_qsl, urlsplit

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from shared.errors import truncated
from shared.identity import GATEWAY, IdentitySigner, IdentityVerifier, public_key_of
from shared.process.hosts import each_host
from shared.process.secret_files import SUFFIX, FromFile, SecretFiles, Unusable, file_variables

PREFIX = "SIGMA_"
_NAME_LOOKED_AT: Final = 100
_TARGET: Final = "target_session_attrs"
_TARGETS: Final = ("read-write", "primary")
_HOST: Final = re.compile(r"[0-9A-Za-z.:_-]{1,253}")
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


class ConfigError(Exception):
    """What is missing or wrong in the environment, one line each; never a value of a secret."""


def _parses_as_identity_keys(text: str) -> str:
    IdentityVerifier.parse(text)
    if GATEWAY not in (entry.partition("=")[0].strip() for entry in text.split(",")):
        # Every request would be refused.
        raise ValueError(f"expected a key of {GATEWAY} among them")
    return text


def signs_as(issuer: str) -> AfterValidator:
    """A signing key of this process, whose public half stands in `SIGMA_IDENTITY_KEYS`.

    Otherwise all other processes would refuse what it signs, for they have the same list.
    """

    def check(secret: SecretStr, info: ValidationInfo) -> SecretStr:
        key = secret.get_secret_value()
        IdentitySigner.parse(key)
        if key.partition("=")[0].strip() != issuer:
            raise ValueError(f"the issuer must be '{issuer}'")
        # Absent when it is wrong itself.
        listed = str(info.data.get("identity_keys", public_key_of(key))).split(",")
        if public_key_of(key).partition("=")[2] not in (
            entry.strip().partition("=")[2] for entry in listed
        ):
            raise ValueError(f"its public key is not in {PREFIX}IDENTITY_KEYS")
        return secret

    return AfterValidator(check)


def _is_amqp_url(secret: SecretStr) -> SecretStr:
    _check_url(secret, ("amqp", "amqps"), "amqp://user:password@host:5672/vhost")
    return secret


def _is_database_url(secret: SecretStr) -> SecretStr:
    _check_url(secret, ("postgresql", "postgres"), "postgresql://user:password@host:5432/database")
    return secret


def _check_url(secret: SecretStr, schemes: tuple[str, ...], form: str) -> None:
    try:
        urls = [urlsplit(one) for one in each_host(secret.get_secret_value())]
        # A database may be named by a socket's folder in the query, and then has no host.
        reachable = all(url.hostname or (url.query and len(urls) == 1) for url in urls)
        _ = [url.port for url in urls]
        query = dict(parse_qsl(urls[0].query))
    except ValueError:
        raise ValueError(f"expected an address such as {form}") from None
    if query.get("sslmode", _SSL_MODES[0]) not in _SSL_MODES:
        raise ValueError(f"expected sslmode to be one of {', '.join(_SSL_MODES)}")
    if query.get(_TARGET, _TARGETS[0]) not in _TARGETS:
        raise ValueError(f"expected {_TARGET} to be {' or '.join(_TARGETS)}")
    if urls[0].scheme not in schemes or not reachable:
        raise ValueError(f"expected an address such as {form}")


def _is_base_address(text: str) -> str:
    try:
        url = urlsplit(text)
        is_whole = url.hostname and url.port != 0
    except ValueError:
        is_whole = False
    beside = url.path.strip("/") or url.query or url.fragment or url.username if is_whole else ""
    if not is_whole or beside or url.scheme not in ("http", "https"):
        raise ValueError("expected an address such as http://records:8082")
    return text.rstrip("/")


def _is_host(text: str) -> str:
    # An empty one would listen on all addresses.
    if not _HOST.fullmatch(text):
        raise ValueError("expected an address to listen on, such as 127.0.0.1 or 0.0.0.0")
    return text


AmqpUrl = Annotated[SecretStr, AfterValidator(_is_amqp_url)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_is_database_url)]
IdentityKeys = Annotated[str, FromFile(), AfterValidator(_parses_as_identity_keys)]
BaseAddress = Annotated[str, AfterValidator(_is_base_address)]
"""Of another service: a host and a port, and nothing behind them."""
Host = Annotated[str, AfterValidator(_is_host)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseSettings):
    """What a program reads from the environment: field `database_url` from `SIGMA_DATABASE_URL`.

    A secret may instead be in the file that `SIGMA_DATABASE_URL_FILE` names.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    @classmethod
    def settings_customise_sources(  # noqa: D102 - pydantic-settings describes it
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - not used here
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - not used here
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, SecretFiles(settings_cls), env_settings

    @field_validator("*", mode="before")
    @classmethod
    def _could_be_read(cls, value: Any) -> Any:
        if isinstance(value, Unusable):
            raise PydanticCustomError(_UNUSABLE, "{problem}", {"problem": value.problem})
        return value


class ServiceConfig(Settings):
    """The settings of every service."""

    host: Host = "127.0.0.1"
    port: Port
    internal_port: Port
    reuse_port: bool = False
    amqp_url: AmqpUrl
    identity_keys: IdentityKeys
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "json"
    wait_seconds: Annotated[float, Field(gt=0, le=60)] = 2.0
    drain_seconds: Annotated[float, Field(ge=0, le=300)] = 5.0
    connections_max: Annotated[int, Field(ge=1, le=100_000)] = 2_000
    body_bytes_max: Annotated[int, Field(ge=1_024, le=1 << 30)] = 10 << 20

    @field_validator("internal_port")
    @classmethod
    def _is_another_port(cls, port: int, info: ValidationInfo) -> int:
        if port and port == info.data.get("port"):
            raise ValueError(f"expected another port than {PREFIX}PORT")
        return port


class DatabaseConfig(ServiceConfig):
    """Additional settings of a service with a database."""

    database_url: DatabaseUrl
    database_connections_max: Annotated[int, Field(ge=1, le=500)] = 16
    relay_lease_seconds: Annotated[float, Field(ge=1, le=300)] = 5.0
    idempotency_hours: Annotated[float, Field(gt=0, le=720)] = 24.0


COLLECTOR_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""OpenTelemetry's names, which operators and their tools know already; the first one counts."""
_PROTOCOL_VARIABLES: Final = (
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
)
_PROTOCOL: Final = "http/protobuf"


def collector_url(environment: Mapping[str, str]) -> str | None:
    """Where traces are sent; None if they are not."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    return next((environment[one] for one in COLLECTOR_VARIABLES if environment.get(one)), None)


def _wrong_collector(environment: Mapping[str, str]) -> list[str]:
    """What is wrong with the variables that say where traces are sent, one line each."""
    lines = []
    for name in COLLECTOR_VARIABLES:
        try:
            url = urlsplit(environment.get(name) or "http://unset")
            is_usable = url.scheme in ("http", "https") and url.hostname and url.port != 0
        except ValueError:
            is_usable = False
        if not is_usable:
            lines.append(f"  {name}: expected an address such as http://collector:4318")
    return lines + [
        f"  {name}: expected {_PROTOCOL}"
        for name in _PROTOCOL_VARIABLES
        if environment.get(name, _PROTOCOL) not in ("", _PROTOCOL)
    ]


_UNUSABLE: Final = "unusable_file"

_CLOSE: Final = 0.89
"""From which likeness on a name is taken for a misspelled one. Variables of other services are less
like those of this one, so processes can share an environment without warnings; a test says so."""

_EXPECTED: Final[Mapping[str, str]] = {
    "bool_parsing": "true or false",
    "float_parsing": "a number",
    "finite_number": "a number",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number with fewer digits",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "literal_error": "{expected}",
    "url_parsing": "an address such as http://records:8082",
    "url_scheme": "an address such as http://records:8082",
}
"""What was expected, by the name of pydantic's error."""

ConfigT = TypeVar("ConfigT", bound=BaseSettings)


def misspelled(kind: type[BaseSettings], names: Iterable[str]) -> list[tuple[str, str]]:
    """Those of the environment's names that no setting has but nearly, each with that setting's."""
    known = [f"{PREFIX}{field.upper()}" for field in kind.model_fields]
    known += file_variables(kind).values()
    found = []
    for name in sorted(names):
        # Names of settings are read in upper and in lower case alike.
        written = name.upper()[:_NAME_LOOKED_AT]
        if written.startswith(PREFIX) and name.upper() not in known:
            # Only secrets are read from files.
            direct = [written.removesuffix(SUFFIX)] if written.endswith(SUFFIX) else []
            close = [meant for meant in direct if meant in known]
            close = close or difflib.get_close_matches(written, known, 1, _CLOSE)
            found += [(truncated(name), meant) for meant in close]
    return found


def load(kind: type[ConfigT], **overrides: Any) -> ConfigT:
    """The settings, or one `ConfigError` that names every variable that is missing or wrong."""
    loaded: ConfigT | None = None
    lines: list[str] = []
    try:
        loaded = kind(**overrides)
    except ValidationError as error:
        files = file_variables(kind)
        lines = [_described(problem, files) for problem in error.errors(include_input=False)]
    if issubclass(kind, ServiceConfig):
        lines += _wrong_collector(os.environ)
    if loaded is not None and not lines:
        return loaded
    lines += [
        f"  {name} is not known: is {meant} meant?" for name, meant in misspelled(kind, os.environ)
    ]
    raise ConfigError("The configuration is not valid:\n" + "\n".join(lines))


def _described(problem: Mapping[str, Any], files: Mapping[str, str]) -> str:
    variable = PREFIX + "_".join(str(part) for part in problem["loc"]).upper()
    kind, context = problem["type"], problem.get("ctx") or {}
    if kind == _UNUSABLE:
        return f"  {context['problem']}"
    if kind == "missing":
        return f"  {variable} is missing"
    file = files.get(str(problem["loc"][0]), "")
    if file in map(str.upper, os.environ):
        variable = file
    if kind == "value_error":
        return f"  {variable}: {context['error']}"
    if kind in _EXPECTED:
        return f"  {variable}: expected {_EXPECTED[kind].format(**context)}"
    return f"  {variable} is not valid"
