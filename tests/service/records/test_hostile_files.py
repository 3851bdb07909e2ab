"""Files that are made to fill the memory or the disk: refused in bounded time, with the row.

Each is small when it is sent. What they would unpack to is bounded by the tests, so that they fail
and do not fill the machine, where the limits do not hold.
"""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from records_service.imports import stored_file, unpacking
from records_service.tabular import workbooks, xml_parts
from records_service.tabular.sheet_texts import UnusableFile
from records_service.tabular.workbooks import open_workbook, sheet_rows
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import error
from tests.service.records.import_files import build, errors_of, inline, run, send, workbook

pytestmark = pytest.mark.asyncio(loop_scope="module")


@contextmanager
def at_most(megabytes: int) -> Iterator[None]:
    """Python allocates no more than this within the block."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < megabytes << 20
    finally:
        tracemalloc.stop()


def read(content: bytes) -> None:
    book = open_workbook(io.BytesIO(content))
    with closing(book.texts):
        for _ in sheet_rows(book, "xl/worksheets/sheet1.xml"):
            pass


def refers(count: int, to: int = 0) -> str:
    return "<row>" + f'<c t="s"><v>{to}</v></c>' * count + "</row>"


def with_texts(*texts: str) -> str:
    return "<sst>" + "".join(f"<si><t>{text}</t></si>" for text in texts) + "</sst>"


async def test_many_cells_of_one_row_that_refer_to_one_long_text():
    content = workbook(inline("sku"), refers(2_000), xl__sharedStrings=with_texts("x" * 900_000))
    with at_most(40), pytest.raises(UnusableFile, match=r"Row 2: The row has more than 10485760"):
        read(content)


async def test_many_rows_that_refer_to_one_long_text(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(unpacking, "ROWS_FROM_BYTES", 1 << 20)
    monkeypatch.setattr(unpacking, "ROWS_RATIO_MAX", 1)
    await build(workspace)
    content = workbook(
        inline("name"), *[refers(1)] * 400, xl__sharedStrings=with_texts("x" * 100_000)
    )
    job = await run(workspace, content, "x.xlsx", schemaId="x")
    assert job["status"] == "failed"
    assert job["error"].startswith("The file cannot be read on: Row ")
    assert "the rows so far have more than" in job["error"]
    chunks = await workspace.fetch(
        "SELECT sum(length(data)) AS bytes FROM import_chunks WHERE workspace_id = $1 AND part = 1"
    )
    assert (chunks[0]["bytes"] or 0) < 2 << 20


async def test_a_cell_far_to_the_right_of_the_header(workspace: RecordsWorkspace):
    await build(workspace)
    far = '<row><c r="A2" t="inlineStr"><is><t>1</t></is></c><c r="XFD2"><v>1</v></c></row>'
    job = await run(workspace, workbook(inline("sku"), far, inline("2")), "x.xlsx", schemaId="x")
    assert (job["created"], job["failed"]) == (1, 1)
    (fault,) = await errors_of(workspace.admin, job["id"])
    assert fault["message"] == "The row has 16384 cells, the header has 1"
    chunks = await workspace.fetch(
        "SELECT sum(length(data)) AS bytes FROM import_chunks WHERE workspace_id = $1 AND part = 1"
    )
    assert chunks[0]["bytes"] < 200


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"xl__workbook": "<a>" * 200_000}, "The workbook has elements in more than 100 others"),
        (
            {"xl__workbook": "<workbook>" + "<sheet/>" * 300_000 + "</workbook>"},
            "A part of the workbook has more than 200000 elements",
        ),
        (
            {"xl__workbook": "<workbook>" + " " * (17 << 20) + "</workbook>"},
            "A part of the workbook has more than 16777216 bytes",
        ),
        (
            {"xl__sharedStrings": with_texts("x" * (2 << 20))},
            "A text has more than 1048576 characters",
        ),
    ],
)
async def test_parts_that_would_fill_the_memory(
    workspace: RecordsWorkspace, parts: dict[str, str], message: str
):
    await build(workspace)
    content = workbook(inline("sku"), **parts)
    with at_most(150):
        refused = await send(workspace.admin, content, "x.xlsx", schemaId="x")
    assert refused.outcome == error(400, "VALIDATION_ERROR", message)


async def test_a_sheet_of_elements_in_elements():
    content = workbook("<row>" + "<x>" * 500_000)
    with at_most(20), pytest.raises(UnusableFile, match="in more than 100 others"):
        read(content)


async def test_texts_that_are_too_large_to_be_read_at_one_go(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(workbooks, "TEXTS_PART_MAX", 1_000)
    content = workbook(inline("sku"), xl__sharedStrings=with_texts("x" * 1_000))
    with pytest.raises(UnusableFile, match="The texts of the workbook have more than 1000 bytes"):
        open_workbook(io.BytesIO(content))


async def test_an_archive_whose_list_of_parts_is_its_largest_part(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    await build(workspace)
    monkeypatch.setattr(stored_file, "READ_BYTES_MAX", 200_000)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for number in range(5_000):
            archive.writestr(f"{number:040}", b"")
    refused = await send(workspace.admin, made.getvalue(), "x.xlsx", schemaId="x")
    assert refused.outcome == error(
        400, "VALIDATION_ERROR", "The list of its parts has more than 200000 bytes"
    )


async def test_an_archive_with_too_many_parts(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    await build(workspace)
    monkeypatch.setattr(xml_parts, "MEMBERS_MAX", 3)
    refused = await send(workspace.admin, workbook(inline("sku"), a="", b=""), "x.xlsx")
    assert refused.outcome == error(400, "VALIDATION_ERROR", "The workbook has more than 3 parts")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "x.csv",
            b'sku,name\n1,a\n2,"b\n' + (b"3," + b"c" * 998 + b"\n") * 12_000,
            "row 2 (line 3): the row has more than 10485760 bytes, or a quote in it is not closed",
        ),
        ("x.csv", b"sku\n1\n" + b"a" * (11 << 20), "row 2 (line 3): the row has more than 104857"),
        (
            "x.json",
            b'[{"sku": "1"},\n' + b"[" * 200_000,
            "row 2 (line 2): the JSON array is nested too deeply",
        ),
        (
            "x.ndjson",
            b'{"sku": "1"}\n' + b"a" * (33 << 20),
            "row 2 (line 2): the row has more than 10485760 bytes",
        ),
    ],
)
async def test_a_row_without_end_ends_the_job(
    workspace: RecordsWorkspace, name: str, content: bytes, message: str
):
    await build(workspace)
    with at_most(400):
        job = await run(workspace, content, name, schemaId="x")
    assert (job["status"], job["created"]) == ("failed", 1)
    assert job["error"].startswith(f"The file cannot be read on: {message}")


async def test_rows_that_are_too_wide_or_too_deep_fail_alone(workspace: RecordsWorkspace):
    await build(workspace)
    wide = b"sku\n1\n" + b"," * 1_000_000 + b"\n3\n"
    job = await run(workspace, wide, schemaId="x")
    assert (job["status"], job["created"], job["failed"]) == ("partial", 2, 1)
    (fault,) = await errors_of(workspace.admin, job["id"])
    assert (fault["row"], fault["line"]) == (2, 3)
    assert fault["message"] == "The row has more than 16384 columns"

    deep = b'{"sku": "4"}\n{"sku": ' + b"[" * 50_000 + b"]" * 50_000 + b'}\n{"sku": "a\\"b"}\n'
    job = await run(workspace, deep, "x.ndjson", schemaId="x")
    assert (job["created"], job["failed"], job["total"]) == (2, 1, 3)
    (fault,) = await errors_of(workspace.admin, job["id"])
    assert (fault["row"], fault["message"][:14]) == (2, "Malformed JSON")


async def test_a_header_of_millions_of_columns_is_refused(workspace: RecordsWorkspace):
    await build(workspace)
    for count, message in (
        (500_000, "The header has more than 16384 columns"),
        (10_000_000, "The file has no header in its first 1048576 bytes"),
    ):
        refused = await send(workspace.admin, b"," * count + b"\n1\n", "x.csv", schemaId="x")
        assert refused.outcome == error(400, "VALIDATION_ERROR", message)


@pytest.mark.parametrize(
    ("column", "cell"),
    [("name", "a\x00b"), ("_id", "a\x00b"), ("schemaId", "x\x00"), ("_externalKey", "a\x00")],
)
async def test_a_nul_is_an_error_of_its_row(workspace: RecordsWorkspace, column: str, cell: str):
    await build(workspace)
    for name, content in (
        ("x.csv", f"sku,{column}\n1,{cell}\n2,\n"),
        ("x.ndjson", "".join(json.dumps(row) + "\n" for row in _rows(column, cell))),
    ):
        job = await run(workspace, content, name, schemaId="x", match="sku")
        assert (job["failed"], job["created"] + job["unchanged"]) == (1, 1), name
        (fault,) = await errors_of(workspace.admin, job["id"])
        assert fault["row"] == 1


def _rows(column: str, cell: str) -> list[dict[str, Any]]:
    return [{"sku": "1", column: cell}, {"sku": "2"}]


async def test_the_number_of_rows_is_known_where_quotes_are_escaped(workspace: RecordsWorkspace):
    await build(workspace)
    content = b'{"sku": "a\\"b"}\n{"sku": "c"}\n{"sku": "d"}\n'
    begun = (await send(workspace.admin, content, "x.ndjson", schemaId="x")).ok()
    assert begun["total"] == 3
