"""A large option list is deleted at once for everybody, and its options some at a time."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio

from records_service.blueprint.blueprint import BLUEPRINTS
from records_service.model_objects.size import bytes_of_object
from records_service.option_lists import removal
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import error
from tests.service.records import job_turns

pytestmark = pytest.mark.asyncio(loop_scope="module")

LISTS = "/option-lists"
NAMES = ["a", "b", "c", "d", "e"]
LARGE: dict[str, Any] = {
    "id": "ol-large",
    "alias": "large",
    "name": "Large",
    "externalKey": "L",
    "values": [{"id": f"val-{each}", "alias": each, "label": each} for each in NAMES],
}
NOT_FOUND = error(404, "NOT_FOUND", "Option list 'ol-large' not found")
GOING = error(
    409,
    "CONFLICT",
    "Option list 'ol-large' was deleted and its options are still being removed: use another id,"
    " or try again later",
)


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "REMOVED_IN_REQUEST", 4)
    monkeypatch.setattr(removal, "REMOVED_AT_ONCE", 2)


@pytest_asyncio.fixture(loop_scope="module")
async def modelled(workspace: RecordsWorkspace) -> RecordsWorkspace:
    await workspace.option_list("small", ["x", "y"])
    (await workspace.admin.post(LISTS, LARGE)).ok()
    return workspace


async def options(workspace: RecordsWorkspace) -> list[str]:
    rows = await workspace.fetch(
        """SELECT alias FROM option_values
            WHERE workspace_id = $1 AND list_id = 'ol-large' ORDER BY id"""
    )
    return [row["alias"] for row in rows]


async def check_size(workspace: RecordsWorkspace) -> None:
    """The size of the model is that of the lists that clients see."""
    told = await workspace.fetch("SELECT objects, bytes FROM models WHERE workspace_id = $1")
    counted = await workspace.fetch(
        f"""
        SELECT count(*) AS objects,
               sum({bytes_of_object("p")} + coalesce((
                   SELECT sum(60 + octet_length(id) + octet_length(alias) + octet_length(label))
                     FROM option_values v WHERE v.workspace_id = $1 AND v.list_id = p.id), 0)
                  )::bigint AS bytes
          FROM option_lists p WHERE workspace_id = $1 AND NOT is_deleted
        """
    )
    assert told == counted


async def test_nobody_finds_a_deleted_list(modelled: RecordsWorkspace):
    admin = modelled.admin
    before = len(await modelled.staged())
    assert (await admin.delete(f"{LISTS}/ol-large")).status == 204
    assert await options(modelled) == NAMES
    events = [event.type for event in (await modelled.staged())[before:]]
    assert events.count("schema.option-list.deleted") == 1, events

    assert (await admin.delete(f"{LISTS}/ol-large")).outcome == NOT_FOUND
    assert (await admin.get(f"{LISTS}/ol-large")).outcome == NOT_FOUND
    assert (await admin.get(f"{LISTS}/ol-large/values")).outcome == NOT_FOUND
    assert (await admin.put(f"{LISTS}/ol-large", LARGE)).outcome == NOT_FOUND
    added = await admin.post(f"{LISTS}/ol-large/values", {"alias": "f", "label": "F"})
    assert added.outcome == NOT_FOUND
    bulk = {"operations": [{"alias": "f", "label": "F"}]}
    assert (await admin.post(f"{LISTS}/ol-large/values/bulk", bulk)).outcome == NOT_FOUND
    listed = (await admin.get(LISTS)).ok()
    assert [each["id"] for each in listed] == ["ol-small"]
    color = {"alias": "color", "name": "Color", "type": "option", "optionListId": "ol-large"}
    assert (await admin.post("/attributes", color)).status == 400
    blueprint = await modelled.records.app[BLUEPRINTS].get(modelled.database, modelled.id)
    assert list(blueprint.option_lists) == ["ol-small"]
    await check_size(modelled)

    await job_turns.finish(modelled)
    assert await options(modelled) == []
    assert (
        await modelled.fetch("SELECT 1 FROM option_lists WHERE workspace_id = $1 AND is_deleted")
        == []
    )
    after = [event.type for event in await modelled.staged()]
    assert after.count("schema.option-list.deleted") == 1
    await check_size(modelled)


async def test_its_names_are_free_at_once_and_its_id_in_the_end(modelled: RecordsWorkspace):
    admin = modelled.admin
    (await admin.delete(f"{LISTS}/ol-large")).ok()
    assert (await admin.post(LISTS, LARGE)).outcome == GOING
    other = {**LARGE, "id": "ol-other"}
    (await admin.post(LISTS, other)).ok()
    await check_size(modelled)
    await job_turns.finish(modelled)
    assert len((await admin.get(f"{LISTS}/ol-other")).ok()["values"]) == len(NAMES)
    again = {**LARGE, "alias": "again", "externalKey": "A", "values": LARGE["values"][:2]}
    made = (await admin.post(LISTS, again)).ok()
    assert [each["alias"] for each in made["values"]] == NAMES[:2]
    await check_size(modelled)


async def test_a_slice_is_bounded_and_one_that_fails_is_repeated(
    modelled: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    (await modelled.admin.delete(f"{LISTS}/ol-large")).ok()

    async def slice_(*, fails: bool = False) -> bool:
        async with modelled.database.transaction() as conn:
            more = await removal.remove_some(conn, modelled.id, "ol-large")
            if fails:
                raise ConnectionError
        return more

    left = []
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await slice_(fails=True)
        assert await slice_()
        left.append(await options(modelled))
    assert left == [NAMES[2:], NAMES[4:]]
    # As a process of the version before could, for which the list is there.
    await modelled.database.execute(
        """INSERT INTO option_values (workspace_id, list_id, id, alias, label, sort_order)
           VALUES ($1, 'ol-large', 'val-0', 'z', 'z', 0)""",
        modelled.id,
    )
    assert not await slice_()
    assert await options(modelled) == []
    assert not await slice_()
    await check_size(modelled)


async def test_a_small_list_is_deleted_by_the_request(modelled: RecordsWorkspace):
    (await modelled.admin.delete(f"{LISTS}/ol-small")).ok()
    assert await modelled.fetch("SELECT 1 FROM jobs WHERE workspace_id = $1") == []
    assert (
        await modelled.fetch(
            "SELECT 1 FROM option_lists WHERE workspace_id = $1 AND id = 'ol-small'"
        )
        == []
    )
    await check_size(modelled)


async def test_a_dry_run_leaves_the_list(modelled: RecordsWorkspace):
    headers = {"Prefer": "dry-run"}
    (await modelled.admin.ask("DELETE", f"{LISTS}/ol-large", headers=headers)).ok()
    assert await modelled.fetch("SELECT 1 FROM jobs WHERE workspace_id = $1") == []
    assert len((await modelled.admin.get(f"{LISTS}/ol-large")).ok()["values"]) == len(NAMES)


async def test_a_list_that_is_chosen_from_stays(modelled: RecordsWorkspace):
    await modelled.attribute("color", "option", optionListId="ol-large")
    refused = await modelled.admin.delete(f"{LISTS}/ol-large")
    assert refused.status == 409
    assert await options(modelled) == NAMES
    assert await modelled.fetch("SELECT 1 FROM jobs WHERE workspace_id = $1") == []
