"""The stored orders of texts and of values in scopes are right, whatever happens to records."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio

from records_service.search import (
    index_measure,
    index_store,
    searching,
    sort_sources,
    sort_walk,
)
from records_service.search_texts import indexing, sort_store, sorting, waking_store
from tests.kit.records_workspace import RecordsWorkspace
from tests.service.records.job_turns import finish
from tests.service.records.text_index import index_all, index_some

pytestmark = pytest.mark.asyncio(loop_scope="module")

DANISH = {"dim-language": "seg-da"}
NAMES = ("bär", "Bar", "bar", "Älg", "", "ash", "BAR")
BEGINNINGS = ("b", "ba", "Ä", "ash", "x", "ZEBRA", "\ud7ff", "\U0010ffff", "z\U0010ffff", "b" * 101)
STRANGE = ("\ud7ff1", "\ue0002", "\U0010ffff\U0010ffff", "z\U0010ffff", "zebra", "b" * 250)


@pytest_asyncio.fixture(loop_scope="module")
async def ordered(workspace: RecordsWorkspace) -> RecordsWorkspace:
    """A workspace with a text, a text and a number in two scopes, and a URL."""
    scoped = {"dimensionIds": ["dim-language"], "filterable": True}
    await workspace.dimension("language", ["en", "da"])
    await workspace.attribute("name", filterable=True)
    await workspace.attribute("title", **scoped)
    await workspace.attribute("cost", "number", **scoped)
    await workspace.attribute("price", "number", filterable=True)
    await workspace.attribute("photo", "media", filterable=True)
    await workspace.schema("x", ["name", "title", "cost", "price", "photo"])
    await workspace.schema("y", ["price"])
    for number, name in enumerate([*NAMES, *STRANGE]):
        await workspace.record("schema-x", _values(number, name), id=f"ent-{number}")
    for number in range(3):
        await workspace.record("schema-x", {"price": number}, id=f"ent-none-{number}")
        await workspace.record("schema-y", {"price": number}, id=f"ent-y-{number}")
    return workspace


def _values(number: int, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "title": [{"scope": {}, "value": name}, {"scope": DANISH, "value": f"{number % 3}"}],
        "cost": [{"scope": {}, "value": number % 4}, {"scope": DANISH, "value": -number}],
        "price": 1,
        "photo": f"https://example.com/{name.upper()}.png" if name.isascii() else None,
    }


async def _pages(workspace: RecordsWorkspace, body: dict[str, Any]) -> list[Any]:
    found: list[Any] = []
    page: dict[str, Any] = {"limit": 4}
    while True:
        answer = (await workspace.admin.post("/search", {**body, **page})).ok()
        found += [item["id"] for item in answer["items"]]
        if answer["nextCursor"] is None:
            return [*found, answer["total"]]
        page["cursor"] = answer["nextCursor"]


def _questions() -> list[dict[str, Any]]:
    orders = [
        {"attribute": name, "order": order, **scope}
        for name in ("name", "title", "cost", "photo")
        for order in ("asc", "desc")
        for scope in ({}, {"scope": DANISH})
    ]
    begins = [
        {"attribute": name, "operator": "startsWith", "value": value, **scope}
        for name, scope in (("name", {}), ("title", {"scope": {}}), ("title", {"scope": DANISH}))
        for value in (*BEGINNINGS, "1")
    ]
    begins.append({"attribute": "photo", "operator": "startsWith", "value": "HTTPS://EX"})
    return [{"sort": [each]} for each in orders] + [{"criteria": [each]} for each in begins]


async def _agrees(workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch) -> int:
    """Assert that stored orders find what the values find; how often they were asked."""
    asked = 0
    view_of = sort_sources.view_of

    def counted(*given: Any) -> int | None:
        nonlocal asked
        view = view_of(*given)
        asked += view is not None
        return view

    for body in _questions():
        with monkeypatch.context() as patched:
            patched.setattr(searching, "index_query", lambda *_: None)
            expected = await _pages(workspace, body)
        with monkeypatch.context() as patched:
            patched.setattr("records_service.search.index_conditions.view_of", counted)
            assert await _pages(workspace, body) == expected, body
            patched.setattr(index_measure, "MANY_IN_SAMPLE", 1)
            patched.setattr(index_measure, "MANY", 1)
            assert (await _pages(workspace, body))[:-1] == expected[:-1], body
    return asked


async def _put(workspace: RecordsWorkspace, record_id: str, **values: Any) -> None:
    record = (await workspace.admin.get(f"/records/{record_id}")).ok()
    sent = {"schemaId": record["schemaId"], "values": {**record["values"], **values}}
    (await workspace.admin.put(f"/records/{record_id}", sent)).ok()


async def test_stored_orders_find_what_the_values_find(
    ordered: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    assert await _agrees(ordered, monkeypatch) == 0
    await index_all(ordered)
    assert await _agrees(ordered, monkeypatch) > 100
    await _put(ordered, "ent-1", name=[{"scope": {}, "value": "zebra"}])
    await _put(ordered, "ent-2", cost=[{"scope": DANISH, "value": 99}])
    await _put(ordered, "ent-3", photo=[{"scope": {}, "value": "https://a.example/1"}])
    await _put(ordered, "ent-4", name=[], title=[])
    (await ordered.admin.delete("/records/ent-5")).ok()
    await ordered.record("schema-x", _values(9, "bara"), id="ent-new")
    # What was written is behind.
    assert await _agrees(ordered, monkeypatch) > 100
    await index_all(ordered)
    assert await _agrees(ordered, monkeypatch) > 100


@pytest.mark.parametrize(("rows", "set_max"), [(2, 20_000), (500, 20_000), (500, 9)])
async def test_a_page_of_a_set_is_found_along_its_order(
    ordered: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch, rows: int, set_max: int
):
    """Also where the rows that are looked at do not fill it, or there are more than were counted,
    and where some are behind."""
    await index_all(ordered)
    await _put(ordered, "ent-1", name=[{"scope": {}, "value": "zebra"}], title=[])
    await ordered.record("schema-x", _values(9, "bara"), id="ent-new")
    walked: list[str] = []
    set_by_row = sort_walk.set_by_row

    def noted(*given: Any) -> str:
        walked.append(set_by_row(*given))
        return walked[-1]

    below = {"field": "id", "operator": "notEquals", "value": "ent-2"}
    few = {"attribute": "price", "operator": "lte", "value": 1}
    bodies = [{**body, "criteria": [below, few]} for body in _questions() if "sort" in body]
    for body in bodies:
        with monkeypatch.context() as patched:
            patched.setattr(searching, "index_query", lambda *_: None)
            expected = await _pages(ordered, body)
        with monkeypatch.context() as patched:
            patched.setattr(index_store, "set_by_row", noted)
            patched.setattr(sort_walk, "SET_WALKED_MIN", 0)
            patched.setattr(sort_walk, "SET_TIMES_PAGE", 0)
            patched.setattr(sort_walk, "ROWS_EACH", rows)
            patched.setattr(sort_walk, "_SET_MAX", set_max)
            patched.setattr(index_store, "is_worth_a_walk", lambda *_: True)
            patched.setattr(index_store, "is_within_reach", lambda *_: True)
            assert await _pages(ordered, body) == expected, body
    assert len(walked) > len(bodies)


async def test_a_change_of_the_model_stores_the_orders_anew(
    ordered: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    await index_all(ordered)
    body = {"type": "text", "onFailure": "drop"}
    (await ordered.admin.post("/attributes/attr-cost/convert", body)).ok()
    await finish(ordered)
    await _agrees(ordered, monkeypatch)
    monkeypatch.setattr(sorting, "RECORDS_AT_ONCE", 3)
    while not (jobs := (await ordered.admin.get("/jobs?kind=sort-records")).ok()["items"]):
        assert await index_some(ordered)
    assert jobs[0]["status"] == "running"
    await _agrees(ordered, monkeypatch)
    await _put(ordered, "ent-1", name=[{"scope": {}, "value": "zebra"}])
    await index_all(ordered)
    [job] = (await ordered.admin.get("/jobs?kind=sort-records")).ok()["items"]
    assert job["status"] == "succeeded"
    assert await _agrees(ordered, monkeypatch) > 100
    # Its values go with it, before the job has a turn, and are not there when it is back.
    schema = (await ordered.admin.get("/schemas/schema-x")).ok()
    [group] = schema["attributeGroups"]
    for ids in ([each for each in group["attributeIds"] if each != "attr-name"], None):
        groups = [{**group, **({} if ids is None else {"attributeIds": ids})}]
        sent = {**schema, "attributeGroups": groups}
        (await ordered.admin.put("/schemas/schema-x", sent)).ok()
        await finish(ordered)
    assert await _agrees(ordered, monkeypatch) == 0
    await index_all(ordered)
    assert await _agrees(ordered, monkeypatch) > 100


async def test_nothing_is_left_of_deleted_records_and_of_what_is_not_filterable(
    ordered: RecordsWorkspace,
):
    await index_all(ordered)

    async def rows() -> dict[str, int]:
        found = await ordered.fetch(
            "SELECT record_id, count(*) AS rows FROM search_sorts WHERE workspace_id = $1"
            " GROUP BY record_id"
        )
        return {row["record_id"]: row["rows"] for row in found}

    assert (await rows())["ent-5"] == 6
    (await ordered.admin.delete("/records/ent-5")).ok()
    title = (await ordered.admin.get("/attributes/attr-title")).ok()
    (await ordered.admin.put("/attributes/attr-title", {**title, "filterable": False})).ok()
    await finish(ordered)
    await index_all(ordered)
    assert "ent-5" not in await rows()
    assert (await rows())["ent-4"] == 4


async def test_only_what_may_have_another_place_is_noted(ordered: RecordsWorkspace):
    await index_all(ordered)

    async def notes(**values: Any) -> int:
        await _put(ordered, "ent-1", **values)
        found = await ordered.fetch("SELECT FROM search_texts_behind WHERE workspace_id = $1")
        await index_all(ordered)
        return len(found)

    assert await notes(price=[{"scope": {}, "value": 7}]) == 0
    assert await notes(cost=[{"scope": {}, "value": 7}]) == 1
    assert await notes(photo=[{"scope": {}, "value": "https://b.example/2"}]) == 1


async def test_a_database_in_use_gets_its_orders_an_hour_later(ordered: RecordsWorkspace):
    database = ordered.database

    async def wants_job() -> bool:
        found = await waking_store.workspaces_changed(database, indexing.JOB, rows_max=10_000)
        return ordered.id in found

    async def sorted_schemas() -> set[str]:
        async with database.acquire() as conn:
            return set(await sort_store.sorted_schemas(conn, ordered.id))

    await index_all(ordered)
    await database.execute("DELETE FROM search_sorted WHERE workspace_id = $1", ordered.id)
    due = "UPDATE search_layouts SET are_sorted = false, sorts_from = now() + $2 * interval '1 h'"
    await database.execute(f"{due} WHERE workspace_id = $1", ordered.id, 1)
    await _put(ordered, "ent-1", name=[{"scope": {}, "value": "zebra"}])
    await index_all(ordered)
    assert not await wants_job()
    assert await sorted_schemas() == set()
    await database.execute(f"{due} WHERE workspace_id = $1", ordered.id, 0)
    assert await wants_job()
    await index_all(ordered)
    assert not await wants_job()
    assert await sorted_schemas() == {"schema-x", "schema-y"}
