"""Catalogs and their trees: what is stored, how it is ordered, moved and deleted."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
import pytest_asyncio

from records_service.catalogs.categories import commands, store
from records_service.catalogs.categories.model import DEPTH_MAX
from records_service.writes.create_batching import WRITE_SLOTS
from shared.events import EventType
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Answer, Caller, error

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def shop(workspace: RecordsWorkspace) -> RecordsWorkspace:
    """An empty catalog `cat-webshop`."""
    await workspace.catalog("webshop")
    return workspace


async def tree(admin: Caller, catalog: str = "webshop") -> dict[str, Any]:
    """The names of the tree, nested."""

    def names(nodes: list[dict[str, Any]]) -> dict[str, Any]:
        return {node["name"]: names(node["children"]) for node in nodes}

    return names((await admin.get(f"/catalogs/cat-{catalog}/tree")).ok())


async def move(admin: Caller, name: str, parent: str | None, **more: Any) -> Answer:
    """Move `ctg-<name>` below `ctg-<parent>`, or to the top."""
    body = {"name": name, "parentId": None if parent is None else f"ctg-{parent}"} | more
    return await admin.put(f"/categories/ctg-{name}", body)


async def chain(workspace: RecordsWorkspace, *names: str) -> None:
    """Each below the one before it."""
    parent = None
    for name in names:
        await workspace.category(name, parent=parent)
        parent = name


async def test_a_catalog_is_created_read_replaced_and_deleted(workspace, admin):
    made = await workspace.catalog("webshop", name="Web shop", description="All that is sold")
    assert made == {
        "id": "cat-webshop",
        "alias": "webshop",
        "name": "Web shop",
        "labels": {},
        "externalKey": None,
        "description": "All that is sold",
        "createdAt": made["createdAt"],
        "updatedAt": made["createdAt"],
    }
    read = await admin.get("/catalogs/cat-webshop")
    assert read.ok() == made
    assert (await admin.get("/catalogs")).ok() == [made]
    body = {"alias": "shop", "name": "Shop"}
    stale = await admin.put("/catalogs/cat-webshop", body, headers={"If-Match": '"77"'})
    assert stale.status == 412
    replaced = await admin.put(
        "/catalogs/cat-webshop", body, headers={"If-Match": read.headers["ETag"]}
    )
    assert replaced.ok() == made | body | {
        "description": None,
        "updatedAt": replaced.body["updatedAt"],
    }
    assert (await admin.get("/catalogs/cat-webshop/tree")).ok() == []
    assert (await admin.delete("/catalogs/cat-webshop")).status == 204
    missing = error(404, "NOT_FOUND", "Catalog 'cat-webshop' not found")
    for answer in (
        await admin.get("/catalogs/cat-webshop"),
        await admin.get("/catalogs/cat-webshop/tree"),
        await admin.put("/catalogs/cat-webshop", body),
        await admin.delete("/catalogs/cat-webshop"),
        await admin.post("/catalogs/cat-webshop/categories", {"name": "Shoes"}),
    ):
        assert answer.outcome == missing


async def test_ids_and_aliases_of_catalogs_are_taken_once(shop, admin):
    again = await admin.post("/catalogs", {"id": "cat-webshop", "alias": "x", "name": "x"})
    assert again.outcome == error(409, "CONFLICT", "Catalog with id 'cat-webshop' already exists")
    again = await admin.post("/catalogs", {"alias": "webshop", "name": "x"})
    assert again.outcome == error(409, "CONFLICT", "Catalog with alias 'webshop' already exists")
    made = (await admin.post("/catalogs", {"alias": "other", "name": "x"})).ok()
    assert made["id"].startswith("cat-")
    again = await admin.put(f"/catalogs/{made['id']}", {"alias": "webshop", "name": "x"})
    assert again.outcome == error(409, "CONFLICT", "Catalog with alias 'webshop' already exists")


async def test_a_category_is_created_read_and_replaced(shop, admin):
    top = await shop.category("women")
    body = {"alias": "jackets", "name": "Jackets", "description": "Warm", "sortOrder": 1.5}
    made = await admin.post(
        "/catalogs/cat-webshop/categories", {"id": "ctg-jackets", "parentId": "ctg-women", **body}
    )
    assert made.headers["Location"] == "/api/v1/categories/ctg-jackets"
    assert made.ok() == {
        "id": "ctg-jackets",
        "catalogId": "cat-webshop",
        "parentId": "ctg-women",
        "labels": {},
        "externalKey": None,
        **body,
        "createdAt": made.body["createdAt"],
        "updatedAt": made.body["createdAt"],
    }
    read = await admin.get("/categories/ctg-jackets")
    assert read.ok() == made.body
    assert (await admin.get("/catalogs/cat-webshop/tree")).ok() == [
        top | {"children": [made.body | {"children": []}]}
    ]
    stale = await admin.put(
        "/categories/ctg-jackets", {"name": "Coats"}, headers={"If-Match": '"77"'}
    )
    assert stale.status == 412
    same = await admin.put("/categories/ctg-jackets", read.body)
    assert (same.ok(), same.headers["ETag"]) == (read.body, read.headers["ETag"])
    # What stays if it is left out is where it stands.
    replaced = await admin.put("/categories/ctg-jackets", {"name": "Coats"})
    assert replaced.ok() == read.body | {
        "alias": None,
        "name": "Coats",
        "description": None,
        "updatedAt": replaced.body["updatedAt"],
    }
    generated = (await admin.post("/catalogs/cat-webshop/categories", {"name": "Men"})).ok()
    assert generated["id"].startswith("ctg-")
    assert (generated["parentId"], generated["sortOrder"]) == (None, 0)


async def test_bad_categories_are_refused_by_name(shop, admin):
    await shop.category("women", alias="women")
    await shop.catalog("outlet")
    await shop.category("sale", "outlet")
    path = "/catalogs/cat-webshop/categories"
    for body, message in (
        ({}, "Field 'name' is required"),
        ({"name": "x", "parentId": "ctg-none"}, "Category 'ctg-none' not found"),
        (
            {"name": "x", "parentId": "ctg-sale"},
            (
                "Field 'parentId' expects a category of catalog 'cat-webshop',"
                " got 'ctg-sale' of catalog 'cat-outlet'"
            ),
        ),
        (
            {"name": "x", "catalogId": "cat-outlet"},
            "Field 'catalogId' cannot change: expected 'cat-webshop', got 'cat-outlet'",
        ),
    ):
        assert (await admin.post(path, body)).outcome == error(400, "VALIDATION_ERROR", message)
    taken = await admin.post(path, {"id": "ctg-sale", "name": "x"})
    assert taken.outcome == error(409, "CONFLICT", "Category with id 'ctg-sale' already exists")
    taken = await admin.post(path, {"alias": "women", "name": "x"})
    assert taken.outcome == error(
        409, "CONFLICT", "Category with alias 'women' already exists at the top of the tree"
    )
    await shop.category("shoes", parent="women", alias="women")
    taken = await move(admin, "shoes", None, alias="women")
    assert taken.status == 409
    for answer in (
        await admin.get("/categories/ctg-none"),
        await admin.put("/categories/ctg-none", {"name": "x"}),
        await admin.delete("/categories/ctg-none"),
    ):
        assert answer.outcome == error(404, "NOT_FOUND", "Category 'ctg-none' not found")


async def test_siblings_are_ordered_by_position_and_then_by_name(shop, admin):
    for name, order in (("d", 2), ("c", 1), ("b", 1), ("a", 3)):
        await shop.category(name, sortOrder=order)
    assert list(await tree(admin)) == ["b", "c", "d", "a"]
    # One goes between two others, which are not written for that.
    before = await shop.fetch("SELECT id, version FROM categories WHERE workspace_id = $1")
    await move(admin, "a", None, sortOrder=1.5)
    assert list(await tree(admin)) == ["b", "c", "a", "d"]
    after = await shop.fetch("SELECT id, version FROM categories WHERE workspace_id = $1")
    assert [row["id"] for row in after if row not in before] == ["ctg-a"]


async def test_a_category_moves_with_all_below_it(shop, admin):
    await chain(shop, "a", "b", "c", "d")
    await shop.category("other")
    assert (await move(admin, "b", "other")).ok()["parentId"] == "ctg-other"
    assert await tree(admin) == {"a": {}, "other": {"b": {"c": {"d": {}}}}}
    (await move(admin, "c", None)).ok()
    assert await tree(admin) == {"a": {}, "c": {"d": {}}, "other": {"b": {}}}
    (await move(admin, "a", "d")).ok()
    assert await tree(admin) == {"c": {"d": {"a": {}}}, "other": {"b": {}}}
    # Left out, the parent stays.
    (await admin.put("/categories/ctg-a", {"name": "a2"})).ok()
    assert await tree(admin) == {"c": {"d": {"a2": {}}}, "other": {"b": {}}}


async def test_a_category_is_never_below_itself(shop, admin):
    await chain(shop, "a", "b", "c")
    for parent in ("a", "b", "c"):
        assert (await move(admin, "a", parent)).outcome == error(
            400,
            "VALIDATION_ERROR",
            "Category 'ctg-a' cannot be below itself: expected a category outside of its branch,"
            f" got 'ctg-{parent}'",
        )
    assert await tree(admin) == {"a": {"b": {"c": {}}}}


@pytest.fixture
def many_processes(monkeypatch) -> None:
    """As if each request came to another process: the database alone puts them in order."""
    monkeypatch.setattr(commands, "TREE_CHANGE_SLOTS", WRITE_SLOTS)


async def test_two_opposite_moves_at_once_make_no_cycle(shop, admin, many_processes):
    for number in range(10):
        a, b = f"a{number}", f"b{number}"
        await shop.category(a)
        await shop.category(b)
        statuses = Counter(
            answer.status for answer in await asyncio.gather(move(admin, a, b), move(admin, b, a))
        )
        assert statuses == {200: 1, 400: 1}
    assert sum(len(below) for below in (await tree(admin)).values()) == 10


async def test_a_tree_has_at_most_so_many_levels(shop, admin):
    await chain(shop, *map(str, range(DEPTH_MAX)))
    below = {"name": "x", "parentId": f"ctg-{DEPTH_MAX - 1}"}
    deep = await admin.post("/catalogs/cat-webshop/categories", below)
    too_deep = error(400, "VALIDATION_ERROR", "A tree has at most 100 levels, got 101")
    assert deep.outcome == too_deep
    await chain(shop, "x", "y")
    assert (await move(admin, "x", str(DEPTH_MAX - 2))).outcome == too_deep
    (await move(admin, "x", str(DEPTH_MAX - 3))).ok()
    assert (await admin.get("/catalogs/cat-webshop/tree")).status == 200


async def test_a_catalog_has_a_size(shop, admin, monkeypatch):
    monkeypatch.setattr(commands, "CATEGORIES_MAX", 2)
    await chain(shop, "a", "b")
    full = await admin.post("/catalogs/cat-webshop/categories", {"name": "c"})
    assert full.outcome == error(
        403, "LIMIT_EXCEEDED", "Catalog 'cat-webshop' may have at most 2 categories"
    )
    (await admin.delete("/categories/ctg-b")).ok()
    monkeypatch.setattr(commands, "TREE_BYTES_MAX", 1_000)
    larger = await admin.put("/categories/ctg-a", {"name": "a", "description": "x" * 1_000})
    assert larger.outcome == error(
        403, "LIMIT_EXCEEDED", "Catalog 'cat-webshop' may have at most 1000 bytes of categories"
    )
    await shop.category("c")


async def test_what_is_moved_away_outlives_its_former_parent(shop, admin):
    """A deletion takes what is below now, and not what once was."""
    await chain(shop, "a", "b")
    await chain(shop, "c", "d")
    (await move(admin, "b", "c")).ok()
    assert (await admin.delete("/categories/ctg-a")).status == 204
    assert await tree(admin) == {"c": {"b": {}, "d": {}}}
    assert (await admin.delete("/categories/ctg-c")).status == 204
    assert await tree(admin) == {}
    (counts,) = await shop.fetch(
        "SELECT categories, bytes, codes FROM catalogs WHERE workspace_id = $1"
    )
    assert counts == {"categories": 0, "bytes": 0, "codes": 4}


async def test_foreign_keys_are_planned_once_for_a_branch(shop, admin, monkeypatch):
    monkeypatch.setattr(store, "PLANNED_ONCE_FROM", 2)
    await chain(shop, "a", "b", "c", "d")
    for number in range(3):
        await shop.category(f"x{number}", parent="b")
    (await move(admin, "d", "a")).ok()
    (await admin.delete("/categories/ctg-b")).ok()
    assert await tree(admin) == {"a": {"d": {}}}
    (await admin.delete("/catalogs/cat-webshop")).ok()


async def test_a_move_and_a_deletion_at_once_leave_no_orphan(shop, admin, many_processes):
    for number in range(10):
        branch, leaf = f"branch{number}", f"leaf{number}"
        await shop.category(branch)
        await shop.category(leaf)
        moved, deleted, made = await asyncio.gather(
            move(admin, leaf, branch),
            admin.delete(f"/categories/ctg-{branch}"),
            admin.post(
                "/catalogs/cat-webshop/categories",
                {"name": f"new{number}", "parentId": f"ctg-{branch}"},
            ),
        )
        assert deleted.status == 204
        assert (moved.status, made.status) in ((200, 201), (200, 400), (400, 201), (400, 400))
        there = await tree(admin)
        assert (leaf in there) == (moved.status == 400)
        assert f"new{number}" not in there
    orphans = await shop.fetch(
        """SELECT c.id FROM categories c WHERE c.workspace_id = $1 AND c.parent_id IS NOT NULL
              AND NOT EXISTS (SELECT FROM categories p WHERE p.workspace_id = $1
                                 AND p.id = c.parent_id AND c.path LIKE p.path || '_____')"""
    )
    assert orphans == []


async def test_an_id_that_is_used_again_goes_on_counting(shop, admin):
    tag = (await admin.get("/categories/" + (await shop.category("a"))["id"])).headers["ETag"]
    (await admin.delete("/categories/ctg-a")).ok()
    await shop.category("a")
    stale = await admin.put("/categories/ctg-a", {"name": "b"}, headers={"If-Match": tag})
    assert stale.status == 412


async def test_each_change_of_a_tree_has_its_event(shop, admin):
    await chain(shop, "a", "b")
    await shop.category("c")
    (await move(admin, "b", "c")).ok()
    (await admin.put("/categories/ctg-b", {"name": "b", "sortOrder": 4})).ok()
    (await admin.delete("/catalogs/cat-webshop")).ok()
    events = [event for event in await shop.staged() if event.type.startswith("cat")]
    assert [(event.type, event.subject) for event in events[:6]] == [
        (EventType.CATALOG_CREATED, "cat-webshop"),
        (EventType.CATEGORY_CREATED, "ctg-a"),
        (EventType.CATEGORY_CREATED, "ctg-b"),
        (EventType.CATEGORY_CREATED, "ctg-c"),
        (EventType.CATEGORY_UPDATED, "ctg-b"),
        (EventType.CATEGORY_UPDATED, "ctg-b"),
    ]
    created, moved, changed = events[2], events[4], events[5]
    place = {"categoryId": "ctg-b", "catalogId": "cat-webshop", "alias": None, "name": "b"}
    assert created.data == place | {"parentId": "ctg-a", "version": created.version}
    assert moved.data == place | {
        "parentId": "ctg-c",
        "fromParentId": "ctg-a",
        "toParentId": "ctg-c",
        "version": created.version + 1,
    }
    assert changed.data == place | {"parentId": "ctg-c", "version": created.version + 2}
    assert {(event.type, event.subject) for event in events[6:]} == {
        (EventType.CATEGORY_DELETED, "ctg-a"),
        (EventType.CATEGORY_DELETED, "ctg-b"),
        (EventType.CATEGORY_DELETED, "ctg-c"),
        (EventType.CATALOG_DELETED, "cat-webshop"),
    }
    (deleted,) = [e for e in events[6:] if e.subject == "ctg-b"]
    assert deleted.version == changed.version + 1


async def test_a_workspace_sees_nothing_of_anothers_trees(shop, other_workspace):
    await shop.category("a")
    stranger = other_workspace.admin
    assert (await stranger.get("/catalogs")).ok() == []
    assert (await stranger.get("/categories/ctg-a")).status == 404
    await other_workspace.catalog("webshop")
    await other_workspace.category("a")
    refused = await stranger.post(
        "/catalogs/cat-webshop/categories", {"name": "x", "parentId": "ctg-b"}
    )
    assert refused.status == 400


@pytest.mark.parametrize(
    ("made", "one"),
    [("/catalogs", "/catalogs"), ("/catalogs/cat-webshop/categories", "/categories")],
)
async def test_both_have_labels_and_the_key_of_a_source(shop, admin, made, one):
    await shop.dimension("language", ["da", "sv"])
    body = {"alias": "a", "name": "A", "labels": {"seg-da": "Å"}, "externalKey": "SHOP/1"}
    a = (await admin.post(made, body)).ok()
    assert (a["labels"], a["externalKey"]) == ({"seg-da": "Å"}, "SHOP/1")
    kept = (await admin.put(f"{one}/{a['id']}", {"alias": "a", "name": "B"})).ok()
    assert (kept["labels"], kept["externalKey"]) == ({"seg-da": "Å"}, "SHOP/1")
    again = await admin.post(made, body | {"alias": "b"})
    title = "Catalog" if made == one else "Category"
    assert again.outcome == error(
        409, "CONFLICT", f"{title} with external key 'SHOP/1' already exists"
    )
    unknown = await admin.put(f"{one}/{a['id']}", body | {"labels": {"seg-x": "X"}})
    assert unknown.outcome == error(
        400, "VALIDATION_ERROR", "Field 'labels': Segment 'seg-x' not found"
    )
    emptied = body | {"labels": {}, "externalKey": None}
    gone = (await admin.put(f"{one}/{a['id']}", emptied)).ok()
    assert (gone["labels"], gone["externalKey"]) == ({}, None)
