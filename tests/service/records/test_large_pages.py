"""Pages of many megabytes: the same as small ones, and written beside the event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from records_service.history import handlers as audit
from records_service.records import render_cache
from records_service.records.render_cache import REMEMBERED_BYTES_MAX, RENDER_CACHE
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller
from tests.kit.workspace import entries, schema_body

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[int]]:
    """What each step of writing a page ran in."""
    seen: dict[str, set[int]] = {}

    def watched(module: Any, name: str) -> None:
        function: Callable[..., Any] = getattr(module, name)

        def noting(*args: Any) -> Any:
            if args[0]:
                seen.setdefault(name, set()).add(threading.get_ident())
            return function(*args)

        monkeypatch.setattr(module, name, noting)

    for name in ("_parsed", "_rendered"):
        watched(render_cache, name)
    watched(audit, "_render")
    return seen


async def seed(workspace: RecordsWorkspace) -> list[str]:
    await workspace.attribute("note")
    await workspace.attribute("kin", "relation")
    await workspace.attribute("secret")
    await workspace.schema("plain", ["note", "secret"])
    await workspace.schema("bound", ["note", "kin"])
    ids: list[str] = []
    for n in range(6):
        kind, more = ("bound", {"kin": ids[n % 2]}) if n > 2 else ("plain", {"secret": "s" * 20})
        ids.append((await workspace.post_record(kind, note="x" * 20, **more)).ok()["id"])
    return ids


def words(attribute: str) -> dict[str, str]:
    return {"*": "write", attribute: "hidden"}


PATHS = ("/records", "/records?schemaId=schema-plain", "/records?schemaId=schema-bound", "/audit")


async def test_a_large_page_says_what_its_records_say_and_is_written_in_a_thread(
    workspace: RecordsWorkspace,
    admin: Caller,
    threads: dict[str, set[int]],
    monkeypatch: pytest.MonkeyPatch,
):
    ids = await seed(workspace)
    monkeypatch.setattr(render_cache, "REMEMBERED_BYTES_MAX", 0)
    editor = await workspace.user_with_role({"*": words("attr-secret")})
    small = {path: (await admin.get(path)).ok() for path in PATHS}
    seen = (await editor.get("/records")).ok()
    assert threads.pop("_rendered") == threads.pop("_render") == {threading.get_ident()}
    threads.clear()
    monkeypatch.setattr(render_cache, "INLINE_BYTES_MAX", 50)
    monkeypatch.setattr(audit, "INLINE_BYTES_MAX", 50)
    assert {path: (await admin.get(path)).ok() for path in PATHS} == small
    assert (await editor.get("/records")).ok() == seen
    assert threads.keys() == {"_parsed", "_rendered", "_render"}
    for name, where in threads.items():
        assert threading.get_ident() not in where, name
    for caller, page in ((admin, small["/records"]), (editor, seen)):
        assert [one["id"] for one in page["items"]] == ids
        for one in page["items"]:
            assert one == (await caller.get(f"/records/{one['id']}")).ok()
    history = (await editor.get(f"/records/{ids[1]}/audit")).ok()["items"]
    assert [change["attribute"] for change in history[0]["changes"]] == ["note"]


async def test_what_is_remembered_does_not_add_up_as_records_and_the_model_change(
    workspace: RecordsWorkspace, admin: Caller
):
    ids = await seed(workspace)
    known = workspace.records.app[RENDER_CACHE]._known
    (await admin.get("/records?schemaId=schema-plain")).ok()
    count, first = len(known), known[workspace.id, ids[0], None, None]
    for number in range(3):
        changed = {"values": entries({"note": f"note {number}"})}
        (await admin.put(f"/records/{ids[0]}", changed)).ok()
        schema = schema_body("plain", ["note", "secret"], name=f"Plain {number}")
        (await admin.put("/schemas/schema-plain", schema)).ok()
        (await admin.get(f"/records?schemaId=schema-plain&limit={10 + number}")).ok()
    assert len(known) == count
    last = known[workspace.id, ids[0], None, None]
    assert last.version == first.version + 3
    assert last.access is not first.access


async def test_what_is_remembered_of_a_page_is_not_written_again_and_has_a_bound(
    workspace: RecordsWorkspace,
    admin: Caller,
    threads: dict[str, set[int]],
    monkeypatch: pytest.MonkeyPatch,
):
    await seed(workspace)
    kept = workspace.records.app[RENDER_CACHE]
    path = "/records?schemaId=schema-plain"
    first = (await admin.get(path)).ok()
    threads.clear()
    assert (await admin.get(path)).ok() == first
    assert not threads
    assert 0 < kept._bytes == sum(one.size for one in kept._known.values()) < REMEMBERED_BYTES_MAX
    monkeypatch.setattr(render_cache, "REMEMBERED_BYTES_MAX", 10)
    (await admin.put(f"/records/{first['items'][0]['id']}", {"values": {}})).ok()
    other = (await admin.get("/records")).ok()
    assert other["total"] == 6
    assert kept._bytes == sum(one.size for one in kept._known.values())
