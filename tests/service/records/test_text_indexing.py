"""The job that indexes texts: what it takes, what it leaves, and what the model asks of it."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import pytest_asyncio

from records_service.search_texts import indexing, store, waking
from records_service.search_texts.indexing import TextIndexing
from shared.database import Conn
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.workspace import entries
from tests.service.records.job_turns import finish
from tests.service.records.text_index import index_all, index_some

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def notes(workspace: RecordsWorkspace) -> RecordsWorkspace:
    await workspace.attribute("note")
    await workspace.attribute("name")
    await workspace.attribute("price", "number")
    await workspace.schema("x", ["note", "name", "price"])
    await index_all(workspace)
    return workspace


async def made(workspace: RecordsWorkspace, name: str, **values: Any) -> None:
    await workspace.record("schema-x", values, id=f"ent-{name}")


async def changed(workspace: RecordsWorkspace, name: str, **values: Any) -> None:
    body = {"schemaId": "schema-x", "values": entries(values)}
    (await workspace.admin.put(f"/records/ent-{name}", body)).ok()


async def found(workspace: RecordsWorkspace, query: str) -> list[str]:
    page = (await workspace.admin.post("/search/full-text", {"query": query})).ok()
    assert page["total"] == len(page["items"])
    return [item["id"].removeprefix("ent-") for item in page["items"]]


async def behind(workspace: RecordsWorkspace) -> list[str]:
    rows = await workspace.fetch(
        "SELECT unnest(record_ids) AS id FROM search_texts_behind WHERE workspace_id = $1"
    )
    return sorted({row["id"].removeprefix("ent-") for row in rows})


async def indexed(workspace: RecordsWorkspace) -> list[str]:
    rows = await workspace.fetch(
        "SELECT record_id FROM search_texts WHERE workspace_id = $1 ORDER BY record_id"
    )
    return [row["record_id"].removeprefix("ent-") for row in rows]


async def layout(workspace: RecordsWorkspace) -> Any:
    [row] = await workspace.fetch(
        "SELECT layout::text AS layout FROM search_layouts WHERE workspace_id = $1"
    )
    return row["layout"]


async def slice_of(workspace: RecordsWorkspace, conn: Conn) -> bool:
    job = TextIndexing()
    job.app = workspace.records.app
    return await job.run_some(conn, workspace.id, "")


async def test_only_writes_of_texts_are_noted(notes: RecordsWorkspace):
    await made(notes, "a", note="zebra", price=1)
    assert await behind(notes) == ["a"]
    await index_all(notes)
    await changed(notes, "a", note="zebra", price=2)
    assert await behind(notes) == []
    row = {"id": "ent-a", "schemaId": "schema-x", "values": entries({"price": 3})}
    (await notes.admin.post("/records/bulk", {"operations": [row]})).ok()
    assert await behind(notes) == []
    row["values"] = entries({"note": "okapi"})
    (await notes.admin.post("/records/bulk", {"operations": [row]})).ok()
    assert await behind(notes) == ["a"]
    await index_all(notes)
    (await notes.admin.delete("/records/ent-a")).ok()
    assert await behind(notes) == ["a"]
    assert await found(notes, "okapi") == []
    assert await indexed(notes) == ["a"]
    await index_all(notes)
    assert await indexed(notes) == []


async def test_what_is_written_during_a_slice_is_found_after_it(notes: RecordsWorkspace):
    for name in ("a", "b", "c"):
        await made(notes, name, note="zebra")
    async with notes.database.transaction() as conn:
        await slice_of(notes, conn)
        await changed(notes, "a", note="okapi")
        (await notes.admin.delete("/records/ent-b")).ok()
        await made(notes, "d", note="zebra")
    assert await behind(notes) == ["a", "b", "d"]
    for _ in range(2):
        assert await found(notes, "zebra") == ["c", "d"]
        assert await found(notes, "okapi") == ["a"]
        await index_all(notes)
    assert await indexed(notes) == ["a", "c", "d"]


async def test_the_job_waits_for_the_end_of_a_load_of_writes(
    notes: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    """Unless very much is behind: it goes on when it is woken."""
    await made(notes, "a", note="zebra")
    await index_all(notes)
    names = iter("bcd")
    write = store.write

    async def write_while_others_do(*arguments: Any) -> None:
        await write(*arguments)
        for name in islice(names, 1):
            await made(notes, name, note="zebra")

    monkeypatch.setattr(store, "write", write_while_others_do)
    await made(notes, "z", note="zebra")
    assert not await index_some(notes)
    assert await behind(notes) == ["b"]
    monkeypatch.setattr(indexing, "AWAITED_MAX", 0)
    assert await index_some(notes)
    assert await behind(notes) == ["c"]
    monkeypatch.setattr(indexing, "AWAITED_MAX", 2)
    await index_all(notes)
    assert await behind(notes) == ["d"]
    await index_all(notes)
    assert await behind(notes) == []


async def test_a_slice_that_fails_leaves_everything_to_the_next(notes: RecordsWorkspace):
    await made(notes, "a", note="zebra")
    with pytest.raises(RuntimeError):
        async with notes.database.transaction() as conn:
            await slice_of(notes, conn)
            raise RuntimeError
    assert await behind(notes) == ["a"]
    assert await indexed(notes) == []
    assert await found(notes, "zebra") == ["a"]
    await index_all(notes)
    assert await found(notes, "zebra") == ["a"]


async def test_an_id_that_is_used_again_is_the_new_record(notes: RecordsWorkspace):
    await made(notes, "a", note="zebra")
    await index_all(notes)
    (await notes.admin.delete("/records/ent-a")).ok()
    await made(notes, "a", note="okapi")
    for _ in range(2):
        assert await found(notes, "zebra") == []
        assert await found(notes, "okapi") == ["a"]
        await index_all(notes)
    assert await indexed(notes) == ["a"]


async def test_an_attribute_with_an_old_id_has_no_old_words(notes: RecordsWorkspace):
    await made(notes, "a", note="zebra")
    await index_all(notes)
    schema = (await notes.admin.get("/schemas/schema-x")).ok()
    groups = [{"name": "All", "attributeIds": ["attr-name", "attr-price"]}]
    (await notes.admin.put("/schemas/schema-x", {**schema, "attributeGroups": groups})).ok()
    # The index still has the words of what the schema has lost, and of what is deleted.
    await index_all(notes)
    assert await layout(notes) is not None
    assert await found(notes, "zebra") == []
    (await notes.admin.delete("/attributes/attr-note")).ok()
    await index_all(notes)
    assert await layout(notes) is not None
    assert await found(notes, "zebra") == []
    await notes.attribute("note")
    (await notes.admin.put("/schemas/schema-x", schema)).ok()
    assert (await notes.admin.get("/records/ent-a")).ok()["values"] == {}
    assert await found(notes, "zebra") == []
    await index_all(notes)
    assert await layout(notes) is not None
    assert await found(notes, "zebra") == []
    await changed(notes, "a", note="okapi")
    assert await found(notes, "okapi") == ["a"]


async def test_another_language_is_there_when_all_records_have_been_read(
    notes: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    segment = {"id": "seg-en", "alias": "en", "name": "English", "locale": "da"}
    dimension = {"id": "dim-l", "alias": "l", "name": "L", "defaultSegmentId": "seg-en"}
    (await notes.admin.post("/dimensions", {**dimension, "segments": [segment]})).ok()
    await notes.attribute("text", dimensionIds=["dim-l"])
    await notes.schema("y", ["text"])
    values = {"text": [{"scope": {"dim-l": "seg-en"}, "value": "running shoes"}]}
    for number in range(5):
        await notes.record("schema-y", values, id=f"ent-{number}")
    await index_all(notes)
    monkeypatch.setattr(indexing, "AT_ONCE", 2)
    every = ["0", "1", "2", "3", "4"]
    assert await found(notes, '"run shoe"') == []
    segment["locale"] = "en"
    (await notes.admin.put("/dimensions/dim-l", {**dimension, "segments": [segment]})).ok()
    slices = 0
    while True:
        assert await found(notes, '"run shoe"') == every
        assert await found(notes, "shoe") == every
        if not await index_some(notes):
            break
        slices += 1
    assert slices >= 3
    assert await layout(notes) is not None


async def test_a_new_attribute_makes_nobody_read_all_records(
    notes: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    for number in range(6):
        await made(notes, str(number), note="zebra")
    await index_all(notes)
    monkeypatch.setattr(indexing, "AT_ONCE", 2)
    await notes.attribute("sku", validation={"unique": True})
    slices = 0
    while await index_some(notes):
        slices += 1
    assert slices == 2
    held = await layout(notes)
    assert "attr-sku" in held
    # An attribute whose values are there takes a look at all of them.
    body = (await notes.admin.get("/attributes/attr-note")).ok()
    (await notes.admin.put("/attributes/attr-note", {**body, "filterable": True})).ok()
    slices = 0
    while await index_some(notes):
        slices += 1
    assert slices >= 4


async def test_the_job_is_requested_once_where_it_is_needed(notes: RecordsWorkspace):
    async def jobs() -> list[tuple[str, int]]:
        rows = await notes.fetch("SELECT kind, requests FROM jobs WHERE workspace_id = $1")
        return [(row["kind"], row["requests"]) for row in rows]

    await waking.wake(notes.database, looks_at_models=True)
    assert await jobs() == []
    await made(notes, "a", note="zebra")
    for _ in range(2):
        await waking.wake(notes.database, looks_at_models=False)
        assert await jobs() == [(indexing.JOB, 1)]
    await index_all(notes)
    async with notes.database.transaction() as conn:
        await conn.execute("DELETE FROM jobs WHERE workspace_id = $1", notes.id)
    await notes.attribute("more", validation={"unique": True})
    await waking.wake(notes.database, looks_at_models=False)
    assert await jobs() == []
    await waking.wake(notes.database, looks_at_models=True)
    assert await jobs() == [(indexing.JOB, 1)]


async def test_the_job_is_requested_when_a_load_of_writes_has_ended(
    notes: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    """Or when so much is behind that searches could not read the values any more."""
    monkeypatch.setattr(waking, "SLICE", 1)
    seen: dict[str, int] = {}

    async def is_requested() -> bool:
        await waking.wake(notes.database, looks_at_models=False, seen=seen)
        return await notes.fetch("SELECT FROM jobs WHERE workspace_id = $1") != []

    for pair in ("ab", "cd"):
        for name in pair:
            await made(notes, name, note="zebra")
        assert not await is_requested()
    await made(notes, "e", note="zebra")
    assert await is_requested()
    async with notes.database.transaction() as conn:
        await conn.execute("DELETE FROM jobs WHERE workspace_id = $1", notes.id)
    for name in "fg":
        await made(notes, name, note="zebra")
    monkeypatch.setattr(indexing, "AWAITED_MAX", 6)
    assert await is_requested()


async def test_fewer_are_awaited_where_words_have_other_forms(
    notes: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(waking, "SLICE", 1)
    monkeypatch.setattr(indexing, "AWAITED_MAX_OF_LANGUAGES", 2)
    await index_all(notes)
    for name in "abc":
        await made(notes, name, note="zebra")
    assert await waking.wake(notes.database, looks_at_models=False, seen={}) == 0
    segment = {"id": "seg-en", "alias": "en", "name": "English", "locale": "en"}
    dimension = {"id": "dim-l", "alias": "l", "name": "L", "defaultSegmentId": "seg-en"}
    (await notes.admin.post("/dimensions", {**dimension, "segments": [segment]})).ok()
    await index_all(notes)
    for name in "def":
        await made(notes, name, note="zebra")
    assert await waking.wake(notes.database, looks_at_models=False, seen={}) == 1


async def test_values_that_become_texts_are_found(notes: RecordsWorkspace):
    await notes.attribute("day", "datetime")
    await notes.schema("z", ["day"])
    await notes.record("schema-z", {"day": "2024-02-29"}, id="ent-day")
    await index_all(notes)
    answer = await notes.admin.post("/attributes/attr-day/convert", {"type": "text"})
    assert answer.status == 202
    await finish(notes)
    assert (await notes.admin.get("/attributes/attr-day")).ok()["type"] == "text"
    for _ in range(2):
        assert await found(notes, '"2024 02 29"') == ["day"]
        await index_all(notes)
        assert await layout(notes) is not None


async def test_where_other_parts_are_wanted_the_rest_stays(notes: RecordsWorkspace):
    """As if all records were indexed anew, but only what differs is written."""
    await notes.attribute("code")
    await notes.schema("coded", ["code", "name"], variantEnabled=True)
    for name, values in (("c1", {"code": "Äb-123"}), ("c2", {"code": "C-4", "name": "Äb 5"})):
        await notes.record("schema-coded", values, id=f"ent-{name}")
    await notes.record("schema-coded", {"name": "zebra"}, id="ent-c3")
    variant = {"values": entries({"code": "Äb-678"})}
    (await notes.admin.post("/records/ent-c1/variants", variant)).ok()
    await index_all(notes)
    before = await rows(notes)
    for more in ({"filterable": True}, {"validation": {"unique": True}}):
        body = {"alias": "code", "name": "Code", "type": "text", **more}
        (await notes.admin.put("/attributes/attr-code", body)).ok()
        await finish(notes)
        await index_all(notes)
        after = await rows(notes)
        assert after["ent-c3"] == before["ent-c3"]
        assert after["ent-c1"][1:] != before["ent-c1"][1:]

        await notes.database.execute("DELETE FROM search_texts WHERE workspace_id = $1", notes.id)
        await notes.database.execute(
            "UPDATE search_layouts SET layout = NULL WHERE workspace_id = $1", notes.id
        )
        await index_all(notes)
        before = await rows(notes)
        assert [row[1:] for row in before.values()] == [row[1:] for row in after.values()]


async def rows(workspace: RecordsWorkspace) -> dict[str, tuple[Any, ...]]:
    """By record: where its row is, and what is in it."""
    found = await workspace.fetch(
        """
        SELECT ctid::text, xmin::text, record_id, keys::text, grams, attributes, words::text,
               options, folded_of, folded
          FROM search_texts WHERE workspace_id = $1 ORDER BY record_id
        """
    )
    values = [tuple(row.values()) for row in found]
    return {row[2]: (row[:2], *row[2:]) for row in values}
