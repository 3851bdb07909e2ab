"""The types of channels: which there are, and what is known about each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from workflow_service.connectors.custom import CUSTOM
from workflow_service.connectors.model import ChannelType, Config, origin

_NAMES_OF_PLACES: Final = frozenset(
    {"marketplaceId", "region", "sellerId", "vendorCode", "url", "endpoint"}
)


def channel_types(shopify: ChannelType) -> Mapping[str, ChannelType]:
    """Type -> what is known about its channels, for `app[CHANNEL_TYPES]`."""
    servers = dict.fromkeys(_NAMES_OF_PLACES, origin)
    amazon = ChannelType(plain=_NAMES_OF_PLACES, check=_anything, servers=servers)
    return {
        "shopify": shopify,
        "amazon-1p": amazon,
        "amazon-3p": amazon,
        "custom": CUSTOM,
    }


def _anything(_: Config) -> None:
    """A type without a connector is kept as it is."""
