"""Lists that no process holds are changed by few statements, however large, and counted right."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from records_service.option_lists import commands
from records_service.option_lists.model import HELD_VALUES_MAX
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error
from tests.service.records.large_lists import VALUES, add, build, option

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIST = "/option-lists/ol-large"
MANY = HELD_VALUES_MAX + 1


async def held_bytes(workspace: RecordsWorkspace) -> int:
    (row,) = await workspace.fetch("SELECT bytes FROM models WHERE workspace_id = $1")
    size: int = row["bytes"]
    return size


async def count(admin: Caller) -> int:
    """As the list says and as its options are counted, which must be the same."""
    said = (await admin.get(LIST)).ok()["valueCount"]
    (listed,) = [one for one in (await admin.get("/option-lists")).ok() if one["id"] == "ol-large"]
    paged = (await admin.get(VALUES, params={"limit": "1"})).ok()["total"]
    assert said == listed["valueCount"] == paged
    return int(said)


async def test_every_change_is_counted(workspace: RecordsWorkspace, admin: Caller):
    await build(workspace, hierarchical=True)
    assert await count(admin) == MANY
    (await admin.post(VALUES, option("a"))).ok()
    (await admin.post(VALUES, option("b", parentId="val-a"))).ok()
    (await admin.put(f"{VALUES}/val-b", option("b", label="B!", parentId="val-a"))).ok()
    assert await count(admin) == MANY + 2
    rows = [option("c", parentId="val-b"), option("o1", label="Changed"), {"id": "val-d"}]
    (await admin.post(f"{VALUES}/bulk", {"operations": rows})).ok()
    assert await count(admin) == MANY + 3
    assert (await admin.post(VALUES, option("a"))).status == 409
    assert await count(admin) == MANY + 3
    # With the options below it.
    assert (await admin.delete(f"{VALUES}/val-a")).status == 204
    assert await count(admin) == MANY
    (await admin.put(LIST, {"alias": "large", "name": "Renamed", "hierarchical": True})).ok()
    assert await count(admin) == MANY
    (await admin.put(LIST, {"alias": "large", "name": "L", "values": [option("z")]})).ok()
    assert await count(admin) == 1


async def test_writers_at_once_are_all_counted(workspace: RecordsWorkspace, admin: Caller):
    await build(workspace)
    calls = [admin.post(VALUES, option(f"a{n}")) for n in range(6)]
    calls += [
        admin.post(f"{VALUES}/bulk", {"operations": [option(f"b{n}"), option("same")]})
        for n in range(4)
    ]
    calls += [admin.delete(f"{VALUES}/val-o{n}") for n in range(4)]
    assert all(answer.status < 300 for answer in await asyncio.gather(*calls))
    assert await count(admin) == MANY + 6 + 5 - 4


async def test_what_code_of_the_version_before_changes_is_counted_again(
    workspace: RecordsWorkspace, admin: Caller
):
    """It raises the version of the list, and writes no count."""
    await build(workspace)
    async with workspace.database.acquire() as conn:
        await conn.execute(
            """
            INSERT INTO option_values (workspace_id, list_id, id, alias, label, sort_order)
            VALUES ($1, 'ol-large', 'val-old', 'old', 'Old', 1)
            """,
            workspace.id,
        )
        await conn.execute(
            "UPDATE option_lists SET version = version + 1 WHERE workspace_id = $1", workspace.id
        )
    assert await count(admin) == MANY + 1
    (await admin.post(VALUES, option("new"))).ok()
    assert await count(admin) == MANY + 2


async def test_only_options_in_memory_count_for_the_size_of_the_model(
    workspace: RecordsWorkspace, admin: Caller
):
    (await admin.post("/option-lists", {"id": "ol-large", "alias": "large", "name": "L"})).ok()
    empty = await held_bytes(workspace)
    await add(workspace, [option(f"o{n}") for n in range(HELD_VALUES_MAX)])
    full = await held_bytes(workspace)
    assert full > empty + 60 * HELD_VALUES_MAX
    (await admin.post(VALUES, option("more"))).ok()
    assert await held_bytes(workspace) == empty
    await add(workspace, [option(f"p{n}", label="x" * 200) for n in range(200)])
    assert await held_bytes(workspace) == empty
    (await admin.post(f"{VALUES}/bulk", {"operations": [option("p1", label="y")]})).ok()
    await asyncio.gather(*(admin.delete(f"{VALUES}/val-p{n}") for n in range(200)))
    assert await held_bytes(workspace) == empty
    assert (await admin.delete(f"{VALUES}/val-more")).status == 204
    assert await held_bytes(workspace) == full
    assert (await admin.delete(LIST)).status == 204
    assert await held_bytes(workspace) == 0


async def test_a_call_takes_as_many_statements_for_a_large_list_as_for_a_small_one(
    workspace: RecordsWorkspace, admin: Caller, executed: list[tuple[str, Any]]
):
    body = {"id": "ol-large", "alias": "large", "name": "L", "hierarchical": True}
    (await admin.post("/option-lists", body)).ok()
    taken = []
    for start in (0, 10, 2_010):
        rows = [option(f"o{n}", externalKey=f"k{n}") for n in range(start, start * 100 + 10)]
        executed.clear()
        report = (await admin.post(f"{VALUES}/bulk", {"operations": rows[:2_000]})).ok()
        assert report["created"] == len(rows[:2_000])
        # One of the calls makes the list large, and has it analyzed.
        asked = [sql for sql, _ in executed if not sql.startswith("ANALYZE")]
        taken.append(sum("option_values" in sql for sql in asked))
    assert len(set(taken)) == 1


async def test_rows_move_options_below_each_other(workspace: RecordsWorkspace, admin: Caller):
    """Only what the rows name is read: also what is above the parents that they name."""
    chain = [option("a"), *(option(one, parentId=f"val-{up}") for up, one in ("ab", "bc", "cd"))]
    await build(workspace, chain, hierarchical=True)
    rows = [
        {"id": "val-a", "parentId": "val-d"},
        {"id": "val-o1", "parentId": "val-d"},
        {"alias": "a", "id": "val-a", "parentId": "val-o1"},
        {"id": "val-c", "parentId": None},
        {"id": "val-a", "parentId": "val-o1"},
        {"id": "val-o2", "parentId": "val-nobody"},
        {"id": "val-d", "label": "Only the label"},
        option("new", parentId="val-a"),
        option("newer", parentId="val-new"),
        {"id": "val-d", "parentId": "val-newer"},
    ]
    report = (await admin.post(f"{VALUES}/bulk", {"operations": rows})).ok()
    told = {one["index"]: one["message"] for one in report["results"] if "message" in one}
    assert told == {
        0: "Option value 'a' would be its own ancestor",
        2: "Option value 'a' would be its own ancestor",
        5: "Parent 'val-nobody' of option value 'o2' not found",
        9: "Option value 'd' would be its own ancestor",
    }
    single = await admin.put(f"{VALUES}/val-c", option("c", parentId="val-newer"))
    assert single.outcome == error(
        400, "VALIDATION_ERROR", "Option value 'c' would be its own ancestor"
    )


async def test_a_list_that_no_request_holds_is_not_replaced(
    workspace: RecordsWorkspace, admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    await build(workspace, [option("a"), option("b", parentId="val-a")], hierarchical=True)
    monkeypatch.setattr(commands, "VALUES_MAX", MANY)
    sent = {"alias": "large", "name": "L", "hierarchical": True}
    refused = await admin.put(LIST, sent | {"values": [option("z")]})
    assert refused.outcome == error(
        400,
        "VALIDATION_ERROR",
        f"Field 'values' must be left out, because the list has {MANY + 2} values: more than {MANY}"
        " can only be changed one by one or at '/values/bulk'",
    )
    assert (await admin.put(LIST, sent)).ok()["valueCount"] == MANY + 2
    flat = await admin.put(LIST, sent | {"hierarchical": False})
    assert flat.outcome == error(
        400, "VALIDATION_ERROR", "Option value 'b' has a parent, but the list is flat"
    )


async def test_the_lists_of_a_workspace_have_a_bound_together(
    workspace: RecordsWorkspace, admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    await build(workspace)
    monkeypatch.setattr(commands, "WORKSPACE_VALUES_MAX", MANY + 2)

    def refused(got: int) -> tuple[int, dict[str, str]]:
        return error(
            403,
            "LIMIT_EXCEEDED",
            f"The option lists of this workspace may have at most {MANY + 2} values together,"
            f" got {got}",
        )

    values = [{"alias": f"v{n}", "label": "V"} for n in range(3)]
    other = {"id": "ol-other", "alias": "other", "name": "O"}
    assert (await admin.post("/option-lists", other | {"values": values})).outcome == refused(
        MANY + 3
    )
    (await admin.post("/option-lists", other | {"values": values[:1]})).ok()
    (await admin.post(VALUES, option("a"))).ok()
    assert (await admin.post(VALUES, option("b"))).outcome == refused(MANY + 3)
    rows = {"operations": [option("b"), option("c")]}
    assert (await admin.post(f"{VALUES}/bulk", rows)).outcome == refused(MANY + 4)
    replaced = await admin.put("/option-lists/ol-other", other | {"values": values})
    assert replaced.outcome == refused(MANY + 4)
    assert await count(admin) == MANY + 1


async def test_a_list_that_has_grown_fast_is_analyzed(
    workspace: RecordsWorkspace, admin: Caller, executed: list[tuple[str, Any]]
):
    """Otherwise PostgreSQL reads all of it for each name, for a minute."""
    await workspace.option_list("large", [f"o{n}" for n in range(HELD_VALUES_MAX)])
    analyzed = []
    for start, end in ((500, 501), (501, 511), (511, 520), (520, 530), (530, 1_030)):
        executed.clear()
        await add(workspace, [option(f"p{n}") for n in range(start, end)])
        analyzed.append(any(sql.startswith("ANALYZE") for sql, _ in executed))
    assert analyzed == [False, False, True, False, True]
