"""What a bulk write takes and gives: lines or JSON, and how much of it."""

from __future__ import annotations

import gzip

import orjson
import pytest
import pytest_asyncio

from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import error
from tests.service.records.bulk_calls import (
    NDJSON,
    bulk,
    counts,
    failures,
    model_apparel,
    row,
    values_of,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def apparel(workspace: RecordsWorkspace) -> RecordsWorkspace:
    return await model_apparel(workspace)


async def test_lines_in_and_lines_out(apparel):
    body = b"".join(
        [
            orjson.dumps(row("ent-a", sku="A")) + b"\r\n\n",
            b'{"id": "ent-b", \n',
            orjson.dumps(row("ent-c", sku="C")),
        ]
    )
    answer = await apparel.admin.post(
        "/records/bulk",
        data=gzip.compress(body),
        headers={"Content-Type": NDJSON, "Accept": NDJSON, "Content-Encoding": "gzip"},
    )
    assert answer.headers["Content-Type"] == NDJSON
    lines = [orjson.loads(line) for line in answer.ok().splitlines()]
    assert [one.get("outcome") for one in lines] == ["created", "failed", "created", None]
    assert lines[1]["error"] == "VALIDATION_ERROR"
    assert lines[1]["message"].startswith("Malformed JSON: ")
    assert lines[-1]["summary"]["created"] == 2
    assert lines[-1]["summary"]["failed"] == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "A JSON body is required"),
        (b"[]", "Body expects type 'object', got 'array'"),
        (b"{}", "Field 'operations' is required"),
        (b'{"operations": {}}', "Field 'operations' expects type 'array', got 'object'"),
        (b'{"operations": [{}', "Malformed JSON: unexpected end at byte 18"),
        (b'{"operations": [{} {}]}', "Malformed JSON: unexpected character at byte 19"),
        (b'{"operations": []} x', "Malformed JSON: unexpected character at byte 19"),
        (b'{"operations": ["a]}', "Malformed JSON: unexpected end at byte 20"),
    ],
)
async def test_what_is_no_list_of_operations_is_refused(apparel, body, message):
    answer = await apparel.admin.post(
        "/records/bulk", data=body, headers={"Content-Type": "application/json"}
    )
    assert answer.outcome == error(400, "VALIDATION_ERROR", message)


async def test_the_ends_of_operations_are_found_whatever_is_in_them(apparel):
    tricky = row("ent-a", sku='}]"\\', name="[{\\")
    body = b' {"op\\u0065rations" : [ ' + orjson.dumps(tricky) + b' , null,3 ,"]" ]}'
    answer = await apparel.admin.post(
        "/records/bulk", data=body, headers={"Content-Type": "application/json"}
    )
    assert counts(answer) == {"created": 1, "failed": 3}
    assert await values_of(apparel, "ent-a") == {"sku": '}]"\\', "name": "[{\\"}


async def test_more_than_a_call_takes_is_refused_before_anything_happens(apparel, monkeypatch):
    monkeypatch.setattr("records_service.bulk.rows.ROWS_MAX", 3)
    rows = [row(f"ent-{n}", sku=f"S{n}") for n in range(4)]
    too_many = error(413, "PAYLOAD_TOO_LARGE", "Request body exceeds 3 rows")
    assert (await bulk(apparel.admin, *rows)).outcome == too_many
    lines = b"\n".join(map(orjson.dumps, rows))
    answer = await apparel.admin.post("/records/bulk", data=lines, headers={"Content-Type": NDJSON})
    assert answer.outcome == too_many
    bomb = gzip.compress(b" " * ((64 << 20) + 1))
    answer = await apparel.admin.post(
        "/records/bulk",
        data=bomb,
        headers={"Content-Type": NDJSON, "Content-Encoding": "gzip"},
    )
    assert answer.outcome == error(413, "PAYLOAD_TOO_LARGE", "Request body exceeds 67108864 bytes")
    assert (await apparel.admin.get("/records/ent-0")).status == 404


async def test_a_row_larger_than_a_record_may_be_fails_alone(apparel):
    large = row("ent-a", name="x" * (10 << 20))
    answer = await bulk(apparel.admin, large, row("ent-b", sku="B"))
    assert counts(answer) == {"created": 1, "failed": 1}
    assert failures(answer) == [(0, 413, "PAYLOAD_TOO_LARGE", "Row exceeds 10485760 bytes", "")]
