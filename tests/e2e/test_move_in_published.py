"""A published catalogue moves in whole."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.moving_in import (
    ROOT,
    move_in,
)
from tests.kit.sigma import Caller

REAL = Path(
    os.environ.get("SIGMA_REAL_DATA") or ROOT.parent / "shared" / "data" / "akeneo-icecat-demo"
)
RECORDS, VARIANTS = 1_049, 271
"""999 products and 50 product models; 240 products and 31 product models below others."""
FILLED_CELLS = 14_458 + 884
"""Of the products and of the product models."""


published = pytest.mark.skipif(
    not REAL.is_dir(), reason=f"the published catalogue is not at {REAL}"
)


@published
@pytest.mark.slow
async def test_the_published_catalogue_moves_in_whole_and_again_without_harm(stack, tmp_path):
    room = await move_in(stack, tmp_path, [], record_limit=5_000)
    done = await room.mover.run(REAL)
    assert done.code == 0, done.text
    assert done.counts("records") == {"created": RECORDS}
    assert done.counts("variants") == {"created": VARIANTS}
    assert (done.counts("catalogs"), done.counts("categories")) == (
        {"created": 4},
        {"created": 164},
    )
    assert done.report["problems"] == []
    assert done.report["cells"]["filled"] == FILLED_CELLS
    assert done.report["cells"]["imported"] + done.report["cells"]["deferred"] == FILLED_CELLS

    products = await all_products(room.workspace.admin)
    with (REAL / "products.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    assert {row["sku"] for row in rows} == set(products)
    for row in rows:
        values = products[row["sku"]]
        for column in ("name", "description-de_DE-print", "price-EUR", "display_diagonal"):
            assert read_back(values, column) == row[column], (row["sku"], column)
    category = (await room.workspace.admin.get("/categories/ctg-pc_monitors")).ok()
    assert category["labels"]["seg-fr_fr"] == "Moniteurs PC"

    again = await room.mover.run(REAL)
    assert (again.code, again.all_unchanged) == (0, True), again.text
    assert again.counts("records") == {"unchanged": RECORDS}
    assert again.counts("variants") == {"unchanged": VARIANTS}


async def all_products(admin: Caller) -> dict[str, dict[str, Any]]:
    """SKU -> all values that hold, of records and variants."""
    found: dict[str, dict[str, Any]] = {}
    for offset in range(0, RECORDS, 500):
        page = (await admin.get("/records", params={"offset": str(offset), "limit": "500"})).ok()
        for record in page["items"]:
            if "sku" in record["values"]:
                found[record["values"]["sku"][0]["value"]] = record["values"]
    for schema in ("schema-accessories", "schema-clothing", "schema-shoes", "schema-led_tvs"):
        params = {"schemaId": schema, "limit": "500"}
        for variant in (await admin.get("/variants", params=params)).ok()["items"]:
            path = f"/records/{variant['entityId']}/variants/{variant['id']}/resolved"
            values = (await admin.get(path)).ok()["effectiveValues"]
            if "sku" in values:
                found[values["sku"][0]["value"]] = values
    return found


def read_back(values: dict[str, Any], column: str) -> str:
    """The cell that this value came from, worked out without the tool."""
    alias, *scope = column.split("-")
    segments = {f"seg-{part.lower()}" for part in scope}
    for entry in values.get(alias, []):
        if set(entry["scope"].values()) == segments:
            value = entry["value"]
            return str(value["amount"] if isinstance(value, dict) else value)
    return ""


@published
@pytest.mark.slow
async def test_the_published_catalogue_stops_at_the_default_limit_and_says_so(stack, tmp_path):
    room = await move_in(stack, tmp_path, [])
    for already in ({"created": 500}, {"unchanged": 500}):
        done = await room.mover.run(REAL)
        assert done.code == 1
        assert done.report["stopped"].startswith("LIMIT_EXCEEDED Entity limit of 500 reached")
        assert done.counts("records") == {**already, "not reached": RECORDS - 500}
        cells = done.report["cells"]
        assert cells["filled"] == sum(count for place, count in cells.items() if place != "filled")
