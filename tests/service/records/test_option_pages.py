"""Options page by page, and many of them written in one call."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
import pytest_asyncio

from records_service.option_bulk import judging
from records_service.option_lists import commands
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Answer, Caller, error

pytestmark = pytest.mark.asyncio(loop_scope="module")

VALUES = "/option-lists/ol-c/values"


def option(name: str, **more: Any) -> dict[str, Any]:
    return {"id": f"val-{name}", "alias": name, "label": name.title(), **more}


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def colours(admin: Caller, workspace: RecordsWorkspace) -> None:
    await workspace.dimension("language", ["en", "da"])
    body = {"id": "ol-c", "alias": "c", "name": "C", "hierarchical": True}
    (await admin.post("/option-lists", body)).ok()


async def bulk(admin: Caller, *rows: Any, **params: str) -> Answer:
    return await admin.post(f"{VALUES}/bulk", {"operations": rows}, params=params)


async def ids(admin: Caller, **params: str) -> list[str]:
    return [one["id"] for one in (await admin.get(VALUES, params=params)).ok()["items"]]


async def pages(admin: Caller, **params: str) -> list[list[str]]:
    found, cursor = [], {}
    while True:
        page = (await admin.get(VALUES, params={**params, **cursor})).ok()
        found.append([one["id"] for one in page["items"]])
        if page["nextCursor"] is None:
            return found
        cursor = {"cursor": page["nextCursor"]}


async def test_options_are_read_in_order_page_by_page(admin: Caller):
    rows = [option(f"o{n}", sortOrder=n // 3, label=f"L{n % 3}") for n in range(10)]
    (await bulk(admin, *reversed(rows))).ok()
    expected = [f"val-o{n}" for n in range(10)]
    assert [one["id"] for one in (await admin.get("/option-lists/ol-c")).ok()["values"]] == expected
    for limit in (1, 3, 10, 500):
        found = await pages(admin, limit=str(limit))
        assert [one for page in found for one in page] == expected
        assert max(map(len, found)) <= limit
    page = (await admin.get(VALUES, params={"limit": "2"})).ok()
    assert (page["total"], page["offset"], page["limit"]) == (10, 0, 2)
    whole = (await admin.get("/option-lists/ol-c")).ok()
    assert page["items"] == whole["values"][:2]
    assert (await admin.get(VALUES, params={"total": "none"})).ok().keys() & {"total"} == set()


async def test_options_are_narrowed(admin: Caller):
    (
        await bulk(
            admin,
            option("red", externalKey="R/1", labels={"seg-da": "Rød"}),
            option("dark-red", parentId="val-red"),
            option("pale-red", parentId="val-red", label="100% Pale_"),
            option("blue"),
        )
    ).ok()
    assert await ids(admin, parentId="val-red") == ["val-dark-red", "val-pale-red"]
    assert await ids(admin, parentId="") == ["val-red", "val-blue"]
    assert await ids(admin, parentId="val-none") == []
    assert await ids(admin, query="RED") == ["val-red", "val-dark-red", "val-pale-red"]
    assert await ids(admin, query="rød") == ["val-red"]
    assert await ids(admin, query="r/1") == ["val-red"]
    assert await ids(admin, query="0% pale_") == ["val-pale-red"]
    assert await ids(admin, query="0_") == []
    assert await ids(admin, query="red", parentId="val-red", limit="1") == ["val-dark-red"]
    assert await ids(admin, externalKey="R/1") == ["val-red"]
    missing = await admin.get("/option-lists/ol-none/values")
    assert missing.outcome == error(404, "NOT_FOUND", "Option list 'ol-none' not found")


async def test_large_lists_are_listed_without_their_options(
    admin: Caller, workspace: RecordsWorkspace
):
    await workspace.option_list("few", [f"o{n}" for n in range(500)])
    (await bulk(admin, *(option(f"o{n}") for n in range(501)))).ok()
    large, few = (await admin.get("/option-lists")).ok()
    assert (large["values"], large["valueCount"], large["valuesComplete"]) == ([], 501, False)
    assert (len(few["values"]), few["valueCount"], few["valuesComplete"]) == (500, 500, True)
    single = (await admin.get("/option-lists/ol-c")).ok()
    assert (len(single["values"]), single["valueCount"], single["valuesComplete"]) == (
        501,
        501,
        True,
    )
    # Sent back as it was listed, it keeps its options.
    renamed = (await admin.put("/option-lists/ol-c", large | {"name": "Renamed"})).ok()
    assert (renamed["name"], renamed["valueCount"]) == ("Renamed", 501)


async def test_rows_are_created_changed_skipped_and_refused(admin: Caller):
    (await bulk(admin, option("red", color="#f00"), option("blue", externalKey="B"))).ok()
    answer = await bulk(
        admin,
        option("red"),
        option("blue", label="Bleu"),
        option("green", labels={"seg-da": "Grøn"}),
        {"label": "Without alias"},
        option("pink", alias="green"),
        option("pink", externalKey="B"),
        option("pink", parentId="val-none"),
        option("pink", labels={"seg-x": "?"}),
        option("red", parentId="val-red"),
        {"id": "val-blue", "externalKey": None},
        {"id": "Not an id"},
        option("pink", externalKey="B", parentId="val-green"),
    )
    report = answer.ok()
    assert {n: c for n, c in report.items() if n != "results"} == {
        "created": 2,
        "updated": 2,
        "unchanged": 1,
        "skipped": 0,
        "deleted": 0,
        "failed": 7,
    }
    assert [(one["outcome"], one["status"]) for one in report["results"]] == [
        ("unchanged", 200),
        ("updated", 200),
        ("created", 201),
        ("failed", 400),
        ("failed", 409),
        ("failed", 409),
        ("failed", 400),
        ("failed", 400),
        ("failed", 400),
        ("updated", 200),
        ("failed", 400),
        ("created", 201),
    ]
    assert [(one["pointer"], one["message"]) for one in report["results"] if "message" in one] == [
        ("/alias", "Field 'alias' is required"),
        ("", "Option value with alias 'green' already exists"),
        ("", "Option value with external key 'B' already exists"),
        ("/parentId", "Parent 'val-none' of option value 'pink' not found"),
        ("/labels/seg-x", "Field 'labels': Segment 'seg-x' not found"),
        ("/parentId", "Option value 'red' would be its own ancestor"),
        (
            "/id",
            "Field 'id' must match pattern '^[a-z0-9][a-z0-9._-]{0,127}$', got 'Not an id'",
        ),
    ]
    stored = (await admin.get(VALUES)).ok()["items"]
    assert [(one["alias"], one["label"], one["externalKey"]) for one in stored] == [
        ("red", "Red", None),
        ("blue", "Bleu", None),
        ("green", "Green", None),
        ("pink", "Pink", "B"),
    ]
    assert stored[0]["color"] == "#f00"
    etag = (await admin.get("/option-lists/ol-c")).headers["ETag"]
    assert {f'"{one["version"]}"' for one in report["results"] if one["version"]} == {etag}


async def test_all_rows_or_none(admin: Caller):
    before = (await admin.get("/option-lists/ol-c")).headers["ETag"]
    refused = await bulk(admin, option("red"), option("blue", alias="red"), mode="atomic")
    assert refused.outcome == error(
        409, "CONFLICT", "Row 1: Option value with alias 'red' already exists"
    )
    got = await admin.get("/option-lists/ol-c")
    assert (got.ok()["values"], got.headers["ETag"]) == ([], before)
    assert (await bulk(admin, option("red"), option("blue"), mode="atomic")).ok()["created"] == 2


async def test_rows_find_their_option_by_what_was_asked_for(admin: Caller):
    (await bulk(admin, option("red", externalKey="R/1"), option("blue", externalKey="B"))).ok()
    two = [{"alias": "crimson", "externalKey": "R/1"}, {"alias": "x", "label": "X"}]
    report = (await bulk(admin, *two, match="externalKey")).ok()
    assert [one["outcome"] for one in report["results"]] == ["updated", "failed"]
    assert report["results"][1]["message"] == "Field 'externalKey' is required"
    swapped = [{"id": "val-red", "alias": "blue"}, {"id": "val-blue", "alias": "crimson"}]
    assert (await bulk(admin, *swapped)).ok()["failed"] == 2
    skipped = (await bulk(admin, {"alias": "blue"}, match="alias", onMatch="skip")).ok()
    assert skipped["skipped"] == 1
    taken = (await bulk(admin, {"alias": "blue"}, match="alias", onMatch="fail")).ok()
    assert taken["results"][0]["error"] == "CONFLICT"
    missing = (await bulk(admin, {"alias": "y"}, match="alias", onMissing="fail")).ok()
    assert missing["results"][0]["message"] == "Option value 'y' not found"


async def test_lines_are_taken_and_answered(admin: Caller):
    sent = b"\n".join([orjson.dumps(option("red")), b"{", orjson.dumps(option("blue"))])
    headers = {"Content-Type": "application/x-ndjson", "Accept": "application/x-ndjson"}
    answer = await admin.post(f"{VALUES}/bulk", data=sent, headers=headers)
    assert answer.status == 200
    assert await ids(admin) == ["val-red", "val-blue"]


async def test_a_list_has_a_greatest_size_and_a_call_too(
    admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(judging, "LIST_VALUES_MAX", 3)
    monkeypatch.setattr(commands, "LIST_VALUES_MAX", 3)
    report = (await bulk(admin, *(option(f"o{n}") for n in range(5)))).ok()
    assert (report["created"], report["failed"]) == (3, 2)
    assert report["results"][4]["message"] == "An option list has at most 3 values"
    refused = await admin.post(VALUES, option("more"))
    assert refused.outcome == error(400, "VALIDATION_ERROR", "An option list has at most 3 values")
    assert (await bulk(admin, *({"id": "val-o1"} for _ in range(10_001)))).status == 413


async def test_a_list_may_have_more_options_than_one_answer(
    admin: Caller, workspace: RecordsWorkspace
):
    rows = [option(f"o{n}") for n in range(10_001)]
    for start in (0, 6_000):
        assert (await bulk(admin, *rows[start : start + 6_000])).ok()["failed"] == 0
    single = (await admin.get("/option-lists/ol-c")).ok()
    assert (single["values"], single["valueCount"], single["valuesComplete"]) == (
        [],
        10_001,
        False,
    )
    assert (await admin.put("/option-lists/ol-c", single)).ok()["valueCount"] == 10_001
    assert (await ids(admin, query="o10000")) == ["val-o10000"]
    await workspace.attribute("colour", "option", optionListId="ol-c")
    await workspace.schema("x", ["colour"])
    made = (await workspace.post_record("x", colour="o10000")).ok()
    assert made["values"]["colour"] == [{"scope": {}, "value": "val-o10000"}]


async def test_writers_of_one_list_at_once_lose_nothing(admin: Caller):
    answers = await asyncio.gather(
        *(bulk(admin, option(f"o{n}"), option("same")) for n in range(6))
    )
    assert sum(answer.ok()["created"] for answer in answers) == 7
    assert len(await ids(admin)) == 7


async def test_one_event_tells_of_a_call_and_none_of_a_call_without_effect(
    workspace: RecordsWorkspace, admin: Caller
):
    (await bulk(admin, option("red"), option("blue"))).ok()
    (await bulk(admin, option("red"), {"label": "Bad"})).ok()
    told = [one for one in await workspace.staged() if one.type == "schema.option-list.updated"]
    assert len(told) == 1
