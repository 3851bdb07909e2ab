"""The connector for Shopify, against a server that speaks its API and throttles as it does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.kit.eventually import eventually
from tests.kit.shopify.costs import Bucket
from tests.kit.shopify.server import TOKEN, Interference, ShopifyServer, shopify_server
from workflow_service.connectors.model import (
    Interrupted,
    Item,
    Refused,
    Sent,
    TargetBusy,
    TargetFailed,
)
from workflow_service.outbound.addresses import Allowed
from workflow_service.outbound.client import Outbound
from workflow_service.shopify.connector import ShopifyConnector
from workflow_service.shopify_api import client
from workflow_service.shopify_api.client import Address, Shop


class Noted:
    """A checkpoint that outlives the connector."""

    def __init__(self) -> None:
        self.value: str | None = None
        self.saved: list[str | None] = []

    async def save(self, value: str | None) -> None:
        self.value = value
        self.saved.append(value)


@pytest.fixture
async def server() -> AsyncIterator[ShopifyServer]:
    async with shopify_server() as running:
        yield running


@asynccontextmanager
async def connected(
    server: ShopifyServer, checkpoint: Noted | None = None, token: str = TOKEN
) -> AsyncIterator[ShopifyConnector]:
    outbound = Outbound(Allowed.parse("127.0.0.1"))
    try:
        yield ShopifyConnector(Shop(outbound, Address(server.url), token), checkpoint or Noted())
    finally:
        await outbound.close()


def item(number: int, external_id: str | None = None, **fields: Any) -> Item:
    return Item(
        f"ent-{number}",
        {"title": f"Product {number}", **fields},
        external_id,
    )


async def pushed(connector: ShopifyConnector, items: list[Item]) -> list[Sent | Refused]:
    return [outcome async for outcome in connector.push(items)]


async def test_a_connection_is_tried_without_a_change(server: ShopifyServer):
    async with connected(server) as connector:
        tested = await connector.test()
    assert (tested.shop_name, tested.shop_url, tested.plan, tested.product_count) == (
        "Coastal Shop",
        "https://coastal-shop.example",
        "Basic",
        0,
    )
    assert dict(server.asked) == {"Test": 1}


async def test_a_wrong_token_is_told_without_it(server: ShopifyServer):
    async with connected(server, token="shpat_wrong") as connector:
        with pytest.raises(TargetFailed) as failed:
            await connector.test()
    assert str(failed.value) == "Shopify does not accept the access token: it answered 401"


async def test_few_products_are_sent_one_by_one_and_then_updated(server: ShopifyServer):
    async with connected(server) as connector:
        first = await pushed(connector, [item(1, vendor="Ours"), item(2)])
        assert [type(outcome) for outcome in first] == [Sent, Sent]
        ids = [outcome.external_id for outcome in first if isinstance(outcome, Sent)]
        again = await pushed(
            connector, [Item("ent-1", {"title": "New"}, ids[0]), Item("ent-2", {}, ids[1])]
        )
        assert [outcome.external_id for outcome in again if isinstance(outcome, Sent)] == ids
    assert server.titles == ["New", "Product 2"]
    # What is not mapped stays.
    assert server.catalogue.products[ids[0]].values["vendor"] == "Ours"
    assert server.operations.all == {}


async def test_many_products_are_one_bulk_operation(server: ShopifyServer):
    checkpoint = Noted()
    items = [item(n, variants=[{"price": n + 0.5, "sku": f"SKU-{n}"}]) for n in range(1_000)]
    async with connected(server, checkpoint) as connector:
        outcomes = await pushed(connector, items)
    assert len(server.operations.all) == 1
    assert {type(outcome) for outcome in outcomes} == {Sent}
    by_record = {one.entity_id: one.external_id for one in outcomes if isinstance(one, Sent)}
    assert len(by_record) == len(set(by_record.values())) == 1_000
    product = server.catalogue.products[by_record["ent-7"]]
    assert product.values["title"] == "Product 7"
    assert product.variants[0].values["price"] == "7.5"
    assert product.variants[0].options == {"Title": "Default Title"}
    assert server.throttled == 0
    assert checkpoint.saved == [next(iter(server.operations.all)), None]


async def test_no_request_is_refused_for_its_cost(server: ShopifyServer):
    server.bucket = Bucket(asyncio.get_running_loop().time, maximum=100, restore_rate=400)
    async with connected(server) as connector:
        outcomes = await pushed(connector, [item(n) for n in range(45)])
    assert {type(outcome) for outcome in outcomes} == {Sent}
    assert server.asked["SetProduct"] == 45
    assert server.throttled == 0


async def test_points_that_others_spend_are_waited_for(server: ShopifyServer):
    time = asyncio.get_running_loop().time
    spent_at: list[float] = []

    def clock() -> float:
        # No points come back before the first request was refused.
        return spent_at[0] if spent_at and not server.throttled else time()

    server.bucket = Bucket(clock, maximum=100, restore_rate=100)
    async with connected(server) as connector:
        await connector.test()
        server.bucket.take(server.bucket.available)
        spent_at.append(time())
        outcomes = await pushed(connector, [item(1)])
    assert [type(outcome) for outcome in outcomes] == [Sent]
    assert server.throttled in {1, 2}


async def test_a_create_without_an_answer_makes_one_product(server: ShopifyServer):
    server.interferences.append(
        Interference(operation="SetProduct", after_effect=True, hang_up=True)
    )
    async with connected(server) as connector:
        (outcome,) = await pushed(connector, [item(1)])
    assert isinstance(outcome, Sent)
    assert server.asked["SetProduct"] == 2
    assert list(server.catalogue.products) == [outcome.external_id]


async def test_a_bulk_operation_outlives_the_process_that_started_it(server: ShopifyServer):
    checkpoint = Noted()
    items = [item(n) for n in range(200)]
    server.operations.may_run.clear()
    async with connected(server, checkpoint) as connector:
        dying = asyncio.create_task(pushed(connector, items))
        await eventually(lambda: checkpoint.value is not None)
        dying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dying
    (operation_id,) = server.operations.all
    assert checkpoint.value == operation_id

    async with connected(server, checkpoint) as connector:
        finding = asyncio.create_task(
            connector.find([Interrupted(one.entity_id, one.key) for one in items])
        )
        await eventually(lambda: server.asked["Bulk"] > 2)
        assert not finding.done()
        server.operations.may_run.set()
        found = await finding
        assert found is not None
        assert len(found) == 200
        outcomes = await pushed(
            connector, [Item(one.entity_id, one.fields, found[one.entity_id]) for one in items]
        )
    assert {type(outcome) for outcome in outcomes} == {Sent}
    assert len(server.catalogue.products) == 200
    assert checkpoint.value is None


async def test_a_refused_product_is_told_by_field_and_stops_nothing(server: ShopifyServer):
    async with connected(server) as connector:
        for count in (3, 60):
            items = [item(1_000 + count + n) for n in range(count)]
            items[1] = item(count, variants=[{"price": -1}])
            outcomes = await pushed(connector, items)
            (refused,) = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
            assert refused == Refused(
                f"ent-{count}",
                "Shopify refused the product at input.variants.0.price (INVALID_VARIANT)",
                detail="Price must be greater than or equal to 0",
            )
            assert len(outcomes) == count
    assert len(server.operations.all) == 1


async def test_what_a_failed_operation_has_done_is_kept(server: ShopifyServer):
    server.operations.fail_after = 40
    async with connected(server) as connector:
        outcomes = await pushed(connector, [item(n) for n in range(60)])
        lost = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
        assert {outcome.entity_id for outcome in lost} == {f"ent-{n}" for n in range(40, 60)}
        assert lost[0].is_unknown
        assert lost[0].reason == (
            "Shopify's bulk operation has no result for it (INTERNAL_SERVER_ERROR)"
        )
        found = await connector.find([Interrupted(f"ent-{n}", "") for n in range(30, 60)])
    assert found is not None
    assert set(found) == {f"ent-{n}" for n in range(30, 40)}


async def test_a_product_that_the_shop_has_deleted_is_told(server: ShopifyServer):
    async with connected(server) as connector:
        (made,) = await pushed(connector, [item(1)])
        assert isinstance(made, Sent)
        server.catalogue.products.clear()
        for fields in ({}, {"variants": [{"price": 1}]}):
            (outcome,) = await pushed(connector, [item(1, made.external_id, **fields)])
            assert isinstance(outcome, Refused)
            assert outcome.is_gone


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"body": b"<html>"}, "Shopify's answer is not a JSON object"),
        ({"body": b"[]"}, "Shopify's answer is not a JSON object"),
        ({"body": b"{}"}, "Shopify's answer has neither data nor errors"),
        ({"body": b"x" * 5_000}, "Shopify's answer is larger than 0 MiB"),
        ({"status": 302, "headers": {"Location": "/"}}, "it answered 302"),
        ({"status": 402}, "Shopify says that the shop is frozen: it answered 402"),
        (
            {"body": b'{"errors": [{"extensions": {"code": "ACCESS_DENIED"}}]}'},
            "it needs the scopes read_products and write_products",
        ),
    ],
)
async def test_a_hostile_answer_ends_the_sync_and_says_why(
    server: ShopifyServer, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], told: str
):
    monkeypatch.setattr(client, "ANSWER_BYTES_MAX", 4_000)
    server.interferences.append(Interference(**answer))
    async with connected(server) as connector:
        with pytest.raises(TargetFailed) as failed:
            await pushed(connector, [item(1)])
    assert told in str(failed.value)


@pytest.mark.parametrize(
    "data",
    [
        b'{"data": {"productSet": null}}',
        b'{"data": {"productSet": {"product": {"id": 7}, "userErrors": 3}}}',
        b'{"data": {"productSet": {"product": {"id": "x", "variants": [1]}}}}',
        b'{"data": [], "extensions": {"cost": {"throttleStatus": {"restoreRate": "NaN"}}}}',
    ],
)
async def test_an_answer_of_another_shape_is_never_a_success(server: ShopifyServer, data: bytes):
    server.interferences.append(Interference(body=data, operation="SetProduct"))
    async with connected(server) as connector:
        try:
            (outcome,) = await pushed(connector, [item(1)])
        except TargetFailed:
            return
        assert isinstance(outcome, Refused)
        assert outcome.is_unknown


async def test_a_shop_that_begins_anew_for_ever_is_given_up(server: ShopifyServer):
    page = b"""{"data": {"products": {"pageInfo": {"hasNextPage": true}, "nodes": [
        {"id": "gid://shopify/Product/7", "variants": {"nodes": []}}]}}}"""
    server.interferences.extend([Interference(body=page)] * 2)
    async with connected(server) as connector:
        first = await connector.pull(None)
        assert first.next == "7"
        with pytest.raises(TargetFailed) as failed:
            await connector.pull(first.next)
    assert str(failed.value) == "Shopify's answer has no usable 'products'"


async def test_a_failing_shop_is_asked_again_and_no_more_than_it_should(
    server: ShopifyServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(client, "_PAUSE_S", 0.001)
    server.interferences.extend(
        [Interference(status=503), Interference(status=429, headers={"Retry-After": "0.01"})]
    )
    async with connected(server) as connector:
        assert (await connector.test()).shop_name == "Coastal Shop"
        server.interferences.extend([Interference(status=502)] * 9)
        with pytest.raises(TargetFailed) as failed:
            await connector.test()
    assert str(failed.value) == "Shopify answered 502 (5 attempts)"
    assert len(server.interferences) == 4


@pytest.mark.parametrize(("asked", "after_s"), [("60", 60.0), ("86400", 300.0)])
async def test_a_shop_that_asks_for_a_while_is_asked_later(
    server: ShopifyServer, asked: str, after_s: float
):
    server.interferences.append(Interference(status=429, headers={"Retry-After": asked}))
    async with connected(server) as connector:
        with pytest.raises(TargetBusy) as busy:
            await connector.test()
    assert busy.value.after_s == after_s
    assert str(busy.value) == f"Shopify asks to wait (429) for {after_s:.0f} seconds"


async def test_a_slow_shop_is_given_up_in_time(
    server: ShopifyServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(client, "_PAUSE_S", 0.001)
    monkeypatch.setattr(client, "REQUEST_TIMEOUT_S", 0.05)
    server.interferences.extend([Interference(delay_s=0.3)] * 5)
    async with connected(server) as connector:
        with pytest.raises(TargetFailed) as failed:
            await connector.test()
    assert "did not answer within 0.05 seconds" in str(failed.value)
