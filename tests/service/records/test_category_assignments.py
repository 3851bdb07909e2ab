"""Which records are in which categories, who may change that, and what ends it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from shared.events import EventType
from shared.identity import Flag
from tests.kit.eventually import eventually
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import error

pytestmark = pytest.mark.asyncio(loop_scope="module")

DENIED = error(403, "PERMISSION_DENIED", "Permission denied")
ASSIGNED = """
    SELECT category_id, record_id FROM category_assignments
     WHERE workspace_id = $1 ORDER BY category_id, record_id
"""


@pytest_asyncio.fixture(loop_scope="module")
async def shop(workspace: RecordsWorkspace) -> RecordsWorkspace:
    """Two categories of one catalog, one below the other, and three records."""
    await workspace.attribute("sku")
    await workspace.schema("apparel", ["sku"])
    for name in ("one", "two", "three"):
        await workspace.record("schema-apparel", {"sku": name}, id=f"ent-{name}")
    await workspace.catalog("webshop")
    await workspace.category("a")
    await workspace.category("b", parent="a")
    return workspace


async def assigned(workspace: RecordsWorkspace) -> dict[str, list[str]]:
    """Category -> its records, without prefixes."""
    found: dict[str, list[str]] = {}
    for row in await workspace.fetch(ASSIGNED):
        found.setdefault(row["category_id"][4:], []).append(row["record_id"][4:])
    return found


async def events_of(workspace: RecordsWorkspace) -> list[Any]:
    kinds = (EventType.CATEGORY_ASSIGNED, EventType.CATEGORY_UNASSIGNED)
    return [event for event in await workspace.staged() if event.type in kinds]


async def test_one_record_is_assigned_and_taken_out(shop, admin):
    one = {"entityId": "ent-one"}
    answer = {"categoryId": "ctg-a", "entityId": "ent-one"}
    assert (await admin.post("/categories/ctg-a/assign", one)).outcome == (200, answer)
    assert (await admin.post("/categories/ctg-a/assign", one)).outcome == (200, answer)
    named_otherwise = await admin.post("/categories/ctg-b/assign", {"recordId": "ent-one"})
    assert named_otherwise.outcome == (200, {"categoryId": "ctg-b", "entityId": "ent-one"})
    assert await assigned(shop) == {"a": ["one"], "b": ["one"]}
    assert (await admin.post("/categories/ctg-a/unassign", one)).outcome == (200, answer)
    assert await assigned(shop) == {"b": ["one"]}
    again = await admin.post("/categories/ctg-a/unassign", one)
    assert again.outcome == error(404, "NOT_FOUND", "Entity 'ent-one' is not in category 'ctg-a'")
    (await admin.post("/categories/ctg-a/assign", one)).ok()
    events = await events_of(shop)
    assert [(event.type, event.subject) for event in events] == [
        (EventType.CATEGORY_ASSIGNED, "ctg-a/ent-one"),
        (EventType.CATEGORY_ASSIGNED, "ctg-b/ent-one"),
        (EventType.CATEGORY_UNASSIGNED, "ctg-a/ent-one"),
        (EventType.CATEGORY_ASSIGNED, "ctg-a/ent-one"),
    ]
    assert events[0].data == {
        "categoryId": "ctg-a",
        "catalogId": "cat-webshop",
        "entityId": "ent-one",
        "userId": "user-admin",
        "version": events[0].version,
    }
    assert events[0].version < events[2].version < events[3].version


async def test_many_records_are_assigned_at_once_or_none(shop, admin):
    (await admin.post("/categories/ctg-a/assign", {"entityId": "ent-two"})).ok()
    many = {"entityIds": ["ent-two", "ent-one", "ent-two"]}
    answer = await admin.post("/categories/ctg-a/assign", many)
    ids = ["ent-two", "ent-one"]
    assert answer.ok() == {"categoryId": "ctg-a", "entityIds": ids, "changed": 1}
    for verb in ("assign", "unassign"):
        unknown = {"entityIds": ["ent-three", "ent-gone", "ent-one"]}
        answer = await admin.post(f"/categories/ctg-a/{verb}", unknown)
        assert answer.outcome == error(404, "NOT_FOUND", "Entity 'ent-gone' not found")
    assert await assigned(shop) == {"a": ["one", "two"]}
    answer = await admin.post("/categories/ctg-a/unassign", {"entityIds": ["ent-one", "ent-three"]})
    assert answer.ok()["changed"] == 1
    assert await assigned(shop) == {"a": ["two"]}
    assert len(await events_of(shop)) == 3
    nothing = await admin.post("/categories/ctg-a/assign", {"entityIds": []})
    assert nothing.ok() == {"categoryId": "ctg-a", "entityIds": [], "changed": 0}


async def test_a_thousand_records_are_one_request(shop, admin):
    await shop.database.execute(
        """INSERT INTO records (workspace_id, id, schema_id, version, values, created_at,
                                updated_at, created_by, updated_by)
           SELECT $1, 'ent-' || n, 'schema-apparel', 1, '{}', now(), now(), 'u', 'u'
             FROM generate_series(1, 1001) AS n RETURNING 1""",
        shop.id,
    )
    ids = [f"ent-{n}" for n in range(1, 1_002)]
    too_many = await admin.post("/categories/ctg-a/assign", {"entityIds": ids})
    assert (too_many.status, "1000" in too_many.body["message"]) == (400, True)
    answer = await admin.post("/categories/ctg-a/assign", {"entityIds": ids[:1_000]})
    assert answer.ok()["changed"] == 1_000
    events = await events_of(shop)
    assert len(events) == 1_000
    assert len({event.version for event in events}) == 1_000


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Field 'entityId' or 'entityIds' is required"),
        (
            {"entityId": "ent-one", "entityIds": ["ent-two"]},
            "Field 'entityIds' cannot be combined with 'entityId': expected one of them",
        ),
        (
            {"entityId": "ent-one", "recordId": "ent-two"},
            "Field 'recordId' is another name of 'entityId': expected 'ent-one', got 'ent-two'",
        ),
    ],
)
async def test_records_are_named_in_one_way(shop, admin, body, message):
    answer = await admin.post("/categories/ctg-a/assign", body)
    assert answer.outcome == error(400, "VALIDATION_ERROR", message)


async def test_a_category_that_does_not_exist_is_told_by_name(shop, admin):
    for verb in ("assign", "unassign"):
        answer = await admin.post(f"/categories/ctg-x/{verb}", {"entityId": "ent-one"})
        assert answer.outcome == error(404, "NOT_FOUND", "Category 'ctg-x' not found")


async def test_assignments_end_with_the_record_the_branch_and_the_catalog(shop, admin):
    await shop.catalog("outlet")
    await shop.category("sale", "outlet")
    for category in ("a", "b", "sale"):
        many = {"entityIds": ["ent-one", "ent-two"]}
        (await admin.post(f"/categories/ctg-{category}/assign", many)).ok()
    (await admin.delete("/records/ent-one")).ok()
    assert await assigned(shop) == {"a": ["two"], "b": ["two"], "sale": ["two"]}
    (await admin.delete("/categories/ctg-a")).ok()
    assert await assigned(shop) == {"sale": ["two"]}
    (await admin.delete("/catalogs/cat-outlet")).ok()
    assert await assigned(shop) == {}
    (await admin.get("/records/ent-two")).ok()
    # Neither comes back with what is made again under the same id.
    await shop.record("schema-apparel", {"sku": "again"}, id="ent-one")
    await shop.category("a")
    assert await assigned(shop) == {}


async def test_events_of_a_category_that_is_made_again_go_on_counting(shop, admin):
    for _ in range(2):
        for record in ("one", "two", "three"):
            (await admin.post("/categories/ctg-b/assign", {"entityId": f"ent-{record}"})).ok()
        (await admin.delete("/categories/ctg-b")).ok()
        await shop.category("b", parent="a")
    versions = [event.version for event in await events_of(shop)]
    assert versions == sorted(set(versions))


async def test_a_moved_category_takes_its_assignments_along(shop, admin):
    (await admin.post("/categories/ctg-b/assign", {"entityId": "ent-one"})).ok()
    (await admin.put("/categories/ctg-b", {"name": "b", "parentId": None})).ok()
    (await admin.delete("/categories/ctg-a")).ok()
    assert await assigned(shop) == {"b": ["one"]}


async def test_two_assignments_of_the_same_records_at_once_are_one(shop, admin):
    ids = ["ent-one", "ent-two", "ent-three"]
    answers = await asyncio.gather(
        *(
            admin.post("/categories/ctg-a/assign", {"entityIds": ids[:: 1 if n % 2 else -1]})
            for n in range(8)
        )
    )
    assert sorted(answer.ok()["changed"] for answer in answers) == [0] * 7 + [3]
    assert await assigned(shop) == {"a": sorted(name[4:] for name in ids)}
    assert len(await events_of(shop)) == 3


async def test_a_record_that_is_deleted_while_it_is_assigned_leaves_nothing(shop, admin):
    outcomes: Counter[int] = Counter()
    for number in range(20):
        await shop.record("schema-apparel", {"sku": f"r{number}"}, id=f"ent-r{number}")
        answer, deleted = await asyncio.gather(
            admin.post("/categories/ctg-a/assign", {"entityIds": ["ent-one", f"ent-r{number}"]}),
            admin.delete(f"/records/ent-r{number}"),
        )
        assert deleted.status == 204
        assert answer.status in (200, 404)
        outcomes[answer.status] += 1
    assert (await assigned(shop)).get("a", ["one"]) == ["one"]
    assert sum(outcomes.values()) == 20


async def test_a_category_that_is_deleted_while_it_is_assigned_leaves_nothing(shop, admin):
    for number in range(20):
        await shop.category(f"n{number}", parent="b")
        answer, taken_out, deleted = await asyncio.gather(
            admin.post(f"/categories/ctg-n{number}/assign", {"entityIds": ["ent-one", "ent-two"]}),
            admin.post(f"/categories/ctg-n{number}/unassign", {"entityIds": ["ent-two"]}),
            admin.delete(f"/categories/ctg-n{number}"),
        )
        assert deleted.status == 204
        assert {answer.status, taken_out.status} <= {200, 404}
    assert await assigned(shop) == {}


async def test_a_branch_and_records_are_deleted_in_one_order(shop, admin):
    """Otherwise the two would wait for each other, and the database would end one of them."""
    for category in ("a", "b"):
        many = {"entityIds": ["ent-one", "ent-two", "ent-three"]}
        (await admin.post(f"/categories/ctg-{category}/assign", many)).ok()
    delete = "DELETE FROM records WHERE workspace_id = $1 AND id = $2"
    conn = await asyncpg.connect(shop.database.url)

    async def waiting() -> bool:
        return await conn.fetchval(
            """SELECT EXISTS (SELECT FROM pg_stat_activity
                               WHERE datname = current_database() AND wait_event_type = 'Lock')"""
        )

    try:
        # As a deletion of many records, in the order of their ids.
        async with conn.transaction():
            await conn.execute(delete, shop.id, "ent-one")
            branch = asyncio.create_task(admin.delete("/categories/ctg-a"))
            await eventually(waiting)
            await conn.execute(delete, shop.id, "ent-two")
    finally:
        await conn.close()
    assert (await branch).status == 204
    assert await assigned(shop) == {}


ADDRESSES = (
    ("GET", "/catalogs/cat-webshop", None),
    ("GET", "/catalogs/cat-webshop/tree", None),
    ("GET", "/categories/ctg-a", None),
    ("POST", "/categories/ctg-a/assign", {"entityId": "ent-one"}),
    ("POST", "/categories/ctg-a/unassign", {"entityId": "ent-one"}),
)


async def statuses(caller: Any) -> list[int]:
    return [(await caller.ask(method, path, body)).status for method, path, body in ADDRESSES]


@pytest.mark.parametrize(
    ("rights", "seen", "expected"),
    [
        ({}, [], [404] * 5),
        ({"cat-webshop": "nothing", "*": "both"}, ["cat-outlet"], [404] * 5),
        ({"cat-webshop": "assign"}, [], [404] * 5),
        ({"cat-webshop": "view"}, ["cat-webshop"], [200, 200, 200, 403, 403]),
        ({"*": "view"}, ["cat-webshop", "cat-outlet"], [200, 200, 200, 403, 403]),
        ({"cat-webshop": "both"}, ["cat-webshop"], [200] * 5),
        ({"*": "both", "cat-outlet": "nothing"}, ["cat-webshop"], [200] * 5),
    ],
)
async def test_what_a_role_may_not_view_does_not_exist(shop, rights, seen, expected):
    await shop.catalog("outlet")
    caller = await shop.user_with_role({"*": {"*": "write"}}, catalogs=rights)
    listed = (await caller.get("/catalogs")).ok()
    assert [catalog["id"] for catalog in listed] == seen
    both = {"ids": "cat-webshop,cat-outlet", "limit": "1"}
    for params, found in (({"aliases": "webshop"}, ["cat-webshop"]), (both, seen[:1])):
        narrowed = (await caller.get("/catalogs", params=params)).ok()
        assert [catalog["id"] for catalog in narrowed] == [one for one in found if one in seen]
    assert await statuses(caller) == expected
    if 404 in expected:
        hidden = await caller.get("/categories/ctg-a")
        assert hidden.outcome == error(404, "NOT_FOUND", "Category 'ctg-a' not found")
        hidden = await caller.get("/catalogs/cat-webshop/tree")
        assert hidden.outcome == error(404, "NOT_FOUND", "Catalog 'cat-webshop' not found")
    elif 403 in expected:
        denied = await caller.post("/categories/ctg-a/assign", {"entityId": "ent-gone"})
        assert denied.outcome == DENIED


async def test_who_manages_schemas_sees_all_catalogs_and_assigns_where_the_role_says(shop):
    manager = await shop.user_with_role({}, Flag.MANAGE_SCHEMAS, catalogs={})
    assert [catalog["id"] for catalog in (await manager.get("/catalogs")).ok()] == ["cat-webshop"]
    assert await statuses(manager) == [200, 200, 200, 403, 403]
    (await manager.post("/catalogs", {"alias": "mine", "name": "Mine"})).ok()
    manager = await shop.user_with_role({}, Flag.MANAGE_SCHEMAS, catalogs={"*": "both"})
    assert await statuses(manager) == [200] * 5


async def test_keys_are_not_restricted(shop):
    assert await statuses(shop.api_key()) == [200] * 5
