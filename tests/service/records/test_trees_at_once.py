"""While a large tree is being deleted, others are changed; what is deleted may be made again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from records_service.catalogs.categories import removal
from shared.events import EventType
from tests.kit.eventually import eventually
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Answer, Caller, error
from tests.service.records import job_turns

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAIT_S = 5.0


@pytest.fixture(params=["small", "large"], autouse=True)
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request removes all that is in the tree, or leaves that to a job."""
    if request.param == "large":
        monkeypatch.setattr(removal, "CATEGORIES_IN_REQUEST", 0)


@pytest_asyncio.fixture(loop_scope="module")
async def shops(workspace: RecordsWorkspace) -> RecordsWorkspace:
    """Two catalogs; a record is in a category of the first, which is below another."""
    await workspace.attribute("sku")
    await workspace.schema("apparel", ["sku"])
    await workspace.record("schema-apparel", {"sku": "one"}, id="ent-one")
    await workspace.catalog("webshop")
    await workspace.catalog("other")
    await workspace.category("a")
    await workspace.category("b", parent="a")
    (await workspace.admin.post("/categories/ctg-b/assign", {"entityId": "ent-one"})).ok()
    return workspace


Meanwhile = Callable[[Awaitable[Answer], Callable[[], Awaitable[Any]]], Awaitable[Answer]]


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """Does something when a deletion has deleted all, and not committed; the answer of that."""

    async def done(deletion: Awaitable[Answer], between: Callable[[], Awaitable[Any]]) -> Answer:
        deleted, goes_on = asyncio.Event(), asyncio.Event()
        delete = removal.remove_or_request

        async def paused(*arguments: Any) -> None:
            await delete(*arguments)
            if not deleted.is_set():
                deleted.set()
                await goes_on.wait()

        monkeypatch.setattr(removal, "remove_or_request", paused)
        deleting = asyncio.ensure_future(deletion)
        try:
            async with asyncio.timeout(WAIT_S):
                await deleted.wait()
                await between()
        finally:
            goes_on.set()
        return await deleting

    return done


async def make(admin: Caller, catalog: str, name: str, **more: Any) -> Answer:
    return await admin.post(f"/catalogs/cat-{catalog}/categories", {"name": name, **more})


@pytest.mark.parametrize("path", ["/catalogs/cat-webshop", "/categories/ctg-a"])
async def test_other_trees_are_changed_while_one_is_deleted(shops, admin, meanwhile, path):
    async def between() -> None:
        (await make(admin, "other", "c", id="ctg-c")).ok()
        (await admin.put("/categories/ctg-c", {"name": "C"})).ok()
        (await admin.put("/catalogs/cat-other", {"alias": "other", "name": "Other"})).ok()
        (await admin.post("/catalogs", {"alias": "third", "name": "Third"})).ok()
        (await admin.delete("/categories/ctg-c")).ok()

    assert (await meanwhile(admin.delete(path), between)).status == 204
    await job_turns.finish(shops)
    left = await shops.fetch("SELECT category_id FROM category_assignments WHERE workspace_id = $1")
    assert left == []
    assert (await admin.get("/categories/ctg-b")).status == 404


async def test_a_change_of_the_tree_waits_for_its_deletion(shops, admin, meanwhile):
    waiting: list[asyncio.Task[Answer]] = []

    async def between() -> None:
        waiting.append(asyncio.create_task(make(admin, "webshop", "c")))
        waiting.append(asyncio.create_task(admin.put("/categories/ctg-b", {"name": "B"})))
        waiting.append(
            asyncio.create_task(admin.post("/categories/ctg-b/assign", {"entityId": "ent-one"}))
        )
        await eventually(shops.records.waits_for_a_lock)

    assert (await meanwhile(admin.delete("/catalogs/cat-webshop"), between)).status == 204
    answers = [answer.outcome for answer in await asyncio.gather(*waiting)]
    gone = error(404, "NOT_FOUND", "Category 'ctg-b' not found")
    assert answers[0] == error(404, "NOT_FOUND", "Catalog 'cat-webshop' not found")
    assert answers[1] in (gone, error(404, "NOT_FOUND", "Catalog 'cat-webshop' not found"))
    assert answers[2] == gone
    await job_turns.finish(shops)
    assert await shops.fetch("SELECT 1 FROM categories WHERE workspace_id = $1") == []


@pytest.mark.parametrize("size", ["large"], indirect=True)
async def test_a_record_of_a_large_tree_does_not_wait_for_its_deletion(shops, admin, meanwhile):
    async def between() -> None:
        assert (await admin.delete("/records/ent-one")).status == 204

    assert (await meanwhile(admin.delete("/catalogs/cat-webshop"), between)).status == 204
    await job_turns.finish(shops)


async def test_an_id_that_is_being_deleted_is_made_again_and_goes_on_counting(
    shops, admin, meanwhile
):
    """PostgreSQL ends the circle: one waits for the id, the other for the next version."""
    making: list[asyncio.Task[Answer]] = []

    async def between() -> None:
        making.append(asyncio.create_task(make(admin, "other", "again", id="ctg-b")))
        await eventually(shops.records.waits_for_a_lock)

    assert (await meanwhile(admin.delete("/categories/ctg-a"), between)).status == 204
    if (await making[0]).status == 409:
        # Whoever has waited for a second ends the circle: on a slow machine, the deletion does.
        making[0] = asyncio.create_task(make(admin, "other", "again", id="ctg-b"))
    assert (await making[0]).status == 201
    events = [event for event in await shops.staged() if event.subject == "ctg-b"]
    versions = {event.type: event.version for event in events}
    assert versions[EventType.CATEGORY_DELETED] < max(
        event.version for event in events if event.type == EventType.CATEGORY_CREATED
    )
