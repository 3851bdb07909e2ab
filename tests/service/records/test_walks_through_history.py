"""Pages of history for which no index knows the entries: each looks at a bounded number of them."""

from __future__ import annotations

from typing import Any

import pytest

from records_service.history import store
from shared.database import paging
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def history(workspace: RecordsWorkspace, attribute_of: dict[int, str]) -> None:
    """A record with 30 updates; those that are not named change the attribute `hidden`."""
    await workspace.attribute("hidden")
    await workspace.attribute("seen")
    await workspace.schema("x", ["hidden", "seen"])
    await workspace.record("schema-x", {"hidden": "x"}, id="ent-1")
    await workspace.database.execute(
        """
        INSERT INTO audit (workspace_id, record_id, version, schema_id, action, user_id, at,
                           changes)
        SELECT $1, 'ent-1', n + 1, 'schema-x', 'update', 'user-' || n,
               now() + n * interval '1 second',
               json_build_array(json_build_object(
                   'attribute', a.id, 'attributeId', a.id, 'scope', json_build_object(),
                   'oldValue', null, 'newValue', n))
          FROM generate_series(1, 30) AS n,
               LATERAL (SELECT coalesce($2::jsonb ->> n::text, 'attr-hidden') AS id) AS a
        """,
        workspace.id,
        {str(number): f"attr-{alias}" for number, alias in attribute_of.items()},
    )


async def walk(caller: Caller, path: str) -> tuple[list[list[Any]], list[dict[str, Any]]]:
    """The versions on each page, and the pages."""
    pages: list[dict[str, Any]] = []
    cursor = ""
    while cursor is not None and len(pages) < 20:
        pages.append((await caller.get(f"{path}&limit=2{cursor}")).ok())
        following = pages[-1]["nextCursor"]
        cursor = None if following is None else f"&cursor={following}"
    return [[one["version"] for one in page["items"]] for page in pages], pages


async def test_a_page_of_rare_entries_ends_where_enough_were_looked_at(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(store, "WALKED_MAX", 10)
    monkeypatch.setattr(paging, "COUNTED_MAX", 10)
    await history(workspace, {})
    found, pages = await walk(workspace.admin, "/audit?action=create")
    assert found == [[], [], [], [1]]
    assert (pages[0]["totalIsEstimate"], pages[-1]["nextCursor"]) == (True, None)
    monkeypatch.setattr(store, "WALKED_MAX", 100)
    monkeypatch.setattr(paging, "COUNTED_MAX", 100)
    found, pages = await walk(workspace.admin, "/audit?action=create")
    assert (found, pages[0]["total"], "totalIsEstimate" in pages[0]) == ([[1]], 1, False)


async def test_a_limited_role_reads_past_what_is_hidden(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(store, "WALKED_MAX", 10)
    await history(workspace, {2: "seen", 16: "seen", 17: "seen", 18: "seen", 19: "seen"})
    words = {"schema-x": {"attr-seen": "read", "attr-hidden": "hidden"}}
    reader = await workspace.user_with_role(words)
    found, _ = await walk(reader, "/records/ent-1/audit?total=none")
    # The creation is shown, without what is hidden.
    assert found == [[], [20, 19], [18, 17], [3, 1]]
    refused = await reader.get("/records/ent-1/audit?offset=1&limit=2")
    assert refused.outcome == error(
        400,
        "VALIDATION_ERROR",
        "Field 'offset' leads beyond the first 10 entries, of which those that are asked for are"
        " counted: expected the 'cursor' of a page, got 1",
    )
    monkeypatch.setattr(store, "WALKED_MAX", 100)
    page = (await reader.get("/records/ent-1/audit?offset=1&limit=2")).ok()
    assert ([one["version"] for one in page["items"]], page["total"]) == ([19, 18], 6)
