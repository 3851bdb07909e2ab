"""Reads a service's settings from the environment, and names everything wrong with them at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.identity import IdentityVerifier

PREFIX = "SIGMA_"


class ConfigError(Exception):
    """What is missing or wrong in the environment, one line each; never a value of a secret."""


def _parses_as_identity_keys(text: str) -> str:
    IdentityVerifier.parse(text)
    return text


IdentityKeys = Annotated[str, AfterValidator(_parses_as_identity_keys)]
Port = Annotated[int, Field(ge=0, le=65535)]


class ServiceConfig(BaseSettings):
    """What every service needs. Field `database_url` is read from `SIGMA_DATABASE_URL`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    host: str = "127.0.0.1"
    port: Port
    internal_port: Port
    amqp_url: SecretStr
    identity_keys: IdentityKeys
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "json"
    drain_seconds: Annotated[float, Field(ge=0, le=300)] = 5.0
    connections_max: Annotated[int, Field(ge=1, le=100_000)] = 2_000
    body_bytes_max: Annotated[int, Field(ge=1_024, le=1 << 30)] = 10 << 20


class DatabaseConfig(ServiceConfig):
    """What a service with a database needs besides."""

    database_url: SecretStr
    database_connections_max: Annotated[int, Field(ge=1, le=500)] = 16
    relay_lease_seconds: Annotated[float, Field(ge=1, le=300)] = 5.0


ConfigT = TypeVar("ConfigT", bound=BaseSettings)


def load(kind: type[ConfigT], **overrides: Any) -> ConfigT:
    """The settings, or one `ConfigError` that names every variable that is missing or wrong."""
    try:
        return kind(**overrides)
    except ValidationError as error:
        lines = [_told(problem) for problem in error.errors(include_input=False)]
        raise ConfigError("Configuration is not usable:\n" + "\n".join(lines)) from None


def _told(problem: Mapping[str, Any]) -> str:
    variable = PREFIX + "_".join(str(part) for part in problem["loc"]).upper()
    if problem["type"] == "missing":
        return f"  {variable} is missing"
    return f"  {variable}: {problem['msg']}"
