"""Channels of the type `shopify`, against a server that speaks its API and throttles as it does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.kit.eventually import eventually
from tests.kit.shopify.server import TOKEN, ShopifyServer, shopify_server
from tests.kit.sigma import Caller, error
from tests.kit.workspace import Workspace

SIZES = ("S", "M")


@pytest.fixture
async def shop(stack: Any) -> AsyncIterator[ShopifyServer]:
    async with shopify_server() as server:
        await stack.restart("workflow_service", SIGMA_SHOPIFY_URL=server.url)
        yield server


@pytest.fixture
async def sigma(stack: Any, shop: ShopifyServer) -> Workspace:
    sigma: Workspace = await stack.workspace(record_limit=5_000)
    await sigma.attribute("title")
    await sigma.attribute("vendor")
    await sigma.attribute("price", "number")
    await sigma.attribute("size")
    await sigma.schema("shirt", ["title", "vendor", "price", "size"], variantEnabled=True)
    return sigma


def channel(**more: Any) -> dict[str, Any]:
    return {
        "id": "ch-shop",
        "name": "Shop",
        "alias": "shop",
        "type": "shopify",
        "config": {"shopUrl": "https://coastal.myshopify.com", "apiKey": TOKEN},
        "fieldMappings": [
            {"sourceAttribute": "title", "targetField": "title"},
            {"sourceAttribute": "vendor", "targetField": "vendor"},
            {"sourceAttribute": "price", "targetField": "variants[0].price"},
            {"sourceAttribute": "size", "targetField": "variants[0].options.Size"},
        ],
        "schemaId": "schema-shirt",
        "active": True,
    } | more


def value(of: Any) -> list[dict[str, Any]]:
    return [{"scope": {}, "value": of}]


async def shirts(sigma: Workspace, count: int, start: int = 0) -> None:
    rows = [
        {
            "id": f"ent-{n:04}",
            "schemaId": "schema-shirt",
            "values": {"title": value(f"Shirt {n}"), "price": value(n)},
        }
        for n in range(start, start + count)
    ]
    answer = (await sigma.admin.post("/records/bulk", {"operations": rows})).ok()
    assert answer["created"] == count


async def begun(caller: Caller, path: str) -> str:
    log = (await caller.post(f"/channels/ch-shop/{path}")).ok()
    return str(log["id"])


async def ended(caller: Caller, log_id: str) -> dict[str, Any]:
    """The log of a synchronisation, once it has ended."""

    async def done() -> dict[str, Any] | None:
        found = (await caller.get(f"/channels/ch-shop/sync-logs/{log_id}")).ok()
        return None if found["status"] == "running" else found

    return await eventually(done, within_s=60)


def counts(log: dict[str, Any]) -> tuple[Any, ...]:
    return log["status"], log["created"], log["updated"], log["skipped"], log["failed"]


async def test_a_channel_is_checked_when_it_is_saved_and_tried_on_request(
    sigma: Workspace, shop: ShopifyServer
):
    wrong = [{"sourceAttribute": "title", "targetField": "body_html"}]
    refused = await sigma.admin.post("/channels", channel(fieldMappings=wrong))
    assert refused.status == 400
    assert refused.body["message"].startswith(
        "Field 'fieldMappings.0.targetField' 'body_html': expects one of title, descriptionHtml, "
    )
    missing = await sigma.admin.post("/channels", channel(config={"shopUrl": "https://a.example"}))
    assert missing.outcome == error(400, "VALIDATION_ERROR", "Field 'config.apiKey' is required")

    made = (await sigma.admin.post("/channels", channel())).ok()
    assert made["config"] == {
        "shopUrl": "https://coastal.myshopify.com",
        "apiKey": "shpat_********",
    }
    tested = (await sigma.admin.post("/channels/ch-shop/test-connection")).ok()
    assert tested == {
        "ok": True,
        "shopName": "Coastal Shop",
        "shopUrl": "https://coastal-shop.example",
        "plan": "Basic",
        "productCount": 0,
        "error": None,
    }
    shop.token = "shpat_another_one_now"
    failed = (await sigma.admin.post("/channels/ch-shop/test-connection")).ok()
    assert not failed["ok"]
    assert failed["error"] == "Shopify does not accept the access token: it answered 401"


async def test_a_catalogue_is_pushed_by_bulk_operation_and_then_what_has_changed(
    sigma: Workspace, shop: ShopifyServer
):
    await shirts(sigma, 300)
    (await sigma.admin.post("/channels", channel())).ok()
    log = await ended(sigma.admin, await begun(sigma.admin, "push"))
    assert counts(log) == ("success", 300, 0, 0, 0), log
    assert len(shop.operations.all) == 1
    assert len(shop.catalogue.products) == 300

    again = await ended(sigma.admin, await begun(sigma.admin, "push"))
    assert counts(again) == ("success", 0, 0, 300, 0)
    change = {"scope": {}, "value": 999}
    (await sigma.admin.patch("/records/ent-0007/values/price", change)).ok()
    (await sigma.admin.patch("/records/ent-0008/values/title", {"value": " "})).ok()
    third = await ended(sigma.admin, await begun(sigma.admin, "push"))
    assert counts(third) == ("partial", 0, 1, 298, 1)
    (fault,) = third["errors"]
    assert fault["entityId"] == "ent-0008"
    assert fault["message"] == (
        "Shopify refused the product at input.title (INVALID_PRODUCT): Title can't be blank"
    )
    (changed,) = [
        one for one in shop.catalogue.products.values() if one.values["title"] == "Shirt 7"
    ]
    assert changed.variants[0].values["price"] == "999"
    assert shop.throttled == 0


async def test_variants_of_a_record_are_variants_of_its_product(
    sigma: Workspace, shop: ShopifyServer
):
    await shirts(sigma, 1)
    for size in SIZES:
        body = {"id": f"var-{size.lower()}", "values": {"size": value(size)}}
        (await sigma.admin.post("/records/ent-0000/variants", body)).ok()
    (await sigma.admin.post("/channels", channel())).ok()
    log = await ended(sigma.admin, await begun(sigma.admin, "push"))
    assert counts(log) == ("success", 1, 0, 0, 0), log
    (product,) = shop.catalogue.products.values()
    ids = {variant.options["Size"]: variant.id for variant in product.variants}
    assert set(ids) == set(SIZES)
    mappings = (await sigma.admin.get("/channels/ch-shop/sync-mappings")).ok()
    kept = {one["variantId"]: one["externalId"] for one in mappings if one.get("variantId")}
    assert kept == {"var-s": ids["S"], "var-m": ids["M"]}

    (await sigma.admin.delete("/records/ent-0000/variants/var-s")).ok()
    price = {"scope": {}, "value": 12.5}
    (await sigma.admin.patch("/records/ent-0000/variants/var-m/values/price", price)).ok()
    log = await ended(sigma.admin, await begun(sigma.admin, "push"))
    assert counts(log) == ("success", 0, 1, 0, 0), log
    (left,) = product.variants
    assert (left.id, left.values["price"]) == (ids["M"], "12.5")


async def test_a_push_survives_the_death_of_its_process(
    sigma: Workspace, shop: ShopifyServer, stack: Any
):
    await shirts(sigma, 200)
    (await sigma.admin.post("/channels", channel())).ok()
    shop.operations.may_run.clear()
    log_id = await begun(sigma.admin, "push")
    await eventually(lambda: shop.asked["Bulk"] > 0, within_s=60)
    await stack.kill("workflow_service")
    await stack.start("workflow_service", SIGMA_SHOPIFY_URL=shop.url)
    shop.operations.may_run.set()
    log = await ended(sigma.admin, log_id)
    assert log["status"] == "success", log
    assert log["created"] + log["updated"] + log["skipped"] == 200
    assert len(shop.catalogue.products) == 200
    again = await ended(sigma.admin, await begun(sigma.admin, "push"))
    assert counts(again) == ("success", 0, 0, 200, 0)


async def test_a_pull_brings_in_what_has_changed_at_the_shop(sigma: Workspace, shop: ShopifyServer):
    await shirts(sigma, 30)
    (await sigma.admin.post("/channels", channel())).ok()
    await ended(sigma.admin, await begun(sigma.admin, "push"))
    first, *_ = shop.catalogue.products.values()
    first.values["vendor"] = "Coastal"
    shop.catalogue.set(None, {"title": "Made at the shop"})
    log = await ended(sigma.admin, await begun(sigma.admin, "pull"))
    assert log["failed"] == 0, log
    found = (await sigma.admin.get("/records?limit=100")).ok()
    titles = [record["values"]["title"][0]["value"] for record in found["items"]]
    assert titles.count("Made at the shop") == 1
    assert len(titles) == 31
    record = (await sigma.admin.get("/records/ent-0000")).ok()
    assert record["values"]["vendor"] == value("Coastal")
