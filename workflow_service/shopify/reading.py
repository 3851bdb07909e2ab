"""Reads products of a shop: which variants they have, which are ours, and page by page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from workflow_service.connectors.model import Page, Pulled
from workflow_service.shopify.documents import (
    MORE_PRESENT,
    MORE_PULLED,
    PRESENT,
    PULL,
    RECORD_ID,
    found,
)
from workflow_service.shopify.products import VARIANTS_MAX, Present
from workflow_service.shopify_api.answers import nodes, text, thing, unreadable
from workflow_service.shopify_api.client import Document, Shop

FOUND_AT_ONCE: Final = 50
PRESENT_AT_ONCE: Final = 10
PRESENT_VARIANTS: Final = 20
"""Variants of each product in one request; the rest of a product's is read on its own."""
PULLED_AT_ONCE: Final = 20
PULLED_VARIANTS: Final = 10


async def by_record_id(shop: Shop, records: Sequence[str]) -> dict[str, str]:
    """Record id -> id of the product that carries it, for those that there are."""
    ids = {}
    for start in range(0, len(records), FOUND_AT_ONCE):
        some = records[start : start + FOUND_AT_ONCE]
        data = await shop.ask(
            found(len(some)),
            {f"i{n}": {"customId": {**RECORD_ID, "value": id_}} for n, id_ in enumerate(some)},
        )
        for n, record_id in enumerate(some):
            product = thing(data.get(f"i{n}"))
            if product:
                ids[record_id] = text(product, "id")
    return ids


async def present(shop: Shop, ids: Sequence[str]) -> dict[str, list[Present]]:
    """Product id -> the variants that it has, for those of these products that there are."""
    products = {}
    for start in range(0, len(ids), PRESENT_AT_ONCE):
        some = ids[start : start + PRESENT_AT_ONCE]
        data = await shop.ask(PRESENT, {"ids": some, "variants": PRESENT_VARIANTS})
        for product in nodes(data):
            if "id" in product:
                product_id = text(product, "id")
                variants = await _all_variants(shop, MORE_PRESENT, product_id, product)
                products[product_id] = [variant_of(variant) for variant in variants]
    return products


async def page(shop: Shop, after: str | None) -> Page:
    """The products behind the one with this number, in the order of their numbers.

    A filter by number reads on at the same cost everywhere, and beyond the 25,000 objects at which
    Shopify's cursors end.
    """
    data = await shop.ask(
        PULL,
        {
            "first": PULLED_AT_ONCE,
            "query": f"id:>{after}" if after else None,
            "variants": PULLED_VARIANTS,
        },
    )
    products = thing(data.get("products"))
    items = []
    for product in nodes(products):
        product_id = text(product, "id")
        variants = await _all_variants(shop, MORE_PULLED, product_id, product)
        items.append(Pulled(product_id, _fields(product, variants)))
    if not items or not _has_next(products):
        return Page(items, None)
    last = items[-1].external_id.rpartition("/")[2]
    if not last.isdecimal() or int(last) <= int(after or 0):
        raise unreadable("products")
    return Page(items, last)


def variant_of(variant: Mapping[str, Any]) -> Present:
    """A variant of an answer. Raises `TargetFailed` for what is none."""
    options = variant.get("selectedOptions")
    if not isinstance(options, list) or not all(isinstance(option, dict) for option in options):
        raise unreadable("selectedOptions")
    return Present(
        text(variant, "id"), {text(option, "name"): text(option, "value") for option in options}
    )


async def _all_variants(
    shop: Shop, more: Document, product_id: str, product: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    connection = thing(product.get("variants"))
    variants = nodes(connection)
    while _has_next(connection):
        if len(variants) > VARIANTS_MAX:
            raise unreadable("variants")
        after = text(connection["pageInfo"], "endCursor")
        data = await shop.ask(more, {"id": product_id, "after": after})
        # Without it, the product has been deleted since.
        connection = thing(thing(data.get("product")).get("variants"))
        variants += nodes(connection) if connection else []
    return variants


def _fields(product: Mapping[str, Any], variants: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The product as the target fields of mappings name it."""
    fields = {name: value for name, value in product.items() if name not in {"id", "variants"}}
    fields["category"] = thing(fields.get("category")).get("id")
    fields["variants"] = [
        {
            **{name: value for name, value in variant.items() if name != "selectedOptions"},
            "options": variant_of(variant).options,
        }
        for variant in variants
    ]
    return fields


def _has_next(connection: Mapping[str, Any]) -> bool:
    return thing(connection.get("pageInfo")).get("hasNextPage") is True
