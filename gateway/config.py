"""The settings of the gateway."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from limits import parse
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from gateway.response_headers import ANY_ORIGIN
from shared.identity import GATEWAY
from shared.identity.tokens import TokenKeys
from shared.process.config import BaseAddress, Port, ServiceConfig, signs_as


def _parses_as_token_keys(secret: SecretStr) -> SecretStr:
    TokenKeys.parse(secret.get_secret_value())
    return secret


_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?")
_ORIGINS_MAX = 100


def _as_origins(text: str) -> frozenset[str]:
    origins = frozenset(part.strip() for part in text.split(",") if part.strip())
    if origins == {ANY_ORIGIN}:
        return origins
    if len(origins) > _ORIGINS_MAX or not all(map(_ORIGIN.fullmatch, origins)):
        raise ValueError(
            "expected * or at most 100 origins such as"
            " https://app.example,http://localhost:5173, in lower case and without a path"
        )
    return origins


def _is_rate(text: str) -> str:
    try:
        parse(text)
    except ValueError:
        raise ValueError("expected a rate such as 1000/minute") from None
    return text


def _is_storage(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    try:
        url = urlsplit(text)
        known = text == "memory" or (
            url.scheme in ("redis", "rediss", "redis+unix") and (url.port is None or url.hostname)
        )
    except ValueError:
        known = False
    if not known:
        raise ValueError("expected 'memory' or an address such as redis://host:6379")
    return secret


class GatewayConfig(ServiceConfig):
    """Addresses of the services, keys, and limits of a request."""

    port: Port = 8080
    internal_port: Port = 9080
    auth_url: BaseAddress
    records_url: BaseAddress
    workflow_url: BaseAddress
    token_keys: Annotated[SecretStr, AfterValidator(_parses_as_token_keys)]
    identity_signing_key: Annotated[SecretStr, signs_as(GATEWAY)]
    docs_enabled: bool = True
    cors_origins: Annotated[
        frozenset[str], NoDecode, BeforeValidator(_as_origins), Field(validate_default=False)
    ] = frozenset()
    request_timeout_s: Annotated[float, Field(gt=0, le=600)] = 30.0
    upstream_connections_max: Annotated[int, Field(ge=1, le=10_000)] = 128
    followers_max: Annotated[int, Field(ge=1, le=100_000)] = 1_200
    trusted_hops: Annotated[int, Field(ge=0, le=10)] = 0
    rate_limit: Annotated[str, AfterValidator(_is_rate)] | None = None
    rate_limit_storage: Annotated[SecretStr, AfterValidator(_is_storage)] = SecretStr("memory")
