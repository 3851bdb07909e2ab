"""Records as they were, by version and by time, and the return to an earlier version."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from records_service.history.versions import store
from records_service.model_changes import state_moving
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Answer, Caller, error
from tests.kit.workspace import entries, schema_body, workflow_body

pytestmark = pytest.mark.asyncio(loop_scope="module")

A = "/records/ent-a"
EN, DA = {"dim-language": "seg-en"}, {"dim-language": "seg-da"}
PROBLEM = {"Accept": "application/problem+json"}
NAMES = ["name", "price", "sku", "color", "related"]
WRITE_ALL = {"*": {"*": "write"}}


def missing(what: str, there: str) -> tuple[int, dict[str, str]]:
    return error(404, "NOT_FOUND", f"Entity 'ent-a' has {what}: {there} kept")


@pytest_asyncio.fixture(loop_scope="module")
async def admin(workspace: RecordsWorkspace) -> Caller:
    """Of a record in four versions; each is one change."""
    await workspace.dimension("language", ["en", "da"])
    await workspace.option_list("colors", ["red", "blue"])
    await workspace.attribute("name", dimensionIds=["dim-language"])
    await workspace.attribute("price", "number", validation={"min": 0})
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.attribute("color", "option", optionListId="ol-colors")
    await workspace.attribute("related", "relation", multiple=True)
    await workspace.workflow(states={"draft": {}, "locked": {"hidden": ["attr-price"]}, "done": {}})
    await workspace.schema("x", NAMES, workflow="wf-lifecycle")
    values = entries({"price": 1, "sku": "s-1", "color": "val-red"})
    values["name"] = [{"scope": EN, "value": "shirt"}]
    await workspace.record("schema-x", values, id="ent-a", externalKey="first")
    caller = workspace.admin
    await put(caller, price=2, name=[{"scope": DA, "value": "skjorte"}])
    (await caller.put(A, {"values": {}, "externalKey": "second"})).ok()
    await put(caller, color="val-blue", sku=None, price=None)
    return caller


async def put(caller: Caller, path: str = A, **values: Any) -> dict[str, Any]:
    sent = {name: None if v is None else entries({name: v})[name] for name, v in values.items()}
    answered: dict[str, Any] = (await caller.put(path, {"values": sent})).ok()
    return answered


async def at(caller: Caller, version: int, path: str = A) -> dict[str, Any]:
    answered: dict[str, Any] = (await caller.get(f"{path}?version={version}")).ok()
    return answered


async def restore(caller: Caller, version: int, **headers: str) -> Answer:
    return await caller.post(f"{A}/restore", {"version": version}, headers=PROBLEM | headers)


async def move(caller: Caller, state: str) -> None:
    (await caller.post(f"{A}/transition", {"toStateId": f"state-{state}"})).ok()


async def change_workflow(workspace: RecordsWorkspace, body: dict[str, Any]) -> None:
    (await workspace.workflow_admin.put("/workflows/wf-lifecycle", body)).ok()
    # No broker tells this records_service; a schema that is saved asks for its workflow.
    schema = schema_body("x", NAMES, workflowId="wf-lifecycle")
    (await workspace.admin.put("/schemas/schema-x", schema)).ok()


async def test_each_version_is_answered_as_it_was(admin: Caller):
    """Both from the first version and from the current one, whichever is nearer."""
    seen = [(await admin.get(A)).body]
    seen += [await put(admin, price=value) for value in range(5, 10)]
    for one in seen:
        answer = await admin.get(f"{A}?version={one['version']}")
        assert answer.ok() == one
        assert answer.headers["ETag"] == f'"{one["version"]}"'
    first = await at(admin, 1)
    assert first["values"] == {
        "name": [{"scope": EN, "value": "shirt"}],
        **entries({"price": 1, "sku": "s-1", "color": "val-red"}),
    }
    assert (first["externalKey"], first["version"]) == ("first", 1)
    assert first["updatedAt"] == first["createdAt"] == seen[0]["createdAt"]
    assert [(await at(admin, version))["externalKey"] for version in (2, 3)] == ["first", "second"]
    assert (await at(admin, 2))["values"]["name"] == [{"scope": DA, "value": "skjorte"}]
    shown = (
        await admin.get(f'{A}?version=1&attributes=price,name&scope={{"dim-language":"en"}}')
    ).ok()
    assert shown["values"].keys() == {"price", "name"}
    assert shown["resolved"] == {"price": 1, "name": "shirt"}


async def test_a_version_has_its_own_tag(admin: Caller):
    path = f"{A}?version=2"
    for sent, status in (('"2"', 304), ('"1", "2"', 304), ('"4"', 200), ("*", 304)):
        answer = await admin.get(path, headers={"If-None-Match": sent})
        assert (answer.status, answer.headers["ETag"]) == (status, '"2"')
    assert (await admin.get(path, headers={"If-None-Match": "2"})).status == 400


async def test_a_version_that_is_none_is_told_which_there_are(admin: Caller, workspace):
    for version in (5, 2**53 - 1):
        answer = await admin.get(f"{A}?version={version}")
        assert answer.outcome == missing(f"no version {version}", "versions 1 to 4 are")
    for query in (
        "version=0",
        "version=-1",
        "version=x",
        f"version={2**53}",
        "asOf=yesterday",
        "asOf=5",
    ):
        answer = await admin.get(f"{A}?{query}")
        assert (answer.status, answer.body["error"]) == (400, "VALIDATION_ERROR"), query
        assert query.split("=")[0] in answer.body["message"]
    both = await admin.get(f"{A}?version=1&asOf=2026-01-01T00:00:00Z")
    assert both.outcome == error(
        400, "VALIDATION_ERROR", "Field 'asOf' cannot be combined with 'version'"
    )
    await workspace.fetch("DELETE FROM audit WHERE workspace_id = $1 AND version < 3 RETURNING 1")
    assert (await admin.get(f"{A}?version=2")).outcome == missing(
        "no version 2", "versions 3 to 4 are"
    )
    assert (await restore(admin, 2)).status == 404
    assert (await at(admin, 3))["values"].keys() == {"name", "price", "sku", "color"}
    await workspace.fetch("DELETE FROM audit WHERE workspace_id = $1 AND version = 3 RETURNING 1")
    assert (await admin.get(f"{A}?version=3")).outcome == missing("no version 3", "version 4 is")
    for body in ({}, {"version": "1"}, {"version": None}, {"version": 0}, {"version": 1.5}):
        answer = await admin.post(f"{A}/restore", body)
        assert answer.status == 400
        assert "version" in answer.body["message"]


async def test_a_time_finds_the_version_of_that_time(admin: Caller, workspace: RecordsWorkspace):
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for version in range(1, 5):
        await workspace.database.execute(
            "UPDATE audit SET at = $2 WHERE workspace_id = $1 AND version = $3",
            workspace.id,
            start + timedelta(days=version),
            version,
        )
    await workspace.database.execute(
        "UPDATE records SET created_at = $2, updated_at = $3 WHERE workspace_id = $1",
        workspace.id,
        start + timedelta(days=1),
        start + timedelta(days=4),
    )

    async def version_at(time: str) -> int:
        answer = await admin.get(f"{A}?asOf={time}")
        assert answer.headers["ETag"] == f'"{answer.ok()["version"]}"'
        assert answer.body == await at(admin, answer.body["version"])
        return int(answer.body["version"])

    times = {
        "2026-01-02T00:00:00Z": 1,
        "2026-01-02T23:59:59.999Z": 1,
        "2026-01-03T00:00:00Z": 2,
        "2026-01-04T01:00:00%2B01:00": 3,
        "2026-01-04T12:00:00Z": 3,
        "2026-01-05T00:00:00Z": 4,
        "2030-01-05T00:00:00Z": 4,
    }
    assert {time: await version_at(time) for time in times} == times
    assert (await admin.get(f"{A}?asOf=2026-01-01T12:00:00Z")).outcome == error(
        404,
        "NOT_FOUND",
        "Entity 'ent-a' was created at 2026-01-02T00:00:00.000Z, after 2026-01-01T12:00:00.000Z",
    )
    # Entries from before versions were stored are counted back from the first that has one.
    await workspace.fetch(
        "UPDATE audit SET version = NULL WHERE workspace_id = $1 AND version < 4 RETURNING 1"
    )
    assert {time: await version_at(time) for time in times} == times
    assert (await at(admin, 1))["values"]["price"] == entries({"price": 1})["price"]
    await workspace.fetch(
        "DELETE FROM audit WHERE workspace_id = $1 AND version IS NULL"
        " AND at < '2026-01-04' RETURNING 1"
    )
    assert (await admin.get(f"{A}?asOf=2026-01-03T12:00:00Z")).outcome == missing(
        "no version of 2026-01-03T12:00:00.000Z", "versions 3 to 4 are"
    )


async def test_another_life_of_the_id_is_not_this_record(admin: Caller, workspace):
    (await admin.delete(A)).ok()
    for query in ("version=1", "asOf=2030-01-01T00:00:00Z"):
        assert (await admin.get(f"{A}?{query}")).outcome == error(
            404, "NOT_FOUND", "Entity 'ent-a' not found"
        )
    assert (await restore(admin, 1)).status == 404
    await workspace.record("schema-x", {"price": 7}, id="ent-a")
    await put(admin, price=8)
    await put(admin, price=9)
    assert [(await at(admin, v))["values"]["price"][0]["value"] for v in (6, 7, 8)] == [7, 8, 9]
    assert (await at(admin, 6))["values"].keys() == {"price"}
    assert (await admin.get(f"{A}?version=4")).outcome == missing(
        "no version 4", "versions 6 to 8 are"
    )
    # Nor is it where its entries are from before versions were stored.
    await workspace.fetch(
        "UPDATE audit SET version = NULL WHERE workspace_id = $1 AND version < 6 RETURNING 1"
    )
    assert (await admin.get(f"{A}?version=4")).outcome == missing(
        "no version 4", "versions 6 to 8 are"
    )


async def test_variants_have_no_part_in_the_versions_of_their_record(workspace):
    await workspace.attribute("name")
    await workspace.schema("v", ["name"], variantEnabled=True)
    caller = workspace.admin
    await workspace.record("schema-v", {"name": "a"}, id="ent-a")
    for number in range(3):
        body = {"id": f"var-{number}", "values": entries({"name": f"v{number}"})}
        (await caller.post(f"{A}/variants", body)).ok()
    await put(caller, name="b")
    (await caller.delete(f"{A}/variants/var-0")).ok()
    await put(caller, name="c")
    await put(caller, name="d")
    # On several nodes, an entry that comes later may have a smaller id.
    await workspace.fetch(
        """
        INSERT INTO audit (workspace_id, id, record_id, variant_id, version, schema_id, action,
                           user_id, at, changes)
        OVERRIDING SYSTEM VALUE
        SELECT workspace_id, -id, record_id, 'var-1', version, schema_id, 'update', user_id, at,
               '[]'
          FROM audit WHERE workspace_id = $1 AND variant_id IS NULL
        RETURNING 1
        """
    )
    names = [(await at(caller, v))["values"]["name"][0]["value"] for v in (1, 2, 3, 4)]
    assert names == ["a", "b", "c", "d"]


async def test_what_the_schema_has_lost_or_is_of_another_type_is_left_out(admin, workspace):
    await workspace.attribute("note")
    schema = schema_body("x", [*NAMES, "note"], workflowId="wf-lifecycle")
    (await admin.put("/schemas/schema-x", schema)).ok()
    await put(admin, note="12", price=3)  # Version 5
    await put(admin, note=None, price=None)
    note = {"alias": "note", "name": "note", "type": "number"}
    (await admin.put("/attributes/attr-note", note)).ok()
    await put(admin, note=7)  # Version 7
    assert "note" not in (await at(admin, 5))["values"]
    refused = await restore(admin, 5)
    assert refused.status == 400
    assert refused.body["message"] == (
        "Version 5 cannot be restored: Attribute 'note' expects type 'number', got 'string'."
        " The type of 'note' has changed since version 5"
    )
    assert [one["pointer"] for one in refused.body["errors"]] == ["/values/note/0/value"]
    price = {"alias": "price", "name": "price", "type": "number", "validation": {"min": 10}}
    (await admin.put("/attributes/attr-price", price)).ok()
    assert (await at(admin, 5))["values"]["price"] == entries({"price": 3})["price"]
    schema = schema_body("x", NAMES, workflowId="wf-lifecycle")
    (await admin.put("/schemas/schema-x", schema)).ok()
    assert "note" not in (await at(admin, 7))["values"]
    (await admin.delete("/attributes/attr-note")).ok()
    assert (await at(admin, 7))["values"].keys() == {"name", "color"}
    assert (await restore(admin, 7)).headers["ETag"] == '"7"'


async def test_an_entry_of_the_history_names_the_version_to_restore(admin: Caller):
    body = schema_body("x", NAMES, workflowId="wf-lifecycle", variantEnabled=True)
    (await admin.put("/schemas/schema-x", body)).ok()
    (await admin.post(f"{A}/variants", {"id": "var-a"})).ok()
    for path in (f"{A}/audit", "/audit?entityId=ent-a"):
        found = (await admin.get(path)).body["items"]
        versions = [(one["version"], one["variantId"]) for one in found]
        assert versions == [(4, "var-a"), (4, None), (3, None), (2, None), (1, None)]
    assert (await restore(admin, 1)).ok()["values"] == (await at(admin, 1))["values"]


async def test_a_restore_is_an_update(admin: Caller, workspace: RecordsWorkspace):
    before, events = await at(admin, 2), len(await workspace.staged())
    for headers in ({"Prefer": "dry-run"}, {"Idempotency-Key": "k"}, {"Idempotency-Key": "k"}):
        answer = await restore(admin, 2, **headers)
        assert (answer.status, answer.headers["ETag"]) == (200, '"5"')
    assert answer.headers["Idempotency-Replayed"] == "true"
    assert answer.body["values"] == before["values"]
    assert (answer.body["externalKey"], answer.body["version"]) == ("second", 5)
    (event,) = (await workspace.staged())[events:]
    assert (event.type, event.data["version"]) == ("entity.updated", 5)
    entry = (await admin.get(f"{A}/audit?limit=1")).ok()["items"][0]
    assert entry["action"] == "update"
    assert {(c["attribute"], c["oldValue"], c["newValue"]) for c in entry["changes"]} == {
        ("price", None, 2),
        ("sku", None, "s-1"),
        ("color", "val-blue", "val-red"),
    }
    assert (await at(admin, 4))["values"].keys() == {"name", "color"}
    # Nothing differs any more, so nothing is written.
    assert (await restore(admin, 2)).headers["ETag"] == '"5"'
    assert (await restore(admin, 5)).headers["ETag"] == '"5"'
    assert len(await workspace.staged()) == events + 1
    stale = await restore(admin, 1, **{"If-Match": '"4"'})
    assert stale.body["message"] == "Entity 'ent-a' is at version 5; If-Match names another version"
    assert (await restore(admin, 1, **{"If-Match": '"5"'})).headers["ETag"] == '"6"'
    assert (await restore(admin, 9)).status == 404


async def test_what_no_longer_fits_is_refused_with_a_list(admin: Caller, workspace):
    blue = {"id": "val-blue", "alias": "blue", "label": "blue"}
    colors = {"alias": "colors", "name": "colors", "values": [blue]}
    (await admin.put("/option-lists/ol-colors", colors)).ok()
    price = {"alias": "price", "name": "price", "type": "number", "validation": {"min": 10}}
    (await admin.put("/attributes/attr-price", price)).ok()
    language = {
        "alias": "language",
        "name": "language",
        "defaultSegmentId": "seg-da",
        "segments": [{"id": "seg-da", "alias": "da", "name": "da"}],
    }
    (await admin.put("/dimensions/dim-language", language)).ok()
    shown = await at(admin, 1)
    assert shown["values"]["color"] == entries({"color": "val-red"})["color"]
    assert shown["values"]["name"] == [{"scope": EN, "value": "shirt"}]
    refused = await restore(admin, 1)
    assert refused.status == 400
    assert refused.body["message"].startswith("Version 1 cannot be restored: ")
    assert refused.body["message"].endswith(" (and 2 more)")
    assert {one["pointer"]: one["detail"] for one in refused.body["errors"]} == {
        "/values/name/0/scope": (
            "Unknown segment 'seg-en' of dimension 'dim-language': expected seg-da"
        ),
        "/values/price/0/value": "Value for 'price' must be at least 10, got 1",
        "/values/color/0/value": "Value 'val-red' for 'color' is not in option list 'ol-colors'",
    }
    assert (await admin.get(A)).body["version"] == 4


async def test_a_value_that_another_record_has_taken_is_a_conflict(admin: Caller, workspace):
    await workspace.record("schema-x", {"sku": "s-1"}, id="ent-b")
    taken = error(409, "CONFLICT", "Value 's-1' for attribute 'sku' must be unique")
    assert (await admin.post(f"{A}/restore", {"version": 1})).outcome == taken
    (await admin.delete("/records/ent-b")).ok()
    assert (await restore(admin, 1)).status == 200


async def test_relations_to_deleted_records_are_not_restored(admin: Caller, workspace):
    for name in ("b", "c"):
        await workspace.record("schema-x", id=f"ent-{name}")
    await put(admin, related=["ent-b", "ent-c"])
    await put(admin, related=None)
    (await admin.delete("/records/ent-b")).ok()
    kept = entries({"related": ["ent-c"]})["related"]
    assert (await at(admin, 5))["values"]["related"] == kept
    assert (await restore(admin, 5)).ok()["values"]["related"] == kept


async def test_a_required_value_is_not_taken_away(admin: Caller, workspace):
    await workspace.attribute("late", validation={"required": True})
    schema = schema_body("x", [*NAMES, "late"], workflowId="wf-lifecycle")
    (await admin.put("/schemas/schema-x", schema)).ok()
    await put(admin, late="here")
    refused = await restore(admin, 1)
    assert refused.outcome[0] == 400
    assert refused.body["message"] == (
        "Version 1 cannot be restored: Attribute 'late' is required and cannot be emptied"
    )


async def test_hidden_is_hidden_in_every_version(admin: Caller, workspace: RecordsWorkspace):
    await put(admin, price=5)  # Version 5
    await move(admin, "locked")
    await put(admin, price=6)  # Version 7, where the state hides the price
    await move(admin, "done")
    role = {"*": {"*": "write", "attr-sku": "hidden"}}
    caller = await workspace.user_with_role(role)
    seen = {version: (await at(caller, version)) for version in range(1, 9)}
    states = [one["lifecycleStateId"].removeprefix("state-") for one in seen.values()]
    assert states == ["draft"] * 5 + ["locked"] * 2 + ["done"]
    assert [v for v, one in seen.items() if "price" in one["values"]] == [1, 2, 3, 5, 8]
    assert not [v for v, one in seen.items() if "sku" in one["values"]]
    assert "price" in (await at(admin, 7))["values"]
    # What the caller does not see of a version stays as it is.
    await put(admin, price=9, sku="s-9")
    restored = await restore(caller, 7)
    assert restored.headers["ETag"] == '"9"'
    assert restored.body["values"]["price"] == entries({"price": 9})["price"]
    restored = await restore(caller, 1)
    assert restored.body["values"]["price"] == entries({"price": 1})["price"]
    assert restored.body["lifecycleStateId"] == "state-done"
    assert (await admin.get(A)).body["values"]["sku"] == entries({"sku": "s-9"})["sku"]
    # A state that the workflow no longer has hides what any of its states hides.
    states_left = {"locked": {"hidden": ["attr-price"]}, "done": {}}
    workflow = workflow_body("lifecycle", states_left, [("locked", "done")])
    await change_workflow(workspace, workflow)
    assert "price" not in (await at(caller, 1))["values"]
    assert "price" in (await at(admin, 1))["values"]


async def test_versions_keep_their_state_while_records_are_moved(
    admin: Caller, workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    """A record that has another workflow since, and is not moved to its default state yet."""
    monkeypatch.setattr(state_moving, "MOVED_IN_REQUEST", 1)
    path = "/records/ent-b"
    await workspace.record("schema-x", {"price": 1}, id="ent-b")
    for price in (2, 3, 4):
        await put(admin, path, price=price)
    await workspace.workflow("other", {"begin": {}, "closed": {"hidden": ["attr-price"]}})
    other = schema_body("x", NAMES, workflowId="wf-other")
    (await admin.put("/schemas/schema-x", other)).ok()
    states = [(await at(admin, version, path))["lifecycleStateId"] for version in (1, 2, 3, 4)]
    assert states == ["state-draft"] * 3 + ["state-begin"]
    caller = await workspace.user_with_role(WRITE_ALL)
    seen = [version for version in (1, 2, 3, 4) if (await at(caller, version, path))["values"]]
    assert seen == [4]
    # It is moved before it is written.
    restored = await admin.post(f"{path}/restore", {"version": 2})
    assert restored.headers["ETag"] == '"6"'
    assert (restored.body["lifecycleStateId"], restored.body["values"]) == (
        "state-begin",
        entries({"price": 2}),
    )


async def test_todays_state_hides_in_every_version(admin: Caller, workspace: RecordsWorkspace):
    await put(admin, price=5)
    await move(admin, "locked")
    caller = await workspace.user_with_role(WRITE_ALL)
    assert "price" not in (await at(caller, 1))["values"]
    assert (await restore(caller, 1)).ok()["values"].keys() == {"name", "sku", "color"}
    assert (await admin.get(A)).body["values"]["price"] == entries({"price": 5})["price"]


async def test_every_attribute_that_changes_must_be_writable(admin: Caller, workspace):
    caller = await workspace.user_with_role({"*": {"*": "write", "attr-color": "read"}})
    refused = await restore(caller, 1)
    assert (refused.status, refused.body["message"]) == (403, "Permission denied")
    assert [one["pointer"] for one in refused.body["errors"]] == ["/values/color"]
    await put(admin, color="val-red")
    # The colour is what it was, so it need not be written.
    assert (await restore(caller, 1)).status == 200
    states = {"draft": {"readOnly": ["attr-price"]}}
    workflow = workflow_body("lifecycle", states, [])
    await change_workflow(workspace, workflow)
    refused = await restore(admin, 2)
    assert refused.status == 403
    assert [one["detail"] for one in refused.body["errors"]] == [
        "Attribute 'price' is read-only in lifecycle state 'draft'"
    ]


async def test_keys_that_may_not_read_restore_nothing(admin: Caller, workspace):
    blind = workspace.api_key("update-data")
    assert (await blind.post(f"{A}/restore", {"version": 1})).outcome == error(
        403, "PERMISSION_DENIED", "Permission denied"
    )
    assert (await workspace.api_key("read").post(f"{A}/restore", {"version": 1})).status == 403
    assert (
        await workspace.api_key("update-data", "read").post(f"{A}/restore", {"version": 1})
    ).ok()


async def test_no_more_is_read_than_has_a_bound(admin: Caller, monkeypatch):
    for value in range(5, 11):
        await put(admin, price=value)  # Up to version 10
    monkeypatch.setattr(store, "ENTRIES_MAX", 4)
    prices = {}
    for version in range(1, 11):
        answer = await admin.get(f"{A}?version={version}")
        prices[version] = answer.status
    assert prices == {**dict.fromkeys(range(1, 11), 200), 5: 400, 6: 400}
    answer = await admin.get(f"{A}?version=5")
    assert answer.outcome == error(
        400, "VALIDATION_ERROR", "Version 5 is 4 versions away; at most 3 can be gone through"
    )
    monkeypatch.undo()
    for bound in ("BYTES_MAX", "STORED_BYTES_MAX"):
        with monkeypatch.context() as patched:
            patched.setattr(store, bound, 300)
            assert (await admin.get(f"{A}?version=9")).status == 200
            assert (await admin.get(f"{A}?version=3")).outcome == error(
                400,
                "VALIDATION_ERROR",
                "What has changed between version 1 and version 3 is too large to be gone through",
            )


async def test_bulk_writes_are_versions_too(admin: Caller):
    rows = [{"id": "ent-a", "values": entries({"price": value})} for value in (20, 21)]
    done = (await admin.post("/records/bulk", {"operations": rows})).ok()
    assert done["updated"] == 2
    assert [(await at(admin, v))["values"]["price"][0]["value"] for v in (5, 6)] == [20, 21]
    assert (await restore(admin, 5)).headers["ETag"] == '"7"'
