from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error
from tests.kit.workspace import schema_body

COLORS = "/option-lists/ol-colors"

pytestmark = pytest.mark.asyncio(loop_scope="module")


def colors(*aliases: str, **more: Any) -> dict[str, Any]:
    return {
        "id": "ol-colors",
        "alias": "colors",
        "name": "Colors",
        "values": [value(alias) for alias in aliases],
        **more,
    }


def value(word: str, **more: Any) -> dict[str, Any]:
    return {"id": f"val-{word}", "alias": word, "label": word.title(), **more}


def shown(word: str, place: float, **more: Any) -> dict[str, Any]:
    unnamed: dict[str, Any] = {"labels": {}, "externalKey": None, "color": None, "parentId": None}
    return {**value(word), **unnamed, "sortOrder": place, **more}


async def clothes(workspace: RecordsWorkspace) -> None:
    """Products with a colour, several colours, and a trim that has a colour."""
    (await workspace.admin.post("/option-lists", colors("red", "blue", "green"))).ok()
    await workspace.attribute("color", "option", optionListId="ol-colors")
    await workspace.attribute("palette", "option", optionListId="ol-colors", multiple=True)
    await workspace.attribute(
        "trim",
        "complex",
        attributes=[
            {"alias": "color", "type": "option", "optionListId": "ol-colors"},
            {"alias": "note", "type": "text"},
        ],
    )
    await workspace.schema("shirt", ["color", "palette", "trim"])


async def test_values_are_answered_in_their_order(admin: Caller):
    sent = colors(
        values=[
            value("red", sortOrder=2, color="#ff0000"),
            value("blue", sortOrder=1.5),
            value("white"),
            value("black", sortOrder=2),
        ]
    )
    created = (await admin.post("/option-lists", sent)).ok()
    assert created["values"] == [
        shown("blue", 1.5),
        shown("black", 2),
        shown("red", 2, color="#ff0000"),
        shown("white", 3),
    ]
    assert (await admin.get(COLORS)).ok() == created
    assert (await admin.get("/option-lists")).ok() == [created]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([{"alias": "red"}], "Field 'values.0.label' is required"),
        ([value("red", color="red")], "Field 'values.0.color' must match pattern"),
        ([value("red", sortOrder="1")], "Field 'values.0.sortOrder' expects type 'number'"),
        ([value("red"), value("red", id="x")], "Option value alias 'red' is used twice"),
        ([value("red"), value("red", alias="x")], "Option value id 'val-red' is used twice"),
        (
            [value("red"), value("pink", parentId="val-red")],
            "Option value 'pink' has a parent, but the list is flat",
        ),
    ],
)
async def test_values_that_are_none_are_refused(
    admin: Caller, values: list[dict[str, Any]], message: str
):
    for answer in (
        await admin.post("/option-lists", colors(values=values)),
        (await admin.post("/option-lists", colors()))
        and (await admin.put(COLORS, colors(values=values))),
    ):
        assert (answer.status, answer.body["error"]) == (400, "VALIDATION_ERROR")
        assert answer.body["message"].startswith(message)
    assert (await admin.get(COLORS)).ok()["values"] == []


async def test_a_value_is_added_at_the_end(workspace: RecordsWorkspace):
    admin = workspace.admin
    (await admin.post("/option-lists", colors("red", "blue"))).ok()
    added = await admin.post(f"{COLORS}/values", {"alias": "green", "label": "Green"})
    assert (added.status, added.headers["ETag"]) == (201, '"2"')
    assert added.body["id"].startswith("val-")
    assert added.body == {**shown("green", 2), "id": added.body["id"]}
    second = (await admin.post(f"{COLORS}/values", value("black", sortOrder=0.5))).ok()
    assert second == shown("black", 0.5)
    listed = (await admin.get(COLORS)).ok()["values"]
    assert [one["alias"] for one in listed] == ["red", "black", "blue", "green"]
    assert [event.version for event in await workspace.staged()] == [1, 2, 3]


async def test_a_value_with_a_taken_name_is_a_conflict(admin: Caller):
    (await admin.post("/option-lists", colors("red", "blue"))).ok()
    taken_id = error(409, "CONFLICT", "Option value with id 'val-red' already exists")
    taken_alias = error(409, "CONFLICT", "Option value with alias 'red' already exists")
    assert (await admin.post(f"{COLORS}/values", value("red", alias="x"))).outcome == taken_id
    assert (await admin.post(f"{COLORS}/values", value("red", id="val-x"))).outcome == taken_alias
    assert (
        await admin.put(f"{COLORS}/values/val-blue", value("red", id="val-blue"))
    ).outcome == taken_alias
    assert (await admin.get(COLORS)).headers["ETag"] == '"1"'


async def test_a_value_is_replaced_where_it_is(admin: Caller):
    (await admin.post("/option-lists", colors("red", "blue"))).ok()
    sent = {"alias": "crimson", "label": "Crimson", "color": "#a00"}
    replaced = await admin.put(f"{COLORS}/values/val-red", sent)
    assert (replaced.status, replaced.headers["ETag"]) == (200, '"2"')
    expected = {
        "id": "val-red",
        "alias": "crimson",
        "label": "Crimson",
        "sortOrder": 0,
        "color": "#a00",
        "parentId": None,
        "labels": {},
        "externalKey": None,
    }
    assert replaced.body == expected
    assert (await admin.get(COLORS)).ok()["values"] == [expected, shown("blue", 1)]


async def test_what_is_not_there_is_told_by_name(admin: Caller):
    (await admin.post("/option-lists", colors("red"))).ok()
    no_list = error(404, "NOT_FOUND", "Option list 'ol-x' not found")
    no_value = error(404, "NOT_FOUND", "Option value 'val-x' not found")
    assert (await admin.post("/option-lists/ol-x/values", value("a"))).outcome == no_list
    assert (await admin.put("/option-lists/ol-x/values/val-x", value("x"))).outcome == no_list
    assert (await admin.delete("/option-lists/ol-x/values/val-x")).outcome == no_list
    assert (await admin.put(f"{COLORS}/values/val-x", value("x"))).outcome == no_value
    assert (await admin.delete(f"{COLORS}/values/val-x")).outcome == no_value


async def test_a_value_is_changed_only_in_the_version_that_is_named(admin: Caller):
    (await admin.post("/option-lists", colors("red"))).ok()
    old, new = {"If-Match": '"1"'}, {"If-Match": '"2"'}
    assert (await admin.post(f"{COLORS}/values", value("blue"), headers=old)).status == 201
    stale = error(
        412,
        "PRECONDITION_FAILED",
        "Option list 'ol-colors' is at version 2; If-Match names another version",
    )
    assert (await admin.post(f"{COLORS}/values", value("pink"), headers=old)).outcome == stale
    assert (await admin.put(f"{COLORS}/values/val-red", value("red"), headers=old)).outcome == stale
    assert (await admin.delete(f"{COLORS}/values/val-red", headers=old)).outcome == stale
    assert (await admin.delete(f"{COLORS}/values/val-red", headers=new)).status == 204


async def test_values_need_the_flag_and_the_permission(workspace: RecordsWorkspace):
    (await workspace.admin.post("/option-lists", colors("red"))).ok()
    denied = error(403, "PERMISSION_DENIED", "Permission denied")
    for caller in (workspace.user(), workspace.api_key("read", "update-data", "delete-data")):
        assert (await caller.post(f"{COLORS}/values", value("blue"))).outcome == denied
        assert (await caller.put(f"{COLORS}/values/val-red", value("red"))).outcome == denied
        assert (await caller.delete(f"{COLORS}/values/val-red")).outcome == denied


async def test_parents_make_a_tree(admin: Caller):
    tree = colors(
        hierarchical=True,
        values=[value("tops"), value("shirts", parentId="val-tops"), value("shoes")],
    )
    (await admin.post("/option-lists", tree)).ok()
    polos = value("polos", parentId="val-shirts")
    assert (await admin.post(f"{COLORS}/values", polos)).ok() == {
        **polos,
        "sortOrder": 3,
        "color": None,
        "labels": {},
        "externalKey": None,
    }
    unknown = "Parent 'val-x' of option value 'socks' not found"
    assert (
        await admin.post(f"{COLORS}/values", value("socks", parentId="val-x"))
    ).outcome == error(400, "VALIDATION_ERROR", unknown)
    itself = "Parent 'val-socks' of option value 'socks' not found"
    assert (
        await admin.post(f"{COLORS}/values", value("socks", parentId="val-socks"))
    ).outcome == error(400, "VALIDATION_ERROR", itself)
    for parent in ("val-tops", "val-shirts", "val-polos"):
        circle = error(400, "VALIDATION_ERROR", "Option value 'tops' would be its own ancestor")
        moved = await admin.put(f"{COLORS}/values/val-tops", value("tops", parentId=parent))
        assert moved.outcome == circle
    moved = await admin.put(f"{COLORS}/values/val-shirts", value("shirts", parentId="val-shoes"))
    assert moved.ok()["parentId"] == "val-shoes"
    rooted = await admin.put(f"{COLORS}/values/val-shirts", value("shirts"))
    assert rooted.ok()["parentId"] is None


async def test_a_flat_list_takes_no_parents(admin: Caller):
    (await admin.post("/option-lists", colors("red"))).ok()
    flat = error(400, "VALIDATION_ERROR", "Option value 'pink' has a parent, but the list is flat")
    pink = value("pink", parentId="val-red")
    assert (await admin.post(f"{COLORS}/values", pink)).outcome == flat
    (await admin.post(f"{COLORS}/values", value("pink"))).ok()
    assert (await admin.put(f"{COLORS}/values/val-pink", pink)).outcome == flat


async def test_a_list_becomes_flat_only_without_parents(admin: Caller):
    tree = colors(hierarchical=True, values=[value("tops"), value("shirts", parentId="val-tops")])
    created = (await admin.post("/option-lists", tree)).ok()
    answer = await admin.put(COLORS, {**created, "hierarchical": False})
    assert answer.outcome == error(
        400, "VALIDATION_ERROR", "Option value 'shirts' has a parent, but the list is flat"
    )
    flat = await admin.put(COLORS, colors("tops", "shirts"))
    assert flat.ok()["hierarchical"] is False


async def test_children_go_with_their_parent(admin: Caller):
    tree = colors(
        hierarchical=True,
        values=[
            value("tops"),
            value("shirts", parentId="val-tops"),
            value("polos", parentId="val-shirts"),
            value("shoes"),
        ],
    )
    (await admin.post("/option-lists", tree)).ok()
    assert (await admin.delete(f"{COLORS}/values/val-tops")).outcome == (204, None)
    assert (await admin.get(COLORS)).ok()["values"] == [shown("shoes", 3)]


async def test_a_value_stays_while_a_child_is_in_use(workspace: RecordsWorkspace):
    admin = workspace.admin
    tree = colors(hierarchical=True, values=[value("red"), value("pink", parentId="val-red")])
    (await admin.post("/option-lists", tree)).ok()
    await workspace.attribute("color", "option", optionListId="ol-colors")
    await workspace.schema("shirt", ["color"])
    (await workspace.post_record("shirt", color="pink")).ok()
    in_use = error(409, "CONFLICT", "Option value 'val-pink' is in use and cannot be deleted")
    assert (await admin.delete(f"{COLORS}/values/val-red")).outcome == in_use
    assert len((await admin.get(COLORS)).ok()["values"]) == 2


@pytest.mark.parametrize(
    "values", [{"color": "val-red"}, {"palette": ["blue", "red"]}, {"trim": {"color": "red"}}]
)
async def test_a_value_that_a_record_has_stays(workspace: RecordsWorkspace, values: dict[str, Any]):
    admin = workspace.admin
    await clothes(workspace)
    record = (await workspace.post_record("shirt", **values)).ok()
    in_use = error(409, "CONFLICT", "Option value 'val-red' is in use and cannot be deleted")
    assert (await admin.delete(f"{COLORS}/values/val-red")).outcome == in_use
    assert (await admin.put(COLORS, colors("green", "blue"))).outcome == in_use
    assert (await admin.delete(f"{COLORS}/values/val-green")).status == 204
    (await admin.delete(f"/records/{record['id']}")).ok()
    assert (await admin.delete(f"{COLORS}/values/val-red")).status == 204


@pytest.mark.parametrize(
    ("kind", "more", "compared"),
    [
        ("option", {"optionListId": "ol-colors"}, "blue"),
        (
            "complex",
            {"attributes": [{"alias": "c", "type": "option", "optionListId": "ol-colors"}]},
            [{"c": "blue"}],
        ),
    ],
)
async def test_a_value_that_a_guard_names_stays(
    workspace: RecordsWorkspace, kind: str, more: dict[str, Any], compared: Any
):
    admin = workspace.admin
    (await admin.post("/option-lists", colors("red", "blue"))).ok()
    await workspace.attribute("on", kind, **more)
    await workspace.attribute("other")
    guards = [
        {"attributeId": "on", "operator": "in", "value": [compared]},
        {"attributeId": "other", "operator": "equals", "value": "val-red"},
    ]
    await workspace.attribute("sku", guards=guards)
    refused = error(
        409,
        "CONFLICT",
        "Option value 'val-blue' cannot be deleted: a guard of attribute 'sku' names it",
    )
    assert (await admin.delete("/option-lists/ol-colors/values/val-blue")).outcome == refused
    assert (await admin.put("/option-lists/ol-colors", colors("red"))).outcome == refused
    # A text of another attribute is no option.
    (await admin.delete("/option-lists/ol-colors/values/val-red")).ok()
    guardless = (await admin.get("/attributes/attr-sku")).ok() | {"guards": []}
    (await admin.put("/attributes/attr-sku", guardless)).ok()
    (await admin.delete("/option-lists/ol-colors/values/val-blue")).ok()


async def test_a_text_that_reads_like_a_value_does_not_hold_it(workspace: RecordsWorkspace):
    await clothes(workspace)
    (await workspace.post_record("shirt", trim={"note": "val-red"})).ok()
    assert (await workspace.admin.delete(f"{COLORS}/values/val-red")).status == 204


async def test_a_list_in_another_workspace_is_another_list(
    workspace: RecordsWorkspace, other_workspace: RecordsWorkspace
):
    await clothes(workspace)
    await clothes(other_workspace)
    (await other_workspace.post_record("shirt", color="red")).ok()
    assert (await workspace.admin.delete(f"{COLORS}/values/val-red")).status == 204
    assert len((await other_workspace.admin.get(COLORS)).ok()["values"]) == 3


async def test_a_list_that_an_attribute_chooses_from_stays(workspace: RecordsWorkspace):
    admin = workspace.admin
    await clothes(workspace)
    (await admin.put("/schemas/schema-shirt", schema_body("shirt", []))).ok()
    in_use = error(409, "CONFLICT", "Option list 'ol-colors' is in use and cannot be deleted")
    for alias in ("color", "palette", "trim"):
        assert (await admin.delete(COLORS)).outcome == in_use
        (await admin.delete(f"/attributes/attr-{alias}")).ok()
    assert (await admin.delete(COLORS)).status == 204
    assert await workspace.fetch("SELECT id FROM option_values WHERE workspace_id = $1") == []


async def test_a_whole_list_is_exchanged(admin: Caller):
    (await admin.post("/option-lists", colors("red", "blue", "green"))).ok()
    swapped = colors(
        values=[
            value("red", alias="blue"),
            value("blue", alias="red"),
            {"alias": "black", "label": "Black", "id": "val-black"},
        ]
    )
    answer = (await admin.put(COLORS, swapped)).ok()
    assert [(one["id"], one["alias"]) for one in answer["values"]] == [
        ("val-red", "blue"),
        ("val-blue", "red"),
        ("val-black", "black"),
    ]
    assert (await admin.get(COLORS)).ok() == answer


async def test_values_sent_without_ids_keep_theirs(workspace: RecordsWorkspace):
    await clothes(workspace)
    (await workspace.post_record("shirt", color="red")).ok()
    values = [{"alias": alias, "label": alias} for alias in ("blue", "red")]
    answer = (await workspace.admin.put(COLORS, colors(values=values))).ok()
    assert [one["id"] for one in answer["values"]] == ["val-blue", "val-red"]


async def test_values_added_at_once_all_arrive(admin: Caller):
    (await admin.post("/option-lists", colors("red"))).ok()
    answers = await asyncio.gather(
        *(admin.post(f"{COLORS}/values", {"alias": f"c{n}", "label": "x"}) for n in range(20)),
        *(admin.post(f"{COLORS}/values", {"alias": "same", "label": "x"}) for _ in range(4)),
    )
    assert sorted(answer.status for answer in answers) == [*[201] * 21, *[409] * 3]
    places = [one["sortOrder"] for one in (await admin.get(COLORS)).ok()["values"]]
    assert places == list(range(22))


async def test_a_value_goes_or_its_first_record_comes_but_never_both(workspace: RecordsWorkspace):
    admin = workspace.admin
    await clothes(workspace)
    for _ in range(5):
        removed, *written = await asyncio.gather(
            admin.delete(f"{COLORS}/values/val-red"),
            *(workspace.post_record("shirt", color="red") for _ in range(6)),
        )
        statuses = {answer.status for answer in written}
        assert (removed.status, statuses) in [(204, {400}), (409, {201})]
        for record in (await admin.get("/records")).ok()["items"]:
            (await admin.delete(f"/records/{record['id']}")).ok()
        if removed.status == 204:
            (await admin.post(f"{COLORS}/values", value("red"))).ok()


async def test_a_request_has_ten_thousand_values_and_no_more(admin: Caller):
    many = [{"alias": f"v{n}", "label": f"Value {n}"} for n in range(10_000)]
    (await admin.post("/option-lists", colors(values=many[:-1]))).ok()
    (await admin.post(f"{COLORS}/values", many[-1])).ok()
    answer = await admin.put(COLORS, colors(values=[*many, value("more")]))
    assert answer.status == 400
    assert [one["alias"] for one in (await admin.get(COLORS)).ok()["values"]] == [
        one["alias"] for one in many
    ]


async def test_a_place_beyond_all_numbers_is_kept(admin: Caller):
    far = colors(values=[value("far", sortOrder=1e308), value("near", sortOrder=-1e308)])
    answer = (await admin.post("/option-lists", far)).ok()
    assert [one["sortOrder"] for one in answer["values"]] == [-1e308, 1e308]
    assert (await admin.get(COLORS)).ok() == answer
    assert (await admin.post(f"{COLORS}/values", value("next"))).ok()["sortOrder"] == 1e308


async def test_a_list_keeps_its_values_where_they_are_left_out(admin: Caller):
    made = (await admin.post("/option-lists", colors("red", "blue"))).ok()
    changed = (await admin.put(COLORS, {"alias": "colors", "name": "Renamed"})).ok()
    assert (changed["name"], changed["values"]) == ("Renamed", made["values"])
    changed = (await admin.put(COLORS, {"alias": "colors", "name": "Empty", "values": []})).ok()
    assert changed["values"] == []
