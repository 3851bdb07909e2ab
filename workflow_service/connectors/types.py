"""The types of channels: which there are, and what is known about each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from shared.errors import ValidationError
from shared.http.json_types import js_type
from workflow_service.connectors.custom import CUSTOM
from workflow_service.connectors.model import ChannelType, Config

_NAMES_OF_PLACES: Final = frozenset(
    {"marketplaceId", "region", "sellerId", "vendorCode", "url", "endpoint"}
)


def channel_types() -> Mapping[str, ChannelType]:
    """Type -> what is known about its channels, for `app[CHANNEL_TYPES]`."""
    amazon = ChannelType(plain=_NAMES_OF_PLACES, check=_anything)
    return {
        "shopify": ChannelType(plain=frozenset({"shopUrl"}), check=_shop),
        "amazon-1p": amazon,
        "amazon-3p": amazon,
        "custom": CUSTOM,
    }


def _anything(_: Config) -> None:
    """A type without a connector is kept as it is."""


def _shop(config: Config) -> None:
    for name in ("shopUrl", "apiKey"):
        value: Any = config.get(name)
        if not isinstance(value, str) or not value:
            raise ValidationError.at(
                f"/config/{name}",
                f"Field 'config.{name}' is required: expected a text, got {js_type(value)}",
            )
