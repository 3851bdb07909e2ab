"""Channels: what options are called at the target, and whose the fields of variants are."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.test_channels import PRICE, TITLE, channel, counts, ended, shirts
from tests.kit.rest_target import RestTarget
from tests.kit.workspace import Workspace

COLOURS = [
    {"id": "val-1", "alias": "red", "label": "Red", "labels": {"seg-da": "R\u00f8d"}},
    {"id": "val-2", "alias": "blue", "label": "Blue"},
    {"id": "val-3", "alias": "crimson", "label": "Crimson", "labels": {"seg-da": "Dyb"}},
    {"id": "val-4", "alias": "navy", "label": "Navy", "labels": {"seg-da": "Dyb"}},
    # Its label is the alias of another one.
    {"id": "val-5", "alias": "sky", "label": "red"},
]
SIZES = [
    {"id": f"val-{n}", "alias": f"size-{n}", "label": f"Size {n}", "labels": {"seg-da": f"Str {n}"}}
    for n in range(501)
]


@pytest.fixture
async def target() -> Any:
    async with RestTarget().serve() as served:
        yield served


@pytest.fixture
async def sigma(stack: Any) -> Workspace:
    sigma: Workspace = await stack.workspace()
    await sigma.dimension("language", ["en", "da"])
    for alias, values in (("colors", COLOURS), ("sizes", SIZES)):
        body = {"id": f"ol-{alias}", "alias": alias, "name": alias, "values": values}
        (await sigma.admin.post("/option-lists", body)).ok()
    await sigma.attribute("title", dimensionIds=["dim-language"])
    await sigma.attribute("price", "number")
    await sigma.attribute("color", "option", optionListId="ol-colors")
    await sigma.attribute("tones", "option", optionListId="ol-colors", multiple=True)
    await sigma.attribute("size", "option", optionListId="ol-sizes")
    await sigma.schema("shirt", ["title", "price", "color", "tones", "size"], variantEnabled=True)
    return sigma


def entry(value: Any) -> list[dict[str, Any]]:
    return [{"scope": {}, "value": value}]


async def test_options_go_by_label_alias_or_id_and_come_back(sigma: Workspace, target: RestTarget):
    values = {"color": "val-1", "tones": ["val-2", "val-1"], "size": "val-7"}
    draft = {
        "id": "ent-1",
        "schemaId": "schema-shirt",
        "values": {name: entry(value) for name, value in values.items()},
    }
    (await sigma.admin.post("/records", draft)).ok()
    named = {"color": "label", "color-key": "alias", "color-id": "id"}
    mappings = [
        *(
            {"sourceAttribute": "color", "targetField": target_field, "optionAs": option_as}
            for target_field, option_as in named.items()
        ),
        {"sourceAttribute": "tones", "targetField": "tones", "transform": "uppercase"},
        {"sourceAttribute": "size", "targetField": "size"},
    ]
    made = (await sigma.admin.post("/channels", channel(target, fieldMappings=mappings))).ok()
    assert [each["optionAs"] for each in made["fieldMappings"]] == [
        *("label", "alias", "id", "label", "label"),
    ]
    assert counts(await ended(sigma.admin, "push")) == ("success", 1, 0, 0, 0)
    product = target.products["1000"]
    assert product == {
        "id": "1000",
        "color": "R\u00f8d",
        "color-key": "red",
        "color-id": "val-1",
        "tones": ["BLUE", "R\u00d8D"],
        "size": "Str 7",
    }
    renamed = {**COLOURS[0], "labels": {"seg-da": "Rosa"}}
    (await sigma.admin.put("/option-lists/ol-colors/values/val-1", renamed)).ok()
    assert counts(await ended(sigma.admin, "push")) == ("success", 0, 1, 0, 0)
    assert product["color"] == "Rosa"

    product |= {"color": "red", "tones": ["Blue"], "size": "Str 9"}
    assert counts(await ended(sigma.admin, "pull")) == ("success", 0, 1, 0, 0)
    values = (await sigma.admin.get("/records/ent-1")).ok()["values"]
    found = {name: each[0]["value"] for name, each in values.items()}
    # A label comes before an alias, as it was sent.
    assert found == {"color": "val-5", "tones": ["val-2"], "size": "val-9"}

    product["color"] = "Dyb"
    for log in (
        (await sigma.admin.having({"Prefer": "dry-run"}).post("/channels/ch-shop/pull")).ok(),
        await ended(sigma.admin, "pull"),
    ):
        (fault,) = log["errors"]
        assert fault["message"] == (
            "The record could not be written: Value 'Dyb' for 'color' is the label of several"
            " options: 'val-3', 'val-4'"
        )


async def test_fields_of_variants_land_on_no_record_that_has_variants(
    sigma: Workspace, target: RestTarget
):
    await shirts(sigma, 2)
    body = channel(target, fieldMappings=[TITLE, PRICE])
    (await sigma.admin.post("/channels", body)).ok()
    for number in (1, 2):
        draft = {"id": f"var-{number}", "values": {"price": entry(90 + number)}}
        (await sigma.admin.post("/records/ent-0001/variants", draft)).ok()
    assert counts(await ended(sigma.admin, "push")) == ("success", 2, 0, 0, 0)
    ids = {product["title"]: one for one, product in target.products.items()}
    plain, varied = target.products[ids["Skjorte 0"]], target.products[ids["Skjorte 1"]]

    varied["variants"] = [{"price": "91.00"}, {"price": "92.00"}]
    assert counts(await ended(sigma.admin, "pull")) == ("success", 0, 0, 2, 0)

    varied |= {"title": "Ny", "variants": [{"price": 95}]}
    plain["variants"] = [{"price": 7}]
    new = target.add(title="Tre", variants=[{"price": 1}, {"price": 2}, {"price": 3}])
    reason = (
        "Not brought in: 'variants[0].price'. Which variants of the record the object's variants"
        " are, is not known"
    )
    tried = (await sigma.admin.having({"Prefer": "dry-run"}).post("/channels/ch-shop/pull")).ok()
    assert counts(tried) == ("partial", 1, 2, 0, 2)
    fields = {change["externalId"]: change["fields"] for change in tried["changes"]}
    assert fields[ids["Skjorte 1"]] == {"title": "Ny"}
    assert fields[ids["Skjorte 0"]] == {"price": 7}
    log = await ended(sigma.admin, "pull")
    assert counts(log) == ("partial", 1, 2, 0, 2)
    assert {(each["externalId"], each["message"]) for each in log["errors"]} == {
        (ids["Skjorte 1"], reason),
        (new, reason),
    }
    records = {
        each["values"]["title"][-1]["value"]: each["values"].get("price")
        for each in (await sigma.admin.get("/records")).ok()["items"]
    }
    assert records == {"Skjorte 0": entry(7), "Ny": entry(1), "Tre": None}
    prices = [
        (await sigma.admin.get(f"/records/ent-0001/variants/var-{n}")).ok()["values"]["price"]
        for n in (1, 2)
    ]
    assert prices == [entry(91), entry(92)]
    # It is told once, until the target changes it again.
    assert counts(await ended(sigma.admin, "pull")) == ("success", 0, 0, 3, 0)
