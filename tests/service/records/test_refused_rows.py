"""Rows that fail for what others hold, and the file in which failed rows come back."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from records_service import chunked_response
from records_service.imports import refused
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import error
from tests.service.records.import_files import download, errors_of, run

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("match", "row"), [("sku", "a,2,9"), ("externalKey", "a,2,9"), ("id", "a,2,9")]
)
async def test_a_value_of_another_record_refuses_the_row_whole(
    workspace: RecordsWorkspace, match: str, row: str
):
    """The record is found by one value, and another value of the row is somebody else's."""
    for alias in ("sku", "ean"):
        await workspace.attribute(alias, validation={"unique": True})
    await workspace.attribute("price", "number")
    await workspace.schema("x", ["sku", "ean", "price"])
    for name, ean in (("a", "1"), ("b", "2")):
        await workspace.record(
            "schema-x", {"sku": name, "ean": ean}, id=f"ent-{name}", externalKey=name
        )
    column = {"sku": "sku", "externalKey": "_externalKey", "id": "_id"}[match]
    sent = row.replace("a", "ent-a") if match == "id" else row
    job = await run(workspace, f"{column},ean,price\n{sent}\n", schemaId="x", match=match)
    assert (job["status"], job["failed"]) == ("failed", 1)
    (told,) = await errors_of(workspace.admin, job["id"])
    message = "Value '2' for attribute 'ean' must be unique"
    assert (told["column"], told["pointer"]) == ("ean", "/values/ean")
    assert (told["error"], told["message"]) == ("CONFLICT", message)
    # As the call for one record says it.
    body = {"values": {"ean": [{"scope": {}, "value": "2"}]}}
    single = await workspace.admin.put("/records/ent-a", body)
    assert single.outcome == error(409, "CONFLICT", message)
    record = (await workspace.admin.get("/records/ent-a")).ok()
    assert "price" not in record["values"]
    assert record["values"]["ean"][0]["value"] == "1"


async def refusing(workspace: RecordsWorkspace, *rows: str) -> str:
    """The id of a job whose rows of NDJSON all failed."""
    await workspace.attribute("price", "number")
    await workspace.schema("x", ["price"])
    job = await run(workspace, "\n".join(rows), "x.ndjson", schemaId="x")
    assert job["failed"] == len(rows)
    found: str = job["id"]
    return found


async def test_a_file_of_failed_rows_has_no_more_columns_than_may_be_sent(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    """A million rows may have a million different members, which nobody can hold."""
    rows = [f'{{"price":"x","m{number}":1}}' for number in range(4)]
    import_id = await refusing(workspace, *rows)
    monkeypatch.setattr(refused, "COLUMNS_MAX", 5)
    file = await download(workspace.admin, f"/imports/{import_id}/errors", "text/csv")
    assert file.splitlines()[0] == b"price,m0,m1,m2,m3,_line,_error"
    monkeypatch.setattr(refused, "COLUMNS_MAX", 4)
    headers = {"Accept": "text/csv"}
    answer = await workspace.admin.having(headers).get(f"/imports/{import_id}/errors")
    assert answer.outcome == error(
        400,
        "VALIDATION_ERROR",
        "The rows that failed have more than 4 different members, which no file with columns can"
        " have: expected 'Accept' to be 'application/json'",
    )


async def test_a_file_begins_while_its_columns_are_still_looked_for(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    import_id = await refusing(workspace, '{"price":"x"}')
    may_go_on = asyncio.Event()
    columns = refused._columns

    async def late(*found: Any) -> list[str]:
        await may_go_on.wait()
        return await columns(*found)

    monkeypatch.setattr(refused, "_columns", late)
    monkeypatch.setattr(chunked_response, "HEAD_WITHIN_S", 0.01)
    headers = {**workspace.admin.headers, "Accept": "text/csv"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{workspace.admin.url}/api/v1/imports/{import_id}/errors") as response,
    ):
        assert response.status == 200
        may_go_on.set()
        assert (await response.read()).startswith(b"price,_line,_error\r\nx,1,")
