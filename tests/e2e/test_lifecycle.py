"""A product's way through its lifecycle, over all four services."""

from __future__ import annotations

import pytest

from tests.kit.sigma import error


@pytest.fixture
async def sigma(stack):
    """A workspace with apparel whose way to review asks for a role and for 80 %."""
    sigma = await stack.workspace()
    for alias in ("name", "sku", "price", "material", "care"):
        await sigma.attribute(alias)
    await sigma.role("role-editor", {"schema-apparel": {"*": "write", "attr-price": "hidden"}})
    required = ["attr-name", "attr-sku", "attr-price", "attr-material", "attr-care"]
    (
        await sigma.admin.post(
            "/workflows",
            {
                "id": "wf-product-lifecycle",
                "alias": "product-lifecycle",
                "name": "Product lifecycle",
                "defaultStateId": "state-draft",
                "states": [
                    {"id": "state-draft", "name": "Draft"},
                    {"id": "state-review", "name": "Review", "required": required},
                    {
                        "id": "state-published",
                        "name": "Published",
                        "required": required,
                        "readOnly": ["attr-sku"],
                        "hidden": ["attr-care"],
                    },
                ],
                "transitions": [
                    {
                        "fromStateId": "state-draft",
                        "toStateId": "state-review",
                        "allowedRoleIds": ["role-admin", "role-editor"],
                        "requiresCompleteness": 80,
                    },
                    {
                        "fromStateId": "state-review",
                        "toStateId": "state-published",
                        "allowedRoleIds": ["role-admin"],
                    },
                    {"fromStateId": "state-published", "toStateId": "state-draft"},
                ],
            },
        )
    ).ok()
    await sigma.schema(
        "apparel", ["name", "sku", "price", "material", "care"], workflowId="wf-product-lifecycle"
    )
    return sigma


def values(*aliases):
    return {alias: [{"scope": {}, "value": f"some {alias}"}] for alias in aliases}


async def test_a_product_reaches_the_shop_step_by_step(sigma):
    admin = sigma.admin
    record = (
        await admin.post(
            "/records", {"schemaId": "schema-apparel", "values": values("name", "sku", "price")}
        )
    ).ok()
    assert record["lifecycleStateId"] == "state-draft"
    move = f"/records/{record['id']}/transition"
    refused = await admin.post(move, {"toStateId": "state-review"})
    assert refused.outcome == error(
        400,
        "TRANSITION_ERROR",
        "Completeness score 60% does not meet minimum 80% for transition to 'review'",
    )
    assert (await admin.post(move, {"toStateId": "state-published"})).outcome == error(
        400, "TRANSITION_ERROR", "Transition from 'draft' to 'published' is not allowed"
    )
    (await admin.put(f"/records/{record['id']}", {"values": values("material")})).ok()
    reviewed = (await admin.post(move, {"toStateId": "review", "comment": "ready"})).ok()
    assert reviewed["lifecycleStateId"] == "state-review"

    editor = await sigma.user("role-editor")
    assert (await editor.post(move, {"toStateId": "state-published"})).outcome == error(
        400,
        "TRANSITION_ERROR",
        "Role 'role-editor' is not allowed to transition from 'review' to 'published'",
    )
    (await admin.post(move, {"toStateId": "state-published"})).ok()

    history = (await admin.get(f"/records/{record['id']}/audit")).ok()["items"]
    assert [(e["action"], e.get("fromStateId"), e.get("toStateId")) for e in history] == [
        ("transition", "state-review", "state-published"),
        ("transition", "state-draft", "state-review"),
        ("update", None, None),
        ("create", None, None),
    ]
    assert history[1]["comment"] == "ready"


async def test_transitions_tell_every_reason_why_not(sigma):
    record = (
        await sigma.admin.post(
            "/records", {"schemaId": "schema-apparel", "values": values("name", "price")}
        )
    ).ok()
    await sigma.role("role-viewer", {"schema-apparel": {"*": "read", "attr-care": "hidden"}})
    viewer = await sigma.user("role-viewer")
    found = (await viewer.get(f"/records/{record['id']}/transitions")).ok()
    assert found == [
        {
            "toStateId": "state-review",
            "name": None,
            "allowed": False,
            "reason": "Role 'role-viewer' is not allowed to transition from 'draft' to 'review'",
            "reasons": [
                {
                    "code": "ROLE",
                    "message": "Role 'role-viewer' is not allowed to transition"
                    " from 'draft' to 'review'",
                    **dict.fromkeys(("score", "minimum", "missing", "missingIn")),
                },
                {
                    "code": "COMPLETENESS",
                    # Of the four that the role sees; `care` is hidden from it.
                    "message": "Completeness score 50% does not meet minimum 80%"
                    " for transition to 'review'",
                    "score": 50,
                    "minimum": 80,
                    "missing": ["sku", "material"],
                    "missingIn": [
                        {"attribute": "sku", "scope": {}},
                        {"attribute": "material", "scope": {}},
                    ],
                },
            ],
        }
    ]


async def test_a_state_hides_and_locks_attributes(sigma):
    admin = sigma.admin
    editor = await sigma.user("role-editor")
    record = (
        await admin.post(
            "/records",
            {
                "schemaId": "schema-apparel",
                "values": values("name", "sku", "price", "material", "care"),
            },
        )
    ).ok()
    path = f"/records/{record['id']}"
    assert set((await editor.get(path)).ok()["values"]) == {"name", "sku", "material", "care"}
    (await admin.post(f"{path}/transition", {"toStateId": "state-review"})).ok()
    (await admin.post(f"{path}/transition", {"toStateId": "state-published"})).ok()
    assert set((await editor.get(path)).ok()["values"]) == {"name", "sku", "material"}
    assert set((await admin.get(path)).ok()["values"]) == {
        "name",
        "sku",
        "price",
        "material",
        "care",
    }
    denied = error(403, "PERMISSION_DENIED", "Permission denied")
    for who, alias in ((editor, "care"), (editor, "price"), (editor, "sku"), (admin, "sku")):
        change = {"value": "another"}
        assert (await who.patch(f"{path}/values/{alias}", change)).outcome == denied
    (await editor.patch(f"{path}/values/name", {"value": "another"})).ok()
    shown = (await editor.get(f"{path}/audit")).ok()["items"]
    told = {change["attribute"] for entry in shown for change in entry["changes"]}
    assert told == {"name", "sku", "material"}


async def test_without_workflow_service_nothing_moves(stack, sigma):
    record = (
        await sigma.admin.post("/records", {"schemaId": "schema-apparel", "values": values("name")})
    ).ok()
    await stack.kill("workflow_service")
    answer = await sigma.admin.post(
        f"/records/{record['id']}/transition", {"toStateId": "state-review"}
    )
    assert (answer.status, answer.body["error"]) == (503, "SERVICE_UNAVAILABLE")
    assert "Retry-After" in answer.headers
    still = (await sigma.admin.get(f"/records/{record['id']}")).ok()
    assert still["lifecycleStateId"] == "state-draft"


async def test_a_record_begins_in_the_first_state_and_in_no_other(stack):
    sigma = await stack.workspace()
    await sigma.attribute("name")
    await sigma.workflow("life", ["draft", "live"])
    await sigma.schema("x", ["name"], workflow="wf-life")
    for name in ("state-draft", "draft", None):
        body = {"schemaId": "schema-x", "lifecycleStateId": name}
        assert (await sigma.admin.post("/records", body)).body["lifecycleStateId"] == "state-draft"
    body = {"schemaId": "schema-x", "lifecycleStateId": "state-live"}
    assert (await sigma.admin.post("/records", body)).outcome == error(
        400,
        "VALIDATION_ERROR",
        "Field 'lifecycleStateId' changes only through a transition:"
        " expected 'state-draft', got 'state-live'",
    )
