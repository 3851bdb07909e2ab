"""Options of lists that no process holds: looked up by name, wherever a request names one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from records_service.app import create_app
from records_service.blueprint.blueprint import Blueprints
from records_service.config import Config
from records_service.option_lists.model import HELD_VALUES_MAX
from records_service.records import commands
from records_service.writes import batches, create_batching
from tests.kit.identities import Keyring
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.servers import Servers
from tests.kit.service import Services
from tests.kit.sigma import Answer, Caller, error
from tests.kit.workspace import entries
from tests.service.records.import_files import errors_of, run
from tests.service.records.large_lists import VALUES, build, option
from tests.service.records.test_variant_races import first

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMED = [
    option("acme", label="Acme"),
    option("bolt", label="Bölt", labels={"seg-da": "Lyn"}),
    option("twin", label="Same"),
    option("twin2", label="Same"),
    option("split", label="a|b"),
    option("val-acme", id="val-alias"),
]


def unknown(name: str, attribute: str = "brand") -> tuple[int, dict[str, str]]:
    message = f"Value '{name}' for '{attribute}' is not in option list 'ol-large'"
    return error(400, "VALIDATION_ERROR", message)


def values_of(answer: Answer) -> dict[str, Any]:
    return {name: held[0]["value"] for name, held in answer.ok()["values"].items()}


async def test_records_choose_by_id_and_alias(workspace: RecordsWorkspace, admin: Caller):
    await build(workspace, NAMED)
    made = await workspace.post_record(
        "x", brand="bolt", brands=["acme", "val-o7"], supplier={"brand": "twin"}
    )
    assert values_of(made) == {
        "brand": "val-bolt",
        "brands": ["val-acme", "val-o7"],
        "supplier": {"brand": "val-twin"},
    }
    path = f"/records/{made.body['id']}"
    # An id comes before the alias of another option.
    changed = await admin.put(path, {"values": entries({"brand": "val-acme"})})
    assert values_of(changed)["brand"] == "val-acme"
    changed = await admin.patch(f"{path}/values/brand", {"value": "o3"})
    assert values_of(changed)["brand"] == "val-o3"
    assert (await admin.patch(f"{path}/values/brand", {"value": None})).status == 200
    assert (await workspace.post_record("x", brand="none")).outcome == unknown("none")
    # A label is no name in a record.
    assert (await admin.patch(f"{path}/values/brand", {"value": "Acme"})).outcome == unknown("Acme")
    refused = await workspace.post_record("x", supplier={"brand": "?"})
    assert refused.outcome == unknown("?", "supplier.brand")
    restored = await admin.post(f"{path}/restore", {"version": 1})
    assert values_of(restored)["brand"] == "val-bolt"


async def test_variants_choose(workspace: RecordsWorkspace, admin: Caller):
    await build(workspace, NAMED[:1])
    record = (await workspace.post_record("x", brand="o1")).ok()["id"]
    path = f"/records/{record}/variants"
    sent = {"id": "var-1", "values": entries({"brand": "acme"})}
    assert values_of(await admin.post(path, sent))["brand"] == "val-acme"
    changed = await admin.put(f"{path}/var-1", {"values": entries({"brand": "o2"})})
    assert values_of(changed)["brand"] == "val-o2"
    changed = await admin.patch(f"{path}/var-1/values/brand", {"value": "o3"})
    assert values_of(changed)["brand"] == "val-o3"
    refused = await admin.patch(f"{path}/var-1/values/brand", {"value": "x"})
    assert refused.outcome == unknown("x")


async def test_rows_of_a_bulk_call_choose(workspace: RecordsWorkspace, admin: Caller):
    await build(workspace, NAMED[:1])
    await workspace.record("schema-x", {"brand": "o1"}, id="ent-a")
    rows = [
        {"schemaId": "schema-x", "id": "ent-b", "values": entries({"brand": "acme"})},
        {"id": "ent-a", "values": entries({"brand": "o9"})},
        {"schemaId": "schema-x", "values": entries({"brands": ["o1", "nobody"]})},
    ]
    report = (await admin.post("/records/bulk", {"operations": rows})).ok()
    assert [one["outcome"] for one in report["results"]] == ["created", "updated", "failed"]
    assert report["results"][2]["message"] == unknown("nobody", "brands")[1]["message"]
    stored = [(await admin.get(f"/records/{one}")).ok()["values"] for one in ("ent-a", "ent-b")]
    assert [one["brand"][0]["value"] for one in stored] == ["val-o9", "val-acme"]


async def test_cells_name_options_by_label(workspace: RecordsWorkspace):
    await build(workspace, NAMED[:1] + NAMED[2:5])
    file = "brand;brands\nAcme;o1|Other 2| val-o3 \nOther 4;a|b\nSame;\n;Acme|nothing\n"
    job = await run(workspace, file, schemaId="schema-x")
    assert (job["created"], job["failed"]) == (2, 2)
    items = (await workspace.admin.get("/records")).ok()["items"]
    stored = {one["values"]["brand"][0]["value"]: one["values"]["brands"] for one in items}
    assert {brand: held[0]["value"] for brand, held in stored.items()} == {
        "val-acme": ["val-o1", "val-o2", "val-o3"],
        "val-o4": ["val-split"],
    }
    told = (await workspace.admin.get(f"/imports/{job['id']}/errors")).ok()["items"]
    assert [one["message"] for one in told] == [
        "Value 'Same' for 'brand' is the label of several options: 'val-twin', 'val-twin2'",
        "Value 'nothing' for 'brands' is not in option list 'ol-large'",
    ]
    rows = [{"brand": "Acme"}, {"brand": "Nobody"}]
    sent = {"schemaId": "schema-x", "rows": rows, "columnMapping": {}}
    summary = (await workspace.admin.post("/import/execute", sent)).ok()
    assert (summary["created"], summary["failed"]) == (1, 1)


async def found(admin: Caller, *criteria: dict[str, Any], **more: Any) -> list[str]:
    answer = await admin.post("/search", {"criteria": list(criteria), **more})
    return [one["id"] for one in answer.ok()["items"]]


async def test_searches_name_options(workspace: RecordsWorkspace, admin: Caller):
    await build(workspace, NAMED)
    for record_id, brand in (("ent-a", "acme"), ("ent-b", "bolt"), ("ent-c", "twin2")):
        await workspace.record("schema-x", {"brand": brand}, id=record_id)
    await workspace.record("schema-x", {"supplier": {"brand": "o5"}}, id="ent-d")

    def brand(operator: str, value: Any = None) -> dict[str, Any]:
        return {"attribute": "brand", "operator": operator, "value": value}

    assert await found(admin, brand("equals", "acme")) == ["ent-a"]
    assert await found(admin, brand("equals", "Bölt")) == ["ent-b"]
    assert await found(admin, brand("equals", "Same")) == ["ent-c"]
    assert await found(admin, brand("in", ["Acme", "val-bolt", "twin"])) == ["ent-a", "ent-b"]
    assert await found(admin, brand("notIn", ["acme"])) == ["ent-b", "ent-c", "ent-d"]
    assert await found(admin, brand("contains", "OL")) == ["ent-b"]
    assert await found(admin, brand("startsWith", "s")) == ["ent-c"]
    assert await found(admin, brand("endsWith", "me")) == ["ent-a", "ent-c"]
    inner = {"attribute": "supplier.brand", "operator": "equals", "value": "Other 5"}
    assert await found(admin, inner) == ["ent-d"]
    refused = await admin.post("/search", {"criteria": [brand("equals", "nobody")]})
    assert refused.outcome == error(
        400,
        "VALIDATION_ERROR",
        "Field 'criteria.0.value' must be the id, the alias or the label of an option of"
        " 'ol-large', got 'nobody'",
    )
    saved = {"id": "sq-a", "name": "A", "criteria": [brand("equals", "Same")]}
    assert (await admin.post("/saved-queries", saved)).status == 201
    saved["criteria"], saved["id"] = [brand("equals", "nobody")], "sq-b"
    assert (await admin.post("/saved-queries", saved)).status == 400


async def test_options_are_named_by_their_labels_in_any_language(
    workspace: RecordsWorkspace, admin: Caller, executed: list[tuple[str, Any]]
):
    named = [
        option("bolt", label="Bölt", labels={"seg-da": "Lyn", "seg-en": "Flash"}),
        option("lyn2", label="Other", labels={"seg-en": "Lyn"}),
        option("old", label="Old", labels={"seg-da": "Gammel"}),
        option("short", label="Short", labels={"seg-da": "Å"}),
    ]
    await build(workspace, named)
    # As an earlier version has written it.
    await workspace.database.execute("UPDATE option_values SET grams = NULL WHERE id = 'val-old'")
    file = 'brand,brands\nFlash,\nLyn,\n,"Flash|Gammel"\nflash,\nFlas,\nÅ,\n'
    executed.clear()
    job = await run(workspace, file, schemaId="x")
    assert [one["message"] for one in await errors_of(admin, job["id"])] == [
        "Value 'Lyn' for 'brand' is the label of several options: 'val-bolt', 'val-lyn2'",
        *(
            f"Value '{name}' for 'brand' is not in option list 'ol-large'"
            for name in ("flash", "Flas", "Å")
        ),
    ]
    assert sum("v.grams @>" in sql for sql, _ in executed) == 1
    exported = (await admin.get("/export?columns=perScope")).ok()
    # Rows of one chunk have one time of creation, and are in the order of their ids.
    assert sorted((str(one.get("brand")), one.get("brands")) for one in exported) == [
        ("None", ["val-bolt", "val-old"]),
        ("val-bolt", None),
    ]
    executed.clear()
    asked = {"criteria": [{"attribute": "brand", "operator": "equals", "value": "Flash"}]}
    assert (await admin.post("/search", asked)).ok()["total"] == 1
    assert sum("v.grams @>" in sql for sql, _ in executed) == 1


async def test_searches_sort_count_and_look_for_words(workspace: RecordsWorkspace, admin: Caller):
    await build(workspace, NAMED)
    for record_id, chosen in (("ent-a", "twin"), ("ent-b", "bolt"), ("ent-c", "acme")):
        await workspace.record("schema-x", {"brand": chosen}, id=record_id)
    await workspace.record("schema-x", {"brand": "acme"}, id="ent-d")
    sort = [{"attribute": "brand", "order": "asc"}]
    assert await found(admin, sort=sort) == ["ent-c", "ent-d", "ent-b", "ent-a"]
    first = (await admin.post("/search", {"sort": sort, "limit": 2})).ok()
    rest = {"sort": sort, "limit": 2, "cursor": first["nextCursor"]}
    assert await found(admin, **rest) == ["ent-b", "ent-a"]
    counted = (await admin.post("/search", {"facets": ["brand"], "limit": 1})).ok()["facets"]
    assert counted["brand"] == [
        {"value": "val-acme", "label": "Acme", "count": 2},
        {"value": "val-bolt", "label": "Bölt", "count": 1},
        {"value": "val-twin", "label": "Same", "count": 1},
    ]
    for query, expected in (("acm", ["ent-c", "ent-d"]), ("bolt", ["ent-b"]), ("lyn", ["ent-b"])):
        answer = (await admin.post("/search/full-text", {"query": query})).ok()
        assert sorted(one["id"] for one in answer["items"]) == expected, query


async def test_nothing_is_known_of_lists_of_other_workspaces(
    workspace: RecordsWorkspace, other_workspace: RecordsWorkspace
):
    await build(workspace, NAMED[:1])
    await build(other_workspace)
    assert (await other_workspace.post_record("x", brand="acme")).outcome == unknown("acme")
    assert (await other_workspace.post_record("x", brand="val-acme")).status == 400
    asked = {"criteria": [{"attribute": "brand", "operator": "equals", "value": "Acme"}]}
    assert (await other_workspace.admin.post("/search", asked)).status == 400


async def test_an_option_that_goes_while_it_is_chosen_is_in_no_record(
    workspace: RecordsWorkspace, admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    """It goes after it was looked up, right before the record is written."""
    await build(workspace, NAMED[:3])
    await workspace.record("schema-x", {"brand": "o1"}, id="ent-a")

    def goes(name: str) -> Callable[[], Awaitable[Answer]]:
        return lambda: admin.delete(f"{VALUES}/val-{name}")

    created = first(monkeypatch, create_batching.store, "insert", goes("acme"))
    assert (await workspace.post_record("x", brand="acme")).outcome == unknown("acme")
    updated = first(monkeypatch, commands.store, "update", goes("bolt"))
    answer = await admin.patch("/records/ent-a/values/brand", {"value": "bolt"})
    assert answer.outcome == unknown("bolt")
    in_bulk = first(monkeypatch, batches, "update_many", goes("twin"))
    rows = [{"id": "ent-a", "values": entries({"brand": "twin"})}]
    report = (await admin.post("/records/bulk", {"operations": rows})).ok()
    assert report["results"][0]["message"] == unknown("twin")[1]["message"]
    assert [one.status for one in created + updated + in_bulk] == [204, 204, 204]
    assert [one["id"] for one in (await admin.get("/records")).ok()["items"]] == ["ent-a"]
    assert values_of(await admin.get("/records/ent-a")) == {"brand": "val-o1"}


async def test_of_deleting_and_choosing_at_once_one_is_refused(
    workspace: RecordsWorkspace, admin: Caller
):
    await build(workspace)
    for n in range(8):
        made, gone = await asyncio.gather(
            workspace.post_record("x", brand=f"o{n}"), admin.delete(f"{VALUES}/val-o{n}")
        )
        assert (made.status, gone.status) in ((201, 409), (400, 204))


async def test_what_another_process_changes_holds_at_once(
    workspace: RecordsWorkspace, admin: Caller, servers: Servers, keyring: Keyring
):
    await build(workspace, NAMED[:1])
    url = workspace.records.config.database_url
    async with Services(servers, keyring) as services:
        beside = await services.start(create_app, Config, database_url=url)
        other = RecordsWorkspace(beside, beside, workspace.id)
        assert values_of(await other.post_record("x", brand="acme"))["brand"] == "val-acme"
        renamed = {"alias": "emca", "label": "Emca"}
        (await admin.put(f"{VALUES}/val-acme", renamed)).ok()
        (await admin.post(VALUES, option("acme", id="val-new"))).ok()
        assert values_of(await other.post_record("x", brand="acme"))["brand"] == "val-new"
        assert values_of(await other.post_record("x", brand="emca"))["brand"] == "val-acme"
        assert (await admin.delete(f"{VALUES}/val-new")).status == 409
        (await admin.post(VALUES, option("late"))).ok()
        (await admin.delete(f"{VALUES}/val-o9")).ok()
        assert (await other.post_record("x", brand="o9")).outcome == unknown("o9")
        assert values_of(await other.post_record("x", brand="late"))["brand"] == "val-late"


async def test_a_list_is_looked_up_when_it_has_grown_and_held_when_it_has_shrunk(
    workspace: RecordsWorkspace, admin: Caller
):
    names = [f"o{n}" for n in range(HELD_VALUES_MAX)]
    await workspace.option_list("few", names)
    await workspace.attribute("brand", "option", optionListId="ol-few")
    await workspace.schema("x", ["brand"])
    blueprints = Blueprints()
    for act, is_large in (
        (admin.get("/option-lists/ol-few"), False),
        (admin.post("/option-lists/ol-few/values", option("more")), True),
        (admin.delete("/option-lists/ol-few/values/val-more"), False),
    ):
        assert (await act).status < 300
        held = (await blueprints.get(workspace.database, workspace.id)).option_lists["ol-few"]
        assert (held.is_large, len(held.values)) == (is_large, 0 if is_large else HELD_VALUES_MAX)
        assert (await workspace.post_record("x", brand="o7")).status == 201


async def test_looking_up_takes_one_statement_however_many_are_named(
    workspace: RecordsWorkspace, admin: Caller, executed: list[tuple[str, Any]]
):
    await build(workspace)

    async def look_ups(answer: Awaitable[Answer]) -> int:
        executed.clear()
        (await answer).ok()
        return sum("option_values" in sql for sql, _ in executed)

    def named(names: Sequence[str]) -> dict[str, Any]:
        return {
            "operations": [
                {"schemaId": "schema-x", "values": entries({"brand": name})} for name in names
            ]
        }

    (await workspace.post_record("x", brand="o1")).ok()
    one, several = workspace.post_record("x", brand="o1"), ["o1", "o2", "o3"]
    assert await look_ups(one) == 1
    assert await look_ups(workspace.post_record("x", brand="o9", brands=several)) == 1
    assert await look_ups(workspace.post_record("x", name="chooses nothing")) == 0
    assert await look_ups(admin.post("/records/bulk", named([f"o{n}" for n in range(200)]))) == 1
    find = {"attribute": "brand", "operator": "in", "value": [f"Other {n}" for n in range(100)]}
    assert await look_ups(admin.post("/search", {"criteria": [find]})) == 1
