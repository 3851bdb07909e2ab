"""What holds for every kind of model object: dimensions, option lists, attributes, schemas."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from shared.identity import Flag
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Kind:
    path: str
    title: str
    prefix: str
    flag: Flag
    event: str
    body: dict[str, Any]
    shown: dict[str, Any]

    def named(self, word: str, **more: Any) -> dict[str, Any]:
        return {**self.body, "alias": word, "name": word.title(), **more}


UNNAMED: dict[str, Any] = {"labels": {}, "externalKey": None}
ENGLISH = {"id": "seg-en", "alias": "en", "name": "English"}
KINDS = [
    Kind(
        "/dimensions",
        "Dimension",
        "dim",
        Flag.MANAGE_DIMENSIONS,
        "schema.dimension",
        {"segments": [ENGLISH], "defaultSegmentId": "seg-en"},
        {
            "segments": [{**ENGLISH, **UNNAMED, "locale": None, "isDefault": True}],
            "defaultSegmentId": "seg-en",
        },
    ),
    Kind(
        "/option-lists",
        "Option list",
        "ol",
        Flag.MANAGE_OPTION_LISTS,
        "schema.option-list",
        {},
        {"hierarchical": False, "values": [], "valueCount": 0, "valuesComplete": True},
    ),
    Kind(
        "/attributes",
        "Attribute",
        "attr",
        Flag.MANAGE_SCHEMAS,
        "schema.attribute",
        {"type": "text"},
        {
            "type": "text",
            "dimensionIds": [],
            "description": None,
            "validation": dict.fromkeys(
                ("required", "maxLength", "min", "max", "pattern", "unique")
            ),
            "guards": [],
            "inheritable": True,
            "optionListId": None,
            "multiple": False,
            "targetSchemaId": None,
            "attributes": None,
            "filterable": False,
            "filterableSince": None,
            "uniqueSince": None,
        },
    ),
    Kind(
        "/schemas",
        "Schema",
        "schema",
        Flag.MANAGE_SCHEMAS,
        "schema",
        {"variantEnabled": True},
        {
            "description": None,
            "icon": None,
            "variantEnabled": True,
            "workflowId": None,
            "attributeGroups": [],
        },
    ),
]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.prefix)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


async def test_a_part_is_answered_as_it_is_stored(admin: Caller, kind: Kind):
    sent = kind.named("first", id=f"{kind.prefix}-1", unknownField={"is": "ignored"})
    created = await admin.post(kind.path, sent)
    shown = dict(created.ok())
    assert created.status == 201
    assert created.headers["ETag"] == '"1"'
    assert created.headers["Location"] == f"/api/v1{kind.path}/{kind.prefix}-1"
    assert shown.pop("createdAt") <= shown.pop("updatedAt")
    named = {"id": f"{kind.prefix}-1", "alias": "first", "name": "First", **UNNAMED}
    assert shown == named | kind.shown
    got = await admin.get(f"{kind.path}/{kind.prefix}-1")
    assert (got.outcome, got.headers["ETag"]) == ((200, created.body), '"1"')


async def test_an_id_is_made_where_none_is_sent(admin: Caller, kind: Kind):
    body = (await admin.post(kind.path, kind.named("first"))).ok()
    assert body["id"].startswith(f"{kind.prefix}-")
    assert (await admin.get(f"{kind.path}/{body['id']}")).ok() == body


async def test_a_list_is_a_bare_array_oldest_first(admin: Caller, kind: Kind):
    assert (await admin.get(kind.path)).outcome == (200, [])
    bodies = [(await admin.post(kind.path, kind.named(alias))).ok() for alias in ("b", "c", "a")]
    assert (await admin.get(kind.path)).outcome == (200, bodies)


async def test_a_full_object_sent_back_is_the_same_one_version_later(admin: Caller, kind: Kind):
    created = (await admin.post(kind.path, kind.named("first"))).ok()
    again = await admin.put(f"{kind.path}/{created['id']}", created)
    assert (again.status, again.headers["ETag"]) == (200, '"2"')
    assert {**again.body, "updatedAt": ""} == {**created, "updatedAt": ""}
    assert again.body["updatedAt"] > created["updatedAt"]


async def test_alias_and_name_can_change_and_the_id_cannot(admin: Caller, kind: Kind):
    created = (await admin.post(kind.path, kind.named("first", id=f"{kind.prefix}-1"))).ok()
    path = f"{kind.path}/{kind.prefix}-1"
    renamed = (await admin.put(path, {**created, "alias": "one"})).ok()
    assert (renamed["id"], renamed["alias"]) == (f"{kind.prefix}-1", "one")
    assert (await admin.post(kind.path, kind.named("first"))).status == 201


async def test_what_is_not_there_is_told_by_name(admin: Caller, kind: Kind):
    missing = error(404, "NOT_FOUND", f"{kind.title} 'no-such' not found")
    assert (await admin.get(f"{kind.path}/no-such")).outcome == missing
    assert (await admin.put(f"{kind.path}/no-such", kind.named("a"))).outcome == missing
    assert (await admin.delete(f"{kind.path}/no-such")).outcome == missing


async def test_a_taken_id_or_alias_is_a_conflict(admin: Caller, kind: Kind):
    first = (await admin.post(kind.path, kind.named("first", id=f"{kind.prefix}-1"))).ok()
    second = (await admin.post(kind.path, kind.named("second", id=f"{kind.prefix}-2"))).ok()
    again = await admin.post(kind.path, kind.named("other", id=first["id"]))
    assert again.outcome == error(
        409, "CONFLICT", f"{kind.title} with id '{first['id']}' already exists"
    )
    taken = error(409, "CONFLICT", f"{kind.title} with alias 'first' already exists")
    assert (await admin.post(kind.path, kind.named("first"))).outcome == taken
    assert (
        await admin.put(f"{kind.path}/{second['id']}", {**second, "alias": "first"})
    ).outcome == taken
    assert (await admin.get(kind.path)).ok() == [first, second]


@pytest.mark.parametrize(
    ("field", "value"),
    [("id", "Über"), ("id", ""), ("id", "-x"), ("id", "a" * 129), ("alias", "a b"), ("alias", "ä")],
)
async def test_names_of_another_form_are_refused(admin: Caller, kind: Kind, field: str, value: str):
    answer = await admin.post(kind.path, kind.named("first", **{field: value}))
    assert (answer.status, answer.body["error"]) == (400, "VALIDATION_ERROR")
    assert answer.body["message"].startswith(f"Field '{field}' must match pattern '^[")
    assert (await admin.get(kind.path)).ok() == []


@pytest.mark.parametrize("field", ["alias", "name"])
async def test_alias_and_name_are_required(admin: Caller, kind: Kind, field: str):
    body = kind.named("first")
    del body[field]
    answer = await admin.post(kind.path, body)
    assert answer.outcome == error(400, "VALIDATION_ERROR", f"Field '{field}' is required")
    answer = await admin.post(kind.path, {**body, field: 5})
    assert answer.outcome == error(
        400, "VALIDATION_ERROR", f"Field '{field}' expects type 'string', got 'number'"
    )


async def test_if_match_names_the_version_that_is_changed(admin: Caller, kind: Kind):
    created = (await admin.post(kind.path, kind.named("first", id=f"{kind.prefix}-1"))).ok()
    path = f"{kind.path}/{kind.prefix}-1"
    (await admin.put(path, created, headers={"If-Match": '"1"'})).ok()
    stale = error(
        412,
        "PRECONDITION_FAILED",
        f"{kind.title} '{kind.prefix}-1' is at version 2; If-Match names another version",
    )
    assert (await admin.put(path, created, headers={"If-Match": '"1"'})).outcome == stale
    assert (await admin.delete(path, headers={"If-Match": '"1"'})).outcome == stale
    assert (await admin.delete(path, headers={"If-Match": '"nonsense"'})).outcome == stale
    unquoted = {"If-Match": "2"}
    malformed = error(
        400,
        "VALIDATION_ERROR",
        "Header 'If-Match' expects the ETag of a version, with its quotation marks, such as"
        """ "1", or *; got '2'""",
    )
    assert (await admin.put(path, created, headers=unquoted)).outcome == malformed
    assert (await admin.delete(path, headers=unquoted)).outcome == malformed
    assert (await admin.put(path, created, headers={"If-Match": "*"})).headers["ETag"] == '"3"'
    assert (await admin.delete(path, headers={"If-Match": '"1", W/"3"'})).status == 204


async def test_a_deleted_part_is_gone_and_its_names_are_free(admin: Caller, kind: Kind):
    body = kind.named("first", id=f"{kind.prefix}-1")
    (await admin.post(kind.path, body)).ok()
    assert (await admin.delete(f"{kind.path}/{kind.prefix}-1")).outcome == (204, None)
    assert (await admin.get(f"{kind.path}/{kind.prefix}-1")).status == 404
    assert (await admin.post(kind.path, body)).status == 201


async def test_a_part_made_again_under_an_old_id_has_a_version_that_id_never_had(
    workspace: RecordsWorkspace, admin: Caller, kind: Kind
):
    path, body = f"{kind.path}/{kind.prefix}-1", kind.named("first", id=f"{kind.prefix}-1")
    (await admin.post(kind.path, body)).ok()
    for _ in range(3):
        (await admin.put(path, body)).ok()
    (await admin.delete(path)).ok()
    again = await admin.post(kind.path, body)
    versions = [event.version for event in await workspace.staged() if event.subject.endswith("-1")]
    assert versions == sorted(set(versions))
    old = {"If-Match": ", ".join(f'"{version}"' for version in versions[:-1])}
    assert (await admin.put(path, body, headers=old)).status == 412
    assert again.headers["ETag"] == f'"{versions[-1]}"'


async def test_another_workspace_sees_nothing_of_it(
    admin: Caller, other_workspace: RecordsWorkspace, kind: Kind
):
    body = kind.named("first", id=f"{kind.prefix}-1")
    (await admin.post(kind.path, body)).ok()
    stranger = other_workspace.admin
    path = f"{kind.path}/{kind.prefix}-1"
    missing = error(404, "NOT_FOUND", f"{kind.title} '{kind.prefix}-1' not found")
    assert (await stranger.get(kind.path)).outcome == (200, [])
    assert (await stranger.get(path)).outcome == missing
    assert (await stranger.put(path, body)).outcome == missing
    assert (await stranger.delete(path)).outcome == missing
    assert (await stranger.post(kind.path, body)).status == 201
    assert (await stranger.delete(path)).status == 204
    assert (await admin.get(path)).status == 200


async def test_a_role_needs_the_flag_to_change_and_none_to_read(
    workspace: RecordsWorkspace, admin: Caller, kind: Kind
):
    created = (await admin.post(kind.path, kind.named("first", id=f"{kind.prefix}-1"))).ok()
    path = f"{kind.path}/{kind.prefix}-1"
    others = workspace.user(*(set(Flag) - {kind.flag}))
    denied = error(403, "PERMISSION_DENIED", "Permission denied")
    assert (await others.get(kind.path)).ok() == [created]
    assert (await others.get(path)).ok() == created
    assert (await others.post(kind.path, kind.named("second"))).outcome == denied
    assert (await others.put(path, created)).outcome == denied
    assert (await others.delete(path)).outcome == denied
    manager = await workspace.user_with_role({}, kind.flag)
    assert (await manager.put(path, created)).status == 200
    assert (await manager.delete(path)).status == 204
    assert (await manager.post(kind.path, kind.named("first"))).status == 201


async def test_an_api_key_needs_the_permission_and_no_flag(
    workspace: RecordsWorkspace, admin: Caller, kind: Kind
):
    path = f"{kind.path}/{kind.prefix}-1"
    body = kind.named("first", id=f"{kind.prefix}-1")

    denied = error(403, "PERMISSION_DENIED", "Permission denied")
    data = workspace.api_key("read", "update-data", "delete-data", "delete-model")
    assert (await data.post(kind.path, body)).outcome == denied
    assert (await workspace.api_key("update-model").post(kind.path, body)).status == 201
    assert (await data.put(path, body)).outcome == denied
    assert (await workspace.api_key("update-model").put(path, body)).status == 200
    assert (await workspace.api_key("update-model").get(path)).outcome == denied
    assert (await workspace.api_key("update-model").get(kind.path)).outcome == denied
    assert (await workspace.api_key("read").get(path)).status == 200
    assert (await workspace.api_key("read", "update-model").delete(path)).outcome == denied
    assert (await workspace.api_key("delete-model").delete(path)).status == 204


async def test_every_change_is_told_once(workspace: RecordsWorkspace, admin: Caller, kind: Kind):
    path = f"{kind.path}/{kind.prefix}-1"
    created = (await admin.post(kind.path, kind.named("first", id=f"{kind.prefix}-1"))).ok()
    (await admin.put(path, {**created, "alias": "one"})).ok()
    assert (await admin.post(kind.path, kind.named("one"))).status == 409
    assert (await admin.put(path, {**created, "alias": "a b"})).status == 400
    (await admin.delete(path)).ok()
    events = await workspace.staged()
    assert [(event.type, event.version, event.data["alias"]) for event in events] == [
        (f"{kind.event}.created", 1, "first"),
        (f"{kind.event}.updated", 2, "one"),
        (f"{kind.event}.deleted", 3, "one"),
    ]
    for event in events:
        assert event.source == "/records_service"
        assert event.subject == event.data["id"] == f"{kind.prefix}-1"


async def test_of_those_who_want_one_alias_at_once_one_gets_it(admin: Caller, kind: Kind):
    answers = await asyncio.gather(*(admin.post(kind.path, kind.named("first")) for _ in range(12)))
    assert sorted(answer.status for answer in answers) == [201, *[409] * 11]
    assert len((await admin.get(kind.path)).ok()) == 1


async def test_of_those_who_change_one_version_at_once_one_wins(admin: Caller, kind: Kind):
    created = (await admin.post(kind.path, kind.named("first"))).ok()
    path = f"{kind.path}/{created['id']}"
    answers = await asyncio.gather(
        *(
            admin.put(path, {**created, "name": f"Name {n}"}, headers={"If-Match": '"1"'})
            for n in range(8)
        )
    )
    (won,) = [answer for answer in answers if answer.status == 200]
    assert sorted(answer.status for answer in answers) == [200, *[412] * 7]
    assert (await admin.get(path)).ok() == won.body


async def test_a_body_that_is_no_object_is_refused(admin: Caller, kind: Kind):
    for body, name in ((None, "null"), ([], "array"), ("x", "string")):
        assert (await admin.post(kind.path, body)).outcome == error(
            400, "VALIDATION_ERROR", f"Body expects type 'object', got '{name}'"
        )


async def test_if_match_concerns_changes_only(workspace: RecordsWorkspace, admin: Caller):
    """A read ignores the header, whatever its form; so does a create."""
    await workspace.schema("x", [])
    record = (await workspace.post_record("x")).ok()
    caller = admin.having({"If-Match": "1"})
    for path in ("/records", f"/records/{record['id']}", f"/records/{record['id']}/audit"):
        assert (await caller.get(path)).status == 200
    assert (await caller.post("/records", {"schemaId": "schema-x"})).status == 201
    assert (await caller.put(f"/records/{record['id']}", {"values": {}})).status == 400


async def test_a_command_that_asks_for_no_role_needs_none(workspace: RecordsWorkspace):
    """Neither this service nor auth_service, which is away, knows the role of this caller."""
    user = workspace.user(Flag.MANAGE_DIMENSIONS, Flag.MANAGE_OPTION_LISTS, Flag.MANAGE_SCHEMAS)
    market = {
        "id": "dim-m",
        "alias": "m",
        "name": "M",
        "segments": [{"id": "seg-dk", "alias": "dk", "name": "DK"}],
        "defaultSegmentId": "seg-dk",
    }
    assert (await user.post("/dimensions", market)).status == 201
    assert (await user.delete("/dimensions/dim-m")).status == 204
    colors = {"id": "ol-c", "alias": "c", "name": "C", "values": []}
    assert (await user.post("/option-lists", colors)).status == 201
    option = {"id": "val-red", "alias": "red", "label": "Red"}
    assert (await user.post("/option-lists/ol-c/values", option)).status == 201
    assert (await user.delete("/option-lists/ol-c")).status == 204
    await workspace.schema("x", [])
    assert (await user.delete("/schemas/schema-x")).status == 204
