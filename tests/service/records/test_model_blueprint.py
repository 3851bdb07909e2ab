from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from records_service.blueprint import blueprint
from records_service.blueprint.blueprint import Blueprint, Blueprints
from tests.service.records.model_world import World, admin, other_world, running, schema, world

__all__ = ["admin", "other_world", "running", "world"]

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_workspace_without_a_model_has_an_empty_blueprint(world: World):
    found = await Blueprints().get(world.database, world.workspace)
    assert (found.version, found.schemas, found.attributes) == (0, {}, {})


async def test_everything_is_found_by_id(world: World, other_world: World):
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
    (await world.admin.post("/dimensions", language)).ok()
    (await world.admin.post("/option-lists", colors)).ok()
    await world.attribute("color", "option", optionListId="ol-c", validation={"required": True})
    await world.schema("x", ["color"])
    await other_world.attribute("foreign")
    found = await Blueprints().get(world.database, world.workspace)
    assert found.version == 4
    assert found.dimensions["dim-language"].default_segment_id == "seg-en"
    assert [value.id for value in found.option_lists["ol-c"].values] == ["val-b", "val-a"]
    assert list(found.attributes) == ["attr-color"]
    assert found.attributes["attr-color"].validation.required
    assert found.schemas["schema-x"].attribute_ids == ("attr-color",)


async def test_a_change_is_seen_and_the_rest_is_not_read_again(world: World):
    await world.attribute("a")
    await world.attribute("b")
    await world.schema("x", ["a"])
    blueprints = Blueprints()
    first = await blueprints.get(world.database, world.workspace)
    assert await blueprints.get(world.database, world.workspace) is first
    body = {"alias": "a", "name": "New", "type": "text"}
    (await world.admin.put("/attributes/attr-a", body)).ok()
    second = await blueprints.get(world.database, world.workspace)
    assert second.version == first.version + 1
    assert (first.attributes["attr-a"].name, second.attributes["attr-a"].name) == ("a", "New")
    assert second.attributes["attr-b"] is first.attributes["attr-b"]
    assert second.schemas["schema-x"] is first.schemas["schema-x"]
    assert second.compiled is not first.compiled


async def test_a_value_added_to_a_list_is_seen(world: World):
    (await world.admin.post("/option-lists", {"id": "ol-c", "alias": "c", "name": "C"})).ok()
    blueprints = Blueprints()
    assert (await blueprints.get(world.database, world.workspace)).option_lists["ol-c"].values == ()
    added = {"id": "val-a", "alias": "a", "label": "A"}
    (await world.admin.post("/option-lists/ol-c/values", added)).ok()
    found = await blueprints.get(world.database, world.workspace)
    assert [value.alias for value in found.option_lists["ol-c"].values] == ["a"]
    (await world.admin.put("/option-lists/ol-c/values/val-a", {**added, "alias": "b"})).ok()
    found = await blueprints.get(world.database, world.workspace)
    assert [value.alias for value in found.option_lists["ol-c"].values] == ["b"]
    (await world.admin.delete("/option-lists/ol-c/values/val-a")).ok()
    found = await blueprints.get(world.database, world.workspace)
    assert found.option_lists["ol-c"].values == ()


async def test_what_is_deleted_is_gone_and_what_takes_its_id_is_new(world: World):
    await world.attribute("a")
    await world.attribute("b")
    blueprints = Blueprints()
    await blueprints.get(world.database, world.workspace)
    (await world.admin.delete("/attributes/attr-a")).ok()
    found = await blueprints.get(world.database, world.workspace)
    assert list(found.attributes) == ["attr-b"]
    await world.attribute("a", "number")
    found = await blueprints.get(world.database, world.workspace)
    assert found.attributes["attr-a"].type.value == "number"


async def test_many_who_ask_at_once_load_once(world: World, monkeypatch: pytest.MonkeyPatch):
    await world.attribute("a")
    loads = 0
    load = blueprint.load

    async def counted(*arguments):
        nonlocal loads
        loads += 1
        return await load(*arguments)

    monkeypatch.setattr(blueprint, "load", counted)
    blueprints = Blueprints()
    found = await asyncio.gather(
        *(blueprints.get(world.database, world.workspace) for _ in range(20))
    )
    assert loads == 1
    assert len({id(one) for one in found}) == 1


async def test_who_asks_in_the_moment_it_arrives_does_not_load_again(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    await world.attribute("a")
    blueprints, late, loads = Blueprints(), [], 0
    load = blueprint.load

    def ask() -> asyncio.Task[Blueprint]:
        return asyncio.create_task(blueprints.at(world.database, world.workspace, 1))

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


async def test_who_goes_away_does_not_take_the_others_along(world: World):
    await world.attribute("a")
    blueprints = Blueprints()
    first = asyncio.create_task(blueprints.at(world.database, world.workspace, 1))
    second = asyncio.create_task(blueprints.at(world.database, world.workspace, 1))
    await asyncio.sleep(0)
    first.cancel()
    assert list((await second).attributes) == ["attr-a"]
    assert first.cancelled()


async def test_a_load_that_began_too_early_is_not_enough(world: World):
    await world.attribute("a")
    blueprints = Blueprints()
    early = asyncio.create_task(blueprints.at(world.database, world.workspace, 1))
    await world.attribute("b")
    found = await blueprints.at(world.database, world.workspace, 2)
    assert list(found.attributes) == ["attr-a", "attr-b"]
    await early


async def test_the_workspaces_used_least_are_forgotten(
    world: World, other_world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(blueprint, "WORKSPACES_MAX", 1)
    await world.attribute("a")
    await other_world.attribute("b")
    blueprints = Blueprints()
    first = await blueprints.get(world.database, world.workspace)
    await blueprints.get(world.database, other_world.workspace)
    again = await blueprints.get(world.database, world.workspace)
    assert again is not first
    assert again.attributes == first.attributes


async def test_a_model_is_never_seen_half_changed(world: World):
    """A schema that has just got an attribute is never loaded without it."""
    await world.attribute("a")
    await world.schema("x", ["a"])
    stop = asyncio.Event()

    async def change() -> None:
        for number in range(15):
            await world.attribute(f"n{number}")
            body = schema("x", ["a", *(f"n{n}" for n in range(number + 1))])
            (await world.admin.put("/schemas/schema-x", body)).ok()
        stop.set()

    async def look() -> int:
        looks = 0
        while not stop.is_set():
            found = await Blueprints().get(world.database, world.workspace)
            assert set(found.schemas["schema-x"].attribute_ids) <= set(found.attributes)
            looks += 1
        return looks

    _, looks = await asyncio.gather(change(), look())
    assert looks > 0


async def test_a_model_is_parsed_beside_the_event_loop(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    await world.attribute("a")
    parsing: list[int] = []
    parsed = blueprint._parsed

    def watched(*arguments: Any) -> Blueprint:
        parsing.append(threading.get_ident())
        return parsed(*arguments)

    monkeypatch.setattr(blueprint, "_parsed", watched)
    found = await Blueprints().get(world.database, world.workspace)
    assert list(found.attributes) == ["attr-a"]
    assert len(parsing) == 1
    assert threading.get_ident() not in parsing
