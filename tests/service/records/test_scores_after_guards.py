"""A guard that goes and comes back looks at what was written meanwhile."""

from __future__ import annotations

import pytest
import pytest_asyncio

from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.workspace import schema_body
from tests.service.records.text_index import index_all

pytestmark = pytest.mark.asyncio(loop_scope="module")

GUARD = {"attributeId": "attr-price", "operator": "equals", "value": 5}
IMAGE = {
    "alias": "image",
    "name": "Image",
    "type": "media",
    "validation": {"required": True},
}
LACKING = {"criteria": [{"field": "completeness", "operator": "lt", "value": 100}]}


@pytest_asyncio.fixture(loop_scope="module")
async def guarded(workspace: RecordsWorkspace) -> RecordsWorkspace:
    """`image` counts where the price is 5; the only record has another one, and no image."""
    await workspace.attribute("price", "number")
    await workspace.attribute("image", "media", validation={"required": True}, guards=[GUARD])
    await workspace.workflow("flow", ("draft", "done"))
    await workspace.schema("x", ["price", "image"], workflowId="wf-flow")
    await workspace.record("schema-x", {"price": 4}, id="ent-a")
    await index_all(workspace)
    assert await lacking(workspace) == []
    assert await stored(workspace) == {100}
    return workspace


async def lacking(workspace: RecordsWorkspace) -> list[str]:
    found = (await workspace.admin.post("/search", LACKING)).ok()["items"]
    return [each["id"] for each in found]


async def stored(workspace: RecordsWorkspace) -> set[int]:
    """The scores that are stored of the record."""
    rows = await workspace.fetch("SELECT score FROM search_scores WHERE workspace_id = $1")
    return {row["score"] for row in rows}


async def set_price(workspace: RecordsWorkspace) -> None:
    (await workspace.admin.patch("/records/ent-a/values/price", {"value": 5})).ok()


async def test_the_attribute_leaves_the_schema_and_comes_back(guarded: RecordsWorkspace):
    for attributes in (["price"], ["price", "image"]):
        body = schema_body("x", attributes, workflowId="wf-flow")
        (await guarded.admin.put("/schemas/schema-x", body)).ok()
        if attributes == ["price"]:
            await set_price(guarded)
    assert await lacking(guarded) == ["ent-a"]
    await index_all(guarded)
    assert await lacking(guarded) == ["ent-a"]
    assert await stored(guarded) == {0}


async def test_the_guard_goes_and_comes_back(guarded: RecordsWorkspace):
    for guards in ([], [GUARD]):
        (await guarded.admin.put("/attributes/attr-image", {**IMAGE, "guards": guards})).ok()
        if not guards:
            await set_price(guarded)
    assert await lacking(guarded) == ["ent-a"]
    await index_all(guarded)
    assert await lacking(guarded) == ["ent-a"]
    assert await stored(guarded) == {0}
