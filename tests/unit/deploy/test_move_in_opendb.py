"""An invented database of JSON Lines with JSON Schemas, read and mapped."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from deploy.importers.csv_rows import UnreadableCatalogue
from deploy.importers.names import Names
from deploy.importers.opendb.source import OPENDB, plan_of
from deploy.importers.plan import Kind, Plan, RecordPlan
from deploy.importers.sources import source_of

ABOUT = {
    "type": ["object"],
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "codes": {"type": ["array", "null"], "items": {"type": "string"}},
    },
}
SCHEMAS: dict[str, Any] = {
    "Kettle": {
        "type": ["object", "null"],
        "required": ["about"],
        "properties": {
            "about": ABOUT,
            "litres": {"type": ["number", "null"]},
            "plug": {"type": ["string", "null"], "enum": ["Type C", "Type G", None]},
            "colours": {"type": "array", "items": {"type": "string", "enum": ["Red", "Blue"]}},
            "parts": {
                "type": ["array", "null"],
                "items": {
                    "type": "object",
                    "properties": {"material": {"type": "string", "enum": ["Steel"]}},
                },
            },
        },
    },
    "Toaster": {
        "required": ["about"],
        "properties": {
            "about": {**ABOUT, "description": "What it is"},
            "litres": {"type": "string"},
        },
    },
}
KETTLE = {
    "_category": "Kettle",
    "_file": "K-1.json",
    "about": {"name": "Whistler", "codes": ["a", "", "a"]},
    "litres": 1.5,
    "plug": "Type G",
    "colours": ["Red", "Blue", "Red"],
    "parts": [{"material": "Steel", "origin": "found"}, {"material": None}],
}
EMPTY = {
    "_category": "Kettle",
    "_file": "K-2.json",
    "about": {"name": ""},
    "parts": [],
    "plug": None,
}


def write_database(folder: Path, *records: dict[str, Any]) -> Path:
    for name in ("schemas", "products"):
        (folder / name).mkdir(exist_ok=True)
    for category, schema in SCHEMAS.items():
        (folder / "schemas" / f"{category}.schema.json").write_text(json.dumps(schema))
    with gzip.open(folder / "products" / "Kettle.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(one) + "\n" for one in records or (KETTLE, EMPTY))
    return folder


def records(plan: Plan) -> list[RecordPlan]:
    return [one for one in plan.records() if isinstance(one, RecordPlan)]


def test_values_are_as_they_were_without_what_is_empty(tmp_path):
    plan = plan_of(write_database(tmp_path), Names())
    kettle, empty = records(plan)
    assert (kettle.id, kettle.external_key, kettle.schema_id) == ("ent-k-1", "K-1", "schema-kettle")
    assert {alias: one.value for alias, (one,) in kettle.values.items()} == {
        "about": {"name": "Whistler", "codes": ["a", "a"]},
        "Kettle.litres": 1.5,
        "plug": Names().option("plug", "Type G"),
        "colours": ["val-colours-red", "val-colours-blue"],
        # A complex value that is a list keeps its places only for what is something.
        "parts": [{"material": "val-parts.material-steel", "origin": "found"}],
    }
    assert {alias: one.value for alias, (one,) in empty.values.items()} == {"about": {"name": ""}}
    assert sum(one.cells for one in (kettle, empty)) == plan.filled_cells == 6
    assert plan.notes == ("Used and in no schema, so imported as found: Kettle.parts.origin",)


def test_properties_that_categories_define_alike_are_one_attribute(tmp_path):
    plan = plan_of(write_database(tmp_path, EMPTY), Names())
    attributes = {one.source: one.body for one in plan.model if one.kind is Kind.ATTRIBUTES}
    assert list(attributes) == [
        "about",
        "Kettle.litres",
        "plug",
        "colours",
        "parts",
        "Toaster.litres",
    ]
    assert attributes["Toaster.litres"]["type"] == "text"
    name, codes = attributes["about"]["attributes"]
    assert (name["validation"], codes["multiple"]) == ({"required": True}, True)
    assert (attributes["plug"]["type"], attributes["plug"]["optionListId"]) == ("option", "ol-plug")
    lists = {one.source: one.body for one in plan.model if one.kind is Kind.OPTION_LISTS}
    assert [value["label"] for value in lists["plug"]["values"]] == ["Type C", "Type G"]
    assert list(lists) == ["plug", "colours", "parts.material"]


def test_a_value_of_another_type_is_left_for_the_api_to_refuse(tmp_path):
    bad = {**KETTLE, "litres": "much", "plug": "Type Z", "parts": "none"}
    (record,) = records(plan_of(write_database(tmp_path, bad), Names()))
    assert [record.values[alias][0].value for alias in ("Kettle.litres", "plug", "parts")] == [
        "much",
        "Type Z",
        "none",
    ]


@pytest.mark.parametrize(
    ("line", "message"), [("{", "line 1 is no record"), ('{"a": 1}', "line 1 is no record")]
)
def test_a_line_that_is_no_record_is_told(tmp_path, line, message):
    write_database(tmp_path)
    with gzip.open(tmp_path / "products" / "Kettle.jsonl.gz", "wt") as file:
        file.write(line + "\n")
    with pytest.raises(UnreadableCatalogue, match=message):
        plan_of(tmp_path, Names())


def test_a_folder_is_recognized_by_its_schemas(tmp_path):
    with pytest.raises(UnreadableCatalogue, match="has no"):
        plan_of(tmp_path, Names())
    assert source_of(write_database(tmp_path)) is OPENDB
