"""Stored scores find what the values find, whatever is written and whatever the model becomes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from records_service.search import index_measure, index_walks, score_walk, searching
from records_service.search.text_index import BEHIND, SCORES_BEHIND
from records_service.search_scores import scoring
from records_service.search_scores import store as scores_store
from records_service.search_scores.views import stored_of
from records_service.search_texts import indexing, parts_store, waking_store
from records_service.search_texts import store as texts_store
from shared.database.pieces import Room
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller
from tests.kit.workspace import entries
from tests.service.records.costed import Costed
from tests.service.records.job_turns import finish
from tests.service.records.search_index import blueprint_of
from tests.service.records.text_index import index_all, index_some

pytestmark = pytest.mark.asyncio(loop_scope="module")

DANISH = {"dim-language": "seg-da"}
_NOTES = "SELECT scores_only FROM search_texts_behind WHERE workspace_id = $1 ORDER BY id"
NAMES = ["name", "title", "price", "sold", "image"]
ASKED: list[dict[str, Any]] = [
    {},
    {"scope": DANISH},
    {"stateId": "shown"},
    {"stateId": "shown", "scope": DANISH},
]


@pytest_asyncio.fixture(loop_scope="module")
async def scored(workspace: RecordsWorkspace) -> RecordsWorkspace:
    """A workspace in which no relation counts, so all scores are stored."""
    await workspace.dimension("language", ["en", "da"])
    required = {"validation": {"required": True}}
    await workspace.attribute("sku", filterable=True)
    await workspace.attribute("name", **required, filterable=True)
    await workspace.attribute("title", dimensionIds=["dim-language"], **required)
    await workspace.attribute("price", "number", **required, filterable=True)
    await workspace.attribute("sold", "boolean")
    guard = {"attributeId": "sold", "operator": "equals", "value": True}
    await workspace.attribute("image", "media", **required, guards=[guard])
    states = {"draft": {}, "shown": {"required": ["sold"], "hidden": ["name"]}}
    await workspace.workflow("flow", states)
    await workspace.schema("x", [*NAMES, "sku"], "wf-flow")
    await workspace.schema("y", ["title", "price", "sku"])
    for number in range(24):
        await _write(workspace, random.Random(number), f"ent-{number}", is_new=True)
    return workspace


async def _write(
    workspace: RecordsWorkspace, rng: random.Random, record_id: str, *, is_new: bool = False
) -> None:
    values = {
        "name": rng.choice(["a", ""]),
        "title": [
            {"scope": scope, "value": rng.choice(["t", ""])}
            for scope in rng.sample([{}, DANISH], rng.randint(1, 2))
        ],
        "price": rng.randint(1, 3),
        "sold": rng.choice([True, False]),
        "image": "https://example.com/a.png",
        "sku": rng.choice(["1", "2"]),
    }
    schema = "xy"[int(record_id.removeprefix("ent-")) % 3 == 0]
    has = ("title", "price", "sku") if schema == "y" else tuple(values)
    kept = {name: values[name] for name in has if rng.random() < 0.7}
    if is_new:
        await workspace.record(f"schema-{schema}", kept, id=record_id)
        return
    sent = {name: [{"scope": {}, "value": value}] for name, value in kept.items()}
    sent |= {"title": kept["title"]} if "title" in kept else {}
    body = {"schemaId": f"schema-{schema}", "values": sent}
    # What is required cannot be emptied: then nothing changes.
    assert (await workspace.admin.put(f"/records/{record_id}", body)).status in (200, 400)


async def _change_some(workspace: RecordsWorkspace, rng: random.Random) -> None:
    """Writes of each kind after which a score is another one."""
    admin = workspace.admin
    items = (await admin.get("/records?limit=100")).ok()["items"]
    ids = [each["id"] for each in rng.sample(items, 9)]
    for each in ids[:4]:
        await _write(workspace, rng, each)
    for each in ids[4:6]:
        await admin.post(f"/records/{each}/transition", {"toStateId": "shown"})
    await admin.post("/records/bulk-transition", {"ids": ids[6:7], "toStateId": "shown"})
    (await admin.post("/records/bulk-delete", {"ids": ids[7:8]})).ok()
    row = {"id": ids[8], "values": {"sold": []}}
    (await admin.post("/records/bulk", {"operations": [row]})).ok()
    await _write(workspace, rng, f"ent-{rng.randint(100, 999)}", is_new=True)


@contextmanager
def counting_walks(monkeypatch: pytest.MonkeyPatch, walked_max: int) -> Iterator[None]:
    """As if all that is met were frequent."""
    with monkeypatch.context() as patched:
        patched.setattr(index_measure, "MANY_IN_SAMPLE", 1)
        patched.setattr(index_measure, "MANY", 1)
        patched.setattr(index_walks, "WALKED_MAX", walked_max)
        patched.setattr(score_walk, "WALKED_MAX", walked_max)
        yield


async def _pages(caller: Caller, body: dict[str, Any], limit: int) -> list[str]:
    ids: list[str] = []
    page: dict[str, Any] = {"limit": limit}
    while True:
        answer = (await caller.post("/search", {**body, **page})).ok()
        ids += [item["id"] for item in answer["items"]]
        if answer["nextCursor"] is None:
            return ids
        page["cursor"] = answer["nextCursor"]


def _questions(rng: random.Random) -> list[dict[str, Any]]:
    found = []
    for asked in ASKED:
        field = {"field": "completeness", **asked}
        operator, value = rng.choice(
            [("lt", 100), ("gte", 60), ("equals", 100), ("notEquals", 100), ("in", [0, 50])]
        )
        criteria = [{**field, "operator": operator, "value": value}]
        if rng.random() < 0.5:
            criteria.append({"attribute": "sku", "operator": "equals", "value": "1"})
        sort = [{**field, "order": rng.choice(["asc", "desc"])}]
        joint = rng.choice(["and", "or"])
        found.append({"criteria": criteria, "criteriaOperator": joint, "sort": sort})
        found.append({"criteria": [], "sort": sort})
        found.append({"criteria": criteria[:1], "schemaId": "x", "sort": rng.choice([[], sort])})
    return found


async def _agrees(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch, rng: random.Random, role: str
) -> int:
    """Assert that searches by stored scores find what those by values find; how many they were."""
    words = {"*": {"*": "read", "attr-price": "hidden"}} if role == "half" else {"*": {"*": "read"}}
    callers = [workspace.admin, await workspace.user_with_role(words, name=f"role-{role}")]
    compared = 0
    by_score = 0

    def counted(*args: Any) -> Any:
        nonlocal by_score
        found = index_query(*args)
        if found is not None:
            by_score += any(each.target.view is not None for each in found.sort)
        return found

    index_query = searching.index_query
    for body in rng.sample(_questions(rng), 6):
        for caller in callers:
            with monkeypatch.context() as patched:
                patched.setattr(searching, "index_query", lambda *_: None)
                expected = await _pages(caller, body, 100)
            monkeypatch.setattr(searching, "index_query", counted)
            assert await _pages(caller, body, 100) == expected, body
            for walked_max, limit in ((6, 9), (1000, 5)):
                with counting_walks(monkeypatch, walked_max):
                    assert await _pages(caller, body, limit) == expected, body
            monkeypatch.setattr(searching, "index_query", index_query)
            compared += len(expected)
    assert compared > 30
    return by_score


async def test_stored_scores_find_what_the_values_find(
    scored: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(5)
    assert await _agrees(scored, monkeypatch, rng, "all") == 0
    await index_all(scored)
    assert await _agrees(scored, monkeypatch, rng, "all") > 6
    await _change_some(scored, rng)
    # What was written is behind.
    assert await _agrees(scored, monkeypatch, rng, "half") > 2
    await index_all(scored)
    assert await _agrees(scored, monkeypatch, rng, "half") > 2


def _and_noted(write: Any, of: Any, noted: list[str]) -> Any:
    async def noting(conn: Any, known: Any, *given: Any) -> None:
        noted.extend(of(known, *given))
        await write(conn, known, *given)

    return noting


async def _stored(workspace: RecordsWorkspace) -> dict[str, int]:
    rows = await workspace.fetch(
        "SELECT record_id, min(score) AS score FROM search_scores WHERE workspace_id = $1"
        " GROUP BY record_id"
    )
    return {row["record_id"]: row["score"] for row in rows}


async def test_a_change_of_the_model_scores_all_records_anew(
    scored: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(6)
    await index_all(scored)
    before = await _stored(scored)
    attribute = (await scored.admin.get("/attributes/attr-sku")).ok()
    changed = {**attribute, "validation": {"required": True}}
    (await scored.admin.put("/attributes/attr-sku", changed)).ok()
    assert await _agrees(scored, monkeypatch, rng, "all") == 0
    monkeypatch.setattr(scoring, "AT_ONCE", 30)
    for _ in range(2):
        assert await index_some(scored)
    # Some are scored by the new rules, others by the old ones.
    assert await _agrees(scored, monkeypatch, rng, "all") < 18
    await _change_some(scored, rng)
    await index_all(scored)
    assert await _agrees(scored, monkeypatch, rng, "all") > 6
    assert await _stored(scored) != before


async def test_records_whose_texts_are_read_again_are_not_scored_for_that(
    scored: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await index_all(scored)
    written: list[str] = []
    monkeypatch.setattr(
        parts_store, "write", _and_noted(parts_store.write, lambda *given: given[1], written)
    )
    scores: list[str] = []
    for name, records in (("write", 2), ("write_next", 3)):
        write = getattr(scores_store, name)
        noting = _and_noted(write, lambda *given, at=records: given[at], scores)
        monkeypatch.setattr(scores_store, name, noting)
    title = {"alias": "title", "name": "Title", "type": "text", "dimensionIds": ["dim-language"]}
    changed = {**title, "filterable": True, "validation": {"required": True}}
    (await scored.admin.put("/attributes/attr-title", changed)).ok()
    await index_all(scored)
    assert len(written) == 24
    assert scores == []


async def test_a_conversion_scores_all_records_anew(
    scored: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it drops values, which no write notes, before the job has a turn."""
    rng = random.Random(7)
    await index_all(scored)
    body = {"type": "boolean", "onFailure": "drop"}
    (await scored.admin.post("/attributes/attr-price/convert", body)).ok()
    await finish(scored)
    assert await _agrees(scored, monkeypatch, rng, "all") == 0
    await index_all(scored)
    assert await _agrees(scored, monkeypatch, rng, "all") > 6


async def test_only_writes_that_may_change_a_score_are_noted(scored: RecordsWorkspace) -> None:
    await index_all(scored)
    record = (await scored.admin.get("/records/ent-1")).ok()

    async def notes(**values: Any) -> int:
        sent = {"schemaId": "schema-x", "values": {**record["values"], **values}}
        (await scored.admin.put("/records/ent-1", sent)).ok()
        rows = await scored.fetch("SELECT FROM search_texts_behind WHERE workspace_id = $1")
        return len(rows)

    await notes(price=[{"scope": {}, "value": 5}], sold=[])
    await index_all(scored)
    assert await notes(price=[{"scope": {}, "value": 6}], sold=[]) == 0
    assert await notes(sold=[{"scope": {}, "value": False}]) == 1
    await index_all(scored)
    # A guard looks at this one.
    assert await notes(sold=[{"scope": {}, "value": True}]) == 1


async def test_where_only_scores_may_differ_texts_are_not_indexed_again(
    scored: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(11)
    await index_all(scored)
    indexed: list[str] = []
    of_documents = _and_noted(
        texts_store.write, lambda *given: [one.id for one, _ in given[1]], indexed
    )
    monkeypatch.setattr(texts_store, "write", of_documents)

    async def noted(*rows: dict[str, Any]) -> list[bool]:
        (await scored.admin.post("/records/bulk", {"operations": list(rows)})).ok()
        return [row["scores_only"] for row in await scored.fetch(_NOTES)]

    def sold(number: int, **more: Any) -> dict[str, Any]:
        return {"id": f"ent-{number}", "values": entries({"sold": rng.random() < 0.5, **more})}

    # Emptied first, so that it is filled in then.
    empty = [{"id": f"ent-{n}", "values": {"sold": []}} for n in (1, 2, 4)]
    await noted(*empty)
    await index_all(scored)
    indexed.clear()
    assert await noted(sold(1), sold(2)) == [True]
    (await scored.admin.patch("/records/ent-4/values/sold", {"value": True})).ok()
    assert [row["scores_only"] for row in await scored.fetch(_NOTES)] == [True, True]
    assert await _agrees(scored, monkeypatch, rng, "all") > 6
    await index_all(scored)
    assert await _agrees(scored, monkeypatch, rng, "all") > 6
    assert indexed == []
    # In one statement with a text, and before or after another write of one.
    await noted(*empty)
    await index_all(scored)
    assert await noted(sold(1), sold(2, name="another")) == [False]
    assert await noted({"id": "ent-1", "values": {"sold": []}}) == [False, True]
    await index_all(scored)
    assert {"ent-1", "ent-2"} <= set(indexed)
    assert await _agrees(scored, monkeypatch, rng, "all") > 6


async def test_what_a_text_search_reads_again_are_texts_alone(scored: RecordsWorkspace) -> None:
    await index_all(scored)
    row = {"id": "ent-1", "values": {"sold": []}}
    (await scored.admin.post("/records/bulk", {"operations": [row]})).ok()
    async with scored.database.acquire() as conn:
        assert await conn.fetch(SCORES_BEHIND, scored.id)
        assert not await conn.fetch(BEHIND, scored.id)


async def test_nothing_is_left_of_deleted_records(scored: RecordsWorkspace) -> None:
    await index_all(scored)
    assert "ent-5" in await _stored(scored)
    (await scored.admin.delete("/records/ent-5")).ok()
    await index_all(scored)
    assert "ent-5" not in await _stored(scored)
    await scored.record("schema-x", {"name": "a"}, id="ent-5")
    await index_all(scored)
    assert "ent-5" in await _stored(scored)


async def test_a_database_in_use_is_scored_an_hour_later(scored: RecordsWorkspace) -> None:
    database = scored.database

    async def wants_job() -> bool:
        found = await waking_store.workspaces_changed(database, indexing.JOB, rows_max=10_000)
        return scored.id in found

    await index_all(scored)
    assert not await wants_job()
    await database.execute("DELETE FROM search_scored WHERE workspace_id = $1", scored.id)
    due = "UPDATE search_layouts SET are_scored = false, scores_from = now() + $2 * interval '1 h'"
    await database.execute(f"{due} WHERE workspace_id = $1", scored.id, 1)
    await _write(scored, random.Random(1), "ent-1")
    await index_all(scored)
    assert not await wants_job()
    async with database.acquire() as conn:
        assert await scores_store.digests(conn, scored.id) == {}
    await database.execute(f"{due} WHERE workspace_id = $1", scored.id, 0)
    assert await wants_job()
    await index_all(scored)
    assert not await wants_job()
    async with database.acquire() as conn:
        assert (await scores_store.digests(conn, scored.id)).keys() == {"schema-x", "schema-y"}


async def test_scoring_reads_no_other_records_of_the_schema(workspace: RecordsWorkspace):
    """Also before PostgreSQL knows how large the schema is."""
    many, few, pages_each = 3_000, 20, 10
    await workspace.attribute("name", validation={"required": True})
    await workspace.schema("large", ["name"])
    async with workspace.database.transaction() as conn:
        await conn.execute(
            """
            INSERT INTO records (workspace_id, id, schema_id, version, values, created_at,
                                 updated_at, created_by, updated_by)
            SELECT $1, 'ent-' || n, 'schema-large', 1, '{}', now() + n * interval '1 ms', now(),
                   'user-x', 'user-x'
              FROM generate_series(1, $2::bigint) AS n
            """,
            workspace.id,
            many,
        )
        blueprint = await blueprint_of(workspace)
        stored = stored_of(blueprint, "schema-large")
        assert stored is not None
        costed: Any = Costed(conn)
        after, read = None, 0
        for _ in range(2):
            places, is_full = await scores_store.next_places(
                conn, workspace.id, "schema-large", after, room=Room(few // 2)
            )
            assert is_full
            await scores_store.write_next(
                costed, blueprint, "schema-large", after, places, stored.views
            )
            after, read = (places[-1].created_at, places[-1].id), read + len(places)
        assert read == few
        of_each = await conn.fetch(
            "SELECT count(*) AS views FROM search_scores WHERE workspace_id = $1"
            " GROUP BY record_id",
            workspace.id,
        )
        # The connection that counts pages explains each statement, and executes it by that.
        assert [row["views"] for row in of_each] == [len(stored.views)] * few
    assert costed.pages < few * len(stored.views) * pages_each


async def test_a_slice_is_bounded_by_bytes_as_well(workspace: RecordsWorkspace):
    """A thousand of the largest records would be more than a process has."""
    await workspace.attribute("note", validation={"required": True})
    await workspace.schema("large", ["note"])
    for number in range(3):
        values = {"note": str(number) * 3_000_000}
        await workspace.record("schema-large", values, id=f"ent-{number}")
    async with workspace.database.transaction() as conn:
        next_places = partial(scores_store.next_places, conn, workspace.id, "schema-large")
        found, is_full = await next_places(None, room=Room(1_000))
        assert ([each.id for each in found], is_full) == (["ent-0", "ent-1"], True)
        after = found[-1].created_at, found[-1].id
        found, is_full = await next_places(after, room=Room(1_000))
        assert ([each.id for each in found], is_full) == (["ent-2"], False)
