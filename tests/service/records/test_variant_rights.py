"""Who sees and changes what of a variant: by role, and by the state of its record."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio

from shared.identity import Permission
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error
from tests.kit.workspace import entries
from tests.service.records.apparel import everywhere

pytestmark = pytest.mark.asyncio(loop_scope="module")

HIDDEN = "s3cr3t"
VARIANT = "/records/ent-a/variants/var-1"


@pytest_asyncio.fixture(loop_scope="module")
async def caller(workspace: RecordsWorkspace) -> Caller:
    """A record with a cost, and variants with a price, a cost and a note of their own."""
    for alias in ("name", "price", "cost", "note"):
        await workspace.attribute(alias)
    states = {
        "draft": {"required": ["attr-name", "attr-price", "attr-cost"]},
        "done": {
            "hidden": ["attr-note"],
            "readOnly": ["attr-price"],
            "required": ["attr-name", "attr-note"],
        },
    }
    await workspace.workflow("w", states)
    await workspace.schema(
        "x", ["name", "price", "cost", "note"], workflow="wf-w", variantEnabled=True
    )
    await workspace.record("schema-x", {"cost": HIDDEN, "name": "A"}, id="ent-a")
    admin = workspace.admin
    own = entries({"price": "1", "note": "n"})
    (await admin.post("/records/ent-a/variants", {"id": "var-1", "values": own})).ok()
    own = entries({"cost": HIDDEN})
    body = {"id": "var-2", "parentId": "var-1", "values": own}
    (await admin.post("/records/ent-a/variants", body)).ok()
    return admin


async def blind(workspace: RecordsWorkspace, **words: str) -> Caller:
    """A user who does not see costs."""
    held = {"*": "write", "attr-cost": "hidden"} | {f"attr-{n}": word for n, word in words.items()}
    return await workspace.user_with_role({"schema-x": held})


READS = (
    "/variants",
    "/variants?schemaId=schema-x",
    "/records/ent-a/variants",
    "/records/ent-a/variants/var-1",
    "/records/ent-a/variants/var-2",
    "/records/ent-a/variants/var-1/resolved",
    "/records/ent-a/variants/var-2/resolved",
    "/records/ent-a/variants/var-1/completeness",
    "/records/ent-a/variants/var-2/completeness",
    "/records/ent-a/audit",
)


async def test_what_a_role_does_not_see_is_in_no_answer(
    workspace: RecordsWorkspace, caller: Caller
):
    user = await blind(workspace)
    for path in READS:
        answer = await user.get(path)
        assert answer.status == 200, f"{path}: {answer.outcome}"
        assert HIDDEN not in str(answer.body), path
        assert "cost" not in str(answer.body), path
    everything = await caller.get("/records/ent-a/variants/var-2/resolved")
    assert everything.body["overriddenAttributes"] == ["cost"]
    assert everything.body["inheritedAttributes"] == ["name", "price", "note"]


async def test_what_a_state_of_the_record_hides_is_in_no_answer(
    workspace: RecordsWorkspace, caller: Caller
):
    user = await blind(workspace)
    found = (await user.get(f"{VARIANT}/resolved")).ok()
    assert found["overriddenAttributes"] == ["price", "note"]
    (await caller.post("/records/ent-a/transition", {"toStateId": "state-done"})).ok()
    for path in READS:
        assert "note" not in str((await user.get(path)).body), path
    found = (await user.get(f"{VARIANT}/resolved")).ok()
    assert found["values"] == {"price": everywhere("1")}
    assert found["effectiveValues"] == {"name": everywhere("A"), "price": everywhere("1")}
    assert (found["overriddenAttributes"], found["inheritedAttributes"]) == (["price"], ["name"])
    # An administrator sees what a state hides, as of records.
    assert "note" in (await caller.get(VARIANT)).ok()["values"]


async def test_a_role_writes_what_it_may(workspace: RecordsWorkspace, caller: Caller):
    user = await blind(workspace, name="read")
    denied = error(403, "PERMISSION_DENIED", "Permission denied")
    for path, body in (
        ("name", {"value": "B"}),
        ("cost", {"value": "1"}),
        ("cost?copyInherited=true", {"value": "1"}),
    ):
        refused = await user.patch(f"{VARIANT}/values/{path}", body)
        assert refused.status == 403, path
        sent = {"values": entries({path.partition("?")[0]: "1"})}
        assert (await user.put(VARIANT, sent)).status == 403
        assert (await user.post("/records/ent-a/variants", sent)).status == 403
    assert (await user.patch(f"{VARIANT}/values/note", {"value": "B"})).status == 200
    # Who deletes must see all that goes.
    assert (await user.delete(VARIANT)).status == 403
    reader = await workspace.user_with_role({"schema-x": {"*": "read"}})
    for refused in (
        await reader.post("/records/ent-a/variants", {}),
        await reader.delete(VARIANT),
        await reader.patch(f"{VARIANT}/values/note", {"value": "C"}),
    ):
        assert refused.body["error"] == denied[1]["error"]
    assert (await caller.get(VARIANT)).ok()["version"] == 2


async def test_what_a_state_of_the_record_makes_read_only_stays(caller: Caller):
    (await caller.post("/records/ent-a/transition", {"toStateId": "state-done"})).ok()
    for refused in (
        await caller.patch(f"{VARIANT}/values/price", {"value": "2"}),
        await caller.put(VARIANT, {"values": {"price": None}}),
        await caller.post("/records/ent-a/variants", {"values": entries({"price": "2"})}),
    ):
        assert refused.outcome == error(
            403,
            "PERMISSION_DENIED",
            "Permission denied",
        )
    assert (await caller.patch(f"{VARIANT}/values/name", {"value": "B"})).status == 200


async def test_completeness_judges_own_and_inherited_values_in_the_records_state(
    workspace: RecordsWorkspace, caller: Caller
):
    async def of(variant_id: str, who: Caller = caller, query: str = "") -> dict[str, Any]:
        found = await who.get(f"/records/ent-a/variants/{variant_id}/completeness{query}")
        return {name: found.ok()[name] for name in ("stateId", "score", "filled", "missing")}

    everything = {
        "stateId": "state-draft",
        "score": 100,
        "filled": ["name", "price", "cost"],
        "missing": [],
    }
    assert await of("var-1") == await of("var-2") == everything
    full = (await caller.get("/records/ent-a/variants/var-2/completeness")).ok()
    assert (full["entityId"], full["variantId"], full["required"]) == ("ent-a", "var-2", 3)
    assert [each["stateId"] for each in full["states"]] == ["state-draft", "state-done"]
    of_record = (await caller.get("/records/ent-a/completeness")).ok()
    assert of_record["missing"] == ["price"] and "variantId" not in of_record
    assert (await of("var-1", await blind(workspace)))["filled"] == ["name", "price"]
    (await caller.put("/records/ent-a", {"values": {"name": None}})).ok()
    assert (await of("var-2"))["missing"] == ["name"]
    assert (await of("var-2", query="?stateId=done"))["filled"] == []
    (await caller.post("/records/ent-a/transition", {"toStateId": "state-done"})).ok()
    assert (await of("var-2"))["stateId"] == "state-done"
    assert (await caller.get("/records/ent-a/variants/var-2/completeness?scope=x")).status == 400


async def test_a_guard_looks_at_values_that_are_inherited(
    workspace: RecordsWorkspace, caller: Caller
):
    guard = {"attributeId": "attr-flag", "operator": "equals", "value": "yes"}
    await workspace.attribute("flag")
    await workspace.attribute("proof", validation={"required": True}, guards=[guard])
    await workspace.schema("y", ["flag", "proof"], variantEnabled=True)
    await workspace.record("schema-y", {"flag": "yes"}, id="ent-y")
    (await caller.post("/records/ent-y/variants", {"id": "var-y"})).ok()
    path = "/records/ent-y/variants/var-y"
    assert (await caller.get(f"{path}/completeness")).ok()["missing"] == ["proof"]
    (await caller.patch(f"{path}/values/flag", {"value": "no"})).ok()
    assert (await caller.get(f"{path}/completeness")).ok()["required"] == 0


async def test_a_key_that_may_not_read_guesses_nothing(workspace: RecordsWorkspace, caller: Caller):
    key = workspace.api_key(Permission.UPDATE_DATA)
    refused = error(
        400, "VALIDATION_ERROR", "Field 'parentId' may be sent only by callers who may read"
    )
    for parent in ("ent-a", "var-2"):
        assert (await key.put(VARIANT, {"parentId": parent, "values": {}})).outcome == refused
    assert (await key.get(VARIANT)).status == 403
    assert (await key.delete(VARIANT)).status == 403
    answer = await key.patch(f"{VARIANT}/values/note", {"value": "x"})
    assert answer.status == 200
