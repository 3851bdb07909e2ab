"""The mask of a secret stands for it only while the secret goes to the server that it was for."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import ValidationError
from workflow_service.channels.configs import masked, with_secrets
from workflow_service.connectors.model import Config
from workflow_service.connectors.types import channel_types
from workflow_service.shopify.channel_type import shopify

TYPES = channel_types(shopify(None))
SECRET = "shpat_0123456789abcdef"
REST = {"url": "https://shop.example/products", "headers": {"X-Token": SECRET}}
SHOP = {"shopUrl": "https://coastal.myshopify.com", "apiKey": SECRET}
AMAZON = {"region": "eu", "endpoint": "https://a.example", "clientSecret": SECRET}


def meant(kind: str, stored: Config, **changes: Any) -> dict[str, Any]:
    """What a PUT means that sends back what was answered, with these changes."""
    of_type = TYPES[kind]
    sent = masked(stored, of_type.plain) | changes
    return with_secrets(sent, stored, of_type.plain, of_type.servers)


@pytest.mark.parametrize(
    ("kind", "stored", "changes"),
    [
        ("custom", REST, {}),
        ("custom", REST, {"url": "https://SHOP.example:443/other?shop=2", "idField": "sku"}),
        ("shopify", SHOP, {}),
        ("shopify", SHOP, {"shopUrl": "coastal.myshopify.com/"}),
        ("shopify", SHOP | {"shopUrl": "http://127.0.0.1:1"}, {}),
        ("amazon-1p", AMAZON, {}),
    ],
)
def test_a_mask_leaves_the_secret(kind: str, stored: Config, changes: dict[str, Any]):
    assert meant(kind, stored, **changes) == stored | changes


@pytest.mark.parametrize(
    ("kind", "stored", "changes", "field"),
    [
        ("custom", REST, {"url": "https://evil.example/products"}, "config.headers.X-Token"),
        ("custom", REST, {"url": "http://shop.example/products"}, "config.headers.X-Token"),
        ("custom", REST, {"url": "https://shop.example:8443/products"}, "config.headers.X-Token"),
        ("custom", REST, {"url": "https://shop.example.evil.example"}, "config.headers.X-Token"),
        ("custom", REST, {"url": "https://shop.example@evil.example"}, "config.headers.X-Token"),
        ("custom", REST, {"url": None}, "config.headers.X-Token"),
        ("shopify", SHOP, {"shopUrl": "https://other.myshopify.com"}, "config.apiKey"),
        (
            "shopify",
            SHOP,
            {"shopUrl": "https://coastal.myshopify.com.evil.example"},
            "config.apiKey",
        ),
        ("shopify", SHOP, {"shopUrl": "http://coastal.myshopify.com"}, "config.apiKey"),
        ("shopify", SHOP, {"shopUrl": "coastal.example"}, "config.apiKey"),
        ("shopify", SHOP, {"shopUrl": None}, "config.apiKey"),
        ("shopify", SHOP, {"shopUrl": 5}, "config.apiKey"),
        ("amazon-3p", AMAZON, {"region": "na"}, "config.clientSecret"),
        ("amazon-3p", AMAZON, {"endpoint": "https://b.example"}, "config.clientSecret"),
    ],
)
def test_a_mask_is_refused_where_the_secret_would_go_elsewhere(
    kind: str, stored: Config, changes: dict[str, Any], field: str
):
    with pytest.raises(ValidationError, match="expected the secret itself") as refused:
        meant(kind, stored, **changes)
    assert refused.value.message.startswith(f"Field '{field}' is a mask")
    assert SECRET not in str(refused.value.envelope())
    secrets = {name: each for name, each in stored.items() if name not in TYPES[kind].plain}
    assert meant(kind, stored, **changes, **secrets) == stored | changes


def test_the_mask_of_one_secret_is_not_that_of_another():
    config = {"headers": {"X-Other": masked(REST, frozenset())["headers"]["X-Token"]}}
    with pytest.raises(ValidationError, match="is the mask of another secret"):
        meant("custom", REST, **config)
