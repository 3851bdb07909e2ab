"""Compares the search index of a workspace with what its records are to have there."""

from __future__ import annotations

import orjson

from records_service.blueprint.blueprint import Blueprint, load
from records_service.blueprint.compiled_schema import compile_schema
from records_service.search_index.changes import indexed_in
from records_service.search_index.terms import number_lists
from tests.kit.records_workspace import RecordsWorkspace
from tests.service.records.job_turns import turn


async def held(workspace: RecordsWorkspace) -> tuple[list[tuple], list[tuple]]:
    """The rows of the index."""
    records = await workspace.fetch(
        """
        SELECT record_id, created_at, schema_id, state_id, bucket, terms,
               number_keys, numbers
          FROM search_records WHERE workspace_id = $1 ORDER BY record_id, created_at
        """
    )
    numbers = await workspace.fetch(
        """
        SELECT record_id, created_at, schema_id, state_id, bucket, attribute_key, entry, number
          FROM search_numbers WHERE workspace_id = $1
         ORDER BY record_id, attribute_key, entry
        """
    )
    return [tuple(row.values()) for row in records], [tuple(row.values()) for row in numbers]


async def wanted(workspace: RecordsWorkspace) -> tuple[list[tuple], list[tuple]]:
    """The rows that the index is to have, by the values of all records."""
    blueprint = await blueprint_of(workspace)
    rows = await workspace.fetch(
        """
        SELECT id, created_at, schema_id, state_id, values::text AS document
          FROM records WHERE workspace_id = $1 ORDER BY id
        """
    )
    records, numbers = [], []
    for row in rows:
        schema = compile_schema(blueprint, row["schema_id"])
        entry = indexed_in(schema, row["id"], orjson.loads(row["document"]))
        assert entry is not None
        known = (row["id"], row["created_at"], row["schema_id"], row["state_id"], entry.bucket)
        records.append((*known, list(entry.terms), *number_lists(entry.numbers)))
        numbers += [(*known, *number) for number in entry.numbers]
    return records, sorted(numbers, key=lambda each: (each[0], *each[5:7]))


async def check(workspace: RecordsWorkspace) -> None:
    """Fail where the index of a workspace differs from what it is to have."""
    assert await held(workspace) == await wanted(workspace)


async def blueprint_of(workspace: RecordsWorkspace) -> Blueprint:
    return await load(workspace.database, workspace.id)


async def finish(workspace: RecordsWorkspace) -> None:
    """Deliver messages until the index is built."""
    while await turn(workspace):
        pass
    for table in ("jobs", "search_builds"):
        assert await workspace.fetch(f"SELECT FROM {table} WHERE workspace_id = $1") == []
