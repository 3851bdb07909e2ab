"""Labels and external keys of model objects, and of what is inside them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error

pytestmark = pytest.mark.asyncio(loop_scope="module")

DANISH = {"seg-da": "Farve"}

OBJECTS: dict[str, dict[str, Any]] = {
    "/dimensions": {
        "id": "dim-market",
        "alias": "market",
        "name": "Market",
        "defaultSegmentId": "seg-dk",
        "segments": [{"id": "seg-dk", "alias": "dk", "name": "Denmark"}],
    },
    "/option-lists": {
        "id": "ol-colors",
        "alias": "colors",
        "name": "Colours",
        "values": [{"id": "val-red", "alias": "red", "label": "Red"}],
    },
    "/attributes": {
        "id": "attr-size",
        "alias": "size",
        "name": "Size",
        "type": "complex",
        "attributes": [{"alias": "width", "type": "number"}],
    },
    "/schemas": {
        "id": "schema-x",
        "alias": "x",
        "name": "X",
        "variantEnabled": False,
        "attributeGroups": [{"id": "grp-all", "name": "All"}],
    },
}
INSIDE = {
    "/dimensions": "segments",
    "/option-lists": "values",
    "/attributes": "attributes",
    "/schemas": "attributeGroups",
}


def named(path: str, labels: dict[str, str] | None = None, key: str = "a/b (c)") -> dict[str, Any]:
    """The object at a path, with labels and external key, as has each of its members."""
    body, naming = OBJECTS[path], {"labels": labels or DANISH, "externalKey": key}
    members = [member | naming for member in body[INSIDE[path]]]
    return body | naming | {INSIDE[path]: members}


def naming_of(path: str, answer: dict[str, Any]) -> list[tuple[Any, Any]]:
    """The labels and external keys of the object, then of its members."""
    return [(one["labels"], one["externalKey"]) for one in (answer, *answer[INSIDE[path]])]


@pytest_asyncio.fixture(loop_scope="module")
async def languages(workspace: RecordsWorkspace) -> None:
    await workspace.dimension("language", ["en", "da"])


@pytest.mark.parametrize("path", OBJECTS)
async def test_labels_and_keys_are_answered_and_kept_by_a_put_without_them(
    languages: None, admin: Caller, path: str
):
    body = OBJECTS[path]
    made = (await admin.post(path, named(path))).ok()
    place = f"{path}/{body['id']}"
    both = [(DANISH, "a/b (c)")] * 2
    assert naming_of(path, made) == both
    # A client that does not know the two fields takes nothing away.
    assert naming_of(path, (await admin.put(place, body)).ok()) == both
    assert naming_of(path, (await admin.get(place)).ok()) == both
    assert naming_of(path, (await admin.get(path)).ok()[-1]) == both
    nothing: dict[str, Any] = {"labels": {}, "externalKey": None}
    emptied = body | nothing | {INSIDE[path]: [m | nothing for m in body[INSIDE[path]]]}
    assert naming_of(path, (await admin.put(place, emptied)).ok()) == [({}, None)] * 2
    assert naming_of(path, (await admin.get(place)).ok()) == [({}, None)] * 2


@pytest.mark.parametrize("path", OBJECTS)
async def test_a_label_names_a_segment_of_the_workspace(languages: None, admin: Caller, path: str):
    answer = await admin.post(path, named(path, {"seg-da": "Farve", "seg-nb": "Farge"}))
    assert answer.outcome == error(
        400, "VALIDATION_ERROR", "Field 'labels': Segment 'seg-nb' not found"
    )


async def test_a_dimension_may_be_labelled_in_its_own_languages(admin: Caller):
    segments = [
        {"id": f"seg-{one}", "alias": one, "name": one, "labels": {"seg-da": f"på {one}"}}
        for one in ("en", "da")
    ]
    body = {"alias": "language", "name": "Language", "segments": segments}
    body |= {"defaultSegmentId": "seg-en", "labels": {"seg-da": "Sprog"}}
    made = (await admin.post("/dimensions", body)).ok()
    assert [one["labels"] for one in made["segments"]] == [
        {"seg-da": "på en"},
        {"seg-da": "på da"},
    ]


async def test_a_label_whose_segment_went_can_be_sent_back_and_no_other(
    languages: None, admin: Caller, workspace: RecordsWorkspace
):
    for path in OBJECTS:
        (await admin.post(path, named(path))).ok()
    english = [{"id": "seg-en", "alias": "en", "name": "en"}]
    language = {"alias": "language", "name": "language", "defaultSegmentId": "seg-en"}
    (await admin.put("/dimensions/dim-language", language | {"segments": english})).ok()
    for path, body in OBJECTS.items():
        place = f"{path}/{body['id']}"
        (await admin.put(place, (await admin.get(place)).ok())).ok()
        other = await admin.put(place, named(path, {"seg-sv": "Färg"}))
        assert (other.status, other.body["error"]) == (400, "VALIDATION_ERROR"), path


@pytest.mark.parametrize("path", OBJECTS)
async def test_an_external_key_has_one_owner_of_a_kind(
    languages: None, admin: Caller, other_workspace: RecordsWorkspace, path: str
):
    kind = {
        "/dimensions": "Dimension",
        "/option-lists": "Option list",
        "/attributes": "Attribute",
        "/schemas": "Schema",
    }[path]
    body = OBJECTS[path] | {"externalKey": "Colour/1"}
    (await admin.post(path, body)).ok()
    taken = error(409, "CONFLICT", f"{kind} with external key 'Colour/1' already exists")
    second = body | {"id": f"{body['id']}-2", "alias": "second"}
    assert (await admin.post(path, second)).outcome == taken
    (await admin.post(path, second | {"externalKey": "colour/1"})).ok()
    assert (await admin.put(f"{path}/{second['id']}", second)).outcome == taken
    (await other_workspace.admin.post(path, body)).ok()


async def test_keys_inside_an_object_are_unique_in_it(languages: None, admin: Caller):
    for path, body in OBJECTS.items():
        name = INSIDE[path]
        first = body[name][0] | {"externalKey": "1"}
        other = {"id": "other", "alias": "other", "name": "Other", "label": "Other"}
        if path == "/attributes":
            other = {"alias": "other", "type": "number"}
        twice = body | {name: [first, other | {"externalKey": "1"}]}
        assert (await admin.post(path, twice)).outcome == error(
            400, "VALIDATION_ERROR", "External key '1' is used twice"
        )


async def test_an_option_keeps_labels_and_key_by_itself(languages: None, admin: Caller):
    (await admin.post("/option-lists", OBJECTS["/option-lists"])).ok()
    values = "/option-lists/ol-colors/values"
    blue = {"id": "val-blue", "alias": "blue", "label": "Blue"}
    naming = {"labels": {"seg-da": "Blå"}, "externalKey": "blue/1"}
    assert (await admin.post(values, blue | naming)).ok().items() >= naming.items()
    assert (await admin.put(f"{values}/val-blue", blue)).ok().items() >= naming.items()
    taken = error(409, "CONFLICT", "Option value with external key 'blue/1' already exists")
    assert (await admin.post(values, {"alias": "b", "label": "B", **naming})).outcome == taken
    red = OBJECTS["/option-lists"]["values"][0]
    assert (await admin.put(f"{values}/val-red", red | naming)).outcome == taken
    unknown = {"labels": {"seg-x": "?"}}
    assert (await admin.put(f"{values}/val-blue", blue | unknown)).status == 400
    nothing: dict[str, Any] = {"labels": {}, "externalKey": None}
    assert (await admin.put(f"{values}/val-blue", blue | nothing)).ok().items() >= nothing.items()


async def test_of_two_that_take_one_key_at_once_one_gets_it(admin: Caller):
    bodies = [
        {"id": f"attr-{n}", "alias": f"a{n}", "name": "A", "type": "text", "externalKey": "K"}
        for n in range(8)
    ]
    answers = await asyncio.gather(*(admin.post("/attributes", body) for body in bodies))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 7


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labels": {"Dansk": "x"}}, "Field 'labels.Dansk"),
        ({"labels": {"seg-da": ""}}, "Field 'labels.seg-da'"),
        ({"labels": {f"seg-{n}": "x" for n in range(201)}}, "Field 'labels' must have at most 200"),
        ({"labels": {"seg-da": "x" * 501}}, "Field 'labels.seg-da' exceeds maximum length 500"),
        ({"externalKey": ""}, "Field 'externalKey'"),
        ({"externalKey": "x" * 256}, "Field 'externalKey' exceeds maximum length 255"),
    ],
)
async def test_labels_and_keys_have_bounds(
    languages: None, admin: Caller, fields: dict[str, Any], message: str
):
    body = {"alias": "a", "name": "A", "type": "text", **fields}
    answer = await admin.post("/attributes", body)
    assert answer.status == 400
    assert message in answer.body["message"]


async def test_labels_and_keys_count_in_the_size_of_the_model(
    languages: None, admin: Caller, workspace: RecordsWorkspace
):
    (await admin.post("/option-lists", OBJECTS["/option-lists"])).ok()
    before = await size_of_model(workspace)
    option = {"alias": "red", "label": "Red", "labels": {"seg-da": "r" * 400}}
    (await admin.put("/option-lists/ol-colors/values/val-red", option)).ok()
    assert await size_of_model(workspace) - before == len('{"seg-da": "%s"}' % ("r" * 400))


async def size_of_model(workspace: RecordsWorkspace) -> int:
    rows = await workspace.fetch("SELECT bytes FROM models WHERE workspace_id = $1")
    size: int = rows[0]["bytes"]
    return size
