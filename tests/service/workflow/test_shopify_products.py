"""What a push makes of products with variants, and what a pull reads of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.kit.shopify.products import Variant
from tests.kit.shopify.server import TOKEN, ShopifyServer, shopify_server
from workflow_service.connectors.model import Item, Pulled, Refused, Sent
from workflow_service.outbound.addresses import Allowed
from workflow_service.outbound.client import Outbound
from workflow_service.shopify.connector import ShopifyConnector
from workflow_service.shopify_api.client import Address, Shop


class Nothing:
    """A checkpoint that is never needed."""

    value = None

    async def save(self, value: str | None) -> None:
        raise AssertionError(value)


@pytest.fixture
async def server() -> AsyncIterator[ShopifyServer]:
    async with shopify_server() as running:
        yield running


@pytest.fixture
async def connector(server: ShopifyServer) -> AsyncIterator[ShopifyConnector]:
    outbound = Outbound(Allowed.parse("127.0.0.1"))
    yield ShopifyConnector(Shop(outbound, Address(server.url), TOKEN), Nothing())
    await outbound.close()


def shirt(
    sizes: dict[str, str], external_id: str | None = None, variants: dict[str, str] | None = None
) -> Item:
    """A record with a variant for each size; variant id -> size."""
    rows = [{"price": "10", "options": {"Size": size}} for size in sizes.values()]
    return Item(
        "ent-shirt",
        {"title": "Shirt", "variants": rows},
        external_id,
        variant_ids=tuple(sizes),
        variants=variants or {},
    )


async def sent(connector: ShopifyConnector, item: Item) -> Sent:
    (outcome,) = [outcome async for outcome in connector.push([item])]
    assert isinstance(outcome, Sent), outcome
    return outcome


def sizes(server: ShopifyServer, product_id: str) -> dict[str, str]:
    """Size -> id at the shop."""
    product = server.catalogue.products[product_id]
    return {variant.options["Size"]: variant.id for variant in product.variants}


async def test_variants_are_told_apart_by_their_options(
    server: ShopifyServer, connector: ShopifyConnector
):
    made = await sent(connector, shirt({"var-s": "S", "var-m": "M"}))
    at_shop = sizes(server, made.external_id)
    assert made.variants == {"var-s": at_shop["S"], "var-m": at_shop["M"]}

    # One is renamed, one is new: the renamed one keeps its id, and with it its orders and stock.
    changed = shirt(
        {"var-s": "Small", "var-m": "M", "var-l": "L"}, made.external_id, dict(made.variants)
    )
    again = await sent(connector, changed)
    assert sizes(server, made.external_id) == {
        "Small": at_shop["S"],
        "M": at_shop["M"],
        "L": again.variants["var-l"],
    }


async def test_a_removed_variant_goes_and_the_variants_of_others_stay(
    server: ShopifyServer, connector: ShopifyConnector
):
    made = await sent(connector, shirt({"var-s": "S", "var-m": "M"}))
    product = server.catalogue.products[made.external_id]
    product.variants.append(
        Variant("gid://shopify/ProductVariant/1", {"Size": "XL"}, {"price": "9"})
    )
    product.variants[1].values["barcode"] = "set at the shop"
    await sent(connector, shirt({"var-m": "M"}, made.external_id, dict(made.variants)))
    assert [(one.options["Size"], one.values.get("barcode")) for one in product.variants] == [
        ("M", "set at the shop"),
        ("XL", None),
    ]
    assert product.variants[1].values["price"] == "9"


async def test_many_variants_are_read_in_pages(server: ShopifyServer, connector: ShopifyConnector):
    wanted = {f"var-{n}": f"Size {n}" for n in range(250)}
    made = await sent(connector, shirt(wanted))
    assert len(made.variants) == 100
    again = await sent(connector, shirt(wanted, made.external_id, dict(made.variants)))
    assert server.asked["MorePresent"] == 3
    assert again.external_id == made.external_id
    assert len(sizes(server, made.external_id)) == 250
    assert server.throttled == 0


async def test_a_record_without_variants_is_the_first_variant(
    server: ShopifyServer, connector: ShopifyConnector
):
    record = Item("ent-1", {"title": "Cap", "variants": [{"price": 5}]})
    made = await sent(connector, record)
    (only,) = server.catalogue.products[made.external_id].variants
    record = Item("ent-1", {"title": "Cap", "variants": [{"price": 6}]}, made.external_id)
    await sent(connector, record)
    (same,) = server.catalogue.products[made.external_id].variants
    assert (same.id, same.options, same.values["price"]) == (
        only.id,
        {"Title": "Default Title"},
        "6",
    )


async def test_the_default_variant_gives_way_to_variants(
    server: ShopifyServer, connector: ShopifyConnector
):
    made = await sent(connector, Item("ent-shirt", {"title": "Shirt"}))
    await sent(connector, shirt({"var-s": "S", "var-m": "M"}, made.external_id))
    assert set(sizes(server, made.external_id)) == {"S", "M"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (
            {"variants": [{"price": "ten"}]},
            "'variants[0].price' expects an amount, got another string",
        ),
        ({"status": "sold"}, "'status' expects one of ACTIVE, ARCHIVED, DRAFT, UNLISTED"),
        ({"title": {"en": "Shirt"}}, "'title' expects text, got object"),
        (
            {"variants": [{"options": dict.fromkeys("abcd", "x")}]},
            "A product has at most 3 options, got 4",
        ),
    ],
)
async def test_what_shopify_cannot_have_is_refused_alone(
    server: ShopifyServer, connector: ShopifyConnector, fields: dict[str, Any], reason: str
):
    items = [
        Item("ent-1", {"title": "Bad", **fields}),
        Item("ent-2", {"title": "Good"}),
    ]
    outcomes = {one.entity_id: one async for one in connector.push(items)}
    refused = outcomes["ent-1"]
    assert isinstance(refused, Refused)
    assert refused.reason.startswith(reason)
    assert not refused.is_unknown
    assert isinstance(outcomes["ent-2"], Sent)
    assert server.titles == ["Good"]


async def test_a_pull_reads_each_product_once(server: ShopifyServer, connector: ShopifyConnector):
    await sent(connector, shirt({f"var-{n}": f"Size {n}" for n in range(30)}))
    for number in range(45):
        await sent(
            connector,
            Item(
                f"ent-{number}",
                {"title": f"Product {number}", "seo": {"title": "Found"}, "tags": "a, b"},
            ),
        )
    pulled: list[Pulled] = []
    after: str | None = None
    while True:
        page = await connector.pull(after)
        pulled += page.items
        # What comes or goes before the place of a page moves no other page.
        server.catalogue.products.pop(page.items[0].external_id)
        after = page.next
        if after is None:
            break
    assert [one.fields["title"] for one in pulled] == ["Shirt"] + [
        f"Product {number}" for number in range(45)
    ]
    assert len(pulled[0].fields["variants"]) == 30
    assert pulled[0].fields["variants"][29]["options"] == {"Size": "Size 29"}
    assert pulled[1].fields["seo"]["title"] == "Found"
    assert pulled[1].fields["tags"] == ["a", "b"]
    assert pulled[1].fields["variants"][0]["price"] == "0.00"
    assert server.throttled == 0
