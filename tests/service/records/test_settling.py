"""A conversion holds at once for all who read, and is stored in each record afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest

from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import error
from tests.kit.workspace import entries, schema_body
from tests.service.records import search_index
from tests.service.records.conversions import (
    COUNT,
    NUMBER,
    convert,
    fill,
    job_at,
    sizes,
    type_now,
)
from tests.service.records.conversions import settling as until_it_holds
from tests.service.records.job_turns import finish, turn

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("conversions_in_small_slices"),
]


async def unsettled(workspace: RecordsWorkspace) -> int:
    counted = [
        await workspace.fetch(
            f"SELECT FROM {table} WHERE workspace_id = $1 AND converted IS NOT NULL"
        )
        for table in ("records", "variants")
    ]
    return sum(map(len, counted))


async def history(workspace: RecordsWorkspace, record_id: str) -> list[str]:
    """The action of each entry, the newest first."""
    items = (await workspace.admin.get(f"/records/{record_id}/audit")).ok()["items"]
    return [one["action"] for one in items]


async def seen(workspace: RecordsWorkspace) -> list[Any]:
    """What clients see of values, by every way that there is, but for versions and times."""
    admin = workspace.admin

    def values(items: list[dict[str, Any]]) -> list[Any]:
        return [(one["id"], one["values"]) for one in items]

    found: list[Any] = [(await admin.get(f"/records/ent-{n}")).ok()["values"] for n in range(COUNT)]
    found.append((await admin.get("/records/ent-1/variants/var-1")).ok()["values"])
    found.append(values((await admin.get("/records?schemaId=x")).ok()["items"]))
    found.append(values((await admin.get("/records/ent-1/variants")).ok()["items"]))
    for criterion in (
        {"attribute": "size", "operator": "gt", "value": 1},
        {"attribute": "size", "operator": "equals", "value": 3},
        {"attribute": "size", "operator": "isEmpty"},
        {"attribute": "size", "operator": "isNotEmpty"},
        {"field": "completeness", "operator": "lt", "value": 100},
    ):
        for also in ({}, {"sort": [{"attribute": "size", "order": "desc"}]}):
            asked = {"criteria": [criterion], **also}
            found.append(values((await admin.post("/search", asked)).ok()["items"]))
        named = {"attribute": "name", "operator": "equals", "value": "Parka"}
        asked = {"criteria": [named, criterion]}
        found.append(values((await admin.post("/search", asked)).ok()["items"]))
    found.append(
        [
            one["id"]
            for one in (await admin.post("/search/full-text", {"query": "Parka"})).ok()["items"]
        ]
    )
    found.append((await admin.get("/records/ent-4/completeness")).ok())
    found.append(values((await admin.get("/export")).ok()))
    preview = await admin.post("/schemas/schema-x/preview", schema_body("x", ["name"]))
    found.append({**preview.ok(), "samples": []})
    return found


async def with_a_variant(workspace: RecordsWorkspace, **sizes: str) -> None:
    await fill(workspace, **sizes)
    required: dict[str, Any] = {"alias": "size", "name": "Size", "type": "text"}
    required |= {"filterable": True, "validation": {"required": True}}
    (await workspace.admin.put("/attributes/attr-size", required)).ok()
    variant = {"id": "var-1", "values": entries({"size": "38"})}
    (await workspace.admin.post("/records/ent-1/variants", variant)).ok()
    await finish(workspace)


async def test_nobody_sees_whether_it_is_stored(workspace: RecordsWorkspace):
    await with_a_variant(workspace, ent_4="")
    answer = await convert(workspace, **NUMBER)
    await until_it_holds(workspace)
    assert (await job_at(workspace, answer))["status"] == "succeeded"
    assert await unsettled(workspace) == COUNT
    before = await seen(workspace)
    assert (before[1], before[4]) == (
        {"size": entries({"size": 1.5})["size"], **before[4]},
        before[4],
    )
    for rest in (COUNT - 1, 0):
        while await unsettled(workspace) > rest:
            assert await turn(workspace)
        assert await seen(workspace) == before
    await finish(workspace)
    assert await seen(workspace) == before
    assert await history(workspace, "ent-0") == ["update", "create"]
    assert await history(workspace, "ent-4") == ["create"]
    await search_index.check(workspace)


async def test_a_dropped_value_is_gone_at_once(workspace: RecordsWorkspace):
    await with_a_variant(workspace, ent_1="large")
    answer = await convert(workspace, **NUMBER, onFailure="drop")
    await until_it_holds(workspace)
    job = await job_at(workspace, answer)
    assert (job["status"], job["failed"], job["updated"]) == ("partial", 1, COUNT)
    before = await seen(workspace)
    assert before[1] == {"name": before[1]["name"]}
    await finish(workspace)
    assert await seen(workspace) == before
    await search_index.check(workspace)
    assert await workspace.fetch("SELECT FROM conversion_holders WHERE workspace_id = $1") == []


async def test_facets_count_what_holds(workspace: RecordsWorkspace):
    await fill(workspace, ent_0="1", ent_1="true", ent_2="0", ent_3="")
    await convert(workspace, type="boolean", onFailure="drop")
    await until_it_holds(workspace)
    asked = {"criteria": [], "facets": ["size"]}
    for _ in range(2):
        facets = (await workspace.admin.post("/search", asked)).ok()["facets"]
        counted = [(one["value"], one["count"]) for one in facets["size"]]
        assert counted in ([(True, 2), (False, 1)], [("true", 2), ("false", 1)])
        await finish(workspace)


async def patch_it(workspace: RecordsWorkspace) -> None:
    shown = await workspace.admin.patch("/records/ent-1/values/name", {"value": "Coat"})
    assert shown.ok()["values"]["size"][0]["value"] == 1.5


async def replace_its_size(workspace: RecordsWorkspace) -> None:
    (await workspace.admin.patch("/records/ent-1/values/size", {"value": 7})).ok()


async def write_it_in_bulk(workspace: RecordsWorkspace) -> None:
    rows = [{"id": f"ent-{n}", "values": entries({"name": "Coat"})} for n in range(COUNT)]
    done = (await workspace.admin.post("/records/bulk", {"operations": rows})).ok()
    assert done["updated"] == COUNT


async def patch_its_variant(workspace: RecordsWorkspace) -> None:
    path = "/records/ent-1/variants/var-1/values/name"
    (await workspace.admin.patch(path, {"value": "Coat"})).ok()


@pytest.mark.parametrize("write", [patch_it, replace_its_size, write_it_in_bulk, patch_its_variant])
async def test_a_record_that_is_written_has_it_first(
    workspace: RecordsWorkspace, write: Callable[[RecordsWorkspace], Awaitable[None]]
):
    await with_a_variant(workspace)
    await convert(workspace, **NUMBER)
    await until_it_holds(workspace)
    await write(workspace)
    told = await workspace.fetch(
        """SELECT record_id, variant_id, count(*) AS count FROM audit
            WHERE workspace_id = $1 AND changes::text LIKE '%"attr-size"%' AND action = 'update'
            GROUP BY 1, 2"""
    )
    assert ("ent-1", None) in {(row["record_id"], row["variant_id"]) for row in told}
    written = (await workspace.admin.get("/records/ent-1/audit")).ok()["items"]
    [(old, new)] = [
        (one["changes"][0]["oldValue"], one["changes"][0]["newValue"])
        for one in written
        if one["action"] == "update"
        and one["changes"][0]["attribute"] == "size"
        and one["changes"][0]["oldValue"] == "1.5"
    ]
    assert (old, new) == ("1.5", 1.5)
    await finish(workspace)
    assert await unsettled(workspace) == 0
    entries_of_conversions = await workspace.fetch(
        """SELECT record_id, variant_id FROM audit
            WHERE workspace_id = $1 AND changes::text LIKE '%"oldValue": "%"newValue": %'
              AND changes::text LIKE '%"attr-size"%' AND action = 'update'"""
    )
    assert len(entries_of_conversions) == len({tuple(row) for row in entries_of_conversions})
    await search_index.check(workspace)


async def test_a_record_that_is_deleted_has_it_first(workspace: RecordsWorkspace):
    await with_a_variant(workspace)
    await convert(workspace, **NUMBER)
    await until_it_holds(workspace)
    (await workspace.admin.delete("/records/ent-1")).ok()
    assert (await workspace.admin.post("/records/bulk-delete", {"ids": ["ent-2"]})).ok()
    rows = await workspace.fetch(
        """SELECT action, variant_id, changes::text FROM audit
            WHERE workspace_id = $1 AND record_id = 'ent-1' ORDER BY id"""
    )
    assert [(row["action"], row["variant_id"]) for row in rows][-3:] != []
    assert '"38"' not in rows[-1]["changes"] and '"1.5"' not in rows[-1]["changes"]
    await finish(workspace)
    assert await sizes(workspace) == [0, 4.5, 6]


async def test_two_conversions_of_one_workspace_end_both(workspace: RecordsWorkspace):
    await workspace.attribute("size")
    await workspace.attribute("width")
    await workspace.schema("x", ["size", "width"])
    for n in range(COUNT):
        await workspace.record("schema-x", {"size": f"{n}", "width": f"{n}"}, id=f"ent-{n}")
    await convert(workspace, **NUMBER)
    (await workspace.admin.post("/attributes/attr-width/convert", NUMBER)).ok()
    await finish(workspace)
    for n in range(COUNT):
        shown = (await workspace.admin.get(f"/records/ent-{n}")).ok()
        assert [shown["values"][each][0]["value"] for each in ("size", "width")] == [n, n]
        assert (shown["version"], len(await history(workspace, f"ent-{n}"))) == (3, 3)


async def test_an_attribute_is_deleted_while_it_settles(workspace: RecordsWorkspace):
    await with_a_variant(workspace)
    await convert(workspace, **NUMBER)
    await until_it_holds(workspace)
    again = await convert(workspace, type="text")
    assert again.outcome == error(409, "CONFLICT", "Attribute 'size' is being converted already")
    without = schema_body("x", ["name"], variantEnabled=True)
    (await workspace.admin.put("/schemas/schema-x", without)).ok()
    (await workspace.admin.delete("/attributes/attr-size")).ok()
    await finish(workspace)
    assert await unsettled(workspace) == 0
    rows = await workspace.fetch(
        "SELECT FROM records WHERE workspace_id = $1 AND values ? 'attr-size'"
    )
    assert rows == []
    assert await workspace.fetch("SELECT FROM conversions WHERE workspace_id = $1") == []


async def test_what_is_cancelled_leaves_nothing_behind(workspace: RecordsWorkspace):
    await with_a_variant(workspace)
    await convert(workspace, **NUMBER, id="job-sizes")
    while not await unsettled(workspace):
        assert await turn(workspace)
    before = await sizes(workspace)
    (await workspace.admin.post("/jobs/job-sizes/cancel")).ok()
    await finish(workspace)
    assert (await unsettled(workspace), await sizes(workspace)) == (0, before)
    assert await type_now(workspace) == "text"
    assert {
        row["version"]
        for row in await workspace.fetch("SELECT version FROM records WHERE workspace_id = $1")
    } == {1}


async def test_options_stay_while_values_are_converted_to_them(workspace: RecordsWorkspace):
    await fill(workspace)
    await workspace.option_list("sizes", [f"{1.5 * n:g}".replace(".", "-") for n in range(COUNT)])
    await convert(workspace, type="option", optionListId="sizes", onFailure="drop")
    assert await turn(workspace)
    refused = await workspace.admin.put(
        "/option-lists/ol-sizes", {"alias": "sizes", "name": "Sizes", "values": []}
    )
    assert refused.outcome == error(
        409,
        "CONFLICT",
        "Values are being converted to options of list 'ol-sizes': none can be removed before the"
        " job has ended",
    )
    await until_it_holds(workspace)
    refused = await workspace.admin.put(
        "/option-lists/ol-sizes", {"alias": "sizes", "name": "Sizes", "values": []}
    )
    assert refused.status == 409
    await finish(workspace)


async def test_writers_and_the_job_agree(workspace: RecordsWorkspace):
    await with_a_variant(workspace)
    await convert(workspace, **NUMBER, onFailure="drop")

    async def work() -> None:
        while await turn(workspace):
            pass

    async def write(n: int) -> None:
        for m in range(6):
            body = {"scope": {}, "value": f"{m}"}
            answer = await workspace.admin.patch(f"/records/ent-{n}/values/size", body)
            if answer.status == 400:
                answer = await workspace.admin.patch(
                    f"/records/ent-{n}/values/size", body | {"value": m}
                )
            answer.ok()

    await asyncio.gather(work(), *(write(n) for n in range(COUNT)))
    await finish(workspace)
    assert await sizes(workspace) == [5] * COUNT
    for n in range(COUNT):
        items = (await workspace.admin.get(f"/records/ent-{n}/audit?limit=50")).ok()["items"]
        changes = [
            one["changes"][0]
            for one in reversed(items)
            if one["action"] == "update" and one["variantId"] is None
        ]
        for one, next_one in pairwise(changes):
            assert one["newValue"] == next_one["oldValue"], changes
    await search_index.check(workspace)
