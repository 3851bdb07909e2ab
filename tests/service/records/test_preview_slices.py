"""A preview reads records in slices that are bounded by their bytes."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest
import pytest_asyncio

from records_service.previews import store, walk
from tests.kit.records_workspace import RecordsWorkspace

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def catalogue(workspace: RecordsWorkspace) -> RecordsWorkspace:
    """Four records with a price and a note that does not get smaller by compression."""
    await workspace.attribute("price", "number")
    await workspace.attribute("note")
    await workspace.schema("x", ["price", "note"])
    for number in range(4):
        note = random.Random(number).randbytes(2_000).hex()
        await workspace.record("schema-x", {"price": number, "note": note})
    return workspace


async def test_where_few_records_have_the_bytes_of_a_slice_few_are_read(
    catalogue: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    asked = []
    records_after = store.records_after

    async def noted(*arguments: Any, rows_max: int) -> store.Slice:
        asked.append(rows_max)
        return await records_after(*arguments, rows_max=rows_max)

    monkeypatch.setattr(store, "records_after", noted)
    monkeypatch.setattr(store, "SLICE_BYTES_MAX", 1)
    body = {"alias": "price", "name": "price", "type": "number", "validation": {"max": 1}}
    found = (await catalogue.admin.post("/attributes/attr-price/preview", body)).ok()
    assert (found["records"], found["failingValidation"]) == (4, 2)
    assert asked == [walk.FIRST_SLICE_ROWS, 2, 2, 2]


async def test_large_values_that_are_not_wanted_end_a_slice_too(
    catalogue: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    """They are fetched together with those that are."""
    monkeypatch.setattr(store, "SLICE_BYTES_MAX", 1_900)
    async with catalogue.database.acquire() as conn:
        for wanted, fitting in ((["attr-price"], 1), ([], 4)):
            found = await store.records_after(
                conn, catalogue.id, "schema-x", wanted, None, rows_max=10
            )
            assert len(orjson.loads(found.rows)) == fitting
            assert (found.last is None) == (not wanted)
