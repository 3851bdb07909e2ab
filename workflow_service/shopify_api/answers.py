"""Reads what an answer of Shopify has, and trusts none of it to be there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workflow_service.connectors.model import TargetFailed


def thing(value: Any) -> Mapping[str, Any]:
    """An object of an answer; empty for what is none."""
    return value if isinstance(value, dict) else {}


def things(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list of an answer; empty for what is none."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def nodes(connection: Any) -> list[Mapping[str, Any]]:
    """The nodes of a connection. Raises `TargetFailed` for what is none."""
    found = thing(connection).get("nodes")
    if not isinstance(found, list):
        raise unreadable("nodes")
    return things(found)


def text(of: Mapping[str, Any], name: str) -> str:
    """A text of an answer. Raises `TargetFailed` if there is none."""
    value = of.get(name)
    if not isinstance(value, str) or not value:
        raise unreadable(name)
    return value


def unreadable(name: str) -> TargetFailed:
    """An answer lacks what the API promises."""
    return TargetFailed(f"Shopify's answer has no usable '{name}'")
