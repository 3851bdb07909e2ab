"""A model that goes back to what it was: what was written meanwhile is found, and scored, by it."""

from __future__ import annotations

from typing import Any

import pytest

from records_service.search import index_measure
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.workspace import entries
from tests.service.records.text_index import index_all, index_some

pytestmark = pytest.mark.asyncio(loop_scope="module")

MANY = 300
"""More than after which a slice leaves scores and orders to the next one."""
NAME = {"alias": "name", "name": "name", "type": "text"}
LACKING = {"criteria": [{"field": "completeness", "operator": "lt", "value": 100}]}


async def write_many(workspace: RecordsWorkspace, **values: Any) -> None:
    rows = [
        {"id": f"ent-{n}", "schemaId": "schema-x", "values": entries(values)} for n in range(MANY)
    ]
    written = (await workspace.admin.post("/records/bulk", {"operations": rows})).ok()
    assert written["created"] == MANY


async def finished(workspace: RecordsWorkspace) -> None:
    """The job, until it says that nothing is left."""
    while await index_some(workspace):
        pass


async def test_scores_are_by_the_rules_of_now(workspace: RecordsWorkspace):
    await workspace.attribute("name", validation={"required": True})
    await workspace.attribute("code", filterable=True)
    await workspace.workflow("flow", ("draft", "done"))
    await workspace.schema("x", ["name", "code"], workflowId="wf-flow")
    await index_all(workspace)
    for required in (False, True):
        rules = {"validation": {"required": required}}
        (await workspace.admin.put("/attributes/attr-name", NAME | rules)).ok()
        if not required:
            await write_many(workspace, code="c")
            await index_some(workspace)
    await finished(workspace)
    assert (await workspace.admin.post("/search", LACKING)).ok()["total"] == MANY


async def test_orders_have_what_was_written_without_them(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    for bound in ("MANY", "MANY_IN_SAMPLE"):
        monkeypatch.setattr(index_measure, bound, 1)
    await workspace.dimension("language", ["en", "da"])
    await workspace.attribute("title", dimensionIds=["dim-language"], filterable=True)
    await workspace.schema("x", ["title"])
    await index_all(workspace)
    whole = (await workspace.admin.get("/dimensions/dim-language")).ok()
    english = whole | {"segments": whole["segments"][:1]}
    (await workspace.admin.put("/dimensions/dim-language", english)).ok()
    await write_many(workspace, title="u")
    await index_some(workspace)
    (await workspace.admin.put("/dimensions/dim-language", whole)).ok()
    await finished(workspace)
    scope = {"dim-language": "seg-da"}
    order = [{"attribute": "title", "order": "asc", "scope": scope}]
    found = (await workspace.admin.post("/search", {"sort": order, "limit": 500})).ok()["items"]
    assert len(found) == MANY


async def test_the_job_goes_on_until_scores_are_by_the_rules_of_now(workspace: RecordsWorkspace):
    await workspace.attribute("name")
    await workspace.attribute("code", filterable=True)
    await workspace.workflow("flow", ("draft", "done"))
    await workspace.schema("x", ["name", "code"], workflowId="wf-flow")
    await index_all(workspace)
    rules = {"validation": {"required": True}}
    (await workspace.admin.put("/attributes/attr-name", NAME | rules)).ok()
    await write_many(workspace, code="c")
    assert await index_some(workspace)
