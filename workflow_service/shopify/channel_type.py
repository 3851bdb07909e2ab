"""Channels of the type `shopify`: what their configuration says, and how one is opened."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web

from shared.errors import ValidationError, truncated
from shared.http.json_types import js_type
from workflow_service.connectors.model import ChannelType, Checkpoint, Config, Connector, origin
from workflow_service.outbound.client import OUTBOUND
from workflow_service.shopify.connector import ShopifyConnector
from workflow_service.shopify.fields import check_target
from workflow_service.shopify_api.client import Address, Shop

ITEMS_AT_ONCE: Final = 1_000
"""Products of one bulk operation."""
TOKEN_LENGTH_MAX: Final = 500
_SHOP: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\.myshopify\.com")


def shopify(server: str | None) -> ChannelType:
    """The type `shopify`; with `server` (SIGMA_SHOPIFY_URL), all requests go there."""

    def check(config: Config) -> None:
        for name in ("shopUrl", "apiKey"):
            value = config.get(name)
            if value is None or value == "":
                raise _at(name, f"Field 'config.{name}' is required")
            if not isinstance(value, str):
                raise _at(
                    name, f"Field 'config.{name}' expects type 'string', got '{js_type(value)}'"
                )
        if server is None and shop_host(config["shopUrl"]) is None:
            raise _at(
                "shopUrl",
                "Field 'config.shopUrl' expects the address of a shop such as"
                f" https://my-shop.myshopify.com, got '{truncated(config['shopUrl'])}'",
            )
        token = config["apiKey"]
        if len(token) > TOKEN_LENGTH_MAX or not token.isascii() or not token.isprintable():
            raise _at(
                "apiKey",
                "Field 'config.apiKey' expects an access token of up to"
                f" {TOKEN_LENGTH_MAX} visible ASCII characters",
            )

    @asynccontextmanager
    async def connect(
        app: web.Application, config: Config, checkpoint: Checkpoint
    ) -> AsyncIterator[Connector]:
        base = server or f"https://{shop_host(config['shopUrl'])}"
        shop = Shop(app[OUTBOUND], Address(base), config["apiKey"], check=checkpoint.check)
        yield ShopifyConnector(shop, checkpoint)

    return ChannelType(
        plain=frozenset({"shopUrl"}),
        check=check,
        connect=connect,
        check_target=check_target,
        items_at_once=ITEMS_AT_ONCE,
        servers={"shopUrl": lambda address: shop_host(address) or origin(address)},
    )


def shop_host(url: Any) -> str | None:
    """The host of a shop's address, with or without `https://`; None if it is none of Shopify's."""
    if not isinstance(url, str):
        return None
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        host = parts.hostname or ""
        plain = parts.port is None and parts.username is None and parts.path in {"", "/"}
    except ValueError:
        return None
    is_shop = parts.scheme == "https" and plain and not parts.query and not parts.fragment
    return host if is_shop and _SHOP.fullmatch(host) else None


def _at(name: str, message: str) -> ValidationError:
    return ValidationError.at(f"/config/{name}", message)
