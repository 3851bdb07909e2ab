"""Variants leave in an export and come back in an import without a change."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import orjson
import pytest

from records_service.exports import store
from records_service.imports import jobs
from shared.identity import Flag
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import error
from tests.kit.workspace import entries
from tests.service.records.import_files import download, errors_of, run, send

pytestmark = pytest.mark.asyncio(loop_scope="module")

EN, DA = {"dim-language": "seg-en"}, {"dim-language": "seg-da"}
FLAT = ("csv", "xlsx", "ndjson", "json")


async def model(workspace: RecordsWorkspace) -> None:
    await workspace.dimension("language", ["en", "da"])
    await workspace.option_list("colour", ["red", "blue"])
    await workspace.attribute("name", dimensionIds=["dim-language"])
    await workspace.attribute("sku", validation={"unique": True}, inheritable=False)
    await workspace.attribute("price", "number")
    await workspace.attribute("colours", "option", optionListId="ol-colour", multiple=True)
    await workspace.attribute("size", "complex")
    await workspace.attribute("goes-with", "relation")
    names = ["name", "sku", "price", "colours", "size", "goes-with"]
    await workspace.schema("x", names, variantEnabled=True)
    await workspace.schema("plain", ["sku"])


async def variant(
    workspace: RecordsWorkspace, record: str, variant_id: str, parent: str | None, **values: Any
) -> None:
    body = {"id": variant_id, "parentId": parent, "values": values}
    (await workspace.admin.post(f"/records/{record}/variants", body)).ok()


async def fill(workspace: RecordsWorkspace) -> None:
    """Three levels, a variant without values, and records without variants around them."""
    names = [{"scope": EN, "value": "Shirt"}, {"scope": DA, "value": "Skjorte"}]
    await workspace.record("schema-plain", {"sku": "P1"}, id="ent-0")
    body = {
        "id": "ent-a",
        "externalKey": "=a",
        "schemaId": "schema-x",
        "values": {**entries({"sku": "A", "price": 10}), "name": names},
    }
    (await workspace.admin.post("/records", body)).ok()
    await workspace.record("schema-x", {"sku": "B", "goes-with": "ent-a"}, id="ent-b")
    # Created in another order than the tree has, and with names in another order than that.
    await variant(workspace, "ent-a", "var-z", None, **entries({"sku": "A-Z", "price": 0.5}))
    own = {"name": [{"scope": EN, "value": "B"}], **entries({"colours": ["val-red"]})}
    await variant(workspace, "ent-a", "var-b", "ent-a", **own, **entries({"sku": "A-B"}))
    await variant(
        workspace,
        "ent-a",
        "var-a",
        "var-z",
        name=[{"scope": DA, "value": "-1"}],
        **entries({"colours": ["val-red", "val-blue"], "size": {"w": 1}}),
    )
    await variant(workspace, "ent-a", "var-c", "var-a", **entries({"sku": "A-C", "price": 7}))
    await variant(workspace, "ent-a", "var-0", "var-a")
    await variant(workspace, "ent-b", "var-1", "ent-b", **entries({"goes-with": "ent-0"}))


def rows_of(content: bytes, kind: str) -> list[dict[str, Any]]:
    if kind == "csv":
        return list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    return [orjson.loads(line) for line in content.splitlines()]


async def exported(workspace: RecordsWorkspace, asked: str) -> bytes:
    return await download(workspace.admin, f"/export?variants=true&{asked}")


WITHOUT_STATE = ["Column 'lifecycleStateId' is not imported: states change by transitions only"]
ORDER = [
    ("ent-0", ""),
    ("ent-a", ""),
    ("ent-a", "var-b"),
    ("ent-a", "var-z"),
    ("ent-a", "var-a"),
    ("ent-a", "var-0"),
    ("ent-a", "var-c"),
    ("ent-b", ""),
    ("ent-b", "var-1"),
]


@pytest.mark.parametrize("at_once", [1, 2, 500])
async def test_variants_stand_behind_their_record_parents_first(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch, at_once: int
):
    monkeypatch.setattr(store, "ROWS_AT_ONCE", at_once)
    monkeypatch.setattr(store, "BYTES_AT_ONCE", 1 if at_once == 2 else 1 << 20)
    await model(workspace)
    await fill(workspace)
    rows = rows_of(await exported(workspace, "columns=perScope&format=csv"), "csv")
    assert [(row["_id"], row["_variantId"]) for row in rows] == ORDER
    parents = ["", "", "ent-a", "ent-a", "var-z", "var-a", "var-a", "", "ent-b"]
    assert [row["_parentId"] for row in rows] == parents
    assert [row["_externalKey"] for row in rows[:3]] == ["", "'=a", ""]
    by_id = {row["_variantId"]: row for row in rows if row["_variantId"]}
    assert by_id["var-a"]["name[dim-language=seg-da]"] == "'-1"
    assert by_id["var-a"]["price"] == ""

    # Resolved, each has what holds for it.
    asked = 'scope={"language":"da"}&format=ndjson'
    for row in rows_of(await exported(workspace, asked), "ndjson"):
        if "_variantId" not in row:
            continue
        address = f"/records/{row['_id']}/variants/{row['_variantId']}/resolved"
        held = (await workspace.admin.get(address)).ok()["effectiveValues"]
        for name in ("sku", "price", "colours", "size", "goes-with"):
            assert row[name] == (held[name][0]["value"] if name in held else None), row
    resolved = {
        row["_variantId"]: row
        for row in rows_of(await exported(workspace, "format=csv"), "csv")
        if row["_variantId"]
    }
    assert [resolved[one]["price"] for one in ("var-a", "var-b", "var-c")] == ["0.5", "10", "7"]
    assert [resolved[one]["sku"] for one in ("var-a", "var-b")] == ["", "A-B"]

    # Whole, they are as lists show them.
    whole = rows_of(await exported(workspace, "format=ndjson"), "ndjson")
    listed = (await workspace.admin.get("/variants")).ok()["items"]
    found = [one for one in whole if "entityId" in one]
    assert sorted(found, key=str) == sorted(listed, key=str)
    assert [(one.get("entityId", one["id"]), one["id"]) for one in whole] == [
        (record, name or record) for record, name in ORDER
    ]


@pytest.mark.parametrize("kind", [*FLAT, "whole ndjson", "whole json"])
async def test_an_export_with_variants_is_imported_again_without_a_change(
    workspace: RecordsWorkspace,
    other_workspace: RecordsWorkspace,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
):
    monkeypatch.setattr(jobs, "ROWS_AT_ONCE", 4)
    await model(workspace)
    await fill(workspace)
    ending = kind.removeprefix("whole ")
    asked = f"format={ending}" + ("" if kind.startswith("whole") else "&columns=perScope")
    file = await exported(workspace, asked)
    before = await left_behind(workspace)
    job = await run(workspace, file, f"x.{ending}")
    assert await errors_of(workspace.admin, job["id"]) == []
    assert (job["status"], job["unchanged"]) == ("succeeded", len(ORDER))
    assert await left_behind(workspace) == before

    await model(other_workspace)
    job = await run(other_workspace, file, f"x.{ending}")
    assert await errors_of(other_workspace.admin, job["id"]) == []
    assert (job["status"], job["created"]) == ("succeeded", len(ORDER))
    for each in ("csv", "ndjson"):
        again = f"format={each}&columns=perScope"
        first, second = await exported(workspace, again), await exported(other_workspace, again)
        assert second == first
    assert await left_behind(other_workspace) == before


async def left_behind(workspace: RecordsWorkspace) -> list[tuple[Any, ...]]:
    """The history, and the events of records and variants."""
    entries_ = await workspace.fetch(
        """
        SELECT record_id, variant_id, action FROM audit
         WHERE workspace_id = $1 ORDER BY record_id, variant_id, id
        """
    )
    events = sorted(
        (event.type, event.subject)
        for event in await workspace.staged()
        if event.type.startswith(("entity", "variant"))
    )
    return [*(tuple(each.values()) for each in entries_), *events]


NO_PARENT = "Field 'parentId' must be the id of the record or of another variant of it, got 'var-1'"
NO_VARIANTS = (
    "Records of schema 'schema-plain' have no variants: its field 'variantEnabled' is false"
)
NO_ID = (
    "Value for '_variantId' must be an id: 1 to 128 of a-z, 0-9, '.', '_' and '-', got 'var new'"
)
HEAD = "_id,_variantId,_parentId,sku,price,name[dim-language=seg-da]\n"


async def test_rows_of_variants_follow_the_rules_of_single_writes(workspace: RecordsWorkspace):
    await model(workspace)
    await fill(workspace)
    content = HEAD + "".join(
        f"{line}\n"
        for line in [
            "ent-a,var-c,,,8,",  # Another price; the parent need not be named.
            ",var-b,,,,Blå",  # Nor the record; other scopes stay.
            "ent-a,,var-b,A-N,1,",  # A new one, below a variant.
            "ent-a,var-c,ent-a,,9,",
            "ent-b,var-c,,,9,",
            "ent-a,var-new,var-1,,9,",
            "ent-a,var-new,,A,9,",  # The record's own value is taken, too.
            ",,ent-a,,9,",
            "ent-0,var-new,,P2,,",
            "ent-x,var-new,,,,",
            "ent-a,var new,,,,",
            "ent-a,var-new,,,x,",
            r"ent-a,var-z,,\N,\N,",  # Inherits the price again.
            "ent-late,var-late,,,1,",
            "ent-late,,,L,,",
        ]
    )
    job = await run(workspace, content, schemaId="x")
    faults = [
        (one["row"], one["column"], one["message"])
        for one in await errors_of(workspace.admin, job["id"])
    ]
    assert faults == [
        (4, None, "Field 'parentId' cannot change: expected 'var-a', got 'ent-a'"),
        (5, None, "Variant 'var-c' is not of entity 'ent-b'"),
        (
            6,
            None,
            NO_PARENT,
        ),
        (7, "sku", "Value 'A' for attribute 'sku' must be unique"),
        (8, None, "Field '_id' is required: the id of the record of the new variant"),
        (
            9,
            None,
            NO_VARIANTS,
        ),
        (10, None, "Entity 'ent-x' not found"),
        (
            11,
            "_variantId",
            NO_ID,
        ),
        (12, "price", "Value for 'price' must be a number such as 1234.5, got 'x'"),
        (14, None, "Entity 'ent-late' not found: its row comes later in the file"),
    ]
    assert (job["created"], job["updated"], job["unchanged"]) == (2, 3, 0)
    blue = (await workspace.admin.get("/records/ent-a/variants/var-b")).ok()
    names = [{"scope": EN, "value": "B"}, {"scope": DA, "value": "Blå"}]
    assert (blue["version"], blue["values"]["name"]) == (2, names)
    emptied = (await workspace.admin.get("/records/ent-a/variants/var-z/resolved")).ok()
    assert emptied["values"] == {}
    assert emptied["effectiveValues"]["price"][0]["value"] == 10


@pytest.mark.parametrize(
    ("options", "outcomes"),
    [
        ({"onMatch": "skip"}, {"skipped": 1, "created": 1}),
        ({"onMatch": "fail"}, {"failed": 1, "created": 1}),
        ({"onMissing": "fail"}, {"updated": 1, "failed": 1}),
    ],
)
async def test_the_options_of_an_import_are_those_of_variants_too(
    workspace: RecordsWorkspace, options: dict[str, str], outcomes: dict[str, int]
):
    await model(workspace)
    await fill(workspace)
    job = await run(workspace, HEAD + "ent-a,var-c,,,8,\nent-a,var-n,,,8,\n", **options)
    assert {name: job[name] for name in outcomes} == outcomes


async def test_rows_of_variants_are_previewed_executed_and_tried(workspace: RecordsWorkspace):
    await model(workspace)
    await fill(workspace)
    before = await left_behind(workspace)
    rows = [
        {"_id": "ent-a", "_variantId": "var-c", "price": "8"},
        {"_id": "ent-a", "_variantId": "", "_parentId": "var-b", "price": "1"},
        {"_id": "ent-a", "_variantId": "var-missing", "price": "1"},
    ]
    sent = {"schemaId": "x", "rows": rows}
    preview = (await workspace.admin.post("/import/preview", sent)).ok()
    assert [row["action"] for row in preview["rows"]] == ["update", "create", "update"]
    assert [row["valid"] for row in preview["rows"]] == [True, True, False]
    content = "".join(json.dumps(row) + "\n" for row in rows)
    tried = await send(
        workspace.admin.having({"Prefer": "dry-run"}), content, "x.ndjson", schemaId="x"
    )
    assert (tried.body["updated"], tried.body["created"]) == (1, 2)
    assert await left_behind(workspace) == before
    done = (await workspace.admin.post("/import/execute", sent)).ok()
    assert (done["updated"], done["created"], done["failed"]) == (1, 1, 1)
    assert done["errors"][0]["message"] == "Variant 'var-missing' not found"


async def test_what_is_hidden_of_a_variant_is_in_no_export_and_written_by_no_import(
    workspace: RecordsWorkspace,
):
    await model(workspace)
    await fill(workspace)
    words = {"schema-x": {"attr-sku": "read", "attr-price": "write"}}
    limited = await workspace.user_with_role(words, Flag.IMPORT, Flag.EXPORT)
    for asked in ("format=csv", "format=csv&columns=perScope"):
        content = await download(limited, f"/export?variants=true&{asked}")
        header = content.decode().splitlines()[0].split(",")
        assert set(header) & {"name", "colours", "size", "goes-with"} == set()
        assert {"sku", "price", "_variantId"} <= set(header)
    whole = await download(limited, "/export?variants=true&format=ndjson")
    assert {name for row in rows_of(whole, "ndjson") for name in row["values"]} == {
        "sku",
        "price",
    }
    rows = [{"_id": "ent-a", "_variantId": "var-c", "sku": "mine"}]
    done = (await limited.post("/import/execute", {"schemaId": "x", "rows": rows})).ok()
    assert (done["failed"], done["errors"][0]["attribute"]) == (1, "sku")
    assert done["errors"][0]["message"].startswith("Attribute 'sku' may only be read")


async def test_ids_of_another_form_are_refused_in_tables(workspace: RecordsWorkspace):
    await model(workspace)
    job = await run(workspace, "_id,sku\na/b,1\nENT,2\n", schemaId="x")
    faults = await errors_of(workspace.admin, job["id"])
    assert [(one["row"], one["column"]) for one in faults] == [(1, "_id"), (2, "_id")]
    assert "must be an id" in faults[0]["message"]


async def test_external_keys_are_imported(workspace: RecordsWorkspace):
    await model(workspace)
    first = await run(workspace, "_externalKey,price\nk1,1\nk2,2\n", schemaId="x")
    assert first["created"] == 2
    job = await run(
        workspace, "_externalKey,price\nk1,3\nk3,4\n,5\n", schemaId="x", match="externalKey"
    )
    assert (job["updated"], job["created"], job["failed"]) == (1, 1, 1)
    (fault,) = await errors_of(workspace.admin, job["id"])
    assert "externalKey" in fault["message"]
    found = (await workspace.admin.get("/records?externalKey=k1")).ok()["items"]
    assert [one["values"]["price"][0]["value"] for one in found] == [3]
    rows = f"_id,_externalKey\n{found[0]['id']},\\N\n"
    assert (await run(workspace, rows))["updated"] == 1
    assert (await workspace.admin.get("/records?externalKey=k1")).ok()["items"] == []
    too_long = await run(workspace, f"_externalKey\n{'k' * 256}\n", schemaId="x")
    assert too_long["failed"] == 1


async def test_no_column_is_mapped_to_what_a_parent_cannot_be(workspace: RecordsWorkspace):
    await model(workspace)
    mapping = {"a": "_parentId", "b": "_parentId"}
    answer = await send(workspace.admin, "a,b\n", "x.csv", columnMapping=mapping)
    assert answer.outcome == error(400, "VALIDATION_ERROR", "Columns 'a' and 'b' mean the same")


async def test_records_that_are_related_to_each_other_are_imported_in_two_runs(
    workspace: RecordsWorkspace, other_workspace: RecordsWorkspace
):
    await model(workspace)
    for name in ("ent-a", "ent-b"):
        await workspace.record("schema-x", {"sku": name}, id=name)
    for name, other in (("ent-a", "ent-b"), ("ent-b", "ent-a")):
        change = {"value": other}
        (await workspace.admin.patch(f"/records/{name}/values/goes-with", change)).ok()
    file = await exported(workspace, "columns=perScope&format=csv")
    await model(other_workspace)
    assert (await run(other_workspace, file))["failed"] == 2
    first = await run(
        other_workspace, file, columnMapping={"goes-with": None, "no-column-of-it": None}
    )
    assert (first["created"], first["warnings"][-1:]) == (2, WITHOUT_STATE)
    assert (await run(other_workspace, file))["updated"] == 2
    assert await exported(other_workspace, "columns=perScope&format=csv") == file
    rows = [{"_id": "ent-a", "sku": "new", "goes-with": "nobody"}]
    sent = {"schemaId": "x", "rows": rows, "columnMapping": {"goes-with": None}}
    assert (await workspace.admin.post("/import/execute", sent)).ok()["updated"] == 1
    wrong = await send(workspace.admin, "a\n", "x.csv", columnMapping={"a": 1})
    assert wrong.outcome == error(
        400,
        "VALIDATION_ERROR",
        "Field 'columnMapping' must map 'a' to a string or null, got number",
    )
