"""The settings of auth_service."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from shared.identity.tokens import TokenKeys
from shared.process.config import BaseAddress, DatabaseConfig, Port, signs_as


def _parses_as_token_keys(keys: SecretStr) -> SecretStr:
    TokenKeys.parse(keys.get_secret_value())
    return keys


class Config(DatabaseConfig):
    """The keys of tokens and identities, whom to ask about schemas, and how hard to hash."""

    port: Port = 8081
    internal_port: Port = 9081
    identity_signing_key: Annotated[SecretStr, signs_as("auth_service")]
    token_keys: Annotated[SecretStr, AfterValidator(_parses_as_token_keys)]
    records_url: BaseAddress
    workflow_url: BaseAddress
    roles_max: Annotated[int, Field(ge=1, le=10_000_000)] = 1_000
    roles_bytes_max: Annotated[int, Field(ge=1_024, le=1 << 40)] = 64 << 20
    api_keys_max: Annotated[int, Field(ge=1, le=10_000_000)] = 1_000
    quick_login_enabled: bool = False
    hashing_threads: Annotated[int, Field(ge=1, le=64)] = 2
    hashing_waiting_max: Annotated[int, Field(ge=0, le=10_000)] = 64
