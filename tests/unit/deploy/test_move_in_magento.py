"""A small invented export of Magento, read and mapped as a shop's would be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from deploy.importers.csv_rows import UnreadableCatalogue
from deploy.importers.magento.columns import pairs_of, paths_of, type_of_column
from deploy.importers.magento.source import MAGENTO, plan_of
from deploy.importers.names import Names
from deploy.importers.plan import Kind, Parent, Plan, RecordPlan, RefusedRow
from deploy.importers.sources import source_of
from tests.unit.deploy.akeneo import FILES
from tests.unit.deploy.magento import HEADER, MUG, SHIRT, SHIRT_S, write_export

BASE = "https://cdn.example"


def by_id(plan: Plan) -> dict[str, RecordPlan]:
    return {one.id: one for one in plan.records() if isinstance(one, RecordPlan)}


def values_of(record: RecordPlan) -> dict[str, Any]:
    return {alias: entry.value for alias, (entry,) in record.values.items()}


def body(plan: Plan, kind: Kind, source: str) -> Mapping[str, Any]:
    return next(one.body for one in plan.model if (one.kind, one.source) == (kind, source))


def test_a_configurable_product_is_a_record_and_its_variations_are_variants(tmp_path):
    plan = plan_of(write_export(tmp_path), Names(), BASE)
    assert (plan.record_count, plan.variant_count) == (2, 2)
    found = by_id(plan)
    assert list(found) == ["ent-sh", "ent-mug", "var-sh-s-sea", "var-sh-m-sea"]
    assert values_of(found["ent-sh"]) == {
        "sku": "SH",
        "product_type": "configurable",
        "name": "Shirt",
        "description": "<p>Soft &amp; light</p>",
        "price": 20,
        "is_in_stock": True,
        "base_image": f"{BASE}/s/a.jpg",
        "season": ["val-season-spring", "val-season-autumn", "val-season-winter"],
        "organic": True,
    }
    assert found["var-sh-m-sea"].parent == Parent("ent-sh")
    # What is as in the parent is inherited; size and colour are the variant's own.
    assert values_of(found["var-sh-s-sea"]) == {
        "sku": "SH-S-Sea",
        "product_type": "simple",
        "name": "Shirt S",
        "qty": 5,
        "size": "val-size-s",
        "color": "val-color-sea",
        "has_options": False,
    }
    assert values_of(found["var-sh-m-sea"])["price"] == 22
    assert found["ent-sh"].external_key == "SH"


def test_every_cell_is_in_one_place(tmp_path):
    plan = plan_of(write_export(tmp_path), Names(), None)
    places = [
        one.cells
        + sum(cells for cells, _ in one.left.values())
        + sum(len(problem.columns) for problem in one.problems)
        for one in by_id(plan).values()
    ]
    assert sum(places) == plan.filled_cells
    mug = by_id(plan)["ent-mug"]
    assert [(p.line, p.columns, p.message) for p in mug.problems] == [
        (5, ("price",), "'cheap' is not a number")
    ]
    # An attribute that no file declares is a text, and may contain commas.
    assert values_of(mug)["material"] == "clay, glazed"


def test_of_one_packed_cell_with_a_bad_value_the_others_are_imported(tmp_path):
    rows = [MUG.replace("material=clay, glazed", "organic=perhaps,material=clay,has_options=x")]
    plan = plan_of(write_export(tmp_path, *rows), Names(), None)
    (mug,) = by_id(plan).values()
    assert values_of(mug)["material"] == "clay"
    assert [(p.attribute, p.columns) for p in mug.problems[1:]] == [
        ("organic", ()),
        ("has_options", ()),
    ]
    assert mug.cells + len(mug.problems[0].columns) == plan.filled_cells


def test_the_paths_of_categories_are_one_tree_below_a_catalog(tmp_path):
    plan = plan_of(write_export(tmp_path), Names(), None)
    assert body(plan, Kind.CATALOGS, "Shop")["id"] == "cat-shop"
    wear, shirts, new = (one for one in plan.model if one.kind is Kind.CATEGORIES)
    assert [one.source for one in (wear, shirts, new)] == [
        "Shop/Wear",
        "Shop/Wear/Shirts",
        "Shop/New",
    ]
    assert (shirts.body["parentId"], shirts.body["name"]) == (wear.id, "Shirts")
    assert (wear.body["parentId"], wear.body["catalogId"]) == (None, "cat-shop")
    found = by_id(plan)
    assert found["var-sh-s-sea"].categories == (shirts.id, new.id)
    assert found["ent-mug"].categories == ()


def test_the_model_has_what_is_declared_and_what_is_used(tmp_path):
    plan = plan_of(write_export(tmp_path), Names(), None)
    assert body(plan, Kind.ATTRIBUTES, "sku")["validation"] == {"required": True, "unique": True}
    assert body(plan, Kind.ATTRIBUTES, "sku")["inheritable"] is False
    assert body(plan, Kind.ATTRIBUTES, "season")["multiple"] is True
    options = body(plan, Kind.OPTION_LISTS, "season")["values"]
    assert [one["label"] for one in options] == ["Spring", "Autumn", "Winter"]
    assert plan.notes == (
        "Attribute 'season' got 1 options that products use and no file declares: Winter",
    )
    shirts, cups = (body(plan, Kind.SCHEMAS, code) for code in ("Shirts", "Cups"))
    assert (shirts["variantEnabled"], cups["variantEnabled"]) == (True, False)
    assert shirts["attributeGroups"][0]["attributeIds"] == [
        f"attr-{code}" for code in ("sku", "size", "color", "season", "organic")
    ]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([SHIRT_S.replace(",,Shirts", ",german,Shirts", 1)], "is of store view 'german'"),
        ([MUG.replace("MUG", "")], "has no SKU"),
        ([MUG.replace("Cups", "")], "has no attribute set"),
        ([MUG, MUG], "repeats a product"),
        ([MUG + "x"], "more cells"),
        ([SHIRT_S.replace("Shirts,simple", "Cups,simple"), SHIRT], "which is not that of 'sh'"),
        ([SHIRT_S, SHIRT.replace("Shirts,conf", ",conf")], "which was refused"),
    ],
)
def test_a_row_that_cannot_be_a_product_is_refused_with_its_reason(tmp_path, rows, why):
    header = (
        HEADER if not rows[0].endswith("x") else HEADER.removesuffix(",configurable_variations")
    )
    plan = plan_of(write_export(tmp_path, *rows, header=header), Names(), None)
    refused = [one.problem.message for one in plan.records() if isinstance(one, RefusedRow)]
    assert any(why in message for message in refused), refused
    assert len(list(plan.records())) == plan.record_count + plan.variant_count


def test_packed_cells():
    assert pairs_of("a=1,b=x, y,c=,d=2=3") == {"a": "1", "b": "x, y", "d": "2=3"}
    assert paths_of("A/B & C,A/B & C, A") == [("A", "B & C"), ("A",)]


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("special_price", "number"),
        ("out_of_stock_qty", "number"),
        ("use_config_min_qty", "boolean"),
        ("product_online", "boolean"),
        ("thumbnail_image", "media"),
        ("additional_images", "media"),
        ("base_image_label", "text"),
        ("name", "text"),
    ],
)
def test_columns_are_typed_by_their_names(column, kind):
    assert type_of_column(column) == kind


def test_a_folder_is_recognized_by_its_files(tmp_path: Path):
    assert source_of(tmp_path) is None
    with pytest.raises(UnreadableCatalogue, match="no CSV file with columns sku, attribute_set"):
        plan_of(tmp_path, Names())
    write_export(tmp_path)
    assert source_of(tmp_path) is MAGENTO
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = source_of(tmp_path)
    assert found is not None
    assert found.name == "akeneo"
