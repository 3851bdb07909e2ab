"""POST /import/preview and /import/execute: what rows become, and what is said of bad ones."""

from __future__ import annotations

from typing import Any

import pytest

from shared.identity import Flag
from tests.kit import identities
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error
from tests.kit.workspace import entries

pytestmark = pytest.mark.asyncio(loop_scope="module")

EN, DA = {"dim-language": "seg-en"}, {"dim-language": "seg-da"}


async def build(workspace: RecordsWorkspace) -> None:
    await workspace.dimension("language", ["en", "da"])
    options = [
        {"id": "val-red", "alias": "red", "label": "Rød, mørk", "labels": {"seg-en": "Dark red"}},
        {"id": "val-blue", "alias": "blue", "label": "Blå", "labels": {"seg-en": "Blue"}},
        {"id": "val-navy", "alias": "navy", "label": "Blå", "labels": {"seg-da": "Blue"}},
        {"id": "val-both", "alias": "both", "label": "red|blue"},
    ]
    made = {"id": "ol-colour", "alias": "colour", "name": "Colour", "values": options}
    (await workspace.admin.post("/option-lists", made)).ok()
    await workspace.attribute("name", dimensionIds=["dim-language"])
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.attribute("price", "number")
    await workspace.attribute("active", "boolean")
    await workspace.attribute("since", "datetime")
    await workspace.attribute("colour", "option", optionListId="ol-colour")
    await workspace.attribute("colours", "option", optionListId="ol-colour", multiple=True)
    await workspace.attribute("related", "relation", multiple=True)
    await workspace.attribute("picture", "media")
    await workspace.attribute("size", "complex")
    await workspace.schema(
        "x",
        [
            "name",
            "sku",
            "price",
            "active",
            "since",
            "colour",
            "colours",
            "related",
            "picture",
            "size",
        ],
    )
    await workspace.schema("other", ["price"])


def body(*rows: dict[str, Any], schema: str = "schema-x", **mapping: str) -> dict[str, Any]:
    return {"schemaId": schema, "rows": list(rows), "columnMapping": mapping}


async def execute(caller: Caller, *rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    done: dict[str, Any] = (await caller.post("/import/execute", body(*rows, **more))).ok()
    counted = done["created"] + done["updated"] + done["unchanged"] + done["failed"]
    assert counted == len(rows)
    return done


async def values_of(caller: Caller, record_id: str) -> Any:
    return (await caller.get(f"/records/{record_id}")).ok()["values"]


async def test_cells_are_converted_by_the_type_of_their_attribute(
    workspace: RecordsWorkspace, admin: Caller
):
    await build(workspace)
    await workspace.record("schema-x", id="ent-a")
    row = {
        "Name": "Cord",
        "name[dim-language=seg-da]": "Fløjl",
        "price": "-0.5",
        "active": "TRUE",
        "since": "2026-01-02T03:04:05Z",
        "colour": "Rød, mørk",
        "colours": "Rød, mørk|navy|val-blue",
        "related": "ent-a",
        "picture": "https://example.com/a.png",
        "size": '{"w": 1.5}',
        "nobody knows": "x",
    }
    done = await execute(admin, row, Name="name")
    assert done["failed"] == 0, done
    assert await values_of(admin, done["ids"][0]) == entries(
        {
            "name": [{"scope": {}, "value": "Cord"}, {"scope": DA, "value": "Fløjl"}],
            "price": -0.5,
            "active": True,
            "since": "2026-01-02T03:04:05Z",
            "colour": "val-red",
            "colours": ["val-red", "val-navy", "val-blue"],
            "related": ["ent-a"],
            "picture": "https://example.com/a.png",
            "size": {"w": 1.5},
        }
    )


async def test_a_number_is_what_json_says(workspace: RecordsWorkspace, admin: Caller):
    await build(workspace)
    numbers = {"-0.5": -0.5, "1e3": 1000, "+1": 1, " 7 ": 7, "9223372036854775807": 2**63 - 1}
    done = await execute(admin, *({"price": cell} for cell in numbers))
    for record_id, number in zip(done["ids"], numbers.values(), strict=True):
        assert await values_of(admin, record_id) == entries({"price": number})


async def test_what_is_no_exact_number_is_a_row_error(workspace: RecordsWorkspace, admin: Caller):
    await build(workspace)
    cells = [
        *("2,4", "1.234,56", "1 234", "1_000", "1e", "0x10", "NaN", "٣", "1e999"),
        *("9223372036854775808", "0.10000000000000000001"),
    ]
    done = await execute(admin, *({"price": cell} for cell in cells))
    assert (done["failed"], done["created"]) == (len(cells), 0)
    assert [one["row"] for one in done["errors"]] == list(range(1, len(cells) + 1))
    for fault in done["errors"]:
        assert (fault["column"], fault["attribute"]) == ("price", "price")
        assert "number" in fault["message"]


async def test_a_text_stays_byte_for_byte(workspace: RecordsWorkspace, admin: Caller):
    await build(workspace)
    cells = ["0017", "1E5", " 7 ", "true", "2024-01-01", "a\nb", "\t", "'x", "-"]
    done = await execute(admin, *({"sku": cell} for cell in cells), {"sku": "'=x"})
    assert [(await values_of(admin, one))["sku"][0]["value"] for one in done["ids"]] == [
        *cells,
        "=x",
    ]


async def test_a_row_with_an_id_changes_only_the_scopes_of_its_columns(
    workspace: RecordsWorkspace, admin: Caller
):
    await build(workspace)
    names = [
        {"scope": {}, "value": "old"},
        {"scope": EN, "value": "Shirt"},
        {"scope": DA, "value": "Skjorte"},
    ]
    await workspace.record("schema-x", {"name": names, "price": 5}, id="ent-a")
    done = await execute(admin, {"_id": "ent-a", "name": "new", "price": ""})
    assert (done["updated"], done["ids"]) == (1, ["ent-a"])
    after = await values_of(admin, "ent-a")
    assert {str(one["scope"]): one["value"] for one in after["name"]} == {
        str({}): "new",
        str(EN): "Shirt",
        str(DA): "Skjorte",
    }
    assert after["price"] == [{"scope": {}, "value": 5}]
    await execute(admin, {"_id": "ent-a", "name[language=da]": r"\N", "price": r"\N"})
    after = await values_of(admin, "ent-a")
    assert [one["scope"] for one in after["name"]] == [EN, {}] or len(after["name"]) == 2
    assert "price" not in after


async def test_the_same_row_again_changes_nothing(workspace: RecordsWorkspace, admin: Caller):
    await build(workspace)
    await workspace.record("schema-x", {"price": 1}, id="ent-a")
    rows = [{"_id": "ent-a", "price": "2"}, {"_id": "ent-a", "price": "3"}]
    done = await execute(admin, *rows)
    assert (done["updated"], done["ids"]) == (2, ["ent-a", "ent-a"])
    staged = len(await workspace.staged())
    again = await execute(admin, rows[1], {"_id": "ent-a", "price": "3.0"})
    assert (again["created"], again["updated"], again["unchanged"]) == (0, 0, 2)
    assert len(await workspace.staged()) == staged
    assert (await admin.get("/records/ent-a/audit")).ok()["total"] == 3


async def test_a_bad_row_fails_alone_and_is_named(workspace: RecordsWorkspace, admin: Caller):
    await build(workspace)
    await workspace.record("schema-other", {"price": 1}, id="ent-o")
    done = await execute(
        admin,
        {"sku": "a"},
        {"sku": "a", "price": "1"},
        {"sku": "", "_id": ""},
        {"_id": "ent-nobody", "price": "1"},
        {"_id": "ent-o", "price": "2"},
        {"sku": "b", "colour": "Blå"},
        {"colours": "red|pink", "active": "ja"},
    )
    assert (done["created"], done["updated"], done["failed"]) == (2, 0, 5)
    assert [(one["row"], one["column"], one["message"]) for one in done["errors"]] == [
        (2, "sku", "Value 'a' for attribute 'sku' must be unique"),
        (4, None, "Entity 'ent-nobody' not found"),
        (5, None, "Field 'schemaId' cannot change: expected 'schema-other', got 'schema-x'"),
        (
            6,
            "colour",
            "Value 'Blå' for 'colour' is the label of several options: 'val-blue', 'val-navy'",
        ),
        (7, "colours", "Value 'pink' for 'colours' is not in option list 'ol-colour'"),
        (7, "active", "Value for 'active' must be true, false, 1 or 0, got 'ja'"),
    ]
    assert (await admin.get("/records/ent-o")).headers["ETag"] == '"1"'


async def test_a_label_that_holds_a_bar_is_meant_before_it_is_split(
    workspace: RecordsWorkspace, admin: Caller
):
    await build(workspace)
    done = await execute(admin, {"colours": "red|blue"}, {"colours": "red | navy"})
    first, second = [await values_of(admin, one) for one in done["ids"]]
    assert first["colours"][0]["value"] == ["val-both"]
    assert second["colours"][0]["value"] == ["val-red", "val-navy"]


async def test_an_option_is_named_by_its_label_in_any_language(
    workspace: RecordsWorkspace, admin: Caller
):
    await build(workspace)
    labels = {"seg-en": "Dark red", "seg-da": "red|blue"}
    red = {"alias": "red", "label": "Rød, mørk", "labels": labels}
    (await admin.put("/option-lists/ol-colour/values/val-red", red)).ok()
    done = await execute(
        admin,
        {"colour": "Dark red", "colours": "Dark red|navy"},
        {"colour": "Blue"},
        # What is a label itself is meant before what is one in a language.
        {"colour": "red|blue"},
    )
    first, third = [await values_of(admin, one) for one in done["ids"]]
    assert first["colour"][0]["value"] == "val-red"
    assert first["colours"][0]["value"] == ["val-red", "val-navy"]
    assert third["colour"][0]["value"] == "val-both"
    (said,) = done["errors"]
    assert (said["row"], said["message"]) == (
        2,
        "Value 'Blue' for 'colour' is the label of several options: 'val-blue', 'val-navy'",
    )
    # Searches name options as cells do.
    found = await admin.post(
        "/search",
        {"criteria": [{"attribute": "colour", "operator": "equals", "value": "Dark red"}]},
    )
    assert [one["id"] for one in found.ok()["items"]] == [done["ids"][0]]


async def test_a_preview_says_the_same_and_stores_nothing(
    workspace: RecordsWorkspace, admin: Caller
):
    await build(workspace)
    await workspace.record("schema-x", {"sku": "taken"}, id="ent-a")
    before = await workspace.fetch("SELECT count(*) FROM audit WHERE workspace_id = $1")
    staged = len(await workspace.staged())
    rows = [{"sku": "n"}, {"sku": "n"}, {"sku": "taken"}, {"_id": "ent-a", "price": "x"}]
    told = (await admin.post("/import/preview", body(*rows))).ok()
    assert {name: told[name] for name in ("total", "valid", "invalid")} == {
        "total": 4,
        "valid": 1,
        "invalid": 3,
    }
    unique = {"column": "sku", "attribute": "sku"}
    assert told["rows"] == [
        {"row": 1, "valid": True, "action": "create", "errors": []},
        {
            "row": 2,
            "valid": False,
            "action": "create",
            "errors": [unique | {"message": "Value 'n' for attribute 'sku' must be unique"}],
        },
        {
            "row": 3,
            "valid": False,
            "action": "create",
            "errors": [unique | {"message": "Value 'taken' for attribute 'sku' must be unique"}],
        },
        {
            "row": 4,
            "valid": False,
            "action": "update",
            "errors": [
                {
                    "column": "price",
                    "attribute": "price",
                    "message": "Value for 'price' must be a number such as 1234.5, got 'x'",
                }
            ],
        },
    ]
    assert await workspace.fetch("SELECT count(*) FROM audit WHERE workspace_id = $1") == before
    assert len(await workspace.staged()) == staged
    assert (await admin.get("/records")).ok()["total"] == 1


async def test_the_record_limit_makes_the_other_creates_row_errors(
    workspace: RecordsWorkspace, admin: Caller
):
    await build(workspace)
    few = workspace.as_(identities.api_key(workspace.id, record_limit=2))
    done = await execute(few, {"sku": "1"}, {"sku": "2"}, {"sku": "3"})
    assert (done["created"], done["failed"]) == (2, 1)
    assert done["errors"][0]["message"] == "Entity limit of 2 reached"
    assert done["errors"][0]["row"] == 3


@pytest.mark.parametrize("act", ["preview", "execute"])
async def test_more_than_10_000_rows_are_refused(workspace: RecordsWorkspace, act: str):
    rows: list[dict[str, Any]] = [{}] * 10_001
    refused = await workspace.admin.post(f"/import/{act}", body(*rows))
    assert refused.outcome == error(
        400, "VALIDATION_ERROR", "Field 'rows' must have at most 10000 items, got 10001"
    )
    # As many as are allowed are read: what is wrong is that there is no such schema.
    assert (await workspace.admin.post(f"/import/{act}", body(*rows[1:]))).status == 404


async def test_cells_that_are_no_texts(workspace: RecordsWorkspace, admin: Caller):
    await build(workspace)
    done = await execute(admin, {"sku": 17, "price": 2.5, "active": True, "name": None})
    assert await values_of(admin, done["ids"][0]) == entries(
        {"sku": "17", "price": 2.5, "active": True}
    )
    refused = await admin.post("/import/execute", body({"sku": "1"}, {"sku": {"a": 1}}))
    assert refused.outcome == error(
        400,
        "VALIDATION_ERROR",
        "Field 'rows.1' has a cell that is no text: expected a string, got object",
    )


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"a": "nothing"}, "Unknown attribute 'nothing'"),
        (
            {"a": "name[dim-x=seg-y]"},
            "Column 'a': Attribute 'name' does not vary by dimension 'dim-x'",
        ),
        (
            {"a": "name[dim-language=seg-y]"},
            (
                "Column 'a': Unknown segment 'seg-y' of dimension 'dim-language':"
                " expected seg-en, seg-da"
            ),
        ),
        ({"a": "price", "b": "price"}, "Columns 'a' and 'b' mean the same"),
        (
            {"a": "name[dim-language]"},
            "Column 'a': A scope in the name of a column is written [dimension=segment,...]",
        ),
    ],
)
async def test_a_mapping_that_makes_no_sense_is_refused(
    workspace: RecordsWorkspace, admin: Caller, mapping: dict[str, str], message: str
):
    await build(workspace)
    answer = await admin.post("/import/preview", body({"a": "1", "b": "2"}, **mapping))
    assert answer.outcome == error(400, "VALIDATION_ERROR", message)
    unknown = await admin.post("/import/execute", body({"a": "1"}, schema="schema-nothing"))
    assert unknown.outcome == error(404, "NOT_FOUND", "Schema 'schema-nothing' not found")


async def test_what_the_role_may_not_write_fails_and_tells_nothing(workspace: RecordsWorkspace):
    await build(workspace)
    words = {"schema-x": {"attr-sku": "write", "attr-price": "read"}}
    editor = await workspace.user_with_role(words, Flag.IMPORT)
    done = await execute(
        editor, {"sku": "1"}, {"sku": "2", "price": "1"}, {"colour": "pink"}, {"colour": "red"}
    )
    assert (done["created"], done["failed"]) == (1, 3)
    assert [one["message"] for one in done["errors"]] == [
        "Attribute 'price' may only be read by the caller's role",
        "Attribute 'colour' may not be written",
        "Attribute 'colour' may not be written",
    ]
    forbidden = await (await workspace.user_with_role(words)).post("/import/execute", body())
    assert forbidden.outcome == error(403, "PERMISSION_DENIED", "Permission denied")


async def test_a_key_that_may_not_read_is_told_what_became_of_its_rows(
    workspace: RecordsWorkspace,
):
    await build(workspace)
    done = await execute(workspace.api_key("update-data"), {"sku": "1"}, {"price": "x"})
    assert (done["created"], done["failed"], len(done["ids"])) == (1, 1, 1)


async def test_columns_that_are_not_imported_are_told(workspace: RecordsWorkspace, admin: Caller):
    await build(workspace)
    row = {"Navn": "x", "sku": "S-1", "Preis": "1", "lifecycleStateId": "state-x", "Note": "n"}
    mapping = {"Preis": "price", "Note": None}
    told = ["Navn", "lifecycleStateId"]
    sent = {"schemaId": "schema-x", "rows": [row], "columnMapping": mapping}
    assert (await admin.post("/import/preview", sent)).ok()["unmappedColumns"] == told
    assert (await admin.post("/import/execute", sent)).ok()["unmappedColumns"] == told
    assert (await execute(admin, {"sku": "S-2"}))["unmappedColumns"] == []
