from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from records_service.blueprint import blueprint
from records_service.blueprint.blueprint import Blueprint, Blueprints
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.workspace import schema_body

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_workspace_without_a_model_has_an_empty_blueprint(workspace: RecordsWorkspace):
    found = await Blueprints().get(workspace.database, workspace.id)
    assert (found.version, found.schemas, found.attributes) == (0, {}, {})


async def test_everything_is_found_by_id(
    workspace: RecordsWorkspace, other_workspace: RecordsWorkspace
):
    language = {
        "id": "dim-language",
        "alias": "language",
        "name": "Language",
        "segments": [{"id": "seg-en", "alias": "en", "name": "English", "isDefault": True}],
    }
    values = [
        {"id": "val-b", "alias": "b", "label": "B"},
        {"id": "val-a", "alias": "a", "label": "A"},
    ]
    colors = {"id": "ol-c", "alias": "c", "name": "C", "values": values}
    (await workspace.admin.post("/dimensions", language)).ok()
    (await workspace.admin.post("/option-lists", colors)).ok()
    await workspace.attribute("color", "option", optionListId="ol-c", validation={"required": True})
    await workspace.schema("x", ["color"])
    await other_workspace.attribute("foreign")
    found = await Blueprints().get(workspace.database, workspace.id)
    assert found.version == 4
    assert found.dimensions["dim-language"].default_segment_id == "seg-en"
    assert [value.id for value in found.option_lists["ol-c"].values] == ["val-b", "val-a"]
    assert list(found.attributes) == ["attr-color"]
    assert found.attributes["attr-color"].validation.required
    assert found.schemas["schema-x"].attribute_ids == ("attr-color",)


async def test_a_change_is_seen_and_the_rest_is_not_read_again(workspace: RecordsWorkspace):
    await workspace.attribute("a")
    await workspace.attribute("b")
    await workspace.schema("x", ["a"])
    blueprints = Blueprints()
    first = await blueprints.get(workspace.database, workspace.id)
    assert await blueprints.get(workspace.database, workspace.id) is first
    body = {"alias": "a", "name": "New", "type": "text"}
    (await workspace.admin.put("/attributes/attr-a", body)).ok()
    second = await blueprints.get(workspace.database, workspace.id)
    assert second.version == first.version + 1
    assert (first.attributes["attr-a"].name, second.attributes["attr-a"].name) == ("a", "New")
    assert second.attributes["attr-b"] is first.attributes["attr-b"]
    assert second.schemas["schema-x"] is first.schemas["schema-x"]
    assert second.compiled is not first.compiled


async def test_a_value_added_to_a_list_is_seen(workspace: RecordsWorkspace):
    (await workspace.admin.post("/option-lists", {"id": "ol-c", "alias": "c", "name": "C"})).ok()
    blueprints = Blueprints()
    assert (await blueprints.get(workspace.database, workspace.id)).option_lists[
        "ol-c"
    ].values == ()
    added = {"id": "val-a", "alias": "a", "label": "A"}
    (await workspace.admin.post("/option-lists/ol-c/values", added)).ok()
    found = await blueprints.get(workspace.database, workspace.id)
    assert [value.alias for value in found.option_lists["ol-c"].values] == ["a"]
    (await workspace.admin.put("/option-lists/ol-c/values/val-a", {**added, "alias": "b"})).ok()
    found = await blueprints.get(workspace.database, workspace.id)
    assert [value.alias for value in found.option_lists["ol-c"].values] == ["b"]
    (await workspace.admin.delete("/option-lists/ol-c/values/val-a")).ok()
    found = await blueprints.get(workspace.database, workspace.id)
    assert found.option_lists["ol-c"].values == ()


async def test_what_is_deleted_is_gone_and_what_takes_its_id_is_new(workspace: RecordsWorkspace):
    await workspace.attribute("a")
    await workspace.attribute("b")
    blueprints = Blueprints()
    await blueprints.get(workspace.database, workspace.id)
    (await workspace.admin.delete("/attributes/attr-a")).ok()
    found = await blueprints.get(workspace.database, workspace.id)
    assert list(found.attributes) == ["attr-b"]
    await workspace.attribute("a", "number")
    found = await blueprints.get(workspace.database, workspace.id)
    assert found.attributes["attr-a"].type.value == "number"


async def test_many_who_ask_at_once_load_once(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    await workspace.attribute("a")
    loads = 0
    load = blueprint.load

    async def counted(*arguments):
        nonlocal loads
        loads += 1
        return await load(*arguments)

    monkeypatch.setattr(blueprint, "load", counted)
    blueprints = Blueprints()
    found = await asyncio.gather(
        *(blueprints.get(workspace.database, workspace.id) for _ in range(20))
    )
    assert loads == 1
    assert len({id(one) for one in found}) == 1


async def test_who_asks_in_the_moment_it_arrives_does_not_load_again(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    await workspace.attribute("a")
    blueprints, late, loads = Blueprints(), [], 0
    load = blueprint.load

    def ask() -> asyncio.Task[Blueprint]:
        return asyncio.create_task(blueprints.at(workspace.database, workspace.id, 1))

    async def followed(*arguments):
        nonlocal loads
        loads += 1
        loaded = await load(*arguments)
        # Runs after this load has ended and before those who waited for it go on.
        asyncio.get_running_loop().call_soon(lambda: late.append(ask()))
        return loaded

    monkeypatch.setattr(blueprint, "load", followed)
    first = await ask()
    assert await late[0] is first
    assert loads == 1


async def test_who_goes_away_does_not_take_the_others_along(workspace: RecordsWorkspace):
    await workspace.attribute("a")
    blueprints = Blueprints()
    first = asyncio.create_task(blueprints.at(workspace.database, workspace.id, 1))
    second = asyncio.create_task(blueprints.at(workspace.database, workspace.id, 1))
    await asyncio.sleep(0)
    first.cancel()
    assert list((await second).attributes) == ["attr-a"]
    assert first.cancelled()


async def test_a_load_that_began_too_early_is_not_enough(workspace: RecordsWorkspace):
    await workspace.attribute("a")
    blueprints = Blueprints()
    early = asyncio.create_task(blueprints.at(workspace.database, workspace.id, 1))
    await workspace.attribute("b")
    found = await blueprints.at(workspace.database, workspace.id, 2)
    assert list(found.attributes) == ["attr-a", "attr-b"]
    await early


async def test_the_workspaces_used_least_are_forgotten(
    workspace: RecordsWorkspace, other_workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(blueprint, "WORKSPACES_MAX", 1)
    await workspace.attribute("a")
    await other_workspace.attribute("b")
    blueprints = Blueprints()
    first = await blueprints.get(workspace.database, workspace.id)
    await blueprints.get(workspace.database, other_workspace.id)
    again = await blueprints.get(workspace.database, workspace.id)
    assert again is not first
    assert again.attributes == first.attributes


async def test_a_model_is_never_seen_half_changed(workspace: RecordsWorkspace):
    """A schema that has just got an attribute is never loaded without it."""
    await workspace.attribute("a")
    await workspace.schema("x", ["a"])
    stop = asyncio.Event()

    async def change() -> None:
        for number in range(15):
            await workspace.attribute(f"n{number}")
            body = schema_body("x", ["a", *(f"n{n}" for n in range(number + 1))])
            (await workspace.admin.put("/schemas/schema-x", body)).ok()
        stop.set()

    async def look() -> int:
        looks = 0
        while not stop.is_set():
            found = await Blueprints().get(workspace.database, workspace.id)
            assert set(found.schemas["schema-x"].attribute_ids) <= set(found.attributes)
            looks += 1
        return looks

    _, looks = await asyncio.gather(change(), look())
    assert looks > 0


async def test_a_model_is_parsed_beside_the_event_loop(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    await workspace.attribute("a")
    parsing: list[int] = []
    parsed = blueprint._parsed

    def watched(*arguments: Any) -> Blueprint:
        parsing.append(threading.get_ident())
        return parsed(*arguments)

    monkeypatch.setattr(blueprint, "_parsed", watched)
    found = await Blueprints().get(workspace.database, workspace.id)
    assert list(found.attributes) == ["attr-a"]
    assert len(parsing) == 1
    assert threading.get_ident() not in parsing


async def test_a_model_that_fills_the_cache_is_kept_in_it_alone(
    workspace: RecordsWorkspace,
    other_workspace: RecordsWorkspace,
    monkeypatch: pytest.MonkeyPatch,
):
    """A process that kept none would load it for every request."""
    await workspace.attribute("name")
    await other_workspace.attribute("name")
    monkeypatch.setattr(blueprint, "BYTES_MAX", 10)
    kept = Blueprints()
    for one, other in ((workspace, other_workspace), (other_workspace, workspace)):
        found = await kept.get(one.database, one.id)
        assert found.bytes > 10
        assert await kept.get(one.database, one.id) is found
        assert kept.known(other.id) is None
