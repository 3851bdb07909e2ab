"""The values of an attribute are converted to another type: everybody sees the old or the new."""

from __future__ import annotations

import asyncio

import pytest

from records_service.conversions import commands as conversions
from shared.identity import Flag
from tests.kit.eventually import eventually
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import error
from tests.kit.workspace import entries, schema_body
from tests.service.records.attributes import LANGUAGE, refused
from tests.service.records.conversions import (
    COUNT,
    NUMBER,
    convert,
    fill,
    job_at,
    sizes,
    switching,
    type_now,
)
from tests.service.records.job_turns import finish, turn

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("conversions_in_small_slices"),
]


async def test_all_values_are_of_the_old_type_before_the_end_and_of_the_new_one_after_it(
    workspace: RecordsWorkspace,
):
    await fill(workspace, ent_3="")
    variant = {"id": "var-1", "values": entries({"size": "38"})}
    (await workspace.admin.post("/records/ent-1/variants", variant)).ok()
    answer = await convert(workspace, **NUMBER)
    assert (answer.status, answer.body["status"], answer.body["kind"]) == (202, "queued", "convert")
    before = await sizes(workspace)
    while (await job_at(workspace, answer))["completedAt"] is None:
        assert (await type_now(workspace), await sizes(workspace)) == ("text", before)
        assert await turn(workspace)
    assert before == ["0", "1.5", "3", None, "6"]
    assert (await type_now(workspace), await sizes(workspace)) == ("number", [0, 1.5, 3, None, 6])
    job = await job_at(workspace, answer)
    counts = {"total": 6, "processed": 6, "updated": 5, "unchanged": 0, "skipped": 1, "failed": 0}
    assert {name: job[name] for name in counts} == counts
    assert (job["status"], job["samples"], job["error"]) == ("succeeded", [], None)
    shown = (await workspace.admin.get("/records/ent-1/variants/var-1")).ok()
    assert (shown["values"]["size"][0]["value"], shown["version"]) == (38, 1)
    criterion = {"attribute": "size", "operator": "gt", "value": 1}
    for is_indexed in (False, True):
        since = (await workspace.admin.get("/attributes/attr-size")).ok()["filterableSince"]
        assert (since is not None) == is_indexed
        found = (await workspace.admin.post("/search", {"criteria": [criterion]})).ok()
        assert [one["id"] for one in found["items"]] == ["ent-1", "ent-2", "ent-4"]
        await finish(workspace)
    assert (await workspace.post_record("x", size="7")).status == 400
    (await workspace.post_record("x", size=7)).ok()


async def test_each_record_has_an_entry_of_its_history_and_an_event(workspace: RecordsWorkspace):
    await fill(workspace)
    variant = {"id": "var-1", "values": entries({"size": "38"})}
    (await workspace.admin.post("/records/ent-1/variants", variant)).ok()
    await convert(workspace, **NUMBER)
    await finish(workspace)
    (last, *_) = (await workspace.admin.get("/records/ent-1/audit")).ok()["items"]
    change = {"attribute": "size", "scope": {}}
    assert (last["action"], last["changes"]) == (
        "update",
        [change | {"oldValue": "38", "newValue": 38}],
    )
    record = await workspace.admin.get("/records/ent-1")
    assert record.headers["ETag"] == '"2"'
    events = [event for event in await workspace.staged() if event.data.get("changes")]
    told = {event.subject: event for event in events if event.type.endswith(".updated")}
    assert set(told) == {*(f"ent-{n}" for n in range(COUNT)), "var-1"}
    assert (told["ent-1"].type, told["ent-1"].data["changes"], told["ent-1"].data["version"]) == (
        "entity.updated",
        [change | {"attributeId": "attr-size", "oldValue": "1.5", "newValue": 1.5}],
        2,
    )
    assert told["var-1"].type == "variant.updated"
    changed = [event for event in await workspace.staged() if event.subject == "attr-size"][-1]
    assert changed.type == "schema.attribute.updated"
    earlier = (await workspace.admin.get("/records/ent-1?version=1")).ok()
    assert earlier["id"] == "ent-1"


async def test_one_value_that_cannot_be_converted_leaves_everything_as_it_is(
    workspace: RecordsWorkspace,
):
    await fill(workspace, ent_2="large", ent_4="1,5")
    answer = await convert(workspace, **NUMBER)
    await finish(workspace)
    job = await job_at(workspace, answer)
    assert (job["status"], job["failed"], job["updated"]) == ("failed", 2, 0)
    assert job["error"] == (
        "Nothing was converted: there are values that cannot be. Correct them, or convert with"
        " 'onFailure': 'drop'"
    )
    assert job["samples"] == [
        {
            "entityId": f"ent-{n}",
            "variantId": None,
            "reason": f"Value for 'size' must be a number such as 1234.5, got '{value}'",
        }
        for n, value in ((2, "large"), (4, "1,5"))
    ]
    assert await type_now(workspace) == "text"
    assert await sizes(workspace) == ["0", "1.5", "large", "4.5", "1,5"]
    for table in ("conversions", "conversion_holders"):
        assert await workspace.fetch(f"SELECT FROM {table} WHERE workspace_id = $1") == []


async def test_values_that_cannot_be_converted_are_dropped_if_so_asked(
    workspace: RecordsWorkspace,
):
    await fill(workspace, ent_2="large")
    answer = await convert(workspace, **NUMBER, onFailure="drop")
    await finish(workspace)
    job = await job_at(workspace, answer)
    assert (job["status"], job["failed"], job["updated"]) == ("partial", 1, COUNT - 1)
    assert [one["entityId"] for one in job["samples"]] == ["ent-2"]
    assert await sizes(workspace) == [0, 1.5, None, 4.5, 6]
    (last, *_) = (await workspace.admin.get("/records/ent-2/audit")).ok()["items"]
    assert [(one["oldValue"], one["newValue"]) for one in last["changes"]] == [("large", None)]


async def test_what_is_written_meanwhile_is_converted_too(workspace: RecordsWorkspace):
    await fill(workspace, ent_0="")
    await convert(workspace, **NUMBER)
    await switching(workspace)
    for record_id, value in (("ent-0", "10"), ("ent-1", "11"), ("ent-2", None), ("ent-3", "13")):
        body = {"scope": {}, "value": value}
        (await workspace.admin.patch(f"/records/{record_id}/values/size", body)).ok()
    (await workspace.admin.delete("/records/ent-4")).ok()
    (await workspace.post_record("x", size="14")).ok()
    await finish(workspace)
    assert (await type_now(workspace), await sizes(workspace)) == (
        "number",
        [10, 11, None, 13, 14],
    )


async def test_what_is_written_meanwhile_may_stand_against_it(workspace: RecordsWorkspace):
    await fill(workspace)
    answer = await convert(workspace, **NUMBER)
    await switching(workspace)
    body = {"scope": {}, "value": "large"}
    (await workspace.admin.patch("/records/ent-0/values/size", body)).ok()
    await finish(workspace)
    job = await job_at(workspace, answer)
    assert (job["status"], job["failed"], job["samples"][0]["entityId"]) == ("failed", 1, "ent-0")
    assert await sizes(workspace) == ["large", "1.5", "3", "4.5", "6"]
    assert await type_now(workspace) == "text"
    history = (await workspace.admin.get("/records/ent-1/audit")).ok()
    assert history["total"] == 1


async def test_options_are_found_by_alias_or_label_and_lists_are_made(
    workspace: RecordsWorkspace,
):
    (await workspace.admin.post("/dimensions", LANGUAGE)).ok()
    options = [
        {"id": "val-s", "alias": "s", "label": "Small"},
        {"id": "val-l", "alias": "l", "label": "Large"},
    ]
    body = {"id": "ol-sizes", "alias": "sizes", "name": "Sizes", "values": options}
    (await workspace.admin.post("/option-lists", body)).ok()
    await workspace.attribute("size", dimensionIds=["dim-language"])
    await workspace.schema("x", ["size"])
    english = {"dim-language": "seg-en"}
    values = {"size": [{"scope": {}, "value": "s"}, {"scope": english, "value": "Large"}]}
    record = {"id": "ent-0", "schemaId": "schema-x", "values": values}
    (await workspace.admin.post("/records", record)).ok()
    unnamed = await convert(workspace, type="option")
    assert unnamed.outcome == refused("Field 'optionListId' is required for type 'option'")
    unknown = await convert(workspace, type="option", optionListId="ol-none")
    assert unknown.outcome == refused("Field 'optionListId': Option list 'ol-none' not found")
    await convert(workspace, type="option", multiple=True, optionListId="sizes")
    await finish(workspace)
    shown = (await workspace.admin.get("/records/ent-0")).ok()["values"]["size"]
    assert shown == [
        {"scope": {}, "value": ["val-s"]},
        {"scope": english, "value": ["val-l"]},
    ]
    attribute = (await workspace.admin.get("/attributes/attr-size")).ok()
    told = [attribute[name] for name in ("type", "multiple", "optionListId")]
    assert told == ["option", True, "ol-sizes"]
    await convert(workspace, type="text", multiple=False)
    await finish(workspace)
    shown = (await workspace.admin.get("/records/ent-0")).ok()["values"]["size"]
    assert [one["value"] for one in shown] == ["Small", "Large"]


async def test_what_cannot_be_is_told(workspace: RecordsWorkspace):
    await fill(workspace)
    (
        await workspace.admin.put(
            "/attributes/attr-name",
            {"alias": "name", "name": "name", "type": "text", "validation": {"unique": True}},
        )
    )
    for body, message in (
        (
            {"type": "relation"},
            (
                "Attributes of type 'text' can be converted to one of 'text', 'number', 'boolean',"
                " 'datetime', 'media', 'option', got 'relation'"
            ),
        ),
        ({"type": "text"}, "Attribute 'size' has this type already"),
        (
            {"type": "boolean", "multiple": True},
            "'multiple' does not belong to attributes of type 'boolean'",
        ),
        (
            {"type": "number", "optionListId": "ol-x"},
            "'optionListId' does not belong to attributes of type 'number'",
        ),
    ):
        assert (await convert(workspace, **body)).outcome == refused(message), body
    nothing = await workspace.admin.post("/attributes/attr-none/convert", NUMBER)
    assert nothing.outcome == error(404, "NOT_FOUND", "Attribute 'attr-none' not found")
    guard = {"attributeId": "attr-size", "operator": "equals", "value": "3"}
    await workspace.attribute("guarded", guards=[guard])
    assert (await convert(workspace, **NUMBER)).outcome == error(
        409,
        "CONFLICT",
        "Attribute 'size' cannot be converted while a guard of attribute 'guarded' compares its"
        " values",
    )
    await workspace.attribute("code", validation={"unique": True})
    unique = await workspace.admin.post("/attributes/attr-code/convert", NUMBER)
    assert unique.outcome == error(
        409, "CONFLICT", "Attribute 'code' cannot be converted while it is unique"
    )


async def test_a_conversion_is_cancelled_or_ended_by_another_change(workspace: RecordsWorkspace):
    await fill(workspace)
    answer = await convert(workspace, **NUMBER, id="job-sizes")
    assert answer.headers["Location"] == "/api/v1/jobs/job-sizes"
    again = await convert(workspace, **NUMBER)
    assert again.outcome == error(409, "CONFLICT", "Attribute 'size' is being converted already")
    assert await turn(workspace)
    cancelled = await workspace.admin.post("/jobs/job-sizes/cancel")
    assert (cancelled.status, cancelled.body["status"]) == (202, "cancelled")
    taken = await convert(workspace, **NUMBER, id="job-sizes")
    assert taken.outcome == error(
        409,
        "CONFLICT",
        "What was prepared when attribute 'size' was to be converted is still being removed",
    )
    await finish(workspace)
    taken = await convert(workspace, **NUMBER, id="job-sizes")
    assert taken.outcome == error(409, "CONFLICT", "Job with id 'job-sizes' already exists")
    answer = await convert(workspace, **NUMBER)
    unique = {"alias": "size", "name": "size", "type": "text", "validation": {"unique": True}}
    (await workspace.admin.put("/attributes/attr-size", unique)).ok()
    await finish(workspace)
    job = await job_at(workspace, answer)
    assert (job["status"], job["error"]) == ("failed", "The attribute was changed meanwhile")
    plain = {"alias": "size", "name": "size", "type": "text"}
    (await workspace.admin.put("/attributes/attr-size", plain)).ok()
    await finish(workspace)
    answer = await convert(workspace, **NUMBER)
    (
        await workspace.admin.put(
            "/schemas/schema-x", schema_body("x", ["name"], variantEnabled=True)
        )
    ).ok()
    (await workspace.admin.delete("/attributes/attr-size")).ok()
    job = await job_at(workspace, answer)
    assert (job["status"], job["error"]) == ("cancelled", "The attribute was deleted")
    await finish(workspace)


async def test_a_write_that_began_with_the_old_type_is_judged_by_the_new_one(
    workspace: RecordsWorkspace,
):
    await fill(workspace)
    await convert(workspace, **NUMBER)
    await switching(workspace)
    async with workspace.database.transaction() as conn:
        assert await conversions.convert_some(conn, workspace.id, "attr-size")
        path = "/records/ent-0/values/size"
        body = {"scope": {}, "value": "large"}
        writing = asyncio.create_task(workspace.admin.patch(path, body))
        await eventually(workspace.records.waits_for_a_lock)
        assert (await workspace.admin.get("/records/ent-0")).ok()["values"]["size"] == [
            {"scope": {}, "value": "0"}
        ]
    assert (await writing).status == 400
    assert await sizes(workspace) == [0, 1.5, 3, 4.5, 6]


async def test_who_may_convert(workspace: RecordsWorkspace):
    await fill(workspace)
    for word, status in (("read", 403), ("write", 202)):
        words = {"schema-x": {"attr-size": word, "attr-name": "write"}}
        modeller = await workspace.user_with_role(words, Flag.MANAGE_SCHEMAS)
        answer = await modeller.post("/attributes/attr-size/convert", NUMBER)
        assert answer.status == status, answer.outcome
    await finish(workspace)
    rows = await workspace.fetch("SELECT DISTINCT updated_by FROM records WHERE workspace_id = $1")
    assert len(rows) == 1
