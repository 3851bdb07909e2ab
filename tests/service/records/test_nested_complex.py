"""Complex values in complex values: checked, followed and in use like those at the top."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio

from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error
from tests.kit.workspace import entries

pytestmark = pytest.mark.asyncio(loop_scope="module")


def field(alias: str, kind: str = "complex", **more: Any) -> dict[str, Any]:
    return {"alias": alias, "type": kind, **more}


def nested(*inner: dict[str, Any], levels: int = 4) -> list[dict[str, Any]]:
    """Fields in which these are `levels` levels further down: `a.a.a...`."""
    fields = list(inner)
    for _ in range(levels):
        fields = [field("a", attributes=fields)]
    return fields


def inside(value: Any, levels: int = 4) -> Any:
    """A value in as many objects; each second one is the only item of a list."""
    for level in range(levels):
        value = {"a": value}
        if level % 2:
            value = [value]
    return value


LEAVES = (
    field("color", "option", optionListId="ol-colors", multiple=True),
    field("part", "relation", targetSchemaId="schema-part"),
    field("parts", "relation", multiple=True),
    field("image", "media"),
    field("size", "number", validation={"max": 9, "required": True}),
)


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def products(workspace: RecordsWorkspace) -> None:
    await workspace.option_list("colors", ["red", "blue", "green"])
    for alias in ("part", "other"):
        await workspace.schema(alias, [])
        await workspace.record(f"schema-{alias}", {}, id=f"ent-{alias}")
    await workspace.attribute(
        "tree", "complex", attributes=nested(*LEAVES), validation={"required": True}
    )
    await workspace.schema("x", ["tree"])


async def test_a_definition_is_answered_as_it_was_sent(admin: Caller):
    made = (await admin.get("/attributes/attr-tree")).ok()
    again = (await admin.put("/attributes/attr-tree", made)).ok()
    assert again["attributes"] == made["attributes"]
    level = made["attributes"]
    for _ in range(4):
        assert [one["alias"] for one in level] == ["a"]
        level = level[0]["attributes"]
    assert [one["alias"] for one in level] == [one["alias"] for one in LEAVES]
    assert level[1]["targetSchemaId"] == "schema-part"
    assert level[4]["attributes"] is None


async def test_values_are_stored_at_every_level(workspace: RecordsWorkspace, admin: Caller):
    leaf = {"color": ["red"], "part": "ent-part", "parts": ["ent-part", "ent-other"], "size": 3}
    made = (await workspace.post_record("x", tree=inside(leaf))).ok()
    expected = inside(leaf | {"color": ["val-red"]})
    assert made["values"] == entries({"tree": expected})
    assert (await admin.get(f"/records/{made['id']}")).ok() == made


@pytest.mark.parametrize(
    ("leaf", "pointer", "message"),
    [
        (
            {"size": 10},
            "/size",
            "Value for 'tree.a.a.a.a.size' must be at most 9",
        ),
        ({"color": ["red"]}, "/size", "Field 'tree.a.a.a.a.size' is required"),
        (
            {"size": 1, "color": ["pink"]},
            "/color/0",
            "Value 'pink' for 'tree.a.a.a.a.color' is not in option list 'ol-colors'",
        ),
        ({"size": 1, "b": 2}, "/b", "Unknown attribute 'tree.a.a.a.a.b'"),
        (
            {"size": 1, "image": "x"},
            "/image",
            "Value for 'tree.a.a.a.a.image' must be an absolute http or https URL, got 'x'",
        ),
    ],
)
async def test_a_fault_is_told_with_its_place(
    admin: Caller, leaf: dict[str, Any], pointer: str, message: str
):
    body = {"schemaId": "schema-x", "values": entries({"tree": inside(leaf)})}
    answer = await admin.post("/records", body, headers={"Accept": "application/problem+json"})
    assert (answer.status, answer.body["detail"]) == (400, message)
    place = f"/values/tree/0/value/0/a/a/0/a/a{pointer}"
    assert [one["pointer"] for one in answer.body["errors"]] == [place]


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        (
            {"part": "ent-nope"},
            "Value for 'tree.a.a.a.a.part' is not an existing record: 'ent-nope' not found",
        ),
        (
            {"parts": ["ent-part", "ent-nope"]},
            "Value for 'tree.a.a.a.a.parts' is not an existing record: 'ent-nope' not found",
        ),
        (
            {"part": "ent-other"},
            (
                "Value for 'tree.a.a.a.a.part' must be a record of schema 'schema-part',"
                " got 'ent-other' of 'schema-other'"
            ),
        ),
    ],
)
async def test_relations_are_checked(
    workspace: RecordsWorkspace, leaf: dict[str, Any], message: str
):
    answer = await workspace.post_record("x", tree=inside({"size": 1, **leaf}))
    assert answer.outcome == error(400, "VALIDATION_ERROR", message)


async def test_relations_to_deleted_records_are_no_values(
    workspace: RecordsWorkspace, admin: Caller
):
    only = [field("to", "relation"), field("note", "text")]
    await workspace.attribute(
        "links", "complex", attributes=nested(*only), validation={"required": True}
    )
    await workspace.schema("y", ["links"])
    both = inside({"to": "ent-part", "note": "N"})
    whole = (await workspace.post_record("y", links=both)).ok()
    single = (await workspace.post_record("y", links=inside({"to": "ent-part"}))).ok()
    (await admin.delete("/records/ent-part")).ok()
    shown = (await admin.get(f"/records/{whole['id']}")).ok()["values"]
    assert shown == entries({"links": inside({"note": "N"})})
    assert (await admin.get(f"/records/{single['id']}")).ok()["values"] == {}
    score = (await admin.get(f"/records/{single['id']}/completeness")).ok()
    assert (score["score"], score["missing"]) == (0, ["links"])
    assert (await admin.get(f"/records/{whole['id']}/completeness")).ok()["score"] == 100


async def test_what_is_used_in_them_cannot_be_deleted(workspace: RecordsWorkspace, admin: Caller):
    (await workspace.post_record("x", tree=inside({"size": 1, "color": ["blue", "red"]}))).ok()
    for used in ("red", "blue"):
        refused = await admin.delete(f"/option-lists/ol-colors/values/val-{used}")
        assert (refused.status, refused.body["error"]) == (409, "CONFLICT")
    (await admin.delete("/option-lists/ol-colors/values/val-green")).ok()
    assert (await admin.delete("/option-lists/ol-colors")).status == 409
    (await admin.delete("/records/ent-part")).ok()
    refused = await admin.delete("/schemas/schema-part")
    assert (refused.status, refused.body["error"]) == (409, "CONFLICT")
    (await admin.delete("/records/ent-other")).ok()
    (await admin.delete("/schemas/schema-other")).ok()


async def test_a_guard_names_an_option_by_its_alias(workspace: RecordsWorkspace, admin: Caller):
    guard = {"attributeId": "attr-tree", "operator": "equals"}
    value = inside({"color": ["red"], "size": 1})
    made = await workspace.attribute("care", guards=[guard | {"value": value}])
    stored = inside({"color": ["val-red"], "size": 1})
    assert made["guards"][0]["value"] == stored
    refused = await admin.delete("/option-lists/ol-colors/values/val-red")
    assert "a guard of attribute 'care' names it" in refused.body["message"]


@pytest.mark.parametrize(
    "change",
    [
        {"type": "text"},
        {"multiple": True},
        {"alias": "length"},
    ],
)
async def test_fields_keep_their_form_while_values_exist(
    workspace: RecordsWorkspace, admin: Caller, change: dict[str, Any]
):
    (await workspace.post_record("x", tree=inside({"size": 1}))).ok()
    body = {"alias": "tree", "name": "tree", "type": "complex"}
    size = field("size", "number") | change
    changed = body | {"attributes": nested(*LEAVES[:4], size)}
    refused = await admin.put("/attributes/attr-tree", changed)
    assert refused.outcome == error(
        409,
        "CONFLICT",
        "Field 'attributes' of attribute 'tree' cannot change while values exist",
    )
    more = body | {"attributes": nested(*LEAVES, field("more", "text"))}
    (await admin.put("/attributes/attr-tree", more)).ok()


@pytest.mark.parametrize(
    ("fields", "pointer", "message"),
    [
        (
            nested(field("deep", "text"), levels=5),
            f"{'/attributes/0' * 5}/attributes",
            "Fields may have at most 5 levels",
        ),
        (
            nested(*(field(f"f{n}", "text") for n in range(197))),
            "/attributes",
            "An attribute has at most 200 fields on all levels together, got 201",
        ),
        (
            nested(field("x", "text", attributes=[field("y", "text")])),
            f"{'/attributes/0' * 5}/attributes",
            "'attributes' does not belong to attributes of type 'text'",
        ),
        (
            nested(field("x", "text", validation={"unique": True})),
            f"{'/attributes/0' * 5}/validation/unique",
            "A field of a complex value cannot be unique",
        ),
        (
            nested(field("x", "text", targetSchemaId="schema-part")),
            f"{'/attributes/0' * 5}/targetSchemaId",
            "'targetSchemaId' does not belong to attributes of type 'text'",
        ),
        (
            nested(field("x", "relation", targetSchemaId="schema-none")),
            f"{'/attributes/0' * 5}/targetSchemaId",
            "Field 'targetSchemaId': Schema 'schema-none' not found",
        ),
        (
            nested(field("x", "option", optionListId="ol-none")),
            f"{'/attributes/0' * 5}/optionListId",
            "Field 'optionListId': Option list 'ol-none' not found",
        ),
        (nested(field("x", "text"), field("x", "text")), None, "Alias 'x' is used twice"),
    ],
)
async def test_definitions_that_are_refused(
    admin: Caller, fields: list[dict[str, Any]], pointer: str | None, message: str
):
    body = {"alias": "deep", "name": "Deep", "type": "complex", "attributes": fields}
    answer = await admin.post("/attributes", body, headers={"Accept": "application/problem+json"})
    assert (answer.status, answer.body["detail"]) == (400, message)
    if pointer is not None:
        assert [one["pointer"] for one in answer.body["errors"]] == [pointer]


async def test_a_definition_that_is_far_too_deep_is_refused(admin: Caller):
    begin, end = '{"alias":"a","name":"A","type":"complex","attributes":[', "]}"
    for levels in (7, 100, 400, 4_000, 10_000):
        sent = (begin * levels + end * levels).encode()
        headers = {"Content-Type": "application/json"}
        answer = await admin.post("/attributes", data=sent, headers=headers)
        assert (answer.status, answer.body["error"]) == (400, "VALIDATION_ERROR"), levels


async def test_a_field_that_came_later_finds_what_was_there(
    workspace: RecordsWorkspace, admin: Caller
):
    """An untyped complex value holds anything, also where a relation is expected later."""
    await workspace.attribute("any", "complex")
    await workspace.schema("z", ["any"])
    values = [{"a": "to"}, {"a": {"to": 7}}, {"a": [{"to": {"x": 1}}, 5]}]
    made = [(await workspace.post_record("z", any=value)).ok() for value in values]
    typed = {"alias": "any", "name": "any", "type": "complex"}
    typed["attributes"] = nested(field("to", "relation"), levels=1)  # type: ignore[assignment]
    (await admin.put("/attributes/attr-any", typed)).ok()
    for record, value in zip(made, values, strict=True):
        shown = (await admin.get(f"/records/{record['id']}")).ok()
        assert shown["values"] == entries({"any": value})
