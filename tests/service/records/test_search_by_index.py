"""What the search index finds is what reading the values finds, whatever is asked."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from records_service import lists
from records_service.option_lists.model import HELD_VALUES_MAX
from records_service.search import (
    index_facets,
    index_measure,
    index_store,
    index_walks,
    searching,
    value_walk,
)
from records_service.search.beside import beside
from records_service.search_index.terms import bucket_of
from shared.database import Conn, Database
from shared.database.pool import STATEMENT_TIMEOUT_S
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller
from tests.service.records.text_index import index_all

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECORDS = 90
SEED, QUERIES = 11, 100
MAKERS = HELD_VALUES_MAX + 20
# Every fourth is in the sample that tells how much is found.
_SAMPLED = (
    f"ent-{number}" for number in itertools.count(RECORDS) if not bucket_of(f"ent-{number}")
)
IDS = [next(_SAMPLED) if number % 4 == 3 else f"ent-{number}" for number in range(RECORDS)]
FACETS = ("color", "shade", "sold")
NAMES = ("Ash", "ash", "Älg", "bär", "", "x" * 300, "50%")
TIMES = ("2024-01-01", "2024-01-01T00:30:00+01:00", "2023-12-31T23:30:00.000001Z", "2025-06-01")
NUMBERS = (0, -2, 9, 10, 10.5, 1000.25, 0.1, 1e300)
SERIALS = (9007199254740991, 9007199254740992, 9007199254740993, "9007199254740993.5", "1e400", 0)


class Questions:
    """Random searches over the attributes of `catalogue`."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._operands = {
            "name": NAMES,
            "title": ("red", "rød", "Ash"),
            "price": NUMBERS,
            "made": TIMES,
            "sold": (True, False),
            "color": ("red", "val-blue", "green"),
            "shade": ("red", "blue"),
            "tone": ("red", "green"),
            "size.width": (1, 2, 3),
            "size.unit": ("cm", "mm"),
            "serial": SERIALS,
            "parts": NUMBERS[:4],
            "parent": ("ent-0", "ent-1", "ent-gone"),
            "note": ("n1", "n2"),
        }

    def search(self) -> dict[str, Any]:
        """A body without a page."""
        asked = self._random
        body: dict[str, Any] = {
            "criteriaOperator": asked.choice(["and", "and", "or"]),
            "criteria": [self._criterion(1) for _ in range(asked.choice([0, 1, 1, 2, 2, 3]))],
        }
        if asked.random() < 0.2:
            body["schemaId"] = asked.choice(["x", "y", "schema-z", "unknown"])
        if asked.random() < 0.6:
            body["sort"] = [self._sort() for _ in range(asked.choice([1, 1, 1, 2]))]
        return body

    def _sort(self) -> dict[str, Any]:
        asked = self._random
        order = asked.choice(["asc", "desc"])
        if asked.random() < 0.3:
            field = asked.choice(["createdAt", "id", "lifecycleStateId", "schemaId", "updatedAt"])
            return {"field": field, "order": order}
        names = ["price", "price", "made", "parts", "size.width", "name", "color", "shade", "title"]
        names += ["sold", "tone", "tone", "maker", "maker", "name", "title", "size.unit", "photo"]
        names += ["cost", "cost", "free", "since"]
        one = {"attribute": asked.choice(names), "order": order}
        return one | asked.choice([{}, {"scope": {"dim-language": "seg-da"}}])

    def _criterion(self, depth: int) -> dict[str, Any]:
        asked = self._random
        if depth < 3 and asked.random() < 0.2:
            return {
                "criteriaOperator": asked.choice(["and", "or"]),
                "criteria": [self._criterion(depth + 1) for _ in range(asked.choice([1, 2, 2, 3]))],
            }
        if asked.random() < 0.2:
            return self._of_field()
        name = asked.choice([*self._operands, "size"])
        if name == "size":
            return {"attribute": name, "operator": asked.choice(["isEmpty", "isNotEmpty"])}
        operators = ["equals", "notEquals", "in", "notIn", "isEmpty", "isNotEmpty"]
        if name in ("price", "made", "size.width", "parts", "serial"):
            operators += ["gt", "gte", "lt", "lte"] * 2
        elif name in ("name", "title", "color", "note"):
            operators += ["contains", "startsWith", "endsWith"]
        operator = asked.choice(operators)
        one: dict[str, Any] = {"attribute": name, "operator": operator}
        operands = self._operands[name]
        if operator in ("in", "notIn"):
            one["value"] = [asked.choice(operands) for _ in range(asked.choice([0, 1, 2, 6]))]
        elif operator in ("contains", "startsWith", "endsWith"):
            one["value"] = asked.choice(["r", "a", "n", "red", "ash", "älg", "xxxx", "0%"])
        elif not operator.startswith("is"):
            one["value"] = asked.choice(operands)
        if name in ("title", "shade", "price") and asked.random() < 0.4:
            one["scope"] = asked.choice([{}, {"dim-language": "seg-da"}])
        return one

    def _of_field(self) -> dict[str, Any]:
        asked = self._random
        return asked.choice(
            [
                {"field": "id", "operator": "in", "value": ["ent-2", "ent-4", "ent-none"]},
                {"field": "id", "operator": "contains", "value": "1"},
                {"field": "schemaId", "operator": "in", "value": ["x", "z"]},
                {"field": "schemaId", "operator": "notEquals", "value": "x"},
                {"field": "lifecycleStateId", "operator": "equals", "value": "secret"},
                {"field": "lifecycleStateId", "operator": "isEmpty"},
                {"field": "lifecycleStateId", "operator": "isNotEmpty"},
                {"field": "createdAt", "operator": "gt", "value": "2020-01-01T00:00:00Z"},
                {"field": "updatedAt", "operator": "lt", "value": "2020-01-01T00:00:00Z"},
                {"field": "createdBy", "operator": "notEquals", "value": "nobody"},
                {"field": "categoryId", "operator": "equals", "value": "ctg-a"},
                {"field": "categoryId", "operator": "notIn", "value": ["ctg-a"]},
            ]
        )


async def _made(workspace: RecordsWorkspace) -> None:
    """Records in three schemas, of which one has a workflow with states that hide attributes."""
    await workspace.dimension("language", ["en", "da"])
    await workspace.option_list("colors", ["red", "blue", "green"])
    await workspace.attribute("name", filterable=True)
    await workspace.attribute("title", dimensionIds=["dim-language"], filterable=True)
    await workspace.attribute("price", "number", filterable=True)
    await workspace.attribute("made", "datetime", filterable=True)
    await workspace.attribute("sold", "boolean", filterable=True)
    await workspace.attribute("color", "option", optionListId="ol-colors", multiple=True)
    await workspace.attribute(
        "shade", "option", optionListId="ol-colors", dimensionIds=["dim-language"]
    )
    await workspace.attribute("tone", "option", optionListId="ol-colors")
    # Too many to be held by each process.
    await workspace.option_list("makers", [f"maker-{n}" for n in range(MAKERS)])
    await workspace.attribute("maker", "option", optionListId="ol-makers")
    for alias, kind in (("cost", "number"), ("free", "boolean"), ("since", "datetime")):
        await workspace.attribute(alias, kind, dimensionIds=["dim-language"], filterable=True)
    await workspace.attribute("photo", "media", filterable=True)
    await workspace.attribute("parts", "number", multiple=True, filterable=True)
    await workspace.attribute("parent", "relation", filterable=True)
    await workspace.attribute("note")
    await workspace.attribute("serial", "number", filterable=True)
    fields = [{"alias": "width", "type": "number"}, {"alias": "unit", "type": "text"}]
    await workspace.attribute("size", "complex", attributes=fields, filterable=True)
    await workspace.workflow("flow", {"draft": {}, "secret": {"hidden": ["color", "price"]}})
    names = ["name", "title", "price", "made", "sold", "color", "shade", "parts", "parent", "note"]
    names += ["size", "serial", "tone", "maker", "cost", "free", "since", "photo"]
    await workspace.schema("x", names, "wf-flow")
    await workspace.schema("y", names)
    await workspace.schema("z", ["name", "sold"])
    await workspace.catalog("main")
    await workspace.category("a", "main")
    made = random.Random(7)

    def in_scopes(operands: Sequence[Any]) -> list[dict[str, Any]]:
        scopes = [{}, {"dim-language": "seg-da"}, {"dim-language": "seg-en"}]
        chosen = made.sample(scopes, made.choice([1, 2, 3]))
        return [{"scope": scope, "value": made.choice(operands)} for scope in chosen]

    for number in range(RECORDS):
        schema = made.choice(["x", "x", "y", "z"])
        values: dict[str, Any] = {
            "name": made.choice(NAMES),
            "sold": made.random() < 0.5,
            "price": made.choice(NUMBERS),
            "made": made.choice(TIMES),
            "color": made.sample(["red", "blue", "green"], made.choice([0, 1, 2])),
            "shade": in_scopes(["red", "blue"]),
            "tone": made.choice(["red", "blue", "green"]),
            "maker": f"maker-{made.choice([1, 2, 2, 30, 31, 90, MAKERS - 1])}",
            "title": in_scopes(["red", "rød", "Ash", ""]),
            "parts": [made.choice(NUMBERS[:4]) for _ in range(made.choice([0, 1, 2]))],
            "parent": made.choice(["ent-0", "ent-1"]),
            "note": made.choice(["n1", "n2"]),
            "cost": in_scopes(NUMBERS),
            "free": in_scopes([True, False]),
            "since": in_scopes(TIMES),
            "photo": made.choice(["https://a/1.png", "https://A/2.png", "https://b/1.png"]),
            "serial": made.choice(SERIALS[:3]),
            "size": [
                {"width": made.choice([1, 2, 3]), **({"unit": "cm"} if made.random() < 0.5 else {})}
                for _ in range(made.choice([1, 2]))
            ],
        }
        known = ("name", "sold") if schema == "z" else tuple(values)
        kept = {each: values[each] for each in known if made.random() < 0.75}
        if number < 2:
            kept.pop("parent", None)
        record_id = IDS[number]
        await workspace.record(f"schema-{schema}", kept, id=record_id)
        if schema == "x" and made.random() < 0.4:
            path = f"/records/{record_id}/transition"
            (await workspace.admin.post(path, {"toStateId": "state-secret"})).ok()
        if made.random() < 0.3:
            body = {"entityIds": [record_id]}
            (await workspace.admin.post("/categories/ctg-a/assign", body)).ok()
    (await workspace.admin.delete("/records/ent-1")).ok()


async def _pages(caller: Caller, body: dict[str, Any], limit: int) -> tuple[list[str], list[Any]]:
    """The ids on all pages by cursor, and what the pages tell besides."""
    ids: list[str] = []
    told: list[Any] = []
    page: dict[str, Any] = {"limit": limit}
    while True:
        answer = (await caller.post("/search", {**body, **page})).ok()
        ids += [item["id"] for item in answer["items"]]
        names = ("total", "totalIsEstimate", "facets")
        told.append([answer.get(name) for name in names])
        if answer["nextCursor"] is None:
            return ids, told
        page["cursor"] = answer["nextCursor"]


async def test_it_finds_what_reading_the_values_finds(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    # It is about what is found, not about how soon on a busy machine.
    monkeypatch.setattr(lists, "LIST_TIMEOUT_S", STATEMENT_TIMEOUT_S)
    await _made(workspace)
    await index_all(workspace)
    # As code has written it that did not store numbers beside terms.
    await workspace.fetch(
        """
        UPDATE search_records SET number_keys = NULL, numbers = NULL
         WHERE workspace_id = $1 AND bucket % 3 = 0
        """
    )
    # As such code has left it that wrote the record after this one, in a rolling upgrade.
    await workspace.fetch(
        """
        UPDATE search_records
           SET terms = ARRAY(SELECT term FROM unnest(terms) AS t (term) ORDER BY term),
               numbers = array_fill(5::float8, ARRAY[cardinality(numbers)])
         WHERE workspace_id = $1 AND bucket % 3 = 1
        """
    )
    for number in range(2, RECORDS, 3):
        # The index of texts has not reached these, and holds the name that they had before.
        name = ("A red ash", "Rød", "no", "Red")[number % 4]
        path = f"/records/{IDS[number]}"
        record = (await workspace.admin.get(path)).ok()
        name_of = {"name": [{"scope": {}, "value": name}]}
        changed = {"schemaId": record["schemaId"], "values": {**record["values"], **name_of}}
        (await workspace.admin.put(path, changed)).ok()
    words = {
        "schema-x": {"*": "read", "attr-name": "hidden", "attr-parts": "hidden"},
        "schema-y": {"*": "read", "attr-made": "hidden"},
        "*": {"*": "read", "attr-note": "read"},
    }
    by_index: list[Any] = []

    async def page(*args: Any, **more: Any) -> Any:
        by_index.append(more["query"])
        return await index_store.page(*args, **more)

    done_beside: dict[str, bool] = {}

    def noting(name: str) -> Any:
        @asynccontextmanager
        async def noted(database: Database, conn: Conn, work: Any) -> AsyncIterator[Any]:
            async def working(used: Conn) -> Any:
                done_beside[name] = done_beside.get(name, False) or used is not conn
                return await work(used)

            async with beside(database, conn, working) as result:
                yield result

        return noted

    monkeypatch.setattr(index_facets, "beside", noting("facets"))
    monkeypatch.setattr(index_store, "beside", noting("estimates"))
    questions = Questions(SEED)
    for number in range(QUERIES):
        body = questions.search()
        if number % 5 == 0:
            body["facets"] = [*FACETS, "schemaId", "lifecycleStateId", "categoryId"]
        if number % 20 == 3:
            # Found by terms, and counted by terms.
            body["criteria"] = [{"attribute": "sold", "operator": "in", "value": [True, False]}]
            body["facets"] = ["color", "sold"]
        if number % 10 == 0:
            # An identity holds for a minute.
            some = await workspace.user_with_role(words, name="role-some")
        caller, limit = (workspace.admin, some)[number % 2], (7, 100)[number % 3 == 0]
        with monkeypatch.context() as patched:
            patched.setattr(searching, "index_query", lambda *_: None)
            expected = await _pages(caller, body, limit)
        with monkeypatch.context() as patched:
            patched.setattr(searching, "page_by_index", page)
            assert await _pages(caller, body, limit) == expected, (number, body)
            # As if all that is met were frequent, and some walks ended too early.
            patched.setattr(index_measure, "MANY_IN_SAMPLE", 1)
            patched.setattr(index_measure, "MANY", 1)
            patched.setattr(index_walks, "WALKED_MAX", (5, 1000)[number % 2])
            patched.setattr(value_walk, "FREQUENT", (1, 1_000_000)[number % 4 > 1])
            ids, told = await _pages(caller, body, limit)
            assert ids == expected[0], (number, body)
            assert [each[-1] for each in told] == [each[-1] for each in expected[1]], number
    assert len(by_index) > 2 * QUERIES
    assert done_beside == {"facets": True, "estimates": True}


async def test_a_part_in_one_scope_is_not_found_in_another(workspace: RecordsWorkspace):
    await workspace.dimension("language", ["en", "da"])
    await workspace.attribute("title", dimensionIds=["dim-language"], filterable=True)
    await workspace.schema("x", ["title"])
    danish = {"dim-language": "seg-da"}
    for record_id, english, in_danish in (("a", "needle", "nål"), ("b", "other", "needle")):
        title = [{"scope": {}, "value": english}, {"scope": danish, "value": in_danish}]
        await workspace.record("schema-x", {"title": title}, id=f"ent-{record_id}")
    await index_all(workspace)

    async def found(**scope: Any) -> list[str]:
        one = {"attribute": "title", "operator": "contains", "value": "needle", **scope}
        ids, _ = await _pages(workspace.admin, {"criteria": [one]}, 10)
        return ids

    assert await found() == ["ent-a", "ent-b"]
    assert await found(scope={}) == ["ent-a"]
    assert await found(scope=danish) == ["ent-b"]
