"""Attributes over HTTP: what is answered, what is refused, and what holds them in place."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error
from tests.kit.workspace import schema_body
from tests.service.records.attributes import LANGUAGE, attribute, refused, unique_keys

pytestmark = pytest.mark.asyncio(loop_scope="module")


def said(told: Any) -> Any:
    """What is answered, without the nulls that stand for what was not said."""
    if isinstance(told, dict):
        return {name: said(part) for name, part in told.items() if part is not None}
    return [said(part) for part in told] if isinstance(told, list) else told


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
                    "labels": {},
                    "type": "number",
                    "validation": {"required": True, "min": 1},
                    "multiple": False,
                },
                {
                    "alias": "color",
                    "name": "Color",
                    "labels": {"seg-en": "Colour"},
                    "externalKey": "Color [1]",
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
    assert (await admin.put("/attributes/attr-color", sent)).outcome == refused(
        "Field 'dimensionIds' names 'dim-language' twice"
    )


async def test_what_belongs_to_another_workspace_cannot_be_named(
    workspace: RecordsWorkspace, other_workspace: RecordsWorkspace
):
    (await other_workspace.admin.post("/dimensions", LANGUAGE)).ok()
    answer = await workspace.admin.post("/attributes", attribute(dimensionIds=["dim-language"]))
    assert answer.outcome == refused("Field 'dimensionIds': Dimension 'dim-language' not found")


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
    assert (await admin.put("/attributes/attr-sku", changed)).outcome == error(
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
    assert (await admin.delete("/attributes/attr-sku")).outcome == in_use
    (await admin.put("/schemas/schema-x", schema_body("x", []))).ok()
    guards = [{"attributeId": "attr-sku", "operator": "isEmpty"}]
    await workspace.attribute("name", guards=guards)
    assert (await admin.delete("/attributes/attr-sku")).outcome == in_use
    (await admin.put("/attributes/attr-name", attribute("name"))).ok()
    assert (await admin.delete("/attributes/attr-sku")).outcome == (204, None)


async def test_what_a_deleted_attribute_held_does_not_come_back(
    workspace: RecordsWorkspace, admin: Caller
):
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.schema("x", ["sku"])
    record = (await workspace.post_record("x", sku="A")).ok()
    (await admin.put("/schemas/schema-x", schema_body("x", []))).ok()
    (await admin.delete("/attributes/attr-sku")).ok()
    assert await unique_keys(workspace) == []
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
    assert (await admin.post("/attributes", sent)).outcome == told
    field = {"alias": "code", "type": "text", "validation": {"minLength": 3}}
    sent = attribute("size", "complex", attributes=[field])
    assert (await admin.post("/attributes", sent)).outcome == told


async def test_an_alias_that_is_new_to_an_attribute_is_told_with_whoever_else_had_it(
    workspace: RecordsWorkspace,
):
    """So that roles and workflows that name it hold the id."""

    async def names_in_event() -> dict[str, Any]:
        """Of the last event, what is there for those who hold names."""
        data = (await workspace.staged())[-1].data
        return {name: data.get(name) for name in ("modelVersion", "formerAliases", "othersNamed")}

    async def version() -> int:
        answer = await workspace.admin.post("/internal/names", {"schemas": [], "attributes": []})
        return int(answer.ok()["modelVersion"])

    first = await workspace.attribute("cost")
    assert await names_in_event() == {
        "modelVersion": await version(),
        "formerAliases": [],
        "othersNamed": [],
    }
    nothing = {"modelVersion": None, "formerAliases": None, "othersNamed": None}
    path = f"/attributes/{first['id']}"
    (await workspace.admin.put(path, {**first, "name": "Cost"})).ok()
    assert await names_in_event() == nothing
    (await workspace.admin.put(path, {**first, "alias": "price"})).ok()
    assert await names_in_event() == {
        "modelVersion": await version(),
        "formerAliases": ["cost"],
        "othersNamed": [],
    }
    (await workspace.admin.post("/attributes", attribute("cost", id="attr-b"))).ok()
    assert (await names_in_event())["othersNamed"] == ["attr-cost"]
    (await workspace.admin.post("/attributes", attribute("attr-b", id="attr-c"))).ok()
    assert (await names_in_event())["othersNamed"] == ["attr-b"]
    # An id that is used again has had the aliases of the one before.
    (await workspace.admin.delete(path)).ok()
    assert await names_in_event() == nothing
    (await workspace.admin.post("/attributes", attribute("again", id=first["id"]))).ok()
    assert (await names_in_event())["formerAliases"] == ["cost", "price"]
    # A schema is told of when it is created.
    (await workspace.admin.post("/schemas", schema_body("cost", []))).ok()
    assert await names_in_event() == {
        "modelVersion": await version(),
        "formerAliases": [],
        "othersNamed": [],
    }
