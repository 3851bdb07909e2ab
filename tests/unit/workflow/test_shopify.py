"""What the connector for Shopify decides without asking it."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import ValidationError
from workflow_service.connectors.model import Item
from workflow_service.shopify.channel_type import shop_host, shopify
from workflow_service.shopify.fields import Unfit, check_target
from workflow_service.shopify.products import Present, product_input
from workflow_service.shopify_api.budget import Budget

STATUS = {"maximumAvailable": 1_000.0, "currentlyAvailable": 100, "restoreRate": 50.0}


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_request_waits_until_its_points_are_back():
    clock = Clock()
    budget = Budget(clock)
    assert budget.wait_s(500) == 0
    budget.note(STATUS)
    assert budget.wait_s(90) == 0
    assert budget.wait_s(199) == 2
    clock.now += 1.5
    assert budget.wait_s(199) == 0.5
    clock.now += 1
    assert budget.wait_s(199) == 0


def test_what_costs_more_than_there_can_be_waits_for_all_points():
    budget = Budget(Clock())
    budget.note(STATUS)
    assert budget.wait_s(5_000) == 18


@pytest.mark.parametrize(
    "status",
    [
        None,
        [],
        {},
        STATUS | {"restoreRate": 0},
        STATUS | {"restoreRate": "inf"},
        STATUS | {"restoreRate": "nan"},
        STATUS | {"currentlyAvailable": "nan"},
        STATUS | {"currentlyAvailable": 2_000},
        STATUS | {"maximumAvailable": -1},
    ],
)
def test_a_status_that_makes_no_sense_stops_nothing(status: Any):
    budget = Budget(Clock())
    budget.note(status)
    assert budget.wait_s(1_000) == 0


@pytest.mark.parametrize(
    "path",
    [
        "title",
        "seo.description",
        "variants[0].price",
        "variants[0].options.Size",
        "variants[0].options.Shoe size (EU)",
    ],
)
def test_fields_that_shopify_has_can_be_targets(path: str):
    assert check_target(path) is None


@pytest.mark.parametrize(
    "path",
    ["body_html", "variants[1].price", "variants[0]", "variants[0].options.a.b", "seo", "price"],
)
def test_other_fields_cannot(path: str):
    told = check_target(path)
    assert told is not None
    assert told.startswith("expects one of title, descriptionHtml, ")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://my-shop.myshopify.com", "my-shop.myshopify.com"),
        ("https://My-Shop.myshopify.com/", "my-shop.myshopify.com"),
        ("my-shop.myshopify.com", "my-shop.myshopify.com"),
        ("http://my-shop.myshopify.com", None),
        ("https://my-shop.myshopify.com.evil.example", None),
        ("https://evil.example/my-shop.myshopify.com", None),
        ("https://evil.example#.myshopify.com", None),
        ("https://user@my-shop.myshopify.com", None),
        ("https://my-shop.myshopify.com:8443", None),
        ("https://a.b.myshopify.com", None),
        ("https://my-shop.myshopify.com/admin", None),
        ("https://[::1", None),
        ("", None),
    ],
)
def test_a_shop_is_where_shopify_has_its_shops(url: str, host: str | None):
    assert shop_host(url) == host


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"apiKey": "shpat_1"}, "Field 'config.shopUrl' is required"),
        ({"shopUrl": "https://a.myshopify.com"}, "Field 'config.apiKey' is required"),
        (
            {"shopUrl": 7, "apiKey": "shpat_1"},
            "Field 'config.shopUrl' expects type 'string', got 'number'",
        ),
        (
            {"shopUrl": "https://shop.example", "apiKey": "shpat_1"},
            (
                "Field 'config.shopUrl' expects the address of a shop such as"
                " https://my-shop.myshopify.com, got 'https://shop.example'"
            ),
        ),
        (
            {"shopUrl": "https://a.myshopify.com", "apiKey": "a\r\nX: b"},
            "Field 'config.apiKey' expects an access token of up to 500 visible ASCII characters",
        ),
    ],
)
def test_a_wrong_configuration_is_told_by_field(config: dict[str, Any], message: str):
    with pytest.raises(ValidationError) as refused:
        shopify(None).check(config)
    assert refused.value.message == message


def test_with_another_server_every_shop_is_possible():
    shopify("http://127.0.0.1:9").check({"shopUrl": "https://shop.example", "apiKey": "shpat_1"})


def made(fields: dict[str, Any], present: tuple[Present, ...] = (), **more: Any) -> dict[str, Any]:
    return product_input(Item("ent-1", fields, **more), present).fields


def test_an_emptied_value_is_emptied_there():
    assert made(
        {
            "vendor": None,
            "tags": None,
            "seo": {"title": None},
            "variants": [{"compareAtPrice": None, "sku": None}],
        }
    ) == {
        "vendor": "",
        "tags": [],
        "seo": {"title": ""},
        "productOptions": [{"name": "Title", "values": [{"name": "Default Title"}]}],
        "variants": [
            {
                "optionValues": [{"optionName": "Title", "name": "Default Title"}],
                "compareAtPrice": None,
                "sku": "",
            }
        ],
    }


@pytest.mark.parametrize(
    ("value", "amount"),
    [(199, "199"), (12.5, "12.5"), ("0.10", "0.10"), (1e21, "1000000000000000000000")],
)
def test_amounts_are_written_plainly(value: Any, amount: str):
    (variant,) = made({"variants": [{"price": value}]})["variants"]
    assert variant["price"] == amount


@pytest.mark.parametrize("value", [True, "12,50", "NaN", "Infinity", [1], {}])
def test_what_is_no_amount_is_none(value: Any):
    with pytest.raises(Unfit):
        made({"variants": [{"price": value}]})


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (
            [{"price": 1}, {"price": 2}],
            (
                "Several variants need an option that tells them apart:"
                " map an attribute to variants[0].options.<option name>"
            ),
        ),
        (
            [{"options": {"Size": "S"}}, {"options": {"Size": None}}],
            "Variant 'var-b' has no value for the option 'Size'",
        ),
        (
            [{"options": {"Size": "S"}}, {"options": {"Size": "S"}}],
            "Variant 'var-b' has the same option values as another variant of the product",
        ),
    ],
)
def test_variants_that_cannot_be_told_apart_are_refused(rows: list[Any], reason: str):
    with pytest.raises(Unfit) as refused:
        made({"variants": rows}, variant_ids=("var-a", "var-b"))
    assert str(refused.value) == reason


def test_options_that_others_have_set_are_not_mixed_with_ours():
    present = (Present("gid-1", {"Colour": "Red"}), Present("gid-2", {"Colour": "Blue"}))
    with pytest.raises(Unfit) as refused:
        made(
            {"variants": [{"options": {"Size": "S"}}]},
            present,
            external_id="gid-p",
            variant_ids=("var-a",),
        )
    assert str(refused.value) == (
        "The product has variants with the options Colour at the shop, the mapping gives Size"
    )


def test_a_product_has_no_more_variants_than_shopify_takes():
    rows = [{"options": {"Size": str(n)}} for n in range(2_049)]
    with pytest.raises(Unfit) as refused:
        made({"variants": rows}, variant_ids=tuple(f"var-{n}" for n in range(2_049)))
    assert str(refused.value) == "A product has at most 2048 variants, got 2049"
