"""A large tree is deleted at once for everybody, and what it has left behind some at a time."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
import pytest_asyncio

from records_service.catalogs import commands as catalogs
from records_service.catalogs.assignments import sets_store
from records_service.catalogs.categories import commands, removal
from records_service.writes.create_batching import WRITE_SLOTS
from shared.events import EventType
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error
from tests.service.records import job_turns

pytestmark = pytest.mark.asyncio(loop_scope="module")

CATALOG, BRANCH = "/catalogs/cat-webshop", "/categories/ctg-a"
# Category -> its parent and its records. `z` is beside the branch of `a`.
TREE: dict[str, tuple[str | None, list[str]]] = {
    "a": (None, ["one"]),
    "b": ("a", ["one", "two", "three"]),
    "c": ("b", ["two"]),
    "d": ("a", []),
    "z": (None, ["one"]),
}
RECORDS = ["one", "two", "three"]
ASSIGNED = """
SELECT category_id, record_id FROM category_assignments
 WHERE workspace_id = $1 ORDER BY category_id, record_id
"""
LEFT = """
SELECT (SELECT count(*) FROM categories WHERE workspace_id = $1 AND is_deleted) AS categories,
       (SELECT count(*) FROM catalogs WHERE workspace_id = $1 AND is_deleted) AS catalogs
"""
GONE = error(404, "NOT_FOUND", "Category 'ctg-b' not found")


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "CATEGORIES_IN_REQUEST", 2)
    monkeypatch.setattr(removal, "CATEGORIES_AT_ONCE", 2)
    monkeypatch.setattr(removal, "ASSIGNMENTS_AT_ONCE", 2)


@pytest.fixture
def many_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if each request came to another process: the database alone puts them in order."""
    monkeypatch.setattr(commands, "TREE_CHANGE_SLOTS", WRITE_SLOTS)


@pytest_asyncio.fixture(loop_scope="module")
async def shop(workspace: RecordsWorkspace) -> RecordsWorkspace:
    await workspace.attribute("sku")
    await workspace.schema("apparel", ["sku"])
    for name in RECORDS:
        await workspace.record("schema-apparel", {"sku": name}, id=f"ent-{name}")
    await workspace.catalog("webshop", externalKey="W")
    for name, (parent, records) in TREE.items():
        await workspace.category(name, parent=parent, alias=name, externalKey=name.upper())
        await assign(workspace, name, records)
    return workspace


async def assign(shop: RecordsWorkspace, category: str, records: list[str]) -> None:
    asked = {"entityIds": [f"ent-{name}" for name in records]}
    (await shop.admin.post(f"/categories/ctg-{category}/assign", asked)).ok()


async def assigned(shop: RecordsWorkspace) -> list[str]:
    rows = await shop.fetch(ASSIGNED)
    return [f"{row['category_id'][4:]} {row['record_id'][4:]}" for row in rows]


async def deleted_events(shop: RecordsWorkspace) -> list[str]:
    wanted = (EventType.CATEGORY_DELETED, EventType.CATALOG_DELETED)
    return sorted(event.subject for event in await shop.staged() if event.type in wanted)


async def found(caller: Caller, operator: str, value: Any, **more: Any) -> set[str]:
    criterion = {"field": "categoryId", "operator": operator, "value": value, **more}
    page = (await caller.post("/search", {"criteria": [criterion]})).ok()
    return {item["id"][4:] for item in page["items"]}


async def exported(caller: Caller, query: str = "") -> dict[str, list[str]]:
    rows = (await caller.get(f"/export?format=json{query}")).ok()
    return {row["id"][4:]: row.get("_categories", []) for row in rows}


async def check_nobody_finds_it(shop: RecordsWorkspace) -> None:
    """Neither the branch nor what was assigned in it, in any answer."""
    admin = shop.admin
    for path in (BRANCH, "/categories/ctg-b", "/categories/ctg-b/entities"):
        assert (await admin.get(path)).status == 404, path
    assert (await admin.put("/categories/ctg-b", {"name": "B"})).outcome == GONE
    assert (await admin.delete("/categories/ctg-b")).outcome == GONE
    for what in ("assign", "unassign"):
        asked = await admin.post(f"/categories/ctg-b/{what}", {"entityId": "ent-one"})
        assert asked.outcome == GONE
    async with shop.database.transaction() as conn:
        assert await sets_store.lock_categories(conn, shop.id, ["ctg-b"]) == {}
    below = {"includeSubcategories": True}
    for more in ({}, below):
        assert await found(admin, "equals", "ctg-b", **more) == set()
        assert await found(admin, "notIn", ["ctg-b"], **more) == set(RECORDS)
    page = (await admin.post("/search", {"facets": ["categoryId"]})).ok()
    assert {each["value"] for each in page["facets"]["categoryId"]} <= {"ctg-z"}
    categories = await exported(admin)
    assert {name for names in categories.values() for name in names} <= {"ctg-z"}
    for name in ("ctg-b", "B", "webshop/a/b"):
        rows = [{"_id": "ent-two", "_categories": name}]
        done = (await admin.post("/import/execute", {"schemaId": "apparel", "rows": rows})).ok()
        assert "is no category" in done["errors"][0]["message"]


@pytest.mark.parametrize("path", [CATALOG, BRANCH])
async def test_nobody_finds_a_deleted_tree(shop, admin, path):
    before = await assigned(shop)
    assert (await admin.delete(path)).status == 204
    events = await deleted_events(shop)
    branch = ["ctg-a", "ctg-b", "ctg-c", "ctg-d"]
    assert events == (branch if path == BRANCH else ["cat-webshop", *branch, "ctg-z"])
    assert await assigned(shop) == before

    assert (await admin.delete(path)).status == 404
    await check_nobody_finds_it(shop)
    catalogs = [each["id"] for each in (await admin.get("/catalogs")).ok()]
    if path == BRANCH:
        assert [each["id"] for each in (await admin.get(f"{CATALOG}/tree")).ok()] == ["ctg-z"]
        assert catalogs == ["cat-webshop"]
        assert set(await exported(admin, "&catalogId=cat-webshop")) == {"one"}
        (size,) = await shop.fetch(
            """SELECT t.categories, t.bytes, c.bytes AS left FROM catalogs t
                 JOIN categories c ON c.workspace_id = t.workspace_id AND c.catalog_id = t.id
                WHERE t.workspace_id = $1 AND NOT t.is_deleted"""
        )
        assert (size["categories"], size["bytes"]) == (1, size["left"])
    else:
        assert (await admin.get(f"{CATALOG}/tree")).status == 404
        assert catalogs == []

    await job_turns.finish(shop)
    assert await assigned(shop) == (["z one"] if path == BRANCH else [])
    assert await shop.fetch(LEFT) == [{"categories": 0, "catalogs": 0}]
    assert await deleted_events(shop) == events
    await check_nobody_finds_it(shop)


async def test_roles_see_nothing_of_it(shop, admin):
    """Its categories are in a catalog that no role names."""
    (await admin.delete(BRANCH)).ok()
    viewer = await shop.user_with_role(
        {"schema-apparel": {"*": "read"}}, catalogs={"cat-webshop": "view"}
    )
    assert (await viewer.get("/categories/ctg-b")).outcome == GONE
    assert [each["id"] for each in (await viewer.get("/catalogs")).ok()] == ["cat-webshop"]
    assert await found(viewer, "equals", "ctg-b") == set()
    hidden = await shop.fetch("SELECT id FROM catalogs WHERE workspace_id = $1 AND is_deleted")
    path = f"/catalogs/{hidden[0]['id'].replace(' ', '%20')}"
    for caller in (viewer, admin):
        assert (await caller.get(path)).status == 404
        assert (await caller.get(f"{path}/tree")).status == 404
    assert (await admin.delete(path)).status == 404
    assert (await admin.post(f"{path}/categories", {"name": "x"})).status == 404


async def test_all_of_its_names_are_free_at_once(shop, admin, monkeypatch):
    monkeypatch.setattr(catalogs, "CATALOGS_MAX", 1)
    versions = {e.subject: e.version for e in await shop.staged()}
    (await admin.delete(CATALOG)).ok()
    await shop.catalog("webshop", externalKey="W")
    for name, (parent, _) in TREE.items():
        await shop.category(name, parent=parent, alias=name, externalKey=name.upper())
    (await admin.get("/categories/ctg-b")).ok()
    assert await assigned(shop) == []
    assert await exported(admin, "&catalogId=cat-webshop") == {}
    made = {e.subject: e.version for e in await shop.staged() if e.type.endswith(".created")}
    assert all(made[f"ctg-{name}"] > versions[f"ctg-{name}"] for name in TREE)

    await assign(shop, "b", ["three"])
    await job_turns.finish(shop)
    assert await assigned(shop) == ["b three"]
    assert len((await admin.get(f"{CATALOG}/tree")).ok()) == 2
    assert await shop.fetch(LEFT) == [{"categories": 0, "catalogs": 0}]


async def test_an_id_with_many_records_is_free_in_the_end(shop, admin, monkeypatch):
    monkeypatch.setattr(removal, "ASSIGNMENTS_IN_REQUEST", 2)
    (await admin.delete(BRANCH)).ok()
    body = {"id": "ctg-b", "name": "b"}
    refused = await admin.post(f"{CATALOG}/categories", body)
    assert refused.outcome == error(
        409,
        "CONFLICT",
        "Category 'ctg-b' was deleted and its records are still being taken out: use another id,"
        " or try again later",
    )
    await shop.category("c")
    await shop.category("other", alias="a", externalKey="B")
    await job_turns.finish(shop)
    await shop.category("b")
    assert await assigned(shop) == ["z one"]


async def test_a_slice_is_bounded_and_one_that_fails_is_repeated(shop, admin):
    (await admin.delete(BRANCH)).ok()
    (hidden,) = await shop.fetch("SELECT id FROM catalogs WHERE workspace_id = $1 AND is_deleted")

    async def slice_(*, fails: bool = False) -> bool:
        async with shop.database.transaction() as conn:
            more = await removal.remove_some(conn, shop.id, hidden["id"])
            if fails:
                raise ConnectionError
        return more

    left = []
    for _ in range(3):
        with pytest.raises(ConnectionError):
            await slice_(fails=True)
        assert await slice_()
        left.append(await assigned(shop))
    assert left[0] == ["b three", "b two", "c two", "z one"]
    assert left[1] == ["c two", "z one"]
    # As a process of the version before could, for which the category is there.
    await shop.database.execute(
        """INSERT INTO category_assignments (workspace_id, record_id, category_id, catalog_id,
                                             record_created_at)
           SELECT workspace_id, id, 'ctg-c', 'cat-webshop', '2000-01-01' FROM records
            WHERE workspace_id = $1 AND id = 'ent-three'""",
        shop.id,
    )
    while await slice_():
        assert "z one" in await assigned(shop)
    assert await assigned(shop) == ["z one"]
    assert not await slice_()
    assert await shop.fetch(LEFT) == [{"categories": 0, "catalogs": 0}]


async def test_records_created_at_one_moment_are_taken_out_one_by_one(shop, admin, monkeypatch):
    """The next slice begins at the moment at which the one before has ended."""
    monkeypatch.setattr(removal, "ASSIGNMENTS_AT_ONCE", 1)
    await shop.database.execute(
        "UPDATE category_assignments SET record_created_at = '2020-01-01' WHERE workspace_id = $1",
        shop.id,
    )
    (await admin.delete(BRANCH)).ok()
    left = [len(await assigned(shop))]
    while await job_turns.turn(shop):
        left.append(len(await assigned(shop)))
    assert max(before - after for before, after in pairwise(left)) == 1
    assert await assigned(shop) == ["z one"]


async def test_a_tree_of_few_categories_with_many_records_is_large_too(shop, admin, monkeypatch):
    monkeypatch.setattr(removal, "ASSIGNMENTS_IN_REQUEST", 3)
    (await admin.delete("/categories/ctg-b")).ok()
    assert await shop.fetch(LEFT) == [{"categories": 2, "catalogs": 1}]
    (await admin.delete("/categories/ctg-z")).ok()
    assert await shop.fetch(LEFT) == [{"categories": 2, "catalogs": 1}]
    await job_turns.finish(shop)
    assert await assigned(shop) == ["a one"]


async def test_a_small_tree_is_deleted_by_the_request(shop, admin):
    (await admin.delete("/categories/ctg-b")).ok()
    assert await shop.fetch("SELECT 1 FROM jobs WHERE workspace_id = $1") == []
    assert await assigned(shop) == ["a one", "z one"]


async def test_a_dry_run_leaves_the_tree(shop, admin):
    before = await assigned(shop)
    for path in (CATALOG, BRANCH):
        (await admin.ask("DELETE", path, headers={"Prefer": "dry-run"})).ok()
    assert await shop.fetch("SELECT 1 FROM jobs WHERE workspace_id = $1") == []
    assert len((await admin.get(f"{CATALOG}/tree")).ok()) == 2
    assert await assigned(shop) == before


async def test_two_deletions_at_once_delete_each_category_once(shop, admin, many_processes):
    outcomes = await asyncio.gather(
        admin.delete(BRANCH), admin.delete(CATALOG), admin.delete("/categories/ctg-b")
    )
    assert {answer.status for answer in outcomes} <= {204, 404}
    assert outcomes[1].status == 204
    await job_turns.finish(shop)
    assert await deleted_events(shop) == ["cat-webshop", *(f"ctg-{name}" for name in sorted(TREE))]
    assert await assigned(shop) == []
    assert await shop.fetch(LEFT) == [{"categories": 0, "catalogs": 0}]


async def test_what_others_do_meanwhile_is_before_or_after(shop, admin, many_processes):
    """What is assigned or moved is deleted with the branch, or is not there any more."""
    for number in range(8):
        await shop.category(f"x{number}")
        await shop.category(f"y{number}")
        for name in ("p", "q"):
            await shop.category(f"{name}{number}", parent=f"x{number}")
        move = {"name": "y", "parentId": f"ctg-x{number}"}
        moved, put, deleted = await asyncio.gather(
            admin.put(f"/categories/ctg-y{number}", move),
            admin.post(f"/categories/ctg-p{number}/assign", {"entityId": "ent-two"}),
            admin.delete(f"/categories/ctg-x{number}"),
        )
        assert (moved.status, deleted.status) in ((200, 204), (400, 204))
        assert put.status in (200, 404)
        there = await admin.get(f"/categories/ctg-y{number}")
        assert there.status == (404 if moved.status == 200 else 200)
    await job_turns.finish(shop)
    assert await assigned(shop) == ["a one", "b one", "b three", "b two", "c two", "z one"]
    assert await shop.fetch(LEFT) == [{"categories": 0, "catalogs": 0}]


async def test_a_record_is_deleted_beside_the_job(shop, admin):
    (await admin.delete(BRANCH)).ok()
    removing = asyncio.create_task(job_turns.finish(shop))
    answers = await asyncio.gather(*(admin.delete(f"/records/ent-{name}") for name in RECORDS))
    assert [answer.status for answer in answers] == [204] * 3
    await removing
    assert await assigned(shop) == []
    assert await shop.fetch(LEFT) == [{"categories": 0, "catalogs": 0}]
