"""Lists of all that is modelled: whole, in order, and never in one piece when they are large."""

from __future__ import annotations

import threading

import pytest

from records_service.option_lists import store as option_lists
from shared.database import listing
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller
from tests.kit.workspace import schema_body
from tests.service.conftest import Rendered

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATHS = ("/dimensions", "/option-lists", "/attributes", "/schemas")


async def seed(workspace: RecordsWorkspace, admin: Caller, count: int) -> None:
    for n in range(count):
        segments = [{"id": "seg-a", "alias": "a", "name": "A", "isDefault": True}]
        dimension = {"id": f"dim-{n}", "alias": f"d{n}", "name": "D", "segments": segments}
        (await admin.post("/dimensions", dimension)).ok()
        values = [{"id": f"val-{v}", "alias": f"v{v}", "label": "V" * 50} for v in range(4)]
        options = {"id": f"ol-{n}", "alias": f"o{n}", "name": "O", "values": values}
        (await admin.post("/option-lists", options)).ok()
        await workspace.attribute(f"a{n}", description="x" * 200)
        (await admin.post("/schemas", schema_body(f"s{n}", [f"a{n}"]))).ok()


async def test_a_workspace_without_a_model_has_empty_lists(admin: Caller):
    for path in PATHS:
        answer = await admin.get(path)
        assert (answer.status, answer.body) == (200, [])


@pytest.mark.parametrize("rows", [1, 3, 4, 7, 100])
async def test_a_list_that_is_read_in_pieces_is_whole_and_in_order(
    workspace: RecordsWorkspace,
    admin: Caller,
    other_workspace: RecordsWorkspace,
    monkeypatch: pytest.MonkeyPatch,
    rows: int,
):
    await seed(workspace, admin, 7)
    await seed(other_workspace, other_workspace.admin, 1)
    # Attributes that are written in one transaction are of one moment.
    await workspace.database.execute(
        "UPDATE attributes SET created_at = '2026-01-01' WHERE workspace_id = $1", workspace.id
    )
    monkeypatch.setattr(listing, "PIECE_ROWS", rows)
    for path, ids in zip(PATHS, ("dim-{}", "ol-{}", "attr-a{}", "schema-s{}"), strict=True):
        answer = await admin.get(path)
        assert [one["id"] for one in answer.ok()] == [ids.format(n) for n in range(7)]
        for one in answer.body:
            assert one == (await admin.get(f"{path}/{one['id']}")).ok()


async def test_a_large_list_is_rendered_in_bounded_pieces_beside_the_event_loop(
    workspace: RecordsWorkspace, admin: Caller, rendered: Rendered, monkeypatch: pytest.MonkeyPatch
):
    await seed(workspace, admin, 6)
    expected = {path: (await admin.get(path)).ok() for path in PATHS}
    monkeypatch.setattr(listing, "BUFFERED_BYTES_MAX", 1_000)
    monkeypatch.setattr(listing, "PIECE_BYTES", 300)
    monkeypatch.setattr(option_lists, "PIECE_VALUES", 8)
    for path in PATHS:
        rendered.pieces.clear()
        answer = await admin.get(path)
        assert answer.ok() == expected[path]
        assert len(rendered.pieces) > 1, path
        assert max(rendered.pieces) < 6, path
        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert answer.headers["Content-Type"] == "application/json"
    assert threading.get_ident() not in rendered.threads


async def test_a_list_of_usual_size_tells_its_length(workspace: RecordsWorkspace, admin: Caller):
    await seed(workspace, admin, 1)
    for path in PATHS:
        answer = await admin.get(path)
        assert int(answer.headers["Content-Length"]) > 0
        assert answer.headers["Content-Type"] == "application/json"
