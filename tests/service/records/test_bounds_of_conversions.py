"""A conversion has bounds, and ends when what it was asked for can be no more."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from records_service.conversions import commands as conversions
from records_service.conversions import converting, store
from records_service.conversions.rules import Converter
from shared.database import Conn
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.workspace import entries
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
from tests.service.records.job_turns import finish

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("conversions_in_small_slices"),
]


async def test_too_many_values_are_told_so(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(conversions, "CONVERTED_MAX", 3)
    await fill(workspace)
    answer = await convert(workspace, **NUMBER)
    await finish(workspace)
    job = await job_at(workspace, answer)
    assert (job["status"], job["error"]) == (
        "failed",
        (
            "Attribute 'size' has values in more than 3 records and variants, or in some that have"
            " more than 64 MB together: create another attribute, copy the values by bulk calls,"
            " and exchange the aliases"
        ),
    )
    assert await type_now(workspace) == "text"


async def test_values_of_too_many_bytes_are_told_so(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(conversions, "BYTES_MAX", 1 << 20)
    await fill(workspace, ent_1="x" * 600_000, ent_2="x" * 600_000)
    answer = await convert(workspace, type="text", multiple=True)
    await finish(workspace)
    job = await job_at(workspace, answer)
    assert (job["status"], "more than 1 MB together" in (job["error"] or "")) == ("failed", True)
    assert (await workspace.admin.get("/records/ent-0")).headers["ETag"] == '"1"'


async def test_large_values_are_looked_at_and_converted_in_small_slices(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(conversions, "LOOKED_AT_ONCE", 1_000)
    large = {f"ent_{n}": f"{n}" * 3_000_000 for n in range(COUNT)}
    await fill(workspace, **large)
    variant = {"id": "var-1", "values": entries({"size": "38"})}
    (await workspace.admin.post("/records/ent-1/variants", variant)).ok()
    looked_at, converted, on_the_loop = [], [], []

    async def next_entries(*args: Any, **kwargs: Any) -> Any:
        found = await read_next(*args, **kwargs)
        looked_at.append(len(found[0]))
        return found

    async def records(*args: Any) -> Any:
        rows = await read_records(*args)
        converted.append(len(rows))
        return rows

    def convert_entries(self: Converter, held: Any) -> Any:
        on_the_loop.append(threading.current_thread() is threading.main_thread())
        return convert_one(self, held)

    read_next, read_records = conversions.next_entries, store.records
    convert_one = Converter.entries
    monkeypatch.setattr(conversions, "next_entries", next_entries)
    monkeypatch.setattr(store, "records", records)
    monkeypatch.setattr(Converter, "entries", convert_entries)
    answer = await convert(workspace, type="text", multiple=True)
    await finish(workspace)
    job = await job_at(workspace, answer)
    assert (job["status"], job["updated"]) == ("succeeded", COUNT + 1)
    assert await sizes(workspace) == [[value] for value in large.values()]
    assert (looked_at, converted) == ([2, 2, 1, 1], [2, 2, 1])
    assert on_the_loop
    assert not any(on_the_loop)


async def test_only_holders_of_values_are_counted_and_all_of_them(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(conversions, "CONVERTED_MAX", COUNT)
    await fill(workspace)
    for n in range(2):
        await workspace.record("schema-x", {"name": "Cap"}, id=f"cap-{n}")
    answer = await convert(workspace, **NUMBER)
    await switching(workspace)
    (await workspace.post_record("x", name="Hat")).ok()
    noted = []
    note_holders = store.note_holders

    async def note(conn: Conn, workspace_id: str, attribute_id: str, *ids: Any) -> None:
        await note_holders(conn, workspace_id, attribute_id, *ids)
        noted.append(await store.count_holders(conn, workspace_id, attribute_id))

    monkeypatch.setattr(store, "note_holders", note)
    await finish(workspace)
    assert ((await job_at(workspace, answer))["status"], set(noted)) == ("succeeded", {COUNT})
    answer = await convert(workspace, type="text")
    await switching(workspace)
    (await workspace.post_record("x", size=7)).ok()
    await finish(workspace)
    job = await job_at(workspace, answer)
    assert (job["status"], f"more than {COUNT} records" in (job["error"] or "")) == ("failed", True)
    assert await type_now(workspace) == "number"


async def test_at_most_a_hundred_samples_are_kept(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(converting, "SAMPLES_MAX", 2)
    await fill(workspace, ent_1="one", ent_2="two", ent_3="three")
    answer = await convert(workspace, **NUMBER, onFailure="drop")
    await finish(workspace)
    job = await job_at(workspace, answer)
    assert (job["status"], job["failed"], len(job["samples"])) == ("partial", 3, 2)


async def test_an_option_list_that_is_deleted_meanwhile_ends_the_conversion(
    workspace: RecordsWorkspace,
):
    await workspace.attribute("size")
    await workspace.schema("x", ["size"])
    await workspace.record("schema-x", {"size": "s"}, id="ent-0")
    options = [{"id": "val-s", "alias": "s", "label": "Small"}]
    body = {"id": "ol-sizes", "alias": "sizes", "name": "Sizes", "values": options}
    (await workspace.admin.post("/option-lists", body)).ok()
    answer = await convert(workspace, type="option", optionListId="sizes")
    await switching(workspace)
    (await workspace.admin.delete("/option-lists/ol-sizes")).ok()
    await finish(workspace)
    job = await job_at(workspace, answer)
    assert (job["status"], job["error"]) == ("failed", conversions.CHANGED)
    assert (await type_now(workspace), await sizes(workspace)) == ("text", ["s"])


async def test_a_guard_that_compares_its_values_meanwhile_ends_the_conversion(
    workspace: RecordsWorkspace,
):
    await fill(workspace)
    answer = await convert(workspace, **NUMBER)
    await switching(workspace)
    guard = {"attributeId": "attr-size", "operator": "equals", "value": "3"}
    await workspace.attribute("guarded", guards=[guard])
    await finish(workspace)
    job = await job_at(workspace, answer)
    assert (job["status"], job["error"]) == ("failed", conversions.CHANGED)
    assert await type_now(workspace) == "text"


async def test_a_relation_that_becomes_a_text_has_no_target_any_more(workspace: RecordsWorkspace):
    await workspace.schema("target", [])
    await workspace.attribute("size", type="relation", targetSchemaId="schema-target")
    await workspace.schema("x", ["size"])
    for new, target in (
        ({"type": "relation", "multiple": True}, "schema-target"),
        ({"type": "text", "multiple": False}, None),
    ):
        answer = await convert(workspace, **new)
        await finish(workspace)
        assert (await job_at(workspace, answer))["status"] == "succeeded"
        attribute = (await workspace.admin.get("/attributes/attr-size")).ok()
        assert (attribute["type"], attribute["targetSchemaId"]) == (new["type"], target)
    body = {"alias": "size", "name": "Size", "type": "text"}
    (await workspace.admin.put("/attributes/attr-size", body)).ok()
    (await workspace.admin.delete("/schemas/schema-target")).ok()
