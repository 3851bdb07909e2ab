"""Searches by completeness find what `GET /records/{id}/completeness` tells the same caller."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest

from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECORDS = 40
DANISH = {"dim-language": "seg-da"}
SCOPES = (None, DANISH, {"dim-market": "seg-us"}, {"dim-market": "seg-us", **DANISH})
STATES = (None, "draft", "state-shown", "old")
NAMES = ["name", "title", "price", "sold", "color", "image", "parent", "parents", "kit", "note"]


async def _made(workspace: RecordsWorkspace) -> None:
    """Records with values, guards, relations and states of each kind that a score depends on."""
    await workspace.dimension("language", ["en", "da", "de"])
    await workspace.dimension("market", ["eu", "us"])
    await workspace.option_list("colors", ["red", "blue"])
    await workspace.attribute("name", validation={"required": True})
    await workspace.schema("w", ["name"])
    both = ["dim-market", "dim-language"]
    await workspace.attribute("title", dimensionIds=both, validation={"required": True})
    await workspace.attribute("price", "number", validation={"required": True})
    await workspace.attribute("sold", "boolean", dimensionIds=["dim-language"])
    await workspace.attribute("color", "option", optionListId="ol-colors", multiple=True)
    await workspace.attribute("parent", "relation", dimensionIds=["dim-language"])
    await workspace.attribute("parents", "relation", multiple=True, targetSchemaId="schema-w")
    await workspace.attribute(
        "image",
        "media",
        validation={"required": True},
        guards=[
            {"attributeId": "color", "operator": "equals", "value": "red"},
            {"attributeId": "sold", "operator": "notEquals", "value": True},
        ],
    )
    await workspace.attribute(
        "kit",
        "complex",
        validation={"required": True},
        guards=[{"attributeId": "parents", "operator": "isNotEmpty"}],
        attributes=[
            {"alias": "part", "type": "relation", "multiple": True},
            {
                "alias": "more",
                "type": "complex",
                "attributes": [{"alias": "of", "type": "relation"}, {"alias": "n", "type": "text"}],
            },
        ],
    )
    await workspace.attribute(
        "note",
        validation={"required": True},
        guards=[
            {"attributeId": "price", "operator": "in", "value": [1, 2.5]},
            {"attributeId": "name", "operator": "isEmpty"},
        ],
    )
    await workspace.workflow(
        "flow",
        {
            "draft": {},
            "shown": {"required": ["sold", "color", "parent"], "hidden": ["image"]},
            "old": {"required": ["parents"]},
        },
        [("draft", "shown"), ("draft", "old")],
    )
    await workspace.schema("x", NAMES, "wf-flow")
    await workspace.schema("y", ["title", "note", "kit"])
    await workspace.schema("z", ["sold"])


async def _records(workspace: RecordsWorkspace) -> None:
    made = random.Random(3)

    def some(*operands: Any, scopes: tuple[dict[str, str], ...] = ({},)) -> list[dict[str, Any]]:
        chosen = made.sample(scopes, made.randint(1, len(scopes)))
        return [{"scope": scope, "value": made.choice(operands)} for scope in chosen]

    tongues = ({}, DANISH, {"dim-language": "seg-de"})
    places = (*tongues, {"dim-market": "seg-us"}, {"dim-market": "seg-us", **DANISH})
    named = "ent-gone", "ent-0", "ent-1"
    for each in ("gone", *range(RECORDS)):
        values = {
            "name": some("a", ""),
            "title": some("a", "", scopes=places),
            "price": some(1, 2.5, 3),
            "sold": some(True, False, scopes=tongues),
            "color": some(["val-red"], ["val-blue", "val-red"], []),
            "image": some("https://example.com/a.png"),
            "note": some("n", ""),
        }
        if each != "gone":
            values |= {
                "parent": some(*named[: made.randint(1, 2)], scopes=tongues),
                "parents": some(["ent-gone"], ["ent-gone", "ent-0"]),
                "kit": some(
                    {"part": ["ent-gone"]},
                    {"part": ["ent-gone", "ent-0"]},
                    {"more": {"of": "ent-gone"}},
                    {"more": {"of": "ent-gone", "n": "1"}},
                ),
            }
        schema = "w" if each in ("gone", 0, 1) else made.choice("xxxyz")
        has = {"x": NAMES, "y": ["title", "note", "kit"], "z": ["sold"], "w": ["name"]}[schema]
        kept = {n: v for n, v in values.items() if n in has and made.random() < 0.7}
        record = {"id": f"ent-{each}", "schemaId": f"schema-{schema}", "values": kept}
        (await workspace.admin.post("/records", record)).ok()
        if schema == "x" and made.random() < 0.6:
            state = made.choice(["shown", "old"])
            path = f"/records/ent-{each}/transition"
            (await workspace.admin.post(path, {"toStateId": state})).ok()
    (await workspace.admin.delete("/records/ent-gone")).ok()


async def _scores(
    caller: Caller, state: str | None, scope: dict[str, str] | None
) -> dict[str, int]:
    """Record -> score, as each of them is told alone; those without the state are left out."""
    found = {}
    for number in range(RECORDS):
        query = f"?scope={orjson.dumps(scope or {}).decode()}"
        query += "" if state is None else f"&stateId={state}"
        answer = await caller.get(f"/records/ent-{number}/completeness{query}")
        if answer.status == 400 and state is not None:
            continue
        found[f"ent-{number}"] = answer.ok()["score"]
    return found


async def _found(caller: Caller, **body: Any) -> list[str]:
    answer = (await caller.post("/search", {"limit": 100, **body})).ok()
    assert answer["total"] == len(answer["items"])
    return [item["id"] for item in answer["items"]]


async def _callers(workspace: RecordsWorkspace) -> list[Caller]:
    words = {
        "schema-x": {"*": "read", "attr-price": "hidden", "attr-parents": "hidden"},
        "schema-y": {"*": "read", "attr-kit": "hidden"},
    }
    return [
        workspace.admin,
        await workspace.user_with_role(words),
        await workspace.user_with_role({"*": {"*": "read"}}, name="role-all"),
    ]


async def _agrees(caller: Caller, state: str | None, scope: dict[str, str] | None) -> set[int]:
    """Assert that searches find what single records tell; the scores that there were."""
    scores = await _scores(caller, state, scope)
    field: dict[str, Any] = {"field": "completeness"}
    field |= {} if state is None else {"stateId": state}
    field |= {} if scope is None else {"scope": scope}
    for operator, value, met in (
        ("lt", 100, lambda score: score < 100),
        ("gte", 50, lambda score: score >= 50),
        ("equals", "100", lambda score: score == 100),
        ("notIn", [100, 0], lambda score: score not in (0, 100)),
        ("gt", 66.6, lambda score: score > 66.6),
    ):
        criteria = [{**field, "operator": operator, "value": value}]
        found = await _found(caller, criteria=criteria)
        assert sorted(found) == sorted(each for each in scores if met(scores[each])), operator
    for order in ("asc", "desc"):
        found = await _found(caller, sort=[{**field, "order": order}], criteria=[])
        told = [scores[each] for each in found if each in scores]
        assert told == sorted(scores.values(), reverse=order == "desc")
        assert set(found[: len(told)]) == scores.keys()
    in_schema = await _found(
        caller, schemaId="x", criteria=[{**field, "operator": "lte", "value": 99}]
    )
    assert set(in_schema) <= {each for each in scores if scores[each] < 100}
    return set(scores.values())


async def test_each_caller_finds_by_its_own_scores(workspace: RecordsWorkspace) -> None:
    await _made(workspace)
    await _records(workspace)
    told: set[int] = set()
    for caller in await _callers(workspace):
        for state, scope in zip((*STATES, None, "shown"), (*SCOPES, DANISH, DANISH), strict=True):
            told |= await _agrees(caller, state, scope)
    assert len(told) > 6


async def test_what_is_asked_of_completeness_is_checked(workspace: RecordsWorkspace) -> None:
    await workspace.workflow("flow", ["draft", "shown"])

    async def refused(**criterion: Any) -> Any:
        body = {"criteria": [{"field": "completeness", "operator": "lt", "value": 1, **criterion}]}
        return (await workspace.admin.post("/search", body)).outcome

    assert await refused(operator="contains") == error(
        400, "VALIDATION_ERROR", "Operator 'contains' cannot be used with field 'completeness'"
    )
    assert await refused(value="much") == error(
        400,
        "VALIDATION_ERROR",
        "Field 'criteria.0.value' must be a number, or a string with one, got 'much'",
    )
    assert await refused(stateId="sold") == error(400, "VALIDATION_ERROR", "Unknown state 'sold'")
    assert await refused(stateId=[1]) == error(
        400, "VALIDATION_ERROR", "Field 'criteria.0.stateId' must be a string, got array"
    )
    sort = [{"attribute": "size", "stateId": {}}]
    assert (await workspace.admin.post("/search", {"sort": sort})).outcome == error(
        400, "VALIDATION_ERROR", "Field 'sort.0.stateId' must be a string, got object"
    )
    assert await refused(scope={"moon": "x"}) == error(
        400, "VALIDATION_ERROR", "Field 'criteria.0.scope': unknown dimension 'moon'"
    )
