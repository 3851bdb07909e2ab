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
PRODUCTS = 1_239
FILLED_CELLS = 14_458


published = pytest.mark.skipif(
    not REAL.is_dir(), reason=f"the published catalogue is not at {REAL}"
)


@published
@pytest.mark.slow
async def test_the_published_catalogue_moves_in_whole_and_again_without_harm(stack, tmp_path):
    room = await move_in(stack, tmp_path, [], record_limit=5_000)
    done = await room.mover.run(REAL)
    assert done.code == 0, done.text
    assert done.counts("records") == {"created": PRODUCTS}
    assert done.report["problems"] == []
    assert done.report["cells"]["filled"] == FILLED_CELLS
    assert done.report["cells"]["imported"] + done.report["cells"]["deferred"] == FILLED_CELLS
    assert done.report["left"]["categories"] == 168
    assert done.report["left"]["product models"] == 81
    assert done.report["left"]["links to product models"] == 222
    assert (await room.workspace.admin.get("/records", params={"limit": "1"})).ok()[
        "total"
    ] == PRODUCTS

    records = await all_records(room.workspace.admin)
    entries = sum(len(values) for r in records.values() for values in r["values"].values())
    # Of a moved cell only the family and the unit of a metric are no entries of their own.
    assert entries == done.report["cells"]["imported"] - 1_238 - 309 - 217
    with (REAL / "products.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter=";"):
            values = records[row["sku"]]["values"]
            for column in ("name", "description-de_DE-print", "price-EUR", "display_diagonal"):
                assert read_back(values, column) == row[column], (row["sku"], column)

    again = await room.mover.run(REAL)
    assert (again.code, again.all_unchanged) == (0, True), again.text
    assert again.counts("records") == {"unchanged": PRODUCTS}


async def all_records(admin: Caller) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for offset in range(0, PRODUCTS, 500):
        page = (await admin.get("/records", params={"offset": str(offset), "limit": "500"})).ok()
        found |= {record["values"]["sku"][0]["value"]: record for record in page["items"]}
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
        assert done.counts("records") == {**already, "not reached": PRODUCTS - 500}
        cells = done.report["cells"]
        assert cells["filled"] == sum(count for place, count in cells.items() if place != "filled")
