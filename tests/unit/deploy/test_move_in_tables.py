"""Made-up tables without keys and types: what they become, and which rows are one product."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from deploy.importers.csv_rows import UnreadableCatalogue
from deploy.importers.names import Names
from deploy.importers.plan import Kind, Plan, RecordPlan, RefusedRow
from deploy.importers.sources import source_of
from deploy.importers.tables.files import BrokenRow, Table, find_tables
from deploy.importers.tables.source import TABLES, plan_of
from tests.unit.deploy.tables import CHAIRS, LAMPS, write_tables


def bodies(plan: Plan, kind: Kind) -> dict[str, Any]:
    return {one.source: one.body for one in plan.model if one.kind is kind}


def records(plan: Plan, category: str = "") -> list[RecordPlan]:
    found = [one for one in plan.records() if isinstance(one, RecordPlan)]
    return [one for one in found if one.schema_id.endswith(category)]


def values(record: RecordPlan) -> dict[str, Any]:
    return {alias: entry.value for alias, (entry,) in record.values.items()}


def write(folder: Path, rows: list[Any], name: str = "lamp.json") -> Path:
    (folder / name).write_text(json.dumps(rows))
    return folder


def test_a_column_has_the_type_of_most_of_its_values(tmp_path):
    plan = plan_of(write_tables(tmp_path), Names())
    attributes = {
        alias: (body["type"], body["multiple"])
        for alias, body in bodies(plan, Kind.ATTRIBUTES).items()
    }
    assert attributes == {
        "name": ("text", False),
        "price": ("number", False),
        "colour": ("option", False),
        "legs": ("number", False),
        "folds": ("boolean", False),
        "watt": ("number", False),
        "beam": ("number", True),
        "unclear-values": ("text", True),
    }
    (colours,) = bodies(plan, Kind.OPTION_LISTS).values()
    assert [one["label"] for one in colours["values"]] == ["Deep Red", "Gray", "Grey", "Grün"]
    schema = bodies(plan, Kind.SCHEMAS)["lamp"]
    assert schema["attributeGroups"][0]["attributeIds"] == [
        f"attr-{name}" for name in ("name", "price", "colour", "watt", "beam", "unclear-values")
    ]


def test_what_does_not_fit_is_kept_as_text_and_every_cell_is_counted(tmp_path):
    plan = plan_of(write_tables(tmp_path), Names())
    by_name = {values(one)["name"]: values(one) for one in records(plan)}
    assert by_name["Dusk 1"]["unclear-values"] == ["watt: 8 W"]
    assert "watt" not in by_name["Dusk 1"]
    assert by_name["Ash"]["unclear-values"] == ["price: 30 EUR"]
    assert (by_name["Oak 3"]["price"], by_name["Elm"]["folds"]) == (49.93, True)
    assert (by_name["Dawn 1"]["beam"], by_name["Dawn 2"]["beam"]) == ([10, 30], [25])
    assert by_name["Dawn 3"]["colour"] == Names().option("colour", "Deep Red")
    assert by_name["Dawn 5"]["name"] == "Dawn 5"
    assert "price" not in by_name["Dawn 4"]
    cells = sum(one.cells for one in plan.records())
    assert cells == plan.filled_cells
    assert sum(1 for _ in plan.records()) == plan.record_count


def test_rows_that_cannot_be_records_are_refused_with_file_and_line(tmp_path):
    plan = plan_of(write_tables(tmp_path), Names())
    refused = [one.problem for one in plan.records() if isinstance(one, RefusedRow)]
    assert [(one.file, one.line, one.message) for one in refused] == [
        (
            "chair.csv",
            14,
            "the row has 7 cells, and the header 5 columns: is a delimiter or a quote wrong?",
        ),
        (
            "chair.csv",
            16,
            "a quote is opened here and never closed: the 2 lines to the end are in it",
        ),
        ("lamp.json", 13, "the row has no name"),
        ("lamp.json", 14, "the row is not an object with a value for each column"),
    ]


def test_a_row_has_the_same_key_in_every_order_and_format_and_at_every_price(tmp_path):
    rows = [
        {"name": "Dawn 1", "price": 20, "watt": 5.0, "beam": [10, 30], "on": True},
        {"name": "Dawn 2", "price": None, "watt": 6.5, "beam": [11, 30], "on": False},
    ]
    keys = [one.id for one in records(plan_of(write(tmp_path, rows), Names()))]
    assert keys[0].startswith("ent-lamp-dawn-1-")
    changed = [{**rows[1], "price": 99}, {**rows[0], "name": "dawn  1"}]
    assert [one.id for one in records(plan_of(write(tmp_path, changed), Names()))] == keys[::-1]
    (tmp_path / "lamp.json").unlink()
    (tmp_path / "lamp.csv").write_text(
        'beam,watt,name,on,price\n"10,30",5,Dawn 1,true,20\n"11,30",6.50,Dawn 2,false,\n'
    )
    assert [one.id for one in records(plan_of(tmp_path, Names()))] == keys


def test_a_column_that_is_called_a_key_and_is_one_is_the_key(tmp_path):
    rows = [{"sku": f"A-{n}", "name": f"Dawn {n}", "size": n} for n in range(3)]
    keys = [one.id for one in records(plan_of(write(tmp_path, rows), Names()))]
    changed = [{**rows[0], "size": 9}, *rows[1:]]
    assert [one.id for one in records(plan_of(write(tmp_path, changed), Names()))] == keys
    # What comes twice is none.
    rows[1]["sku"] = "a-0"
    keys = [one.id for one in records(plan_of(write(tmp_path, rows), Names()))]
    changed = [{**rows[0], "size": 9}, *rows[1:]]
    assert [one.id for one in records(plan_of(write(tmp_path, changed), Names()))] != keys


def test_duplicates_are_one_record_only_where_nothing_differs(tmp_path):
    row = {"name": "Dawn", "price": 20, "watt": 5}
    rows = [row, {**row, "price": 21}, row, {**row, "price": None}, {**row, "price": 21}]
    found = records(plan_of(write(tmp_path, rows), Names()))
    first = found[0].id
    assert [one.id for one in found] == [first, f"{first}-2", f"{first}-3"]
    assert [values(one).get("price") for one in found] == [20, 21, None]


def test_columns_share_an_attribute_only_where_they_mean_the_same(tmp_path):
    for category, kinds in {"lamp": ["Desk", "Wall"], "chair": ["Arm", "Bar"]}.items():
        rows = [
            {
                "name": f"N{n}",
                "kind": kinds[n % 2],
                "colour": "Red",
                "size": n if category == "lamp" else f"s{n % 2}",
            }
            for n in range(8)
        ]
        write(tmp_path, rows, f"{category}.json")
    plan = plan_of(tmp_path, Names())
    assert list(bodies(plan, Kind.ATTRIBUTES)) == [
        *("name", "chair.kind", "colour", "chair.size", "lamp.kind", "lamp.size"),
        "unclear-values",
    ]


def test_the_model_is_written_once_and_followed_afterwards(tmp_path):
    (tmp_path / "data").mkdir()
    write_tables(tmp_path / "data")
    model = tmp_path / "model.csv"
    plan_of(tmp_path / "data", Names(), model=model)
    with model.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["category", "column", "attribute", "type", "several", "key"]
    assert ["lamp", "price", "price", "number", "no", "no"] in rows
    for row in rows:
        if row[:2] == ["lamp", "watt"]:
            row[2:4] = ["power", "text"]
    with model.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=";").writerows(row for row in rows if row[1] != "beam")
    plan = plan_of(tmp_path / "data", Names(), model=model)
    assert bodies(plan, Kind.ATTRIBUTES)["power"]["type"] == "text"
    assert f"{model} does not name beam of lamp" in plan.notes
    assert {values(one)["power"] for one in records(plan, "lamp")} == {"5", "6", "7", "8 W"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("lamp,watt,watt,weight,no,no", "type 'weight' is none of number, text"),
        ("lamp,watt,watt,number,maybe,no", "several must be yes or no, not 'maybe'"),
        ("lamp,watt,,number,no,no", "line 2 has no attribute"),
        (
            "lamp,watt,a,number,no,no\nlamp,beam,a,text,no,no",
            "columns of attribute 'a' differ in type or several",
        ),
        ("lamp,watt,a,text,no,no\nlamp,watt,b,text,no,no", "line 3 repeats column 'watt'"),
    ],
)
def test_a_wrong_model_is_told_with_its_line(tmp_path, line, message):
    model = tmp_path / "model.csv"
    model.write_text(f"category,column,attribute,type,several,key\n{line}\n")
    (tmp_path / "data").mkdir()
    with pytest.raises(UnreadableCatalogue, match=message):
        plan_of(write_tables(tmp_path / "data"), Names(), model=model)


def test_tables_are_found_in_folders_and_archives_and_json_is_preferred(tmp_path):
    assert find_tables(tmp_path) == ()
    with pytest.raises(UnreadableCatalogue, match="has no CSV or JSON files"):
        plan_of(tmp_path, Names())
    (tmp_path / "data").mkdir()
    with zipfile.ZipFile(tmp_path / "data" / "csv.zip", "w") as archive:
        archive.writestr("csv/chair.csv", CHAIRS.encode("cp1252"))
        archive.writestr("__MACOSX/csv/._chair.csv", "x")
    assert [one.file for one in find_tables(tmp_path)] == ["chair.csv"]
    with zipfile.ZipFile(tmp_path / "data" / "json.zip", "w") as archive:
        archive.writestr("json/lamp.json", json.dumps(LAMPS))
    assert [one.file for one in find_tables(tmp_path)] == ["lamp.json"]
    assert len(records(plan_of(tmp_path / "data" / "csv.zip", Names()))) == 13
    assert source_of(tmp_path) is TABLES


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.json", b"[1", "the file is not valid JSON"),
        ("a.json", b'{"a": 1}', "the file is not a list of rows"),
        ("a.jsonl", b'{"name": "x"}\n{', "the line is not valid JSON"),
        ("a.csv", b"name,name\n1,2\n", "the header has column 'name' twice"),
        ("a.csv", b'name,x\n"a"b,2\n', "the line is not valid CSV"),
    ],
)
def test_what_is_broken_is_told_and_the_rest_is_read(tmp_path, name, content, why):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "lamp.jsonl").write_text('{"name": "Dawn"}\n\n{"name": "Dusk"}\n')
    broken = [row for row in Table(tmp_path / name).rows() if isinstance(row, BrokenRow)]
    assert [row.why.startswith(why) for row in broken] == [True]
    plan = plan_of(tmp_path, Names())
    assert [values(one)["name"] for one in records(plan, "lamp")] == ["Dawn", "Dusk"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_csv_is_read_in_the_encodings_of_spreadsheets(tmp_path, encoding):
    text = "sep=;\r\nname;price;ean\r\nGrüne Küche;1,5;0401\r\n"
    (tmp_path / "chair.csv").write_bytes(text.encode(encoding))
    (record,) = records(plan_of(tmp_path, Names()))
    assert values(record) == {"name": "Grüne Küche", "price": 1.5, "ean": "0401"}
