from __future__ import annotations

import asyncio
import threading
from typing import Any

import orjson
import pytest

from records_service.attributes.model import Attribute
from records_service.model_changes import attributes as changes
from records_service.model_changes import store
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Answer, Caller, error
from tests.kit.workspace import schema_body

pytestmark = pytest.mark.asyncio(loop_scope="module")

LANGUAGE = {
    "id": "dim-language",
    "alias": "language",
    "name": "Language",
    "segments": [
        {"id": "seg-en", "alias": "en", "name": "English"},
        {"id": "seg-da", "alias": "da", "name": "Danish"},
    ],
    "defaultSegmentId": "seg-en",
}


def attribute(alias: str = "sku", kind: str = "text", **more: Any) -> dict[str, Any]:
    return {"id": f"attr-{alias}", "alias": alias, "name": alias, "type": kind, **more}


def refused(message: str) -> tuple[int, dict[str, str]]:
    return error(400, "VALIDATION_ERROR", message)


def said(told: Any) -> Any:
    """What is answered, without the nulls that stand for what was not said."""
    if isinstance(told, dict):
        return {name: said(part) for name, part in told.items() if part is not None}
    return [said(part) for part in told] if isinstance(told, list) else told


async def claims(workspace: RecordsWorkspace) -> list[tuple[str, str]]:
    rows = await workspace.fetch(
        "SELECT record_id, scope FROM unique_values WHERE workspace_id = $1"
        " ORDER BY record_id, scope"
    )
    return [(row["record_id"], row["scope"]) for row in rows]


async def test_every_field_is_answered_as_it_was_sent(workspace: RecordsWorkspace):
    admin = workspace.admin
    (await admin.post("/dimensions", LANGUAGE)).ok()
    (await admin.post("/option-lists", {"id": "ol-c", "alias": "c", "name": "C"})).ok()
    (await admin.post("/schemas", schema_body("x", []))).ok()
    await workspace.attribute("other")
    for sent in (
        attribute(
            "name",
            description="What it is called",
            dimensionIds=["dim-language"],
            validation={"required": True, "maxLength": 80, "pattern": "^[A-Z]", "unique": True},
            guards=[
                {"attributeId": "attr-other", "operator": "in", "value": ["a", "b"]},
                {"attributeId": "attr-other", "operator": "isNotEmpty"},
            ],
            inheritable=False,
        ),
        attribute("price", "number", validation={"min": 0, "max": 99.5}),
        attribute("color", "option", optionListId="ol-c", multiple=True),
        attribute("related", "relation", targetSchemaId="schema-x"),
        attribute(
            "size",
            "complex",
            attributes=[
                {
                    "alias": "width",
                    "name": "Width",
                    "type": "number",
                    "validation": {"required": True, "min": 1},
                    "multiple": False,
                },
                {
                    "alias": "color",
                    "name": "Color",
                    "type": "option",
                    "validation": {},
                    "multiple": True,
                    "optionListId": "ol-c",
                },
            ],
        ),
        *(attribute(kind, kind) for kind in ("boolean", "datetime", "media")),
    ):
        created = (await admin.post("/attributes", sent)).ok()
        assert said(created).items() >= sent.items()
        assert (await admin.get(f"/attributes/{sent['id']}")).ok() == created
        again = (await admin.put(f"/attributes/{sent['id']}", created)).ok()
        assert {**again, "updatedAt": 0} == {**created, "updatedAt": 0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"type": "colour"},
            "Field 'type' must be one of 'text', 'number', 'boolean', 'datetime',",
        ),
        ({"type": None}, "Field 'type'"),
        (
            {"validation": {"maxLength": 0}},
            "Field 'validation.maxLength' must be at least 1",
        ),
        (
            {"validation": {"maxLength": "5"}},
            "Field 'validation.maxLength' expects type 'number', got 'string'",
        ),
        ({"validation": {"required": 1}}, "Field 'validation.required' expects type 'boolean'"),
        ({"validation": {"min": 1}}, "'min' does not belong to attributes of type 'text'"),
        ({"validation": {"pattern": "("}}, "Rule 'pattern' is not an RE2 pattern: missing ): ("),
        (
            {"type": "number", "validation": {"min": 2, "max": 1}},
            "Rule 'min' is 2, above 'max' 1",
        ),
        ({"dimensionIds": ["dim-x"]}, "Field 'dimensionIds': Dimension 'dim-x' not found"),
        ({"dimensionIds": "dim-x"}, "Field 'dimensionIds' expects type 'array', got 'string'"),
        ({"type": "option"}, "Field 'optionListId' is required for type 'option'"),
        (
            {"type": "option", "optionListId": "ol-x"},
            "Field 'optionListId': Option list 'ol-x' not found",
        ),
        (
            {
                "type": "complex",
                "attributes": [{"alias": "c", "type": "option", "optionListId": "ol-x"}],
            },
            "Field 'optionListId': Option list 'ol-x' not found",
        ),
        (
            {"type": "relation", "targetSchemaId": "schema-x"},
            "Field 'targetSchemaId': Schema 'schema-x' not found",
        ),
        (
            {"guards": [{"attributeId": "attr-x", "operator": "isEmpty"}]},
            "Field 'guards': Attribute 'attr-x' not found",
        ),
        (
            {"guards": [{"attributeId": "attr-sku", "operator": "isEmpty"}]},
            "An attribute cannot guard itself",
        ),
        (
            {"guards": [{"attributeId": "attr-x", "operator": "contains"}]},
            "Field 'guards.0.operator' must be one of 'equals', 'notEquals', 'isEmpty',",
        ),
        (
            {"guards": [{"attributeId": "attr-x", "operator": "isEmpty"}] * 51},
            "Field 'guards' must have at most 50 items, got 51",
        ),
        ({"inheritable": "yes"}, "Field 'inheritable' expects type 'boolean', got 'string'"),
    ],
)
async def test_an_attribute_that_is_none_is_refused(
    workspace: RecordsWorkspace, admin: Caller, changes: dict[str, Any], message: str
):
    (await admin.post("/attributes", attribute("there"))).ok()
    answers = [await admin.post("/attributes", {**attribute(), **changes})]
    if "attr-sku" not in str(changes):
        sent = {**attribute("there"), **changes}
        answers.append(await admin.put("/attributes/attr-there", sent))
    for answer in answers:
        assert (answer.status, answer.body["error"]) == (400, "VALIDATION_ERROR")
        assert answer.body["message"].startswith(message)
    stored = await workspace.fetch("SELECT id, version FROM attributes WHERE workspace_id = $1")
    assert stored == [{"id": "attr-there", "version": 1}]


async def test_an_attribute_cannot_come_to_guard_itself(workspace: RecordsWorkspace, admin: Caller):
    await workspace.attribute("sku")
    for name in ("attr-sku", "sku"):
        guards = [{"attributeId": name, "operator": "isEmpty"}]
        answer = await admin.put("/attributes/attr-sku", attribute(guards=guards))
        assert answer.told == refused("An attribute cannot guard itself")


async def test_other_things_may_be_named_by_alias(workspace: RecordsWorkspace, admin: Caller):
    (await admin.post("/dimensions", LANGUAGE)).ok()
    (await admin.post("/option-lists", {"id": "ol-c", "alias": "c", "name": "C"})).ok()
    await workspace.attribute("other")
    sent = attribute(
        "color",
        "option",
        optionListId="c",
        dimensionIds=["language"],
        guards=[{"attributeId": "other", "operator": "isEmpty"}],
    )
    created = (await admin.post("/attributes", sent)).ok()
    assert created["dimensionIds"] == ["dim-language"]
    assert created["optionListId"] == "ol-c"
    assert created["guards"] == [
        {"attributeId": "attr-other", "operator": "isEmpty", "value": None}
    ]
    sent["dimensionIds"] = ["language", "dim-language"]
    assert (await admin.put("/attributes/attr-color", sent)).told == refused(
        "Field 'dimensionIds' names 'dim-language' twice"
    )


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
        assert (await admin.put("/attributes/attr-sku", sent)).told == refused(message)
        told = (await problems.post("/attributes", {**sent, "id": "attr-b", "alias": "b"})).body
        assert told["errors"] == [{"pointer": "/guards/1/value", "detail": message}]


async def test_a_guard_in_nothing_never_matches(workspace: RecordsWorkspace, admin: Caller):
    await workspace.attribute("on")
    assert (await admin.post("/attributes", attribute(guards=[guard("on", [], "in")]))).told == (
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
    assert (await admin.put("/attributes/attr-on", attribute("on"))).told == error(
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


async def test_what_belongs_to_another_workspace_cannot_be_named(
    workspace: RecordsWorkspace, other_workspace: RecordsWorkspace
):
    (await other_workspace.admin.post("/dimensions", LANGUAGE)).ok()
    answer = await workspace.admin.post("/attributes", attribute(dimensionIds=["dim-language"]))
    assert answer.told == refused("Field 'dimensionIds': Dimension 'dim-language' not found")


@pytest.mark.parametrize(
    ("kind", "value", "changes", "field"),
    [
        ("text", "5", {"type": "number"}, "type"),
        ("text", "5", {"dimensionIds": ["dim-language"]}, "dimensionIds"),
        ("media", "https://x.test/a.png", {"multiple": True}, "multiple"),
        ("relation", "ent-1", {"targetSchemaId": "schema-x"}, "targetSchemaId"),
        ("complex", {"a": 1}, {"attributes": [{"alias": "a", "type": "text"}]}, "attributes"),
    ],
)
async def test_the_form_of_values_stays_while_there_are_values(
    workspace: RecordsWorkspace,
    admin: Caller,
    kind: str,
    value: Any,
    changes: dict[str, Any],
    field: str,
):
    (await admin.post("/dimensions", LANGUAGE)).ok()
    fields = [{"alias": "a", "type": "number"}] if kind == "complex" else None
    more = {"attributes": fields} if fields else {}
    await workspace.attribute("sku", kind, **more)
    await workspace.schema("x", ["sku"])
    first = {"id": "ent-1", "schemaId": "schema-x"}
    (await admin.post("/records", first)).ok()
    changed = {**attribute("sku", kind, **more), **changes}
    (await admin.put("/attributes/attr-sku", changed)).ok()
    (await admin.put("/attributes/attr-sku", attribute("sku", kind, **more))).ok()
    record = (await workspace.post_record("x", sku=value)).ok()
    assert (await admin.put("/attributes/attr-sku", changed)).told == error(
        409,
        "CONFLICT",
        f"Field '{field}' of attribute 'sku' cannot change while values exist",
    )
    renamed = attribute("sku", kind, **more) | {"alias": "number", "name": "Other"}
    (await admin.put("/attributes/attr-sku", renamed)).ok()
    emptied = {"values": {"number": None}}
    (await admin.put(f"/records/{record['id']}", emptied)).ok()
    (await admin.put("/attributes/attr-sku", changed)).ok()


async def test_values_out_of_sight_keep_the_form_too(workspace: RecordsWorkspace, admin: Caller):
    await workspace.attribute("sku")
    await workspace.schema("x", ["sku"])
    (await workspace.post_record("x", sku="5")).ok()
    (await admin.put("/schemas/schema-x", schema_body("x", []))).ok()
    answer = await admin.put("/attributes/attr-sku", attribute("sku", "number"))
    assert answer.status == 409


async def test_values_come_or_the_type_changes_but_never_both(
    workspace: RecordsWorkspace, admin: Caller
):
    await workspace.attribute("sku")
    await workspace.schema("x", ["sku"])
    changed, *written = await asyncio.gather(
        admin.put("/attributes/attr-sku", attribute("sku", "number")),
        *(workspace.post_record("x", sku="five") for _ in range(6)),
    )
    statuses = {answer.status for answer in written}
    assert (changed.status, statuses) in [(200, {400}), (409, {201})]


async def test_an_attribute_becomes_unique_when_its_values_are(
    workspace: RecordsWorkspace, admin: Caller
):
    (await admin.post("/dimensions", LANGUAGE)).ok()
    await workspace.attribute("sku", dimensionIds=["dim-language"])
    await workspace.schema("x", ["sku"])
    unique = attribute(dimensionIds=["dim-language"], validation={"unique": True})
    english = {"dim-language": "seg-en"}

    async def store(record_id: str, *entries: tuple[dict[str, str], str]) -> Answer:
        values = {"sku": [{"scope": scope, "value": value} for scope, value in entries]}
        body = {"id": record_id, "schemaId": "schema-x", "values": values}
        return await admin.post("/records", body)

    (await store("ent-1", ({}, "A"), (english, "B"))).ok()
    (await store("ent-2", ({}, "B"), (english, "A"))).ok()
    (await store("ent-3", ({}, "A"))).ok()
    assert (await admin.put("/attributes/attr-sku", unique)).told == error(
        409,
        "CONFLICT",
        "Attribute 'sku' cannot become unique: 'ent-1' and 'ent-3' have the same value",
    )
    assert await claims(workspace) == []
    assert (await admin.get("/attributes/attr-sku")).ok()["validation"]["unique"] is None
    (await admin.delete("/records/ent-3")).ok()
    (await admin.put("/attributes/attr-sku", unique)).ok()
    everywhere, in_english = "{}", '{"dim-language":"seg-en"}'
    assert await claims(workspace) == [
        ("ent-1", in_english),
        ("ent-1", everywhere),
        ("ent-2", in_english),
        ("ent-2", everywhere),
    ]
    taken = error(409, "CONFLICT", "Value 'A' for attribute 'sku' must be unique")
    assert (await store("ent-4", ({}, "A"))).told == taken
    (await store("ent-5", ({}, "C"))).ok()
    assert len(await claims(workspace)) == 5


async def test_stored_values_become_unique_in_batches_beside_the_event_loop(
    workspace: RecordsWorkspace, admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    """Whatever is written by then is as it would be if it came later: also numbers and controls."""
    await workspace.attribute("sku")
    await workspace.attribute("size", "number")
    await workspace.attribute("name")
    await workspace.schema("x", ["sku", "size", "name"])
    texts = ["A", 'quoted " and \\', "tab\tand\u001b", "é", "🧥", "\u2028", "1"]
    numbers = [1, 2.5, 1e-7, 1e21, 123456789.125, -3, 2.0]
    for text, number in zip(texts, numbers, strict=True):
        (await workspace.post_record("x", name="without either")).ok()
        (await workspace.post_record("x", sku=text, size=number)).ok()
    batches: list[int] = []
    threads: set[int] = set()
    hashed = changes.unique_keys_as_json

    def watched(definition: Attribute, held: str) -> bytes:
        batches.append(len(orjson.loads(held)))
        threads.add(threading.get_ident())
        return hashed(definition, held)

    monkeypatch.setattr(changes, "unique_keys_as_json", watched)
    monkeypatch.setattr(changes, "RESERVED_AT_ONCE", 4)
    for alias, kind in (("sku", "text"), ("size", "number")):
        unique = attribute(alias, kind, validation={"unique": True})
        (await admin.put(f"/attributes/attr-{alias}", unique)).ok()
    assert batches == [2, 2, 2, 1] * 2
    assert threading.get_ident() not in threads
    assert len(await claims(workspace)) == 14
    for text, number in zip(texts, numbers, strict=True):
        assert (await workspace.post_record("x", sku=text)).status == 409, text
        assert (await workspace.post_record("x", size=number)).status == 409, number


async def test_values_that_stand_in_different_batches_are_compared(
    workspace: RecordsWorkspace, admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    await workspace.attribute("sku")
    await workspace.schema("x", ["sku"])
    for value in ("A", "B", "C", "A"):
        (await workspace.post_record("x", sku=value)).ok()
    monkeypatch.setattr(changes, "RESERVED_AT_ONCE", 1)
    answer = await admin.put("/attributes/attr-sku", attribute(validation={"unique": True}))
    assert (answer.status, answer.body["error"]) == (409, "CONFLICT")
    assert await claims(workspace) == []


async def test_a_batch_is_bounded_by_its_bytes(
    workspace: RecordsWorkspace, admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    await workspace.attribute("sku")
    await workspace.schema("x", ["sku"])
    for value in "ABCD":
        (await workspace.post_record("x", sku=value * 1_000)).ok()
    monkeypatch.setattr(store, "BATCH_BYTES_MAX", 1_500)
    async with workspace.database.acquire() as conn:
        position, sizes = None, []
        while True:
            position, held = await store.entries_after(
                conn, workspace.id, "attr-sku", position, rows_max=10
            )
            if position is None:
                break
            sizes.append(len(orjson.loads(held)))
    assert sizes == [2, 2]
    (await admin.put("/attributes/attr-sku", attribute(validation={"unique": True}))).ok()
    assert len(await claims(workspace)) == 4


async def test_too_many_values_to_become_unique_in_time_are_told_so(
    workspace: RecordsWorkspace, admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    await workspace.attribute("sku")
    await workspace.schema("x", ["sku"])
    (await workspace.post_record("x", sku="A")).ok()
    monkeypatch.setattr(changes, "RESERVING_S_MAX", 0)
    answer = await admin.put("/attributes/attr-sku", attribute(validation={"unique": True}))
    assert answer.told == error(
        504,
        "UPSTREAM_TIMEOUT",
        "Attribute 'sku' has too many values to become unique within 0 seconds,"
        " so nothing was changed; retrying does not help",
    )
    assert "Retry-After" not in answer.headers
    assert await claims(workspace) == []
    assert (await admin.get("/attributes/attr-sku")).ok()["validation"]["unique"] is None


async def test_an_attribute_that_ends_to_be_unique_gives_its_values_free(
    workspace: RecordsWorkspace, admin: Caller
):
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.attribute("ean", validation={"unique": True})
    await workspace.schema("x", ["sku", "ean"])
    (await workspace.post_record("x", sku="A", ean="1")).ok()
    assert (await workspace.post_record("x", sku="A")).status == 409
    (await admin.put("/attributes/attr-sku", attribute())).ok()
    (await workspace.post_record("x", sku="A")).ok()
    assert (await workspace.post_record("x", ean="1")).status == 409
    assert len(await claims(workspace)) == 1
    again = await admin.put("/attributes/attr-sku", attribute(validation={"unique": True}))
    assert again.status == 409


async def test_values_become_unique_while_others_are_written(
    workspace: RecordsWorkspace, admin: Caller
):
    await workspace.attribute("sku")
    await workspace.schema("x", ["sku"])
    changed, *written = await asyncio.gather(
        admin.put("/attributes/attr-sku", attribute(validation={"unique": True})),
        *(workspace.post_record("x", sku=f"S{n % 8}") for n in range(8)),
        *(workspace.post_record("x", sku=f"S{n}") for n in range(4)),
    )
    held = (await admin.get("/records")).ok()["items"]
    values = [record["values"]["sku"][0]["value"] for record in held]
    assert len(held) == sum(answer.status == 201 for answer in written)
    if changed.status == 200:
        assert len(set(values)) == len(values) == len(await claims(workspace))
    else:
        assert len(set(values)) < len(values)
        assert await claims(workspace) == []


async def test_a_renamed_attribute_keeps_its_values(workspace: RecordsWorkspace, admin: Caller):
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.schema("x", ["sku"])
    record = (await workspace.post_record("x", sku="A")).ok()
    (await admin.put("/attributes/attr-sku", attribute(alias="number") | {"id": "attr-sku"})).ok()
    shown = (await admin.get(f"/records/{record['id']}")).ok()["values"]
    assert shown == {"number": [{"scope": {}, "value": "A"}]}


async def test_an_attribute_in_a_schema_or_a_guard_stays(
    workspace: RecordsWorkspace, admin: Caller
):
    await workspace.attribute("sku")
    await workspace.schema("x", ["sku"])
    in_use = error(409, "CONFLICT", "Attribute 'attr-sku' is in use and cannot be deleted")
    assert (await admin.delete("/attributes/attr-sku")).told == in_use
    (await admin.put("/schemas/schema-x", schema_body("x", []))).ok()
    guards = [{"attributeId": "attr-sku", "operator": "isEmpty"}]
    await workspace.attribute("name", guards=guards)
    assert (await admin.delete("/attributes/attr-sku")).told == in_use
    (await admin.put("/attributes/attr-name", attribute("name"))).ok()
    assert (await admin.delete("/attributes/attr-sku")).told == (204, None)


async def test_what_a_deleted_attribute_held_does_not_come_back(
    workspace: RecordsWorkspace, admin: Caller
):
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.schema("x", ["sku"])
    record = (await workspace.post_record("x", sku="A")).ok()
    (await admin.put("/schemas/schema-x", schema_body("x", []))).ok()
    (await admin.delete("/attributes/attr-sku")).ok()
    assert await claims(workspace) == []
    await workspace.attribute("sku", "number", validation={"unique": True})
    (await admin.put("/schemas/schema-x", schema_body("x", ["sku"]))).ok()
    assert (await admin.get(f"/records/{record['id']}")).ok()["values"] == {}


async def test_an_attribute_goes_or_joins_a_schema_but_never_both(
    workspace: RecordsWorkspace, admin: Caller
):
    for number in range(5):
        await workspace.attribute(f"a{number}")
        body = schema_body(f"s{number}", [f"a{number}"])
        deleted, saved = await asyncio.gather(
            admin.delete(f"/attributes/attr-a{number}"), admin.post("/schemas", body)
        )
        assert (deleted.status, saved.status) in [(204, 400), (409, 201)]


async def test_a_rule_that_does_not_exist_is_told_with_those_that_do(admin: Caller):
    told = refused(
        "Unknown rule 'minLength': expected one of max, maxLength, min, pattern, required, unique"
    )
    sent = attribute(validation={"minLength": 3})
    assert (await admin.post("/attributes", sent)).told == told
    field = {"alias": "code", "type": "text", "validation": {"minLength": 3}}
    sent = attribute("size", "complex", attributes=[field])
    assert (await admin.post("/attributes", sent)).told == told


async def test_an_alias_that_is_new_to_an_attribute_is_told_with_whoever_else_had_it(
    workspace: RecordsWorkspace,
):
    """So that roles and workflows that name it hold the id."""

    async def told() -> dict[str, Any]:
        """Of the last event, what is there for those who hold names."""
        data = (await workspace.staged())[-1].data
        return {name: data.get(name) for name in ("modelVersion", "formerAliases", "othersNamed")}

    async def version() -> int:
        answer = await workspace.admin.post("/internal/names", {"schemas": [], "attributes": []})
        return int(answer.ok()["modelVersion"])

    first = await workspace.attribute("cost")
    assert await told() == {
        "modelVersion": await version(),
        "formerAliases": [],
        "othersNamed": [],
    }
    nothing = {"modelVersion": None, "formerAliases": None, "othersNamed": None}
    path = f"/attributes/{first['id']}"
    (await workspace.admin.put(path, {**first, "name": "Cost"})).ok()
    assert await told() == nothing
    (await workspace.admin.put(path, {**first, "alias": "price"})).ok()
    assert await told() == {
        "modelVersion": await version(),
        "formerAliases": ["cost"],
        "othersNamed": [],
    }
    (await workspace.admin.post("/attributes", attribute("cost", id="attr-b"))).ok()
    assert (await told())["othersNamed"] == ["attr-cost"]
    (await workspace.admin.post("/attributes", attribute("attr-b", id="attr-c"))).ok()
    assert (await told())["othersNamed"] == ["attr-b"]
    # An id that is used again has had the aliases of the one before.
    (await workspace.admin.delete(path)).ok()
    assert await told() == nothing
    (await workspace.admin.post("/attributes", attribute("again", id=first["id"]))).ok()
    assert (await told())["formerAliases"] == ["cost", "price"]
    # A schema is told of when it is created.
    (await workspace.admin.post("/schemas", schema_body("cost", []))).ok()
    assert await told() == {
        "modelVersion": await version(),
        "formerAliases": [],
        "othersNamed": [],
    }
