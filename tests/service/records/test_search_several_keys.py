"""Pages sorted by several keys are in the order that Python has of the values that were stored."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from records_service.search import index_measure, index_store, sort_groups
from records_service.search_texts.folding import FOLDING
from records_service.search_texts.sort_keys import sorted_text
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.workspace import entries
from tests.service.records.text_index import index_all

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECORDS, SEARCHES, PAGE = 20, 10, 8
DANISH = {"dim-language": "seg-da"}
COLORS = ["red", "blue", "green"]
NAMES = ["Ash", "ash", "Älg", "bär", "50%", "x" * 300]
TIMES = ["2024-01-01T00:00:00Z", "2024-01-01T00:30:00+01:00", "2025-06-01T00:00:00Z"]
NUMBERS = [0, -2, 9, 10.5]
GONE = "ent-gone"
OF: dict[str, list[Any]] = {
    "name": NAMES,
    "title": NAMES,
    "price": NUMBERS,
    "cost": NUMBERS,
    "made": TIMES,
    "sold": [True, False],
    "tone": COLORS,
    "shade": COLORS,
    "color": COLORS,
    "parent": ["ent-0", "ent-1", GONE],
}
SCOPED = ("title", "cost", "shade")


async def _made(workspace: RecordsWorkspace, rng: random.Random) -> dict[str, dict[str, Any]]:
    """Records, of which each attribute often has no value, and few different ones."""
    await workspace.dimension("language", ["en", "da"])
    await workspace.option_list("colors", COLORS)
    kinds = {"price": "number", "cost": "number", "made": "datetime", "sold": "boolean"}
    for alias in OF:
        more: dict[str, Any] = {"filterable": True}
        kind = kinds.get(alias, "text")
        if alias in ("tone", "shade", "color"):
            kind, more = "option", {"optionListId": "ol-colors", "multiple": alias == "color"}
        if alias == "parent":
            kind = "relation"
        if alias in SCOPED:
            more["dimensionIds"] = ["dim-language"]
        await workspace.attribute(alias, kind, **more)
    await workspace.schema("x", list(OF))
    await workspace.record("schema-x", {}, id=GONE)
    stored: dict[str, dict[str, Any]] = {}
    for number in range(RECORDS):
        values: dict[str, Any] = {}
        for alias, some in OF.items():
            if rng.random() < 0.3 or (alias == "parent" and number < 2):
                continue
            values[alias] = rng.choice(some)
            if alias in SCOPED:
                scopes = rng.sample([{}, DANISH, {"dim-language": "seg-en"}], rng.choice([1, 2]))
                values[alias] = [{"scope": each, "value": rng.choice(some)} for each in scopes]
            if alias == "color":
                values[alias] = rng.sample(some, 2)
        stored[f"ent-{number}"] = values
        await workspace.record("schema-x", values, id=f"ent-{number}")
    (await workspace.admin.delete(f"/records/{GONE}")).ok()
    return stored


def _value(values: dict[str, Any], sort: dict[str, Any]) -> Any:
    """By what a record is sorted: None if it has no value that holds in the scope."""
    alias, scope = sort["attribute"], {"dim-language": "seg-en", **sort.get("scope", {})}
    value = values.get(alias)
    if alias in SCOPED:
        held = {each["scope"].get("dim-language"): each["value"] for each in value or ()}
        value = held.get(scope["dim-language"], held.get(None))
    if value in (None, GONE):
        # A relation to a record that was deleted is no value.
        return None
    if alias == "color":
        value = value[0]
    if alias in ("tone", "shade", "color"):
        return COLORS.index(value)
    if alias == "made":
        return datetime.fromisoformat(value)
    return sorted_text(value, FOLDING) if alias in ("name", "title") else value


def _in_order(stored: dict[str, dict[str, Any]], sorts: list[dict[str, Any]]) -> list[str]:
    ids = list(stored)
    for sort in reversed(sorts):
        found = {each: _value(stored[each], sort) for each in ids}
        having = [each for each in ids if found[each] is not None]
        # Sorting is stable also in reverse.
        having.sort(key=found.__getitem__, reverse=sort["order"] == "desc")
        ids = [*having, *(each for each in ids if found[each] is None)]
    return ids


async def _pages(workspace: RecordsWorkspace, sorts: list[dict[str, Any]]) -> list[str]:
    body: dict[str, Any] = {"sort": sorts, "limit": PAGE}
    ids: list[str] = []
    while True:
        answer = (await workspace.admin.post("/search", body)).ok()
        ids += [item["id"] for item in answer["items"]]
        if answer["nextCursor"] is None:
            return ids
        body["cursor"] = answer["nextCursor"]


def _some_keys(rng: random.Random, number: int) -> list[dict[str, Any]]:
    return [
        {
            "attribute": each,
            "order": rng.choice(["asc", "desc"]),
            "scope": rng.choice([{}, {}, DANISH]),
        }
        for each in rng.sample(list(OF), number)
    ]


async def _changed(
    workspace: RecordsWorkspace, record_id: str, values: dict[str, Any]
) -> dict[str, Any]:
    changed = {**values, "name": "ash", "cost": [{"scope": {}, "value": 9}]}
    changed.pop("parent", None)
    # What is left out stays.
    sent = {"schemaId": "schema-x", "values": {"parent": [], **entries(changed)}}
    (await workspace.admin.put(f"/records/{record_id}", sent)).ok()
    return changed


async def always_many(*asked: Any, **more: Any) -> index_measure.Measured:
    return replace(await index_measure.measured(*asked, **more), is_few=False)


async def test_each_key_is_honoured(workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch):
    rng = random.Random(5)
    stored = await _made(workspace, rng)
    await index_all(workspace)
    groups: list[Any] = []
    inside: list[Any] = []
    full: list[bool] = []
    with_value = index_store._with_value

    async def many_at_first(*asked: Any, counts: bool, **more: Any) -> index_measure.Measured:
        found = await index_measure.measured(*asked, counts=counts, **more)
        return replace(found, is_few=found.is_few and not counts)

    def within(*asked: Any) -> Any:
        found = sort_groups.with_value(*asked)
        inside.append(found)
        return found

    async def filled(*asked: Any) -> Any:
        found = await with_value(*asked)
        if found is not None:
            full.append(len(found.part.rows) == found.part.limit)
        return found

    def noted(*asked: Any) -> Any:
        groups.append(sort_groups.up_to(*asked))
        return groups[-1]

    for number in range(SEARCHES):
        sorts = _some_keys(rng, 2 + number % 2)
        expected = _in_order(stored, sorts)
        assert await _pages(workspace, sorts) == expected, sorts
        for measured in (many_at_first, always_many):
            with monkeypatch.context() as patched:
                patched.setattr(index_store, "measured", measured)
                patched.setattr(index_store, "up_to", noted)
                patched.setattr(index_store, "with_value", within)
                # As if the records with one value were some thousand, of which a page is one part.
                patched.setattr(index_store, "SET_WALKED_MIN", 0 if number // 2 % 2 else 1_000)
                patched.setattr(index_store, "_with_value", filled)
                assert await _pages(workspace, sorts) == expected, sorts
        if number == SEARCHES // 2:
            # These are behind.
            for record_id in ("ent-0", "ent-3", "ent-4"):
                stored[record_id] = await _changed(workspace, record_id, stored[record_id])
    assert len(groups) > SEARCHES
    assert sum(each is not None for each in inside) > SEARCHES
    assert {True, False} == set(full)
