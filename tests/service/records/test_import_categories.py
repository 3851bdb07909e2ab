"""Rows of imports name all categories of their records: which they mean, and who may say so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
import orjson
import pytest
import pytest_asyncio

from records_service.catalogs.assignments import sets, sets_store
from records_service.imports import jobs, writing
from shared.events import EventType
from shared.identity import Flag
from tests.kit.eventually import eventually
from tests.kit.records_workspace import RecordsWorkspace
from tests.service.records.import_files import download, errors_of, finish, run, send, turn

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASSIGNED = """
    SELECT record_id, category_id FROM category_assignments
     WHERE workspace_id = $1 ORDER BY record_id, category_id
"""
KINDS = (EventType.CATEGORY_ASSIGNED, EventType.CATEGORY_UNASSIGNED)


async def build(workspace: RecordsWorkspace) -> None:
    """Two catalogs with four categories, and three records, of which one is in two of them."""
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.attribute("price", "number")
    await workspace.schema("x", ["sku", "price"], variantEnabled=True)
    await workspace.catalog("shop")
    await workspace.category("a", "shop", alias="clothes", externalKey="erp|7/a")
    await workspace.category("b", "shop", parent="a", externalKey="12")
    await workspace.category("c", "shop", parent="a")
    await workspace.catalog("outlet")
    await workspace.category("o", "outlet")
    for name in ("one", "two", "three"):
        await workspace.record("schema-x", {"sku": name}, id=f"ent-{name}")
    for category in ("a", "o"):
        await assign(workspace, category, "ent-one")


@pytest_asyncio.fixture(loop_scope="module")
async def shop(workspace: RecordsWorkspace) -> RecordsWorkspace:
    await build(workspace)
    return workspace


async def assign(workspace: RecordsWorkspace, category: str, record: str) -> None:
    body = {"entityId": record}
    (await workspace.admin.post(f"/categories/ctg-{category}/assign", body)).ok()


async def assigned(workspace: RecordsWorkspace) -> dict[str, str]:
    """Record -> its categories, without prefixes."""
    found: dict[str, str] = {}
    for row in await workspace.fetch(ASSIGNED):
        name = row["record_id"].removeprefix("ent-")
        found[name] = found.get(name, "") + row["category_id"][4:]
    return found


async def events_of(workspace: RecordsWorkspace) -> list[tuple[str, str]]:
    return [
        (event.type.removeprefix("category."), event.subject)
        for event in await workspace.staged()
        if event.type in KINDS
    ]


def table(*rows: tuple[str, str]) -> str:
    """A file with the ids of records and a cell of categories for each."""
    return "_id,_categories\n" + "".join(f'{name},"{cell}"\n' for name, cell in rows)


async def messages(workspace: RecordsWorkspace, job: dict[str, Any]) -> list[str]:
    return [one["message"] for one in await errors_of(workspace.admin, job["id"])]


async def test_a_cell_is_the_whole_set(shop):
    rows = [("ent-one", "ctg-b|ctg-o"), ("ent-two", ""), ("ent-three", " ctg-a | ctg-a ")]
    before = len(await events_of(shop))
    job = await run(shop, table(*rows))
    assert (job["status"], job["updated"], job["unchanged"]) == ("succeeded", 2, 1)
    assert await assigned(shop) == {"one": "bo", "three": "a"}
    assert (await events_of(shop))[before:] == [
        ("unassigned", "ctg-a/ent-one"),
        ("assigned", "ctg-a/ent-three"),
        ("assigned", "ctg-b/ent-one"),
    ]
    versions = [event.version for event in await shop.staged() if event.subject[:5] == "ctg-a"]
    assert versions == sorted(set(versions))
    # The record itself is as it was: no version, no history.
    assert (await shop.admin.get("/records/ent-one")).headers["ETag"] == '"1"'

    again = await run(shop, table(*rows))
    assert (again["unchanged"], len(await events_of(shop))) == (3, before + 3)
    cleared = await run(shop, table(("ent-one", r"\N"), ("ent-three", r"\N")))
    assert cleared["updated"] == 2
    assert await assigned(shop) == {}


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("ctg-a", "a"),
        ("erp|7/a", "a"),
        ("'erp|7/a", None),
        ('[""erp|7/a"",""ctg-c""]', "ac"),
        ("12|ctg-c", "bc"),
        ("shop/clothes", "a"),
        ("shop/a", "a"),
        ("shop/clothes/b|shop/a/c|outlet/o", "bco"),
        ("shop", None),
        ("shop/b", None),
        ("shop/clothes/b/", None),
        ("cat-shop/clothes", None),
        ("ctg-A", None),
        ("ctg-a||ctg-b", None),
        ("|", None),
        ("a\x00b", None),
    ],
)
async def test_a_category_is_named_by_id_key_or_path(shop, cell, expected):
    job = await run(shop, table(("ent-two", cell)))
    if expected is not None:
        assert (job["status"], await messages(shop, job)) == ("succeeded", [])
        assert (await assigned(shop))["two"] == expected
        return
    assert (job["failed"], await assigned(shop)) == (1, {"one": "ao"})
    (found,) = await errors_of(shop.admin, job["id"])
    assert (found["column"], found["pointer"]) == ("_categories", "/_categories")
    assert found["error"] == "VALIDATION_ERROR"


async def test_a_name_of_none_or_of_several_is_told(shop):
    await shop.category("b2", "shop", parent="a")
    (await shop.admin.put("/categories/ctg-b2", {"name": "b"})).ok()
    file = "Id,Where\nent-one,ctg-a|shop/a/b\nent-two,nowhere\nent-three,shop/a/c\n"
    mapping = {"Id": "_id", "Where": "_categories"}
    job = await run(shop, file, columnMapping=mapping)
    assert (job["status"], job["failed"], job["updated"]) == ("partial", 2, 1)
    several, none = await messages(shop, job)
    assert several == (
        "Value 'shop/a/b' for 'Where' is the path of several categories: 'ctg-b', 'ctg-b2'"
    )
    assert none == (
        "Value 'nowhere' for 'Where' is no category: expected its id, its external key, or its"
        " path, such as 'catalog-alias/category/category'"
    )
    refused = await download(shop.admin, f"/imports/{job['id']}/errors", "text/csv")
    assert refused.splitlines()[1].startswith(b'ent-one,ctg-a|shop/a/b,2,"Where: ')
    assert await assigned(shop) == {"one": "ao", "three": "c"}


async def test_a_row_is_written_with_its_categories_or_not_at_all(shop):
    file = (
        "_id,sku,price,_categories\n"
        "ent-new,new,1,ctg-a\n"
        "ent-one,one,x,ctg-b\n"
        "ent-two,two,2,nowhere\n"
        "ent-bad,bad,3,nowhere\n"
        "ent-twice,three,4,ctg-a\n"
        "ent-three,three,5,ctg-c\n"
    )
    job = await run(shop, file, schemaId="x")
    assert (job["created"], job["updated"], job["failed"]) == (1, 1, 4)
    assert await assigned(shop) == {"new": "a", "one": "ao", "three": "c"}
    (await shop.admin.get("/records/ent-new")).ok()
    assert (await shop.admin.get("/records/ent-bad")).status == 404
    assert (await shop.admin.get("/records/ent-two")).headers["ETag"] == '"1"'


@pytest.mark.parametrize("kind", ["json", "ndjson"])
async def test_rows_in_json_name_them_in_an_array(shop, kind):
    rows: list[dict[str, Any]] = [
        {"_id": "ent-one", "_categories": []},
        {"_id": "ent-two", "_categories": ["erp|7/a", 12]},
        {"_id": "ent-three", "_categories": "ctg-b|ctg-c"},
        {"id": "ent-whole", "schemaId": "schema-x", "values": {}, "_categories": ["ctg-o"]},
        {"_id": "ent-three", "_categories": None},
        {"_id": "ent-three", "_categories": {"id": "ctg-a"}},
        {"_id": "ent-three", "_categories": [True]},
        {"_id": "ent-three", "_categories": [""]},
        {"_id": "ent-three", "_categories": ["ctg-a"] * 50_001},
    ]
    lines = map(orjson.dumps, rows)
    file = b"[%b]" % b",".join(lines) if kind == "json" else b"\n".join(lines)
    job = await run(shop, file, f"x.{kind}")
    assert await messages(shop, job) == [
        "Value for '_categories' must be names of categories, got object",
        "Value for '_categories' must be names of categories, got boolean",
        "Value for '_categories' must be names of categories, got '' among them",
        "Value for '_categories' must have at most 50000 categories, got 50001",
    ]
    assert (job["created"], job["updated"], job["unchanged"]) == (1, 3, 1)
    assert await assigned(shop) == {"two": "ab", "three": "bc", "whole": "o"}


async def test_rows_of_one_record_take_effect_in_their_order(shop):
    before = len(await events_of(shop))
    rows = [("ent-two", "ctg-a"), ("ent-two", "ctg-b"), ("ent-two", "ctg-b|ctg-c")]
    job = await run(shop, table(*rows))
    assert (job["updated"], await assigned(shop)) == (3, {"one": "ao", "two": "bc"})
    assert (await events_of(shop))[before:] == [
        ("assigned", "ctg-a/ent-two"),
        ("unassigned", "ctg-a/ent-two"),
        ("assigned", "ctg-b/ent-two"),
        ("assigned", "ctg-c/ent-two"),
    ]


async def test_rows_find_their_records_by_another_value(shop):
    file = "sku,_categories\none,ctg-b\nnew,ctg-c\n"
    job = await run(shop, file, schemaId="x", match="sku")
    assert (job["created"], job["updated"]) == (1, 1)
    found = await assigned(shop)
    assert (found.pop("one"), list(found.values())) == ("b", ["c"])
    skipped = await run(
        shop, "sku,_categories\none,ctg-c\n", schemaId="x", match="sku", onMatch="skip"
    )
    assert (skipped["skipped"], (await assigned(shop))["one"]) == (1, "b")


async def test_variants_have_no_categories_of_their_own(shop):
    (await shop.admin.post("/records/ent-one/variants", {"id": "var-1", "values": {}})).ok()
    file = "_id,_variantId,_categories\nent-one,var-1,ctg-b\nent-one,var-1,\n"
    job = await run(shop, file)
    assert (job["failed"], job["unchanged"]) == (1, 1)
    (told,) = await messages(shop, job)
    assert told == (
        "A variant has no categories of its own: expected them in the row of its record, got"
        " 'ctg-b'"
    )
    exported = await download(shop.admin, "/export?columns=perScope&variants=true&format=ndjson")
    cells = [orjson.loads(line).get("_categories") for line in exported.splitlines()]
    assert cells == [["ctg-a", "ctg-o"], None, None, None]


async def test_what_a_role_may_not_view_does_not_exist_and_stays(shop):
    user = await shop.user_with_role(
        {"*": {"*": "write"}}, Flag.IMPORT, Flag.EXPORT, catalogs={"cat-shop": "both"}
    )
    file = await download(user, "/export?columns=perScope&format=csv")
    assert file.splitlines()[1].split(b",")[:5] == [b"ent-one", b"schema-x", b"", b"", b"ctg-a"]
    rows = table(("ent-one", "ctg-b"), ("ent-two", "ctg-o"), ("ent-three", "outlet/o"))
    job = await finish(shop, (await send(user, rows, "x.csv")).ok()["id"])
    assert (job["updated"], job["failed"]) == (1, 2)
    assert all("is no category" in one for one in await messages(shop, job))
    assert await assigned(shop) == {"one": "bo"}
    job = await finish(shop, (await send(user, table(("ent-one", r"\N")), "x.csv")).ok()["id"])
    assert (job["updated"], await assigned(shop)) == (1, {"one": "o"})


async def test_who_may_view_but_not_assign_changes_nothing(shop):
    """Rows that would are told; the rows beside them are written all the same."""
    user = await shop.user_with_role(
        {"*": {"*": "write"}}, Flag.IMPORT, catalogs={"cat-shop": "view", "cat-outlet": "both"}
    )
    await assign(shop, "b", "ent-three")
    file = (
        "_id,price,_categories\n"
        "ent-one,1,ctg-a|ctg-o\n"
        "ent-two,2,ctg-a\n"
        "ent-three,3,ctg-o\n"
        "ent-new,4,ctg-a\n"
        "ent-other,5,ctg-o\n"
    )
    before = await events_of(shop)
    begun = await send(user, file, "x.csv", schemaId="x")
    job = await finish(shop, begun.ok()["id"])
    assert (job["created"], job["updated"], job["failed"]) == (1, 1, 3)
    found = await errors_of(shop.admin, job["id"])
    assert {(one["error"], one["column"], one["message"]) for one in found} == {
        ("PERMISSION_DENIED", "_categories", "The role lacks 'canAssign' on catalog 'cat-shop'")
    }
    assert [one["row"] for one in found] == [2, 3, 4]
    assert await assigned(shop) == {"one": "ao", "three": "b", "other": "o"}
    assert (await shop.admin.get("/records/ent-new")).status == 404
    assert (await shop.admin.get("/records/ent-two")).ok()["values"].get("price") is None
    assert (await events_of(shop))[len(before) :] == [("assigned", "ctg-o/ent-other")]


async def test_a_key_that_may_not_delete_takes_nothing_out(shop):
    key = shop.api_key("read", "update-data")
    body = {
        "schemaId": "x",
        "columnMapping": {"Id": "_id", "In": "_categories"},
        "rows": [
            {"Id": "ent-one", "In": "ctg-a|ctg-o|ctg-b"},
            {"Id": "ent-one", "In": "ctg-b"},
            {"Id": "ent-two", "In": "ctg-c"},
        ],
    }
    fault = {
        "column": "In",
        "attribute": None,
        "message": "The API key lacks the permission 'delete-data', which taking a record out of a"
        " category needs",
    }
    seen = (await key.post("/import/preview", body)).ok()
    assert [row["valid"] for row in seen["rows"]] == [True, False, True], seen
    assert seen["rows"][1]["errors"] == [fault]
    assert await assigned(shop) == {"one": "ao"}
    done = (await key.post("/import/execute", body)).ok()
    assert (done["updated"], done["errors"]) == (2, [{"row": 2, **fault}])
    assert await assigned(shop) == {"one": "abo", "two": "c"}


async def test_another_workspace_has_no_such_categories(shop, other_workspace):
    await other_workspace.attribute("sku")
    await other_workspace.schema("x", ["sku"])
    await other_workspace.record("schema-x", {"sku": "1"}, id="ent-one")
    rows = table(*(("ent-one", name) for name in ("ctg-a", "12", "shop/clothes")))
    job = await run(other_workspace, rows)
    assert (job["failed"], await assigned(other_workspace)) == (3, {})


async def test_a_trial_assigns_nothing(shop):
    rows = table(("ent-one", "ctg-b"), ("ent-two", "nowhere"), ("ent-three", r"\N"))
    before = await events_of(shop)
    headers = {"Prefer": "dry-run"}
    answer = await send(shop.admin.having(headers), rows, "x.csv")
    tried = answer.ok()
    assert (tried["updated"], tried["unchanged"], tried["failed"]) == (1, 1, 1)
    assert tried["complete"]
    assert (await assigned(shop), await events_of(shop)) == ({"one": "ao"}, before)


async def test_many_changes_are_several_statements(shop, monkeypatch):
    """Also of rows that name few categories: what they take their records out of counts."""
    monkeypatch.setattr(sets, "CHANGED_AT_ONCE", 3)
    cells = {"one": "ctg-o|ctg-b", "two": "ctg-a|ctg-b", "three": "ctg-b|ctg-c"}
    await run(shop, table(*((f"ent-{name}", cell) for name, cell in cells.items())))
    before = len(await events_of(shop))
    assert await assigned(shop) == {"one": "bo", "two": "ab", "three": "bc"}
    cells = {"one": r"\N", "two": "ctg-o", "three": r"\N"}
    change, sizes = sets_store.change, []

    async def counted(conn, workspace_id, categories, added, removed, events):
        sizes.append((len(removed), len(added), len(events)))
        await change(conn, workspace_id, categories, added, removed, events)

    monkeypatch.setattr(sets_store, "change", counted)
    await run(shop, table(*((f"ent-{name}", cell) for name, cell in cells.items())))
    assert (await assigned(shop), sizes) == ({"two": "o"}, [(3, 0, 3), (3, 0, 3), (0, 1, 1)])
    assert len(await events_of(shop)) == before + 7


async def test_many_rows_of_a_call_are_written_in_groups(shop, monkeypatch):
    monkeypatch.setattr(writing, "ROWS_AT_ONCE", 50)
    rows = [
        {"_id": "", "sku": f"s{number}", "_categories": "ctg-a" if number % 7 else "nowhere"}
        for number in range(120)
    ]
    done = (await shop.admin.post("/import/execute", {"schemaId": "x", "rows": rows})).ok()
    bad = [number + 1 for number in range(120) if number % 7 == 0]
    assert (done["created"], [one["row"] for one in done["errors"]]) == (120 - len(bad), bad)
    assert len(await assigned(shop)) == 120 - len(bad) + 1


async def test_rows_that_name_many_categories_are_written_few_at_a_time(shop, monkeypatch):
    """Each category of a row is an event, and all of a group are one statement."""
    monkeypatch.setattr(writing, "CATEGORIES_AT_ONCE", 6)
    change, sizes = sets_store.change, []

    async def counted(conn, workspace_id, categories, added, removed, events):
        sizes.append(len(added))
        await change(conn, workspace_id, categories, added, removed, events)

    monkeypatch.setattr(sets_store, "change", counted)
    cell = "ctg-a|ctg-b|ctg-c|ctg-o"
    names = [f"ent-n{number}" for number in range(5)]
    rows = [{"_id": "", "sku": name, "_categories": cell} for name in names]
    for path in ("/import/preview", "/import/execute"):
        sizes.clear()
        (await shop.admin.post(path, {"schemaId": "x", "rows": rows})).ok()
        assert sizes == [4] * 5, path
    await run(shop, "_id\n" + "\n".join(names) + "\n", schemaId="x")
    sizes.clear()
    await run(shop, table(*((name, cell) for name in names)))
    assert sizes == [4] * 5
    assert [(await assigned(shop))[name[4:]] for name in names] == ["abco"] * 5


WAITING = """SELECT EXISTS (SELECT FROM pg_stat_activity
                             WHERE datname = current_database() AND wait_event_type = 'Lock')"""


@asynccontextmanager
async def held_category(shop: RecordsWorkspace, category: str) -> AsyncIterator[Any]:
    """A transaction that holds a category, as an assignment does."""
    conn = await asyncpg.connect(shop.database.url)
    try:
        async with conn.transaction():
            await conn.execute(
                "SELECT 1 FROM categories WHERE workspace_id = $1 AND id = $2 FOR UPDATE",
                shop.id,
                category,
            )
            yield conn
    finally:
        await conn.close()


@pytest.mark.parametrize("match", ["id", "sku"])
@pytest.mark.parametrize("is_deleted", [True, False])
async def test_what_others_do_meanwhile_counts(shop, is_deleted, match):
    """A category that is deleted, or assigned, after the row was read and before it is written."""
    await assign(shop, "o", "ent-two")
    file = "_id,sku,price,_categories\nent-two,two,7,ctg-b|ctg-c\n"
    begun = (await send(shop.admin, file, "x.csv", schemaId="x", match=match)).ok()
    async with held_category(shop, "ctg-b") as conn:
        job = asyncio.create_task(finish(shop, begun["id"]))
        await eventually(partial(conn.fetchval, WAITING))
        # The record is not held yet: whoever assigns locks it, too.
        await conn.execute(
            "SELECT 1 FROM records WHERE workspace_id = $1 AND id = 'ent-two' FOR UPDATE NOWAIT",
            shop.id,
        )
        if is_deleted:
            await conn.execute(
                "DELETE FROM categories WHERE workspace_id = $1 AND id = 'ctg-b'", shop.id
            )
        else:
            await conn.execute(
                "INSERT INTO category_assignments (workspace_id, record_id, category_id,"
                " catalog_id, record_created_at) SELECT $1, id, 'ctg-b', 'cat-shop', created_at"
                " FROM records WHERE workspace_id = $1 AND id = 'ent-two'",
                shop.id,
            )
    done = await job
    if is_deleted:
        assert (done["failed"], await assigned(shop)) == (1, {"one": "ao", "two": "o"})
        assert "'ctg-b' for '_categories' is no category" in (await messages(shop, done))[0]
    else:
        assert (done["updated"], (await assigned(shop))["two"]) == (1, "bc")
        assert ("assigned", "ctg-b/ent-two") not in await events_of(shop)


@pytest.mark.parametrize("rows", [2, 400])
async def test_a_group_of_rows_takes_a_constant_number_of_statements(shop, rows, executed):
    names = [f"ent-n{number}" for number in range(rows)]
    await run(shop, "_id\n" + "\n".join(names) + "\n", schemaId="x")
    for cell, expected in (("ctg-a|shop/a/c", 7), ("ctg-a|shop/a/c", 5), ("ctg-b|12", 5)):
        executed.clear()
        await run(shop, table(*((name, cell) for name in names)))
        about = [sql for sql, _ in executed if "categor" in sql]
        assert len(about) == expected, about


async def test_a_slice_locks_the_categories_of_one_group_of_rows(shop, monkeypatch):
    """Two jobs that lock those of several groups would wait for each other in a circle."""
    monkeypatch.setattr(jobs, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(jobs, "SLICE_S", 3600.0)
    rows = [(f"ent-{name}", "ctg-b") for name in ("one", "two", "three", "one", "two")]
    begun = (await send(shop.admin, table(*rows), "x.csv")).ok()
    imports = jobs.Imports()
    for processed in (2, 4, 5):
        more = await turn(shop, imports, begun["id"])
        job = (await shop.admin.get(f"/imports/{begun['id']}")).ok()
        assert (more, job["processed"]) == (processed < 5, processed)
    plain = (await send(shop.admin, "_id,price\n" + "ent-one,1\n" * 5, "x.csv")).ok()
    assert not await turn(shop, imports, plain["id"])


async def test_a_record_in_very_many_categories_comes_back_as_it_left(shop):
    await shop.database.execute(
        """
        INSERT INTO categories (workspace_id, id, catalog_id, parent_id, path, body, sort_order,
                                bytes, version, assignments_version, created_at, updated_at)
        SELECT workspace_id, 'ctg-' || n, catalog_id, id, path || lpad(n::text, 4, '0'),
               body - 'externalKey', n,
               bytes, version, 0, created_at, updated_at
          FROM categories, generate_series(1, 2500) AS n
         WHERE workspace_id = $1 AND id = 'ctg-a'
        """,
        shop.id,
    )
    job = await run(shop, table(("ent-two", "|".join(f"ctg-{n}" for n in range(1, 2501)))))
    assert (job["updated"], await messages(shop, job)) == (1, [])
    for kind in ("csv", "xlsx"):
        file = await download(shop.admin, f"/export?columns=perScope&format={kind}")
        assert (await run(shop, file, f"x.{kind}"))["unchanged"] == 3
