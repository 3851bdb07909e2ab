"""Exports: what is in the file, for whom, and that it is whole however others write meanwhile."""

from __future__ import annotations

import asyncio
import csv
import io
import zipfile
from typing import Any

import aiohttp
import orjson
import pytest

from records_service import chunked_response
from records_service.exports import handlers, store, walk
from records_service.exports.walk import EXPORTS
from shared.errors import ServiceUnavailable
from shared.http.limits import READER_IDLE_S
from shared.identity import Flag
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error
from workflow_service.destinations import uploading

pytestmark = pytest.mark.asyncio(loop_scope="module")

EN, DA = {"dim-language": "seg-en"}, {"dim-language": "seg-da"}


async def build(workspace: RecordsWorkspace) -> None:
    """Records with all that a cell can be."""
    await workspace.dimension("language", ["en", "da"])
    await workspace.option_list("colour", ["red", "blue"])
    await workspace.attribute("name", dimensionIds=["dim-language"])
    await workspace.attribute("price", "number")
    await workspace.attribute("colours", "option", optionListId="ol-colour", multiple=True)
    await workspace.attribute("size", "complex")
    await workspace.schema("apparel", ["name", "price", "colours", "size"])
    await workspace.schema("other", ["price"])
    await workspace.record(
        "schema-apparel",
        {
            "name": [
                {"scope": {}, "value": '=å, ø, 漢, "\n;'},
                {"scope": EN, "value": "Shirt"},
                {"scope": DA, "value": "-0.02"},
            ],
            "price": -0.02,
            "colours": ["val-red", "val-blue"],
            "size": {"w": 1},
        },
        id="ent-a",
    )
    await workspace.record("schema-apparel", {}, id="ent-b")
    await workspace.record("schema-other", {"price": 7}, id="ent-c")


def table(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


async def test_json_has_whole_records_with_their_version(workspace: RecordsWorkspace):
    await build(workspace)
    exported = (await workspace.admin.get("/export")).ok()
    listed = (await workspace.admin.get("/records")).ok()["items"]
    assert exported == [one | {"version": 1} for one in listed]
    lines = (await workspace.admin.get("/export?format=ndjson")).ok()
    assert [orjson.loads(line) for line in lines.splitlines()] == exported
    assert (await workspace.admin.get("/export?schemaId=other")).ok() == exported[2:]
    assert (await workspace.admin.get("/export?lifecycleStateId=x")).ok() == []


async def test_csv_is_resolved_and_guards_texts_not_numbers(workspace: RecordsWorkspace):
    await build(workspace)
    answer = await workspace.admin.get("/export?format=csv&schemaId=apparel")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="apparel.csv"'
    header = ["_id", "schemaId", "lifecycleStateId", "name", "price", "colours", "size"]
    assert table(answer.ok()) == [
        header,
        ["ent-a", "schema-apparel", "", "Shirt", "-0.02", "val-red|val-blue", '{"w":1}'],
        ["ent-b", "schema-apparel", "", "", "", "", ""],
    ]
    scoped = await workspace.admin.get(
        "/export", params={"format": "csv", "scope": '{"language":"da"}'}
    )
    assert [row[3] for row in table(scoped.ok())] == ["name", "'-0.02", "", ""]
    accepted = await workspace.admin.get("/export", headers={"Accept": "text/csv"})
    assert accepted.headers["Content-Disposition"] == 'attachment; filename="records.csv"'
    async with aiohttp.ClientSession(headers=workspace.admin.headers) as session:
        url = f"{workspace.admin.url}/api/v1/export?format=csv&bom=true"
        async with session.get(url) as response:
            assert (await response.read()).startswith(b"\xef\xbb\xbf_id,")


async def test_one_column_per_scope_has_every_value(workspace: RecordsWorkspace):
    await build(workspace)
    answer = await workspace.admin.get("/export?format=csv&columns=perScope&schemaId=apparel")
    header, first, second = table(answer.ok())
    assert header[3:8] == [
        "_externalKey",
        "_categories",
        "name",
        "name[dim-language=seg-da]",
        "name[dim-language=seg-en]",
    ]
    assert first[5:8] == ["'=å, ø, 漢, \"\n;", "'-0.02", "Shirt"]
    assert second[3:] == [""] * 8
    rows = (await workspace.admin.get("/export?columns=perScope")).ok()
    assert rows[0]["name[dim-language=seg-da]"] == "-0.02"
    assert rows[0]["size"] == {"w": 1}
    assert rows[1] == {"_id": "ent-b", "schemaId": "schema-apparel", "lifecycleStateId": None}


async def test_a_change_of_the_model_moves_no_column(workspace: RecordsWorkspace):
    admin = workspace.admin
    for name in ("first", "second"):
        await workspace.attribute(name)
        await workspace.schema(name, [name])
    before = table((await admin.get("/export?format=csv")).ok())[0]
    assert before[-2:] == ["first", "second"]
    for kind in ("attributes", "schemas"):
        (stored,) = [one for one in (await admin.get(f"/{kind}")).ok() if one["alias"] == "first"]
        (await admin.put(f"/{kind}/{stored['id']}", stored | {"name": "Changed"})).ok()
    assert table((await admin.get("/export?format=csv")).ok())[0] == before


async def test_a_scope_makes_flat_rows(workspace: RecordsWorkspace):
    await build(workspace)
    rows = (await workspace.admin.get("/export", params={"scope": "{}"})).ok()
    assert rows[0] == {
        "_id": "ent-a",
        "schemaId": "schema-apparel",
        "lifecycleStateId": None,
        "name": "Shirt",
        "price": -0.02,
        "colours": ["val-red", "val-blue"],
        "size": {"w": 1},
    }
    assert rows[2] == {
        "_id": "ent-c",
        "schemaId": "schema-other",
        "lifecycleStateId": None,
        "price": 7,
    }


async def test_xlsx_holds_the_same_cells(workspace: RecordsWorkspace):
    await build(workspace)
    async with aiohttp.ClientSession(headers=workspace.admin.headers) as session:
        url = f"{workspace.admin.url}/api/v1/export?format=xlsx&columns=perScope"
        async with session.get(url) as response:
            archive = zipfile.ZipFile(io.BytesIO(await response.read()))
    assert archive.testzip() is None
    sheet = archive.read("xl/worksheets/sheet1.xml").decode()
    assert sheet.count("<row ") == 4
    assert '<c r="F2" t="inlineStr"><is><t xml:space="preserve">\'=å, ø, 漢, "\n;</t></is></c>' in (
        sheet
    )
    assert "<v>-0.02</v>" in sheet


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"scope": "x"}, "Field 'scope' must be a JSON object, got 'x'"),
        ({"scope": "[1]"}, "Field 'scope' must be a JSON object, got array"),
        ({"scope": '{"dim-x":"y"}'}, "Unknown dimension 'dim-x'"),
        (
            {"scope": '{"dim-language":"seg-x"}'},
            "Unknown segment 'seg-x' of dimension 'dim-language': expected seg-en",
        ),
        (
            {"scope": "{}", "columns": "perScope"},
            "Field 'scope' cannot be combined with columns 'perScope'",
        ),
        ({"bom": "true"}, "Field 'bom' is for format 'csv' only, got 'json'"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    workspace: RecordsWorkspace, query: dict[str, str], message: str
):
    await workspace.dimension("language", ["en"])
    answer = await workspace.admin.get("/export", params=query)
    assert answer.outcome == error(400, "VALIDATION_ERROR", message)


async def test_a_format_that_there_is_not_is_refused(workspace: RecordsWorkspace):
    answer = await workspace.admin.get("/export?format=xml")
    assert (answer.status, answer.body["error"]) == (400, "VALIDATION_ERROR")
    assert "format" in answer.body["message"]
    unknown = await workspace.admin.get("/export?schemaId=nothing")
    assert unknown.outcome == error(404, "NOT_FOUND", "Schema 'nothing' not found")


async def test_hidden_attributes_are_in_no_export(workspace: RecordsWorkspace):
    """Neither those of the role, nor those of the state that a record is in."""
    await workspace.dimension("language", ["en", "da"])
    for alias in ("name", "cost", "note"):
        await workspace.attribute(alias, dimensionIds=["dim-language"])
    await workspace.workflow(states={"draft": {"hidden": ["attr-note"]}, "review": {}})
    await workspace.schema("x", ["name", "cost", "note"], workflow="wf-lifecycle")
    secret = [{"scope": EN, "value": "s3cret"}]
    values = {"name": "seen", "cost": secret, "note": secret}
    await workspace.record("schema-x", values, id="ent-x")
    words = {"schema-x": {"attr-name": "read", "attr-note": "write"}}
    reader = await workspace.user_with_role(words, Flag.EXPORT)
    for query in ("", "?columns=perScope", "?scope={}"):
        assert "s3cret" not in str((await reader.get(f"/export{query}")).ok())
    for columns, more, cells in (
        ("resolved", [], []),
        ("perScope", ["_externalKey", "_categories"], ["", ""]),
    ):
        text = (await reader.get(f"/export?format=csv&columns={columns}")).ok()
        assert table(text) == [
            ["_id", "schemaId", "lifecycleStateId", *more, "name", "note"],
            ["ent-x", "schema-x", "state-draft", *cells, "seen", ""],
        ]
    forbidden = await (await workspace.user_with_role(words)).get("/export")
    assert forbidden.outcome == error(403, "PERMISSION_DENIED", "Permission denied")


async def test_each_record_is_once_in_the_file_while_others_write(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    """Between any two chunks records are created, changed and deleted."""
    monkeypatch.setattr(store, "ROWS_AT_ONCE", 3)
    await workspace.attribute("sku")
    await workspace.schema("x", ["sku"])
    ids = [f"ent-{number:02}" for number in range(20)]
    for record_id in ids:
        await workspace.record("schema-x", {"sku": record_id}, id=record_id)
    chunks = 0
    read_part = store.read_part

    async def disturbed(*args: Any) -> store.Part:
        nonlocal chunks
        part = await read_part(*args)
        chunks += 1
        await workspace.record("schema-x", {"sku": f"new-{chunks}"})
        (await workspace.admin.patch(f"/records/ent-{chunks:02}/values/sku", {"value": "y"})).ok()
        if chunks == 2:
            (await workspace.admin.delete("/records/ent-19")).ok()
        return part

    monkeypatch.setattr(store, "read_part", disturbed)
    exported = table((await workspace.admin.get("/export?format=csv")).ok())
    assert [row[0] for row in exported] == ["_id", *ids[:-1]]
    assert chunks >= 7


class CutOff(Exception):
    """The answer ended before its end."""


async def read_all(caller: Caller, address: str) -> bytes:
    async with (
        aiohttp.ClientSession(headers=caller.headers) as session,
        session.get(f"{caller.url}/api/v1{address}") as response,
    ):
        assert response.status == 200
        try:
            return await response.read()
        except aiohttp.ClientPayloadError as error:
            raise CutOff from error


async def test_an_error_in_the_middle_breaks_the_answer_off(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(store, "ROWS_AT_ONCE", 1)
    monkeypatch.setattr(walk, "PATIENCE", (0, 0))
    await build(workspace)
    read_part, asked = store.read_part, 0

    async def failing(*args: Any) -> store.Part:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise ServiceUnavailable
        return await read_part(*args)

    monkeypatch.setattr(store, "read_part", failing)
    with pytest.raises(CutOff):
        await read_all(workspace.admin, "/export")
    assert asked == 4


async def test_a_chunk_is_read_again_while_the_database_is_away(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(store, "ROWS_AT_ONCE", 1)
    monkeypatch.setattr(walk, "PATIENCE", (0, 0))
    await build(workspace)
    read_part, asked = store.read_part, 0

    async def failing(*args: Any) -> store.Part:
        nonlocal asked
        asked += 1
        if asked % 2:
            raise ServiceUnavailable
        return await read_part(*args)

    monkeypatch.setattr(store, "read_part", failing)
    exported = orjson.loads(await read_all(workspace.admin, "/export"))
    assert [one["id"] for one in exported] == ["ent-a", "ent-b", "ent-c"]


async def test_a_value_without_a_column_breaks_the_answer_off(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    await build(workspace)
    read_scopes = store.read_scopes

    async def then_written(*args: Any, **more: Any) -> store.Part:
        part = await read_scopes(*args, **more)
        change = {"scope": DA, "value": "ny"}
        (await workspace.admin.patch("/records/ent-b/values/name", change)).ok()
        return part

    (await workspace.admin.patch("/records/ent-a/values/name", {"scope": DA, "value": None})).ok()
    monkeypatch.setattr(store, "read_scopes", then_written)
    with pytest.raises(CutOff):
        await read_all(workspace.admin, "/export?format=csv&columns=perScope")


async def test_the_head_does_not_wait_for_the_columns(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chunked_response, "HEAD_WITHIN_S", 0.01)
    await build(workspace)
    read_scopes, go_on = store.read_scopes, asyncio.Event()

    async def waiting(*args: Any, **more: Any) -> store.Part:
        await go_on.wait()
        return await read_scopes(*args, **more)

    monkeypatch.setattr(store, "read_scopes", waiting)
    async with (
        aiohttp.ClientSession(headers=workspace.admin.headers) as session,
        session.get(f"{workspace.admin.url}/api/v1/export?format=csv&columns=perScope") as response,
    ):
        assert response.status == 200
        go_on.set()
        assert len(table((await response.read()).decode())) == 4


async def test_a_reader_who_goes_away_leaves_nothing_behind(workspace: RecordsWorkspace):
    await build(workspace)
    (await workspace.admin.ask("HEAD", "/export")).ok()
    assert await workspace.records.app[EXPORTS].read(
        workspace.database, workspace.id, lambda conn: conn.fetchval("SELECT 1")
    )


async def test_a_catalog_is_exported_with_its_subcategories_each_record_once(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(store, "ROWS_AT_ONCE", 2)
    await build(workspace)
    for catalog in ("web", "other"):
        await workspace.catalog(catalog)
    await workspace.category("top", "web")
    await workspace.category("below", "web", parentId="ctg-top")
    await workspace.category("else", "other")
    for number in range(5):
        await workspace.record("schema-other", {"price": number}, id=f"ent-{number}")
    assigned = {"ctg-top": ["ent-0", "ent-3", "ent-a"], "ctg-below": ["ent-0", "ent-4", "ent-1"]}
    for category, ids in {**assigned, "ctg-else": ["ent-2"]}.items():
        (await workspace.admin.post(f"/categories/{category}/assign", {"entityIds": ids})).ok()
    rows = (await workspace.admin.get("/export?catalogId=cat-web")).ok()
    assert [row["id"] for row in rows] == ["ent-a", "ent-0", "ent-1", "ent-3", "ent-4"]
    rows = table(
        (await workspace.admin.get("/export?catalogId=cat-web&schemaId=other&format=csv")).ok()
    )
    assert [row[0] for row in rows] == ["_id", "ent-0", "ent-1", "ent-3", "ent-4"]
    address = "/export?catalogId=cat-web&schemaId=apparel&format=csv&columns=perScope"
    header, row = table((await workspace.admin.get(address)).ok())
    assert (row[0], "name[dim-language=seg-da]" in header) == ("ent-a", True)
    unknown = await workspace.admin.get("/export?catalogId=cat-x")
    assert unknown.outcome == error(404, "NOT_FOUND", "Catalog 'cat-x' not found")
    role = await workspace.user_with_role({"*": {"*": "read"}}, Flag.EXPORT)
    unseen = await role.get("/export?catalogId=cat-web")
    assert unseen.outcome == error(404, "NOT_FOUND", "Catalog 'cat-web' not found")


async def test_the_reader_may_pause_for_longer_than_an_export_job_waits(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    allowed = []
    begin_file = handlers.begin_file

    async def noted(request: Any, *arguments: Any) -> None:
        allowed.append(request[READER_IDLE_S])
        await begin_file(request, *arguments)

    monkeypatch.setattr(handlers, "begin_file", noted)
    assert (await workspace.admin.get("/export")).ok() == []
    assert allowed[0] > uploading.STEP_S_MAX
