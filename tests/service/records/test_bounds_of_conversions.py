"""A conversion has bounds, and ends when what it was asked for can be no more."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from records_service.conversions import commands as conversions
from records_service.conversions.rules import Converter
from records_service.progress import answers, store
from records_service.writes import batches, settling
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


async def test_large_values_are_looked_at_and_converted_in_small_slices(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(conversions, "PREPARED_AT_ONCE", 1_000)
    monkeypatch.setattr(settling, "SETTLED_AT_ONCE", 1_000)
    large = {f"ent_{n}": f"{n}" * 3_000_000 for n in range(COUNT)}
    await fill(workspace, **large)
    variant = {"id": "var-1", "values": entries({"size": "38"})}
    (await workspace.admin.post("/records/ent-1/variants", variant)).ok()
    looked_at, converted, on_the_loop = [], [], []

    async def next_entries(*args: Any, **kwargs: Any) -> Any:
        found = await read_next(*args, **kwargs)
        looked_at.append(len(found[0]))
        return found

    async def update_many(conn: Any, pending: Any, **kwargs: Any) -> None:
        converted.append(len(pending))
        await update(conn, pending, **kwargs)

    def convert_entries(self: Converter, held: Any) -> Any:
        on_the_loop.append(threading.current_thread() is threading.main_thread())
        return convert_one(self, held)

    read_next, update = conversions.next_entries, batches.update_many
    convert_one = Converter.entries
    monkeypatch.setattr(conversions, "next_entries", next_entries)
    monkeypatch.setattr(batches, "update_many", update_many)
    monkeypatch.setattr(Converter, "entries", convert_entries)
    answer = await convert(workspace, type="text", multiple=True)
    await finish(workspace)
    job = await job_at(workspace, answer)
    assert (job["status"], job["updated"]) == ("succeeded", COUNT + 1)
    assert await sizes(workspace) == [[value] for value in large.values()]
    assert (looked_at, converted) == ([2, 2, 1, 1], [1] * COUNT)
    assert on_the_loop
    assert not any(on_the_loop)


async def test_at_most_a_hundred_samples_are_kept(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(store, "SAMPLES_MAX", 2)
    monkeypatch.setattr(answers, "SAMPLES_MAX", 2)
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
