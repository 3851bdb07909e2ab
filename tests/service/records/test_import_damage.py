"""Files that cannot be imported: what is said of them, and that they cost little."""

from __future__ import annotations

from typing import Any

import pytest

from records_service.imports import jobs
from records_service.tabular import workbooks, xml_parts
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error
from tests.service.records.import_files import (
    build,
    errors_of,
    inline,
    run,
    send,
    workbook,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

EN, DA = {"dim-language": "seg-en"}, {"dim-language": "seg-da"}


NO_MATCH = (
    "Field 'match' must be 'id', 'externalKey' or the alias of a unique attribute, got 'price'"
)
NAMED_JSON = "Field 'file' is named as 'json', but"
NO_COLUMN = (
    "No column of the file can be imported: none is the alias of an attribute or mapped to one"
)
CAN_BE = "CSV, TSV, XLSX, JSON and NDJSON can be imported"
LONG = inline("x" * 190)


@pytest.mark.parametrize(
    ("name", "content", "fields", "message"),
    [
        ("x.csv", "", {}, "The file is empty"),
        (
            "x.xlsx",
            "sku,name",
            {},
            "Field 'file' is named as 'xlsx', but its content is no ZIP archive",
        ),
        (
            "x.csv",
            b"PK\x03\x04",
            {},
            "Field 'file' is named as 'csv', but its content is a ZIP archive",
        ),
        (
            "x.json",
            "sku",
            {},
            "Field 'file' is named as 'json', but it does not begin with a bracket",
        ),
        (
            "x.json",
            '{\n  "sku": "A"\n}',
            {},
            f"{NAMED_JSON} it is a single object: a list of rows is expected",
        ),
        ("x.gz", b"\x1f\x8b\x08", {}, f"The file is a gzip archive: unpack it first; {CAN_BE}"),
        ("x.zip", b"PK\x03\x04", {}, f"The file is a ZIP archive: unpack it first; {CAN_BE}"),
        (
            "x.xls",
            b"\xd0\xcf\x11\xe0\xa1",
            {},
            f"The file is a workbook of Excel 97 to 2003: save it as XLSX; {CAN_BE}",
        ),
        ("x", "\n<?xml version='1.0'?>", {}, f"The file is XML; {CAN_BE}"),
        ("x.yaml", "- id: a\n  sku: b\n", {}, f"The file is named as YAML; {CAN_BE}"),
        (
            "x.csv",
            "colour,size\nred,4\n",
            {},
            f"{NO_COLUMN}, got 'colour, size'",
        ),
        (
            "x.csv",
            "sku,name\na,b\n",
            {"columnMapping": {"sku": None, "name": None}},
            f"{NO_COLUMN}, got 'sku, name'",
        ),
        ("x.xlsx", b"PK\x03\x04nonsense", {}, "The file is not a readable XLSX workbook"),
        ("x.json", b'[{"a": "\xff"}]', {}, "The file is not UTF-8, as JSON must be"),
        ("x.csv", "sku,sku\n", {}, "The header has the column 'sku' twice"),
        ("x.csv", "sku", {"columnMapping": {"a": "sku"}}, "The file has no column 'a'"),
        ("x.csv", "sku", {"columnMapping": {"sku": "y"}}, "Unknown attribute 'y'"),
        (
            "x.csv",
            "sku",
            {"columnMapping": "x"},
            "Field 'columnMapping' must be a JSON object, got 'x'",
        ),
        ("x.csv", "sku", {"scope": {"dim-x": "y"}}, "Unknown dimension 'dim-x'"),
        ("x.csv", "sku", {"encoding": "rot13"}, "Field 'encoding' is not known, got 'rot13'"),
        (
            "x.csv",
            "sku",
            {"delimiter": "ab"},
            "Field 'delimiter' must be one character or 'tab', got 'ab'",
        ),
        ("x.csv", "sku", {"nonsense": "1"}, "Unknown field 'nonsense' in the form"),
        (
            "x.csv",
            "sku",
            {"match": "price"},
            NO_MATCH,
        ),
    ],
)
async def test_a_file_that_cannot_be_imported_is_refused_and_not_kept(
    workspace: RecordsWorkspace, name: str, content: Any, fields: dict[str, Any], message: str
):
    await build(workspace)
    refused = await send(workspace.admin, content, name, **{"schemaId": "schema-x", **fields})
    assert refused.outcome == error(400, "VALIDATION_ERROR", message)
    assert await workspace.fetch("SELECT id FROM imports WHERE workspace_id = $1") == []
    assert await workspace.fetch("SELECT number FROM import_chunks WHERE workspace_id = $1") == []


async def test_a_body_that_is_no_file_is_refused(workspace: RecordsWorkspace, admin: Caller):
    answer = await admin.post("/imports", {"rows": []})
    assert answer.outcome == error(
        415,
        "UNSUPPORTED_MEDIA_TYPE",
        "Expected Content-Type 'multipart/form-data' or 'application/x-ndjson', got"
        " 'application/json'",
    )
    nothing = await admin.post(
        "/imports",
        data=b'--b\r\nContent-Disposition: form-data; name="match"\r\n\r\nid\r\n--b--\r\n',
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    assert nothing.outcome == error(400, "VALIDATION_ERROR", "Field 'file' is required")
    broken = await admin.post(
        "/imports", data=b"x", headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert broken.status == 400


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            workbook(inline("sku"), "<row>" + '<c t="inlineStr"/>' * 20_000 + "</row>"),
            "row 2: the row has more than 16384 columns",
        ),
        (
            workbook(inline("sku"), inline("x" * 300)),
            "row 2: a cell has more than 200 characters",
        ),
        (workbook(inline("sku"), LONG, inline("a"), "<row"), "the sheet is damaged after row 3"),
        (
            workbook(inline("sku"), LONG, '<row><c t="s"><v>5</v></c></row>'),
            "row 3: a cell refers to text",
        ),
        (b"[1", "row 2 (line 1): the json array is malformed, or ends too early"),
        (
            b"sku\n" + b"a" * 5_000,
            "row 1 (line 2): the row has more than 10485760 bytes, or a quote",
        ),
    ],
)
async def test_a_damaged_file_ends_the_job_with_the_row(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str
):
    monkeypatch.setattr(workbooks, "CELL_MAX", 200)
    monkeypatch.setattr(xml_parts, "READ_BYTES", 64)
    monkeypatch.setattr(jobs, "ROW_BYTES_MAX", 1_000)
    monkeypatch.setattr(jobs, "WINDOW_BYTES", 100)
    await build(workspace)
    job = await run(workspace, content, "", schemaId="x")
    assert job["status"] == "failed"
    assert job["error"].lower().startswith("the file cannot be read on: ")
    assert message in job["error"].lower()


async def test_a_bomb_is_refused_before_it_is_unpacked(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(xml_parts, "RATIO_FROM_BYTES", 1_000)
    await build(workspace)
    refused = await send(workspace.admin, workbook(inline("a" * 1_000_000)), "x.xlsx")
    assert refused.outcome == error(
        400, "VALIDATION_ERROR", "The workbook unpacks to more than 300 times its size"
    )
    entity = '<!DOCTYPE x [<!ENTITY a "aaaa">]><workbook/>'
    refused = await send(workspace.admin, workbook(inline("sku"), xl__workbook=entity), "x.xlsx")
    assert refused.outcome == error(
        400,
        "VALIDATION_ERROR",
        "The workbook declares a document type, which no spreadsheet needs",
    )


async def test_bytes_of_another_encoding_are_errors_of_their_rows(workspace: RecordsWorkspace):
    await build(workspace)
    content = "sku,name\n1,å\n2,".encode() + b"\xe5" + b'\n3,b\n4,b,c\n5,"b'
    job = await run(workspace, content, schemaId="x")
    assert (job["created"], job["failed"]) == (2, 3)
    assert [
        (one["row"], one["message"]) for one in await errors_of(workspace.admin, job["id"])
    ] == [
        (2, "The row is not in the encoding of the file"),
        (4, "The row has 3 cells, the header has 2"),
        (5, "A quote is opened and not closed"),
    ]
