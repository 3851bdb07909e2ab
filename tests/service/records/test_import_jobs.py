"""Import jobs: files in all formats and encodings, what is said of bad rows, cancel and resume."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from records_service.imports import job_commands, jobs, reading, unpacking
from records_service.imports.jobs import Imports
from records_service.reactions import REACTIONS
from shared.events import Event, EventType
from shared.identity import Flag
from tests.kit import identities
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error
from tests.service.records.import_files import (
    build,
    download,
    errors_of,
    finish,
    inline,
    run,
    send,
    turn,
    values,
    workbook,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

EN, DA = {"dim-language": "seg-en"}, {"dim-language": "seg-da"}


NO_MATCH = (
    "Field 'match' must be 'id', 'externalKey' or the alias of a unique attribute, got 'price'"
)
LONG = inline("x" * 190)
CSV = "sku;name;name[dim-language=seg-da];price;Remark\r\n1;Ærø;å;1.5;x\r\n2;B;;2,4;\r\n1;C;;3;\r\n"


async def test_a_csv_file_is_imported_row_by_row(workspace: RecordsWorkspace, admin: Caller):
    await build(workspace)
    job = await run(workspace, CSV, "spring.csv", schemaId="x")
    shown = {
        "status": "partial",
        "format": "csv",
        "fileName": "spring.csv",
        "fileSize": len(CSV.encode()),
        "schemaId": "schema-x",
        "total": 3,
        "processed": 3,
        "created": 1,
        "failed": 2,
        "error": None,
        "createdBy": "user-admin",
        "warnings": ["Column 'Remark' is not imported: no attribute has this alias"],
    }
    assert {name: job[name] for name in shown} == shown
    assert await values(workspace) == {"1": {"{}": "Ærø", str(DA): "å", "price": 1.5}}
    assert await errors_of(admin, job["id"]) == [
        {
            "row": 2,
            "line": 3,
            "column": "price",
            "pointer": "/values/price",
            "error": "VALIDATION_ERROR",
            "message": "Value for 'price' must be a number such as 1234.5, got '2,4'",
        },
        {
            "row": 3,
            "line": 4,
            "column": "sku",
            "pointer": "/values/sku",
            "error": "CONFLICT",
            "message": "Value '1' for attribute 'sku' must be unique",
        },
    ]


async def test_refused_rows_can_be_mended_and_sent_again(
    workspace: RecordsWorkspace, admin: Caller
):
    await build(workspace)
    job = await run(workspace, CSV, schemaId="x")
    refused = (await download(admin, f"/imports/{job['id']}/errors", "text/csv")).decode()
    assert refused.splitlines() == [
        "sku;name;name[dim-language=seg-da];price;Remark;_line;_error",
        "2;B;;2,4;;3;price: Value for 'price' must be a number such as 1234.5, got '2,4'",
        "1;C;;3;;4;sku: Value '1' for attribute 'sku' must be unique",
    ]
    again = await run(
        workspace, refused.replace("2,4;", "2.4;").replace("1;C", "3;C"), schemaId="x"
    )
    assert (again["status"], again["created"]) == ("succeeded", 2)
    assert again["warnings"] == ["Column 'Remark' is not imported: no attribute has this alias"]
    assert (await values(workspace))["2"]["price"] == 2.4


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", "Blåbær Ærø 漢字 😀"),
        ("utf-8-sig", "Blåbær"),
        ("utf-16", "Blåbær 漢字 😀"),
        ("utf-16-le", "Blåbær Ærø"),
        ("cp1252", "Blåbær Ærø, naïve café €"),
        ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy"),
        ("cp1251", "Съешь же ещё этих мягких французских булок"),
        ("cp932", "日本語の商品名とカタログ"),
    ],
)
async def test_what_excel_writes_in_different_countries_is_read(
    workspace: RecordsWorkspace, encoding: str, text: str
):
    await build(workspace)
    lines = [f"{number};{text}" for number in range(5)]
    content = "\r\n".join(["sku;name", *lines, ""]).encode(encoding)
    job = await run(workspace, content, schemaId="x")
    assert (job["status"], job["created"]) == ("succeeded", 5)
    assert (await values(workspace))["3"] == {"{}": text}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", "sku,name\n1,a\n2,b"),
        ("x.csv", "sku;name\r1;a\r2;b\r"),
        ("x.tsv", "sku\tname\n1\ta\n2\tb\n"),
        ("x.txt", "sep=|\r\nsku|name\r\n1|a\r\n\r\n2|b\r\n"),
        ("x.csv", '"sku";"name"\n"1";"a"\n"2";"b"\n'),
        ("x.json", '\n[{"sku": "1", "name": "a"},\n {"sku": 2, "name": "b"}]\n'),
        ("x.ndjson", '{"sku": "1", "name": "a"}\n\n{"sku": 2, "name": "b"}'),
        (
            "",
            '{"values": {"sku": [{"value": "1"}], "name": [{"value": "a"}]}}\n{"sku":2,"name":"b"}',
        ),
    ],
)
async def test_formats_and_delimiters_are_found_out(
    workspace: RecordsWorkspace, name: str, content: str
):
    await build(workspace)
    job = await run(workspace, content, name, schemaId="schema-x")
    assert (job["status"], job["created"], job["total"]) == ("succeeded", 2, 2), job
    assert await values(workspace) == {"1": {"{}": "a"}, "2": {"{}": "b"}}


async def test_ndjson_may_be_the_body_itself(workspace: RecordsWorkspace, admin: Caller):
    await build(workspace)
    record = {"schemaId": "schema-x", "values": {"sku": [{"scope": {}, "value": "1"}]}}
    begun = await admin.post(
        "/imports?match=sku&onMatch=skip",
        data=b"%b\n%b\nnonsense\n" % (orjson.dumps(record), orjson.dumps(record)),
        headers={"Content-Type": "application/x-ndjson"},
    )
    job = await finish(workspace, begun.ok()["id"])
    assert (job["created"], job["skipped"], job["failed"]) == (1, 1, 1)
    (fault,) = await errors_of(admin, job["id"])
    assert (fault["row"], fault["line"], fault["error"]) == (3, 3, "VALIDATION_ERROR")
    assert fault["message"].startswith("Malformed JSON")


async def test_options_decide_how_rows_find_their_records(workspace: RecordsWorkspace):
    await build(workspace)
    await workspace.record("schema-x", {"sku": "1", "price": 1}, id="ent-a")
    job = await run(workspace, "sku,price\n1,2\n9,9\n", match="sku", onMissing="fail", schemaId="x")
    assert (job["updated"], job["failed"]) == (1, 1)
    job = await run(workspace, "_id,price\nent-a,3\nent-new,4\n", schemaId="x")
    assert (job["updated"], job["created"]) == (1, 1)
    job = await run(
        workspace, "K,P\nent-a,3\n", schemaId="x", columnMapping={"K": "_id", "P": "price"}
    )
    assert (job["unchanged"], job["status"]) == (1, "succeeded")
    fields = {"schemaId": "x", "scope": {"language": "da"}}
    job = await run(workspace, "sku,name,price\n5,dansk,5\n", **fields)
    assert (await values(workspace))["5"] == {str(DA): "dansk", "price": 5}


async def test_a_spreadsheet_is_read_as_it_is_shown(workspace: RecordsWorkspace):
    await build(workspace)
    styles = (
        '<styleSheet><numFmts><numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd"/></numFmts>'
        '<cellXfs><xf numFmtId="0"/><xf numFmtId="164"/></cellXfs></styleSheet>'
    )
    texts = (
        "<sst><si><t>sku</t></si><si><r><t>na</t></r><r><t>me</t></r><rPh><t>x</t></rPh></si></sst>"
    )
    content = workbook(
        '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c>'
        '<c r="D1" t="str"><v>price</v></c></row>',
        '<row r="3"><c r="A3"><v>17</v></c><c r="B3" s="1"><v>45658</v></c>'
        '<c r="D3"><v>2.4500000000000002</v></c></row>',
        '<row r="4"><c r="A4" t="inlineStr"><is><t>0017</t></is></c>'
        '<c r="B4" t="inlineStr"><is><t>a_x000D_b</t></is></c></row>',
        '<row r="5"><c r="A5" t="e"><v>#N/A</v></c></row>',
        xl__styles=styles,
        xl__sharedStrings=texts,
    )
    job = await run(workspace, content, "x.xlsx", schemaId="x")
    assert (job["created"], job["failed"], job["total"]) == (2, 1, 3)
    assert await values(workspace) == {
        "17": {"{}": "2025-01-01", "price": 2.45},
        "0017": {"{}": "a\rb"},
    }
    (fault,) = await errors_of(workspace.admin, job["id"])
    assert (fault["row"], fault["line"]) == (3, 5)
    assert fault["message"] == "A cell holds the error '#N/A' of a formula"


async def test_a_spreadsheet_goes_on_in_another_process(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    """Three processes take turns at unpacking it; one of them loses what it did."""
    monkeypatch.setattr(unpacking, "SLICE_BYTES", 1)
    monkeypatch.setattr(jobs, "ROWS_AT_ONCE", 3)
    monkeypatch.setattr(jobs, "SLICE_S", 0)
    await build(workspace)
    rows = [inline(f"{number}", f"name {number}") for number in range(20)]
    begun = await send(
        workspace.admin, workbook(inline("sku", "name"), *rows), "x.xlsx", schemaId="x"
    )
    import_id = begun.ok()["id"]
    processes = [Imports(), Imports(), Imports()]
    for number in range(200):
        imports = processes[number % 3]
        imports.app = workspace.records.app
        if number == 4:
            with pytest.raises(ZeroDivisionError):
                async with workspace.database.transaction() as conn:
                    await imports.run_some(conn, workspace.id, import_id)
                    raise ZeroDivisionError
        elif not await turn(workspace, imports, import_id):
            break
    job = await finish(workspace, import_id)
    for imports in processes:
        imports.spreadsheets.close()
    assert (job["status"], job["created"], job["total"]) == ("succeeded", 20, 20)
    assert len(await values(workspace)) == 20


async def test_a_job_is_cancelled_and_resumed_behind_its_last_row(
    workspace: RecordsWorkspace, admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(jobs, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(jobs, "SLICE_S", 0)
    await build(workspace)
    lines = [f"{number},n" for number in range(5)]
    begun = (await send(admin, "\n".join(["sku,name", *lines]), "x.csv", schemaId="x")).ok()
    address, imports = f"/imports/{begun['id']}", Imports()
    too_early = await admin.post(f"{address}/resume")
    assert too_early.status == 409
    assert await turn(workspace, imports, begun["id"])
    cancelled = await admin.post(f"{address}/cancel")
    assert (cancelled.status, cancelled.body["status"]) == (202, "cancelled")
    assert (cancelled.body["processed"], cancelled.body["total"]) == (2, 5)
    assert not await turn(workspace, imports, begun["id"])
    assert (await admin.post(f"{address}/cancel")).status == 409
    resumed = await admin.post(f"{address}/resume")
    assert (resumed.status, resumed.body["status"]) == (202, "queued")
    job = await finish(workspace, begun["id"])
    assert (job["status"], job["created"]) == ("succeeded", 5)
    listed = (await admin.get("/imports")).ok()
    assert ([one["id"] for one in listed["items"]], listed["total"]) == ([begun["id"]], 1)


async def test_a_job_has_the_rights_of_who_sent_the_file(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(jobs, "ROWS_AT_ONCE", 1)
    monkeypatch.setattr(jobs, "SLICE_S", 0)
    await build(workspace)
    words = {"schema-x": {"attr-sku": "write"}}
    editor = await workspace.user_with_role(words, Flag.IMPORT)
    begun = (await send(editor, "sku,price\n1,\n2,2\n3,\n", "x.csv", schemaId="x")).ok()
    imports = Imports()
    await turn(workspace, imports, begun["id"])
    await turn(workspace, imports, begun["id"])
    (fault,) = await errors_of(editor, begun["id"])
    assert (fault["row"], fault["error"], fault["column"]) == (2, "PERMISSION_DENIED", "price")
    await workspace.database.execute("DELETE FROM roles WHERE workspace_id = $1", workspace.id)
    await turn(workspace, imports, begun["id"])
    job = (await workspace.admin.get(f"/imports/{begun['id']}")).ok()
    assert (job["status"], job["created"], job["failed"]) == ("failed", 1, 1)
    assert job["error"].startswith("The role of the user who sent the file has changed")
    await workspace.admin.post(f"/imports/{begun['id']}/resume")
    job = await finish(workspace, begun["id"])
    assert (job["status"], job["created"]) == ("partial", 2)
    stranger = await workspace.user_with_role(words, Flag.IMPORT, name="role-other")
    other = workspace.records.as_(stranger_identity(workspace))
    for path in ("", "/errors"):
        answer = await other.get(f"/imports/{begun['id']}{path}")
        assert answer.outcome == error(404, "NOT_FOUND", f"Import '{begun['id']}' not found")
    assert (await other.get("/imports")).ok()["items"] == []
    assert stranger


@pytest.mark.parametrize(
    ("event", "kind", "said"),
    [
        (EventType.KEY_DEACTIVATED, "api_key", "The API key with which the file was sent is not"),
        (EventType.KEY_DELETED, "api_key", "The API key with which the file was sent is not"),
        (EventType.USER_DISABLED, "user", "The user who sent the file is not active any more"),
        (EventType.USER_DELETED, "user", "The user who sent the file is not active any more"),
        (EventType.USER_UPDATED, "user", "The user who sent the file has another role"),
    ],
)
async def test_a_job_ends_before_its_next_rows_with_the_rights_of_its_caller(
    workspace: RecordsWorkspace,
    monkeypatch: pytest.MonkeyPatch,
    event: EventType,
    kind: str,
    said: str,
):
    monkeypatch.setattr(jobs, "ROWS_AT_ONCE", 1)
    monkeypatch.setattr(jobs, "SLICE_S", 0)
    await build(workspace)
    key = workspace.records.as_(identities.api_key(workspace.id, key_id="apikey-sender"))
    sender, sender_id = (
        (key, "apikey-sender") if kind == "api_key" else (workspace.admin, "user-admin")
    )
    begun = (await send(sender, "sku\n1\n2\n3\n", "x.csv", schemaId="x")).ok()
    imports = Imports()
    # What is heard of others, or of the sender without a loss, ends nothing.
    await hear(workspace, event, "somebody-else", version=9, role_id="role-other")
    await hear(workspace, EventType.USER_UPDATED, "user-admin", version=2, role_id="role-admin")
    assert await turn(workspace, imports, begun["id"])
    await hear(workspace, event, sender_id, version=3, role_id="role-other")
    # News that come late.
    await hear(workspace, EventType.USER_UPDATED, "user-admin", version=2, role_id="role-admin")
    assert not await turn(workspace, imports, begun["id"])
    address = f"/imports/{begun['id']}"
    job = (await workspace.admin.get(address)).ok()
    assert (job["status"], job["created"], job["processed"]) == ("failed", 1, 1)
    assert job["error"].startswith(said)
    other = workspace.records.as_(identities.admin(workspace.id, "user-second"))
    (await other.post(f"{address}/resume")).ok()
    job = await finish(workspace, begun["id"])
    assert (job["status"], job["created"]) == ("succeeded", 3)


async def hear(
    workspace: RecordsWorkspace, event_type: EventType, subject: str, *, version: int, role_id: str
) -> None:
    """What records_service does when it receives this event."""
    data = {"version": version, "roleId": role_id}
    event = Event(event_type, "auth_service", workspace.id, subject, data)
    async with workspace.database.transaction() as conn:
        await REACTIONS[event_type](conn, event)


def stranger_identity(workspace: RecordsWorkspace) -> Any:
    return identities.user(
        workspace.id, "role-other", flags=[Flag.IMPORT], role_version=1, user_id="user-other"
    )


async def test_files_are_kept_for_a_while_after_the_job(workspace: RecordsWorkspace, admin: Caller):
    await build(workspace)
    job = await run(workspace, "sku\n1\n1\n", schemaId="x")
    chunks = "SELECT number FROM import_chunks WHERE workspace_id = $1"
    await job_commands.sweep(workspace.database, kept_days=1)
    assert len(await workspace.fetch(chunks)) == 1
    await workspace.database.execute(
        "UPDATE imports SET completed_at = now() - interval '2 days' WHERE workspace_id = $1",
        workspace.id,
    )
    await job_commands.sweep(workspace.database, kept_days=1)
    assert await workspace.fetch(chunks) == []
    assert len(await errors_of(admin, job["id"])) == 1
    await workspace.database.execute(
        "UPDATE imports SET status = 'failed' WHERE workspace_id = $1", workspace.id
    )
    gone = await admin.post(f"/imports/{job['id']}/resume")
    assert gone.outcome == error(
        409, "CONFLICT", f"The file of import '{job['id']}' is not kept any more"
    )


async def test_rows_are_read_from_any_window(monkeypatch: pytest.MonkeyPatch):
    """However small the parts are, and wherever they end."""
    text = 'a;"b\r\n""c";d\r\nå;漢\n\n"x";y\r\nlast;'
    whole = reading.take_csv("utf-8", ";", None)(text.encode(), True, 100)
    assert [row.cells for row in whole.rows] == [
        ["a", 'b\r\n"c', "d"],
        ["å", "漢"],
        ["x", "y"],
        ["last", ""],
    ]
    assert [row.line for row in whole.rows] == [1, 3, 5, 6]
    array = json.dumps([{"a": "]"}, [1, {"b": '"'}], "x,", 12, None]).encode()[1:]
    lines = b'{"a": 1}\n\n{"b": "\xc3\xa5"}\n7'
    for take, data in (
        (reading.take_csv("utf-8", ";", None), text.encode()),
        (reading.take_array, array),
        (reading.take_lines, lines),
    ):
        expected = [(row.cells, row.json) for row in take(data, True, 100).rows]
        for size in (1, 2, 3, 7, 50):
            offset, found, window = 0, [], size
            while True:
                part = data[offset : offset + window]
                taken = take(part, offset + window > len(data), 1)
                found += [(row.cells, row.json) for row in taken.rows]
                offset += taken.size
                if taken.ended:
                    break
                window = size if taken.size else window * 2
            assert found == expected, (take, size)
