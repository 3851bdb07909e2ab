"""Guards: what they compare, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest

from records_service.model_objects import store as model_objects
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error
from tests.service.records.attributes import attribute, refused

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_attribute_cannot_come_to_guard_itself(workspace: RecordsWorkspace, admin: Caller):
    await workspace.attribute("sku")
    for name in ("attr-sku", "sku"):
        guards = [{"attributeId": name, "operator": "isEmpty"}]
        answer = await admin.put("/attributes/attr-sku", attribute(guards=guards))
        assert answer.outcome == refused("An attribute cannot guard itself")


async def test_a_guard_may_name_an_option_by_alias(workspace: RecordsWorkspace, admin: Caller):
    values = [
        {"id": "val-red", "alias": "red", "label": "Red"},
        {"id": "blue", "alias": "azure", "label": "Blue"},
        {"id": "val-navy", "alias": "blue", "label": "Navy"},
        {"id": "navy", "alias": "navy-blue", "label": "Dark navy"},
    ]
    colors = {"id": "ol-c", "alias": "c", "name": "C", "values": values}
    (await admin.post("/option-lists", colors)).ok()
    await workspace.attribute("color", "option", optionListId="ol-c")
    await workspace.attribute("note")

    def guards(color: Any) -> list[dict[str, Any]]:
        return [
            {"attributeId": "attr-color", "operator": "equals", "value": color},
            {"attributeId": "color", "operator": "in", "value": [color, None, "navy-blue"]},
            {"attributeId": "note", "operator": "notEquals", "value": "red"},
            {"attributeId": "color", "operator": "isEmpty"},
        ]

    created = (await admin.post("/attributes", attribute("name", guards=guards("red")))).ok()
    assert created["guards"] == [
        {"attributeId": "attr-color", "operator": "equals", "value": "val-red"},
        {"attributeId": "attr-color", "operator": "in", "value": ["val-red", None, "navy"]},
        {"attributeId": "attr-note", "operator": "notEquals", "value": "red"},
        {"attributeId": "attr-color", "operator": "isEmpty", "value": None},
    ]
    changed = await admin.put("/attributes/attr-name", attribute("name", guards=guards("blue")))
    assert changed.ok()["guards"][0]["value"] == "blue"


COLORS = {
    "id": "ol-c",
    "alias": "c",
    "name": "C",
    "values": [
        {"id": "val-red", "alias": "red", "label": "Red"},
        {"id": "val-blue", "alias": "blue", "label": "Blue"},
    ],
}
COLOR_AND_NUMBER = [
    {"alias": "color", "type": "option", "optionListId": "ol-c"},
    {"alias": "count", "type": "number"},
]


def guard(on: str, value: Any, operator: str = "equals") -> dict[str, Any]:
    return {"attributeId": on, "operator": operator, "value": value}


@pytest.mark.parametrize(
    ("looked_at", "value", "stored"),
    [
        (attribute("on"), "5", "5"),
        (attribute("on", "number"), 5, 5),
        (attribute("on", "boolean"), False, False),
        (attribute("on", "datetime"), "2026-03-08", "2026-03-08"),
        (attribute("on", "relation"), "ent-x", "ent-x"),
        (attribute("on", "media"), {"url": "https://a.org"}, {"url": "https://a.org"}),
        (attribute("on", "option", optionListId="ol-c"), "red", "val-red"),
        (
            attribute("on", "option", optionListId="ol-c", multiple=True),
            ["val-blue", "red"],
            ["val-blue", "val-red"],
        ),
        (attribute("on", "complex"), {"anything": [1]}, {"anything": [1]}),
        (
            attribute("on", "complex", attributes=COLOR_AND_NUMBER),
            [{"color": "red", "count": 2}],
            [{"color": "val-red", "count": 2}],
        ),
    ],
)
async def test_a_guard_compares_with_what_may_be_there(
    admin: Caller, looked_at: dict[str, Any], value: Any, stored: Any
):
    (await admin.post("/option-lists", COLORS)).ok()
    (await admin.post("/attributes", looked_at)).ok()
    sent = attribute(guards=[guard("on", value), guard("on", [None, value], "in")])
    told = (await admin.post("/attributes", sent)).ok()["guards"]
    assert [each["value"] for each in told] == [stored, [None, stored]]


@pytest.mark.parametrize(
    ("looked_at", "value", "why"),
    [
        (attribute("on"), 5, "expected type 'string', got 'number'"),
        (attribute("on"), ["5"], "expected type 'string', got 'array'"),
        (attribute("on", "number"), "5", "expected type 'number', got 'string'"),
        (attribute("on", "number"), True, "expected type 'number', got 'boolean'"),
        (attribute("on", "boolean"), 1, "expected type 'boolean', got 'number'"),
        (attribute("on", "datetime"), 2026, "expected type 'string', got 'number'"),
        (
            attribute("on", "option", optionListId="ol-c"),
            "x" * 200,
            f"'{'x' * 100}…' is not in option list 'ol-c'",
        ),
        (
            attribute("on", "option", optionListId="ol-c", multiple=True),
            ["red", "green"],
            "'green' is not in option list 'ol-c'",
        ),
        (
            attribute("on", "complex", attributes=COLOR_AND_NUMBER),
            {"color": "green"},
            "'green' is not in option list 'ol-c'",
        ),
        (
            attribute("on", "complex", attributes=COLOR_AND_NUMBER),
            {"count": "2"},
            "expected type 'number', got 'string'",
        ),
        (
            attribute("on", "complex", attributes=COLOR_AND_NUMBER),
            {"size": 2},
            "there is no field 'size'",
        ),
    ],
)
async def test_a_guard_that_never_matches_is_refused(
    admin: Caller, looked_at: dict[str, Any], value: Any, why: str
):
    (await admin.post("/option-lists", COLORS)).ok()
    (await admin.post("/attributes", looked_at)).ok()
    (await admin.post("/attributes", attribute())).ok()
    message = f"A guard compares 'on' with what it never holds: {why}"
    problems = admin.having({"Accept": "application/problem+json"})
    for bad in (guard("on", value), guard("on", [value], "in"), guard("on", value, "notEquals")):
        sent = attribute(guards=[guard("on", None, "isEmpty"), bad])
        assert (await admin.put("/attributes/attr-sku", sent)).outcome == refused(message)
        told = (await problems.post("/attributes", {**sent, "id": "attr-b", "alias": "b"})).body
        assert told["errors"] == [{"pointer": "/guards/1/value", "detail": message}]


async def test_a_guard_in_nothing_never_matches(workspace: RecordsWorkspace, admin: Caller):
    await workspace.attribute("on")
    assert (await admin.post("/attributes", attribute(guards=[guard("on", [], "in")]))).outcome == (
        refused("A guard compares 'on' with what it never holds: the list of values is empty")
    )


async def test_a_guard_that_is_stored_stays_while_other_things_change(
    workspace: RecordsWorkspace, admin: Caller
):
    """One that was stored before guards were looked at in this way."""
    await workspace.attribute("on", "number")
    sent = attribute(guards=[guard("attr-on", 5)])
    (await admin.post("/attributes", sent)).ok()
    await workspace.database.execute(
        "UPDATE attributes SET body = jsonb_set(body, '{guards,0,value}', '\"5\"')"
        " WHERE workspace_id = $1 AND id = 'attr-sku'",
        workspace.id,
    )
    stored = (await admin.get("/attributes/attr-sku")).ok()
    assert stored["guards"][0]["value"] == "5"
    (await admin.put("/attributes/attr-sku", {**stored, "name": "Renamed"})).ok()


async def test_what_a_guard_compares_keeps_its_form(workspace: RecordsWorkspace, admin: Caller):
    (await admin.post("/option-lists", COLORS)).ok()
    on = attribute("on", "option", optionListId="ol-c")
    (await admin.post("/attributes", on)).ok()
    guarded = attribute(guards=[guard("on", "red")])
    (await admin.post("/attributes", guarded)).ok()
    assert (await admin.put("/attributes/attr-on", attribute("on"))).outcome == error(
        409,
        "CONFLICT",
        "Field 'type' of attribute 'on' cannot change while a guard of attribute 'sku' compares"
        " its values",
    )
    (await admin.put("/attributes/attr-on", {**on, "name": "Renamed", "multiple": True})).ok()
    assert (await admin.put("/attributes/attr-on", on)).status == 409
    # Whether there is any value is asked of every type.
    guarded["guards"] = [guard("on", None, "isEmpty")]
    (await admin.put("/attributes/attr-sku", guarded)).ok()
    (await admin.put("/attributes/attr-on", attribute("on"))).ok()


async def test_an_attribute_that_goes_while_a_guard_is_looked_at_is_not_found(
    workspace: RecordsWorkspace, admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    """Its id was looked up by one statement, its definition is not there for the next."""
    await workspace.attribute("sku")
    await workspace.attribute("note")
    found = model_objects.get_many

    async def gone(conn: Any, kind: Any, workspace_id: str, ids: Any) -> Any:
        return {} if "attr-note" in ids else await found(conn, kind, workspace_id, ids)

    monkeypatch.setattr(model_objects, "get_many", gone)
    guards = [{"attributeId": "note", "operator": "equals", "value": "x"}]
    answer = await admin.put("/attributes/attr-sku", attribute(guards=guards))
    assert answer.outcome == refused("Field 'guards': Attribute 'attr-note' not found")
