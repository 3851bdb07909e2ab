"""Options with a text in their names: the same answer whichever way they are found."""

from __future__ import annotations

from typing import Any

import pytest

from records_service.option_lists import page_store
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller
from tests.service.records.large_lists import VALUES, add, option

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMED = [
    option("red", label="Rød Stærk", externalKey="EXT/77", labels={"seg-da": "Purpur"}),
    option("wide", label="STRASSE straße"),
    option("percent", label="100%_x"),
    option("short", label="ab"),
    option("twice", label="Stærk twice"),
]


async def build(workspace: RecordsWorkspace) -> None:
    await workspace.dimension("language", ["en", "da"])
    await workspace.option_list("large", [])
    await add(workspace, [*(option(f"o{n}", label=f"Other {n:03}") for n in range(60)), *NAMED])


async def page(admin: Caller, query: str, **more: Any) -> dict[str, Any]:
    answer: dict[str, Any] = (await admin.get(VALUES, params={"query": query, **more})).ok()
    return answer


async def ids(admin: Caller, query: str, **more: Any) -> list[str]:
    return [one["id"] for one in (await page(admin, query, **more))["items"]]


async def pages(admin: Caller, query: str) -> list[str]:
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        one = await page(admin, query, limit="7", **cursor)
        found += [each["id"] for each in one["items"]]
        if one["nextCursor"] is None:
            return found
        cursor = {"cursor": one["nextCursor"]}


async def test_each_name_is_found_by_a_part(workspace: RecordsWorkspace, admin: Caller):
    await build(workspace)
    for query, expected in {
        "RØD": ["val-red"],
        "stær": ["val-red", "val-twice"],
        "purpur": ["val-red"],
        "ext/7": ["val-red"],
        "straß": ["val-wide"],
        "0%_": ["val-percent"],
        "ab": ["val-short"],
        "other 05": [f"val-o{n}" for n in range(50, 60)],
        "o59": ["val-o59"],
        "nothing": [],
    }.items():
        assert await ids(admin, query) == expected, query
    assert await ids(admin, "other", externalKey="EXT/77") == []
    assert await ids(admin, "stær", externalKey="EXT/77") == ["val-red"]
    assert (await page(admin, "other 0", total="none")).keys() & {"total"} == set()


async def test_a_changed_name_is_found_and_the_old_one_is_not(
    workspace: RecordsWorkspace, admin: Caller
):
    await build(workspace)
    (await admin.put(f"{VALUES}/val-o1", {"alias": "o1", "label": "Renamed"})).ok()
    await admin.post(f"{VALUES}/bulk", {"operations": [{"id": "val-o2", "label": "Renamed too"}]})
    (await admin.post(VALUES, option("o99", label="Renamed late"))).ok()
    assert await ids(admin, "renamed") == ["val-o1", "val-o2", "val-o99"]
    assert await ids(admin, "other 001") == await ids(admin, "other 002") == []
    (await admin.delete(f"{VALUES}/val-o99")).ok()
    assert await ids(admin, "renamed") == ["val-o1", "val-o2"]


async def test_options_of_the_version_before_are_found(workspace: RecordsWorkspace, admin: Caller):
    """It stores no parts of their names."""
    await build(workspace)
    async with workspace.database.acquire() as conn:
        await conn.execute(
            "UPDATE option_values SET grams = NULL WHERE workspace_id = $1 AND sort_order < 30",
            workspace.id,
        )
    assert await pages(admin, "other 0") == [f"val-o{n}" for n in range(60)]
    assert await ids(admin, "other 029") == ["val-o29"]


async def test_very_many_are_read_in_order(
    workspace: RecordsWorkspace, admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    await build(workspace)
    expected = [f"val-o{n}" for n in range(60)]
    monkeypatch.setattr(page_store, "COUNTED_MAX", 20)
    # Far behind the options that are looked at, close to them, and among them.
    for walked in (1, 10, 1_000):
        monkeypatch.setattr(page_store, "WALKED_MAX", walked)
        assert await pages(admin, "other 0") == expected
        assert await ids(admin, "other 0", offset="40", limit="5") == expected[40:45]
        assert await ids(admin, "other 0", offset="58", limit="5") == expected[58:]
        assert await ids(admin, "stær") == ["val-red", "val-twice"]
    monkeypatch.undo()
    assert (await page(admin, "other 0"))["total"] == 60


async def test_options_of_other_lists_and_workspaces_are_not_found(
    workspace: RecordsWorkspace, other_workspace: RecordsWorkspace, admin: Caller
):
    await build(workspace)
    await build(other_workspace)
    (await other_workspace.admin.post(VALUES, option("foreign", label="Stærk foreign"))).ok()
    await workspace.option_list("few", ["staerk"])
    assert await ids(admin, "stær") == ["val-red", "val-twice"]
