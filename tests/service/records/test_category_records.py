"""The list of the records in a category, alone and with the categories below it."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from records_service.catalogs import store
from records_service.catalogs.assignments import store as assignments
from records_service.permissions.rules import Role
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Category -> its records, by number: a record may be in several. `z` is beside the tree of `a`.
ASSIGNED = {
    "a": [5, 1],
    "b": [2, 7, 5],
    "c": [3, 1, 5],
    "d": [],
    "e": [9, 8, 2],
    "z": [4, 6],
}
TREE = {"a": None, "b": "a", "c": "b", "d": "a", "e": "d", "z": None}


@pytest_asyncio.fixture(loop_scope="module")
async def shop(workspace: RecordsWorkspace) -> RecordsWorkspace:
    """Ten records in a tree of categories."""
    await workspace.attribute("sku")
    await workspace.attribute("cost")
    await workspace.schema("apparel", ["sku", "cost"])
    for number in range(10):
        # Not in the order of their ids.
        record_id = f"ent-{9 - number}-{number}"
        values = {"sku": f"s{number}", "cost": "secret"}
        await workspace.record("schema-apparel", values, id=record_id)
    await workspace.catalog("webshop")
    for name, parent in TREE.items():
        await workspace.category(name, parent=parent)
    for name, numbers in ASSIGNED.items():
        ids = [f"ent-{9 - number}-{number}" for number in numbers]
        (await workspace.admin.post(f"/categories/ctg-{name}/assign", {"entityIds": ids})).ok()
    return workspace


def numbers_of(page: dict[str, Any]) -> list[int]:
    return [int(item["id"][-1]) for item in page["items"]]


async def listed(caller: Caller, category: str, **query: Any) -> dict[str, Any]:
    text = "&".join(f"{name}={value}" for name, value in query.items())
    return (await caller.get(f"/categories/ctg-{category}/entities?{text}")).ok()


BRANCHES = {"a": [1, 2, 3, 5, 7, 8, 9], "b": [1, 2, 3, 5, 7], "c": [1, 3, 5], "d": [2, 8, 9]}


async def test_the_records_of_one_category_are_in_order_of_creation(shop, admin):
    for name, numbers in ASSIGNED.items():
        page = await listed(admin, name)
        assert (numbers_of(page), page["total"]) == (sorted(numbers), len(numbers))
    (record, *_) = (await listed(admin, "z"))["items"]
    assert record == (await admin.get("/records")).ok()["items"][4]


@pytest.mark.parametrize(("large", "ahead"), [(500, 20), (0, 20), (0, 1)])
@pytest.mark.parametrize("limit", [1, 2, 3, 50])
async def test_a_branch_shows_each_record_once_whatever_the_page(
    shop, admin, monkeypatch, limit, large, ahead
):
    """A small branch, and a large one whose records are among the next of the catalog or not."""
    monkeypatch.setattr(assignments, "LARGE_BRANCH", large)
    monkeypatch.setattr(assignments, "_NEXT_OF_THE_CATALOG", ahead)
    for name, numbers in BRANCHES.items():
        by_cursor: list[int] = []
        by_offset: list[int] = []
        more: dict[str, Any] = {}
        while True:
            page = await listed(admin, name, includeSubcategories="true", limit=limit, **more)
            assert page["total"] == len(numbers)
            by_cursor += numbers_of(page)
            offset = await listed(
                admin, name, includeSubcategories="true", limit=limit, offset=len(by_offset)
            )
            by_offset += numbers_of(offset)
            if page["nextCursor"] is None:
                break
            more = {"cursor": page["nextCursor"]}
        assert by_cursor == by_offset == numbers


async def test_pages_of_one_category_go_on_by_cursor_while_records_come_and_go(shop, admin):
    first = await listed(admin, "b", limit=2)
    assert numbers_of(first) == [2, 5]
    (await admin.post("/categories/ctg-b/unassign", {"entityId": "ent-7-2"})).ok()
    (await admin.post("/categories/ctg-b/assign", {"entityId": "ent-3-6"})).ok()
    rest = await listed(admin, "b", limit=2, cursor=first["nextCursor"])
    assert (numbers_of(rest), rest["nextCursor"]) == ([6, 7], None)
    refused = await admin.get(f"/categories/ctg-c/entities?cursor={first['nextCursor']}")
    assert refused.status == 400


async def test_a_total_that_is_not_wanted_is_not_counted(shop, admin):
    for more in ({}, {"includeSubcategories": "true"}):
        assert "total" not in await listed(admin, "a", total="none", **more)


async def fill(shop: RecordsWorkspace, category: str, records: int) -> None:
    """Put the first so many of 10,001 records into a category, without asking the service."""
    conn = await asyncpg.connect(shop.database.url)
    try:
        await conn.execute(
            """INSERT INTO records (workspace_id, id, schema_id, version, values, created_at,
                                    updated_at, created_by, updated_by)
               SELECT $1, 'ent-' || n, 'schema-apparel', 1, '{}', now(), now(), 'u', 'u'
                 FROM generate_series(1, $2::int) AS n ON CONFLICT DO NOTHING""",
            shop.id,
            records,
        )
        await conn.execute(
            """INSERT INTO category_assignments
               SELECT workspace_id, id, $2, 'cat-webshop', created_at FROM records
                WHERE workspace_id = $1 AND id = ANY(
                      SELECT 'ent-' || n FROM generate_series(1, $3::int) AS n)""",
            shop.id,
            f"ctg-{category}",
            records,
        )
    finally:
        await conn.close()


async def test_many_records_are_counted_up_to_a_bound(shop, admin):
    await fill(shop, "z", 9_998)
    exact = await listed(admin, "z", limit=1)
    assert (exact["total"], "totalIsEstimate" in exact) == (10_000, False)
    await fill(shop, "b", 10_001)
    for query in ({}, {"includeSubcategories": "true"}):
        estimate = await listed(admin, "b", limit=1, **query)
        assert (estimate["total"] > 10_000, estimate["totalIsEstimate"]) == (True, True)
    # Most are in several categories: the first assignments do not tell how many records there are.
    (await admin.delete("/categories/ctg-b")).ok()
    for category in "ade":
        await fill(shop, category, 9_990)
    several = await listed(admin, "a", limit=1, includeSubcategories="true")
    assert (several["total"], "totalIsEstimate" in several) == (9_990 + 5, False)


async def test_a_role_sees_of_the_records_what_it_may(shop):
    words = {"*": {"*": "read", "attr-cost": "hidden"}}
    viewer = await shop.user_with_role(words, catalogs={"cat-webshop": "view"})
    page = await listed(viewer, "a", includeSubcategories="true")
    assert all(item["values"].keys() == {"sku"} for item in page["items"])
    blind = await shop.user_with_role(words, catalogs={"cat-webshop": "nothing", "*": "both"})
    hidden = await blind.get("/categories/ctg-a/entities?includeSubcategories=true")
    assert hidden.outcome == error(404, "NOT_FOUND", "Category 'ctg-a' not found")


async def test_other_statements_ask_what_is_in_a_category_or_catalog(shop):
    """The conditions that searches and exports are made of."""

    async def found(role: Role | None, condition: Any, **options: Any) -> list[int]:
        arguments: list[Any] = [shop.id]
        sql = condition(role=role, arguments=arguments, **options)
        rows = await shop.database.fetch(
            f"SELECT r.id FROM records r WHERE r.workspace_id = $1 AND r.id IN ({sql})",
            *arguments,
        )
        return sorted(int(row["id"][-1]) for row in rows)

    def role(catalog_id: str, *, can_view: bool) -> Role:
        entry = {"catalogId": catalog_id, "canView": can_view, "canAssign": True}
        return Role.parse({"id": "r", "version": 1, "catalogPermissions": [entry]})

    for seeing in (None, role("cat-webshop", can_view=True), role("*", can_view=True)):
        in_b = {"category_id": "ctg-b", "include_subcategories": True}
        assert await found(seeing, store.records_in_category, **in_b) == BRANCHES["b"]
        only = in_b | {"include_subcategories": False}
        assert await found(seeing, store.records_in_category, **only) == [2, 5, 7]
        everything = sorted({number for numbers in ASSIGNED.values() for number in numbers})
        catalog = {"catalog_id": "cat-webshop"}
        assert await found(seeing, store.records_in_catalog, **catalog) == everything
    for blind in (role("cat-x", can_view=True), role("cat-webshop", can_view=False)):
        assert await found(blind, store.records_in_category, **in_b) == []
        assert await found(blind, store.records_in_catalog, **catalog) == []
