"""The settings of workflow_service."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, AnyHttpUrl, Field, SecretStr

from shared.process.config import BaseAddress, DatabaseConfig, Port, signs_as
from workflow_service.outbound.addresses import Allowed
from workflow_service.secrets.vault import Vault

Seconds = Annotated[float, Field(gt=0, le=86_400)]


def _parses_as_allowed(text: str) -> str:
    Allowed.parse(text)
    return text


def _parses_as_secret_keys(secret: SecretStr) -> SecretStr:
    Vault.parse(secret.get_secret_value())
    return secret


class Config(DatabaseConfig):
    """`SIGMA_REFERENCE_*` say how often references to workflows are compared with the schemas.

    As often states that have been retired for `retirement_pending_seconds` are looked at.
    `shopify_url` is asked instead of all shops of Shopify.
    """

    port: Port = 8083
    internal_port: Port = 9083
    auth_url: BaseAddress
    records_url: BaseAddress
    identity_signing_key: Annotated[SecretStr, signs_as("workflow_service")]
    secret_keys: Annotated[SecretStr, AfterValidator(_parses_as_secret_keys)]
    outbound_allow: Annotated[str, AfterValidator(_parses_as_allowed)] | None = None
    shopify_url: AnyHttpUrl | None = None
    reference_compare_seconds: Seconds = 30
    reference_pending_seconds: Seconds = 60
    reference_confirmed_seconds: Seconds = 3_600
    retirement_pending_seconds: Seconds = 30
    workflows_max: Annotated[int, Field(ge=1, le=10_000_000)] = 1_000
    workflows_bytes_max: Annotated[int, Field(ge=1_024, le=1 << 40)] = 64 << 20
