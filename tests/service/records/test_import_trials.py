"""`POST /imports` as a dry run and with an Idempotency-Key: nothing stays, nothing doubles."""

from __future__ import annotations

import json
from typing import Any

import pytest

from records_service.imports import jobs, reading, trying, unpacking
from tests.kit.dumps import differences, dump
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Answer, Caller, error
from tests.service.records.import_files import (
    build,
    errors_of,
    finish,
    form,
    inline,
    run,
    send,
    workbook,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRY = {"Prefer": "dry-run"}
CSV = "sku,name,price\n1,A,1.5\n2,B,nonsense\n1,C,3\n3,D,4\n"
COUNTS = ("created", "updated", "unchanged", "skipped", "failed", "processed", "total", "status")
NDJSON = "".join(
    json.dumps({"sku": sku, "price": price}) + "\n"
    for sku, price in [("1", 1.5), ("2", "nonsense"), ("1", 3), ("3", 4)]
)


def counts(job: dict[str, Any]) -> dict[str, Any]:
    return {name: job[name] for name in COUNTS}


async def stored(workspace: RecordsWorkspace) -> Any:
    return await dump({"records": workspace.database})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", CSV),
        ("x.ndjson", NDJSON),
        ("x.json", "[" + NDJSON.rstrip().replace("\n", ",\n") + "]"),
        ("x.xlsx", workbook(*(inline(*line.split(",")) for line in CSV.splitlines()))),
    ],
)
async def test_a_dry_run_says_what_the_job_says_and_keeps_nothing(
    workspace: RecordsWorkspace, name: str, content: Any
):
    await build(workspace)
    before = await stored(workspace)
    tried = await send(workspace.admin.having(TRY), content, name, schemaId="x")
    assert tried.status == 200, tried.outcome
    assert tried.headers["Preference-Applied"] == "dry-run"
    assert "Location" not in tried.headers
    assert differences(before, await stored(workspace)) == {}

    job = await run(workspace, content, name, schemaId="x")
    assert counts(tried.body) == counts(job)
    assert counts(job) | {"status": "partial", "created": 2, "failed": 2} == counts(job)
    assert tried.body["complete"] is True
    assert tried.body["errors"] == await errors_of(workspace.admin, job["id"])
    assert [one["row"] for one in tried.body["errors"]] == [2, 3]

    # What is there is updated by the trial as by the job.
    again = await send(
        workspace.admin.having(TRY), content, name, schemaId="x", match="sku", onMissing="fail"
    )
    assert (again.body["unchanged"], again.body["updated"], again.body["failed"]) == (2, 1, 1)


async def test_a_dry_run_is_cut_off_and_says_so(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    await build(workspace)
    monkeypatch.setattr(jobs, "ROWS_AT_ONCE", 3)
    monkeypatch.setattr(trying, "TRIED_FOR_S", 0)
    tried = (await send(workspace.admin.having(TRY), CSV, "x.csv", schemaId="x")).ok()
    told = {"status": "running", "processed": 3, "created": 1, "failed": 2, "total": None}
    assert counts(tried) | told == counts(tried)
    assert (tried["complete"], tried["completedAt"]) == (False, None)


async def test_a_spreadsheet_that_takes_long_to_unpack_is_tried_as_far_as_it_is(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    await build(workspace)
    monkeypatch.setattr(unpacking, "SLICE_BYTES", 1)
    monkeypatch.setattr(trying, "UNPACKED_FOR_S", 0)
    content = workbook(*(inline(*line.split(",")) for line in CSV.splitlines()))
    tried = (await send(workspace.admin.having(TRY), content, "x.xlsx", schemaId="x")).ok()
    assert (tried["complete"], tried["status"], tried["processed"]) == (False, "running", 0)


async def test_a_dry_run_shows_the_first_hundred_errors(workspace: RecordsWorkspace):
    await build(workspace)
    content = "sku,price\n" + "1,x\n" * 150
    tried = (await send(workspace.admin.having(TRY), content, "x.csv", schemaId="x")).ok()
    assert (tried["failed"], tried["status"], len(tried["errors"])) == (150, "failed", 100)
    assert tried["errors"][-1]["row"] == 100


async def test_a_dry_run_is_refused_as_the_import_would_be(workspace: RecordsWorkspace):
    await build(workspace)
    before = await stored(workspace)
    tried = await send(workspace.admin.having(TRY), "sku,sku\n", "x.csv", schemaId="x")
    assert tried.outcome == error(400, "VALIDATION_ERROR", "The header has the column 'sku' twice")
    assert tried.headers["Preference-Applied"] == "dry-run"
    damaged = await send(workspace.admin.having(TRY), "[1", "x.json", schemaId="x")
    assert (damaged.status, damaged.body["status"]) == (200, "failed")
    assert damaged.body["error"].startswith(
        "The file cannot be read on: row 2 (line 1): the JSON array"
    )
    assert differences(before, await stored(workspace)) == {}


async def upload(caller: Caller, content: str, boundary: str, name: str, **fields: Any) -> Answer:
    """A form with this boundary; each sender of a form makes up another one."""
    data, headers = form(content.encode(), name, **fields)
    assert data.count(b"sigma-boundary") >= 2
    return await caller.post(
        "/imports",
        data=data.replace(b"sigma-boundary", boundary.encode()),
        headers={"Content-Type": headers["Content-Type"].replace("sigma-boundary", boundary)},
    )


async def test_an_upload_with_a_key_begins_one_job(workspace: RecordsWorkspace):
    await build(workspace)
    caller = workspace.admin.having({"Idempotency-Key": "spring"})
    first = await upload(caller, CSV, "aaaa", "x.csv", schemaId="x")
    assert first.status == 202
    again = await upload(caller, CSV, "bbbbbbbb", "x.csv", schemaId="x")
    assert again.outcome == first.outcome
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotency-Replayed"] == "true"
    for content, name, fields in [
        (CSV + "4,E,5\n", "x.csv", {"schemaId": "x"}),
        (CSV, "y.csv", {"schemaId": "x"}),
        (CSV, "x.csv", {"schemaId": "x", "match": "sku"}),
    ]:
        other = await upload(caller, content, "aaaa", name, **fields)
        assert other.status == 400, other.outcome
        assert "was used for another request" in other.body["message"]
    assert len(await workspace.fetch("SELECT id FROM imports WHERE workspace_id = $1")) == 1
    job = await finish(workspace, first.body["id"])
    assert (job["created"], job["failed"]) == (2, 2)


async def test_an_upload_with_a_key_and_an_id_is_answered_again(workspace: RecordsWorkspace):
    await build(workspace)
    for key, content_type in (("ndjson", "application/x-ndjson"), ("jsonl", "application/jsonl")):
        caller = workspace.admin.having({"Idempotency-Key": key})
        sent = {"data": NDJSON.encode(), "headers": {"Content-Type": content_type}}
        first = await caller.post(f"/imports?schemaId=x&id=imp-{key}", **sent)
        assert first.status == 202
        again = await caller.post(f"/imports?schemaId=x&id=imp-{key}", **sent)
        assert again.outcome == first.outcome
        assert again.headers["Idempotency-Replayed"] == "true"
    without = await workspace.admin.post("/imports?schemaId=x&id=imp-jsonl", **sent)
    assert without.outcome == error(409, "CONFLICT", "Import with id 'imp-jsonl' already exists")
    assert len(await workspace.fetch("SELECT id FROM imports WHERE workspace_id = $1")) == 2


async def test_an_upload_that_was_refused_may_be_sent_again_with_its_key(
    workspace: RecordsWorkspace,
):
    await build(workspace)
    caller = workspace.admin.having({"Idempotency-Key": "mended"})
    assert (await upload(caller, "sku,sku\n", "aaaa", "x.csv", schemaId="x")).status == 400
    assert (await upload(caller, CSV, "aaaa", "x.csv", schemaId="x")).status == 202
    assert len(await workspace.fetch("SELECT id FROM imports WHERE workspace_id = $1")) == 1


async def test_an_upload_that_a_killed_process_left_is_replaced(workspace: RecordsWorkspace):
    await build(workspace)
    await workspace.database.execute(
        """
        INSERT INTO imports (workspace_id, id, status, format, created_by, created_at)
        VALUES ($1, 'imp-x', 'receiving', '', 'user-admin', now())
        """,
        workspace.id,
    )
    for number in range(3):
        await workspace.database.execute(
            """
            INSERT INTO import_chunks (workspace_id, import_id, part, number, data)
            VALUES ($1, 'imp-x', 0, $2, 'left over')
            """,
            workspace.id,
            number,
        )
    row = {"data": b'{"sku": "1"}\n', "headers": {"Content-Type": "application/x-ndjson"}}
    asked = "/imports?schemaId=x&id=imp-x"
    assert (await workspace.admin.post(asked, **row)).status == 409
    await workspace.database.execute(
        "UPDATE imports SET created_at = now() - interval '16 minutes' WHERE workspace_id = $1",
        workspace.id,
    )
    assert (await workspace.admin.post(asked, **row)).status == 202
    chunks = await workspace.fetch("SELECT number FROM import_chunks WHERE workspace_id = $1")
    assert [chunk["number"] for chunk in chunks] == [0]
    assert (await finish(workspace, "imp-x"))["created"] == 1


async def test_rows_before_a_damaged_one_are_counted_and_not_written_again(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(jobs, "ROW_BYTES_MAX", 1_000)
    monkeypatch.setattr(jobs, "WINDOW_BYTES", 100)
    monkeypatch.setattr(jobs, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(reading, "ROW_BYTES_MAX", 1_000)
    await build(workspace)
    job = await run(workspace, "name\na\nb\nc\n" + "d" * 5_000, schemaId="x")
    assert (job["status"], job["created"]) == ("failed", 3)
    assert job["error"].startswith(
        "The file cannot be read on: row 4 (line 5): the row has more than"
    )
    (await workspace.admin.post(f"/imports/{job['id']}/resume")).ok()
    resumed = await finish(workspace, job["id"])
    assert (resumed["status"], resumed["created"]) == ("failed", 3)
    assert len(await workspace.fetch("SELECT id FROM records WHERE workspace_id = $1")) == 3
