"""With how many statements a search is answered, and by which indexes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from records_service import lists
from records_service.search import index_measure
from records_service.search.index_sources import Everything, Terms
from records_service.search.sql import Arguments
from records_service.search_index.terms import bucket_of, value_term
from tests.kit.records_workspace import RecordsWorkspace

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _model(workspace: RecordsWorkspace) -> None:
    await workspace.option_list("colors", ["red", "blue"])
    await workspace.attribute("color", "option", optionListId="ol-colors", filterable=True)
    await workspace.attribute("price", "number", filterable=True)
    await workspace.schema("x", ["color", "price"])


async def _fill(workspace: RecordsWorkspace, term: str, records: int, others: int) -> None:
    """Rows of the index with the term that an expression over their number `n` says."""
    await workspace.database.execute(
        f"""
        INSERT INTO search_records (workspace_id, created_at, record_id, schema_id, bucket, terms)
        SELECT $1, timestamptz 'epoch' + n * interval '1 second', 'ent-' || n, 'schema-x', n % 64,
               ARRAY[{term}]
          FROM generate_series(1, $2::int) AS n
         UNION ALL
        SELECT 'ws-other', timestamptz 'epoch' + n * interval '1 second', 'ent-' || n, 'schema-x',
               n % 64, ARRAY[n]
          FROM generate_series(1, $3::int) AS n
            ON CONFLICT DO NOTHING
        """,
        workspace.id,
        records,
        others,
    )
    await workspace.database.execute("ANALYZE search_records")


@pytest.mark.parametrize(
    ("criteria", "estimates"),
    [
        ([("color", "equals", "red")], 2),
        ([("color", "notEquals", "red")], 2),
        ([("color", "equals", "red"), ("price", "gt", 1)], 2),
        ([("price", "gt", 1), ("price", "lt", 9)], 0),
    ],
)
async def test_a_search_measures_with_one_statement(
    workspace: RecordsWorkspace,
    executed: list[tuple[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    criteria: list[tuple[str, str, Any]],
    estimates: int,
):
    await _model(workspace)
    sampled = (f"ent-{n}" for n in itertools.count() if not bucket_of(f"ent-{n}"))
    for color in ("red", "blue"):
        await workspace.record("schema-x", {"color": color, "price": 5}, id=next(sampled))
    names = ("attribute", "operator", "value")
    body = {"criteria": [dict(zip(names, each, strict=True)) for each in criteria]}

    async def asked() -> int:
        executed.clear()
        (await workspace.admin.post("/search", body)).ok()
        return sum("search_" in text for text, _ in executed)

    await asked()
    assert await asked() == 2
    monkeypatch.setattr(index_measure, "MANY_IN_SAMPLE", 1)
    monkeypatch.setattr(index_measure, "MANY", 1)
    # The index has no entries to count where a workspace is small enough to be read as a whole.
    assert await asked() in (2 + estimates, 2 + (estimates + 1) // 2)


async def test_facets_of_many_are_counted_as_a_slow_list_from_the_beginning(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    """A quick one would be cancelled and begun again, and slow down the lists of its workspace."""
    slow: list[str] = []
    original = lists.Lists.read_slow

    async def read_slow(self: Any, db: Any, workspace_id: str, read: Any) -> Any:
        slow.append(workspace_id)
        return await original(self, db, workspace_id, read)

    monkeypatch.setattr(lists.Lists, "read_slow", read_slow)
    await _model(workspace)
    sampled = next(f"ent-{n}" for n in itertools.count() if not bucket_of(f"ent-{n}"))
    await workspace.record("schema-x", {"color": "red", "price": 5}, id=sampled)
    criterion = {"attribute": "color", "operator": "equals", "value": "red"}
    body = {"criteria": [criterion], "facets": ["color"]}
    few = (await workspace.admin.post("/search", body)).ok()["facets"]
    assert slow == []
    monkeypatch.setattr(index_measure, "MANY_IN_SAMPLE", 1)
    monkeypatch.setattr(index_measure, "MANY", 1)
    assert (await workspace.admin.post("/search", body)).ok()["facets"] == few
    assert few == {"color": [{"value": "val-red", "label": "red", "count": 1}]}
    assert slow == [workspace.id]
    assert not workspace.records.app[lists.LISTS].is_slow(workspace.id)


async def test_an_estimate_does_not_depend_on_other_workspaces(workspace: RecordsWorkspace):
    await _model(workspace)
    red, blue = (
        value_term(workspace.id, "attr-color", (), f"val-{each}") for each in ("red", "blue")
    )
    # Two thirds of the records of the workspace, which has a third of all.
    await _fill(
        workspace, f"CASE WHEN n % 3 = 0 THEN {blue} ELSE {red} END + n % 64", 24_000, 48_000
    )

    async def total(**body: Any) -> int:
        found = (await workspace.admin.post("/search", body)).ok()
        assert found["totalIsEstimate"]
        return int(found["total"])

    names = ("attribute", "operator", "value")
    is_red, is_blue = (
        dict(zip(names, ("color", "equals", each), strict=True)) for each in ("red", "blue")
    )
    assert await total(criteria=[is_red]) == pytest.approx(16_000, rel=0.01)
    # What one of two criteria finds is counted once.
    either = await total(criteria=[is_red, is_blue, is_red], criteriaOperator="or")
    assert either == pytest.approx(24_000, rel=0.01)


async def test_a_short_source_is_looked_up_in_a_workspace_of_any_size(workspace: RecordsWorkspace):
    """PostgreSQL would read all of a workspace that is small among others, for each bucket."""
    term = value_term(workspace.id, "attr-color", (), "val-red")
    await _fill(workspace, f"CASE WHEN n % 100 = 0 THEN {term} + n % 64 ELSE n END", 1_000, 60_000)
    assert await _indexes(workspace, Terms(((term,),)).short()) == {"search_records_by_term"}
    several = Terms(((term, term + 64), (term, term + 128)))
    assert await _indexes(workspace, several.short()) == {"search_records_by_term"}
    sample = await _indexes(workspace, Everything(), sampled=True)
    assert sample == {"search_records_sampled"}


async def _indexes(workspace: RecordsWorkspace, source: Any, *, sampled: bool = False) -> set[str]:
    """The indexes by which PostgreSQL would read the rows of a source."""
    arguments = Arguments.of(workspace.id, {})
    rows = source.rows(arguments, with_terms=True, sampled=sampled)
    plan = await workspace.database.fetch(f"EXPLAIN (FORMAT JSON) {rows}", *arguments)
    found: set[str] = set()

    def walk(node: dict[str, Any]) -> None:
        found.update(value for name, value in node.items() if name == "Index Name")
        for each in node.get("Plans", []):
            walk(each)

    walk(plan[0][0][0]["Plan"])
    return found
