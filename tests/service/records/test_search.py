"""`POST /search`: the query language over real records."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio

from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error

pytestmark = pytest.mark.asyncio(loop_scope="module")


def where(attribute: str, operator: str, value: Any = None, **more: Any) -> dict[str, Any]:
    return {"attribute": attribute, "operator": operator, "value": value, **more}


async def found(caller: Caller, *criteria: dict[str, Any], **more: Any) -> list[str]:
    """The ids of what a search finds, without their prefix; its total is right."""
    answer = (await caller.post("/search", {"criteria": list(criteria), **more})).ok()
    ids = [item["id"].removeprefix("ent-") for item in answer["items"]]
    assert answer["total"] == len(ids)
    return ids


@pytest_asyncio.fixture(loop_scope="module")
async def catalogue(workspace: RecordsWorkspace) -> RecordsWorkspace:
    """Records `a`, `b`, ... in order of creation, each with what its test looks at."""
    await workspace.dimension("language", ["en", "da"])
    colors = [
        {"id": "val-red", "alias": "red", "label": "Bright Red"},
        {"id": "val-blue", "alias": "blue", "label": "Blå"},
    ]
    body = {"id": "ol-colors", "alias": "colors", "name": "Colors", "values": colors}
    (await workspace.admin.post("/option-lists", body)).ok()
    await workspace.attribute("name")
    await workspace.attribute("title", dimensionIds=["dim-language"])
    await workspace.attribute("price", "number")
    await workspace.attribute("made", "datetime")
    await workspace.attribute("sold", "boolean")
    await workspace.attribute("color", "option", optionListId="ol-colors", multiple=True)
    await workspace.attribute("image", "media")
    await workspace.attribute("parent", "relation")
    await workspace.attribute(
        "size",
        "complex",
        attributes=[
            {"alias": "width", "type": "number"},
            {"alias": "unit", "type": "text"},
        ],
    )
    names = ["name", "title", "price", "made", "sold", "color", "image", "parent", "size"]
    await workspace.schema("x", names)
    await workspace.schema("bare", ["name"])
    return workspace


async def made(workspace: RecordsWorkspace, name: str, /, **values: Any) -> None:
    await workspace.record("schema-x", values, id=f"ent-{name}")


async def test_numbers_are_compared_as_numbers(catalogue: RecordsWorkspace, admin: Caller):
    for name, price in (("a", 10), ("b", -2), ("c", 0), ("d", 1000.5), ("e", 9)):
        await made(catalogue, name, price=price)
    await made(catalogue, "f")
    assert await found(admin, where("price", "gt", "9")) == ["a", "d"]
    assert await found(admin, where("price", "gte", 9)) == ["a", "d", "e"]
    assert await found(admin, where("price", "lt", "-1")) == ["b"]
    assert await found(admin, where("price", "lte", "0")) == ["b", "c"]
    assert await found(admin, where("price", "gt", "1e3")) == ["d"]
    assert await found(admin, where("price", "equals", "10.0")) == ["a"]
    assert await found(admin, where("price", "in", [9, "1000.50"])) == ["d", "e"]
    assert await found(admin, where("price", "isEmpty")) == ["f"]
    assert await found(admin, where("price", "isNotEmpty")) == ["a", "b", "c", "d", "e"]
    assert await found(admin, where("price", "notEquals", 10)) == ["b", "c", "d", "e", "f"]
    assert await found(admin, where("price", "notIn", [10, 9, 0])) == ["b", "d", "f"]
    assert await found(admin, where("price", "in", [])) == []


async def test_texts_match_without_case_and_accents_in_every_script(
    catalogue: RecordsWorkspace, admin: Caller
):
    for name, text in (
        ("a", "Äpfel"),
        ("b", "дом Один"),
        ("c", "50% a_b"),
        ("d", "axb \\ 50"),
        ("e", "ouă Straße ΟΔΟΣ"),
        ("f", "風邪薬"),
    ):
        await made(catalogue, name, name=text)
    for operand, expected in (
        ("äPFEL", ["a"]),
        ("apfel", ["a"]),
        ("ДОМ", ["b"]),
        ("%", ["c"]),
        ("50%", ["c"]),
        ("_", ["c"]),
        ("a_b", ["c"]),
        ("\\", ["d"]),
        ("OUA", ["e"]),
        ("strasse", ["e"]),
        ("οδοσ", ["e"]),
        ("邪", ["f"]),
    ):
        assert await found(admin, where("name", "contains", operand)) == expected, operand
    assert await found(admin, where("name", "startsWith", "A")) == ["a", "d"]
    assert await found(admin, where("name", "endsWith", "один")) == ["b"]
    assert await found(admin, where("name", "endsWith", "_B")) == ["c"]
    assert await found(admin, where("name", "equals", "äpfel")) == []
    assert await found(admin, where("name", "equals", "Äpfel")) == ["a"]


async def test_each_type_is_compared_as_what_it_is(catalogue: RecordsWorkspace, admin: Caller):
    await made(
        catalogue,
        "a",
        made="2024-01-01T00:30:00+01:00",
        sold=False,
        color=["red", "blue"],
        image={"url": "https://cdn.example.com/A.png", "alt": "x"},
        size={"width": 10, "unit": "cm"},
    )
    await made(
        catalogue,
        "b",
        made="2024-01-01",
        sold=True,
        color=["blue"],
        image="https://cdn.example.com/b.jpg",
        parent="ent-a",
        size=[{"width": 3}, {"width": 12.5}],
    )
    await made(catalogue, "c", name="")
    for criterion, expected in (
        (where("made", "lt", "2024-01-01T00:00:00Z"), ["a"]),
        (where("made", "gte", "2024-01-01"), ["b"]),
        (where("made", "equals", "2023-12-31T23:30:00Z"), ["a"]),
        (where("sold", "equals", False), ["a"]),
        (where("sold", "equals", "true"), ["b"]),
        (where("color", "equals", "val-red"), ["a"]),
        (where("color", "equals", "blue"), ["a", "b"]),
        (where("color", "equals", "Bright Red"), ["a"]),
        (where("color", "contains", "bla"), ["a", "b"]),
        (where("color", "notEquals", "red"), ["b", "c"]),
        (where("image", "endsWith", ".PNG"), ["a"]),
        (where("parent", "equals", "ent-a"), ["b"]),
        (where("parent", "isEmpty"), ["a", "c"]),
        (where("size.width", "gt", 11), ["b"]),
        (where("size.width", "lt", 11), ["a", "b"]),
        (where("size.unit", "equals", "cm"), ["a"]),
        (where("attr-size.unit", "isEmpty"), ["b", "c"]),
        (where("size", "isNotEmpty"), ["a", "b"]),
        (where("name", "isEmpty"), ["a", "b", "c"]),
        ({"attributeAlias": "sold", "operator": "equals", "value": True}, ["b"]),
        ({"attributeId": "attr-sold", "operator": "equals", "value": True}, ["b"]),
    ):
        assert await found(admin, criterion) == expected, criterion
    (await admin.delete("/records/ent-a")).ok()
    assert await found(admin, where("parent", "isNotEmpty")) == []
    assert await found(admin, where("parent", "equals", "ent-a")) == []


async def test_a_scope_compares_the_value_that_holds_there(
    catalogue: RecordsWorkspace, admin: Caller
):
    def titled(**by_language: str) -> list[dict[str, Any]]:
        return [
            {
                "scope": {} if name == "all" else {"dim-language": f"seg-{name}"},
                "value": text,
            }
            for name, text in by_language.items()
        ]

    await made(catalogue, "a", title=titled(en="Jacket", da="Jakke"))
    await made(catalogue, "b", title=titled(all="Jacket"))
    await made(catalogue, "c", title=titled(da="Jacket"))
    await made(catalogue, "d")
    danish, english = {"dim-language": "seg-da"}, {"language": "en"}
    for criterion, expected in (
        (where("title", "equals", "Jacket"), ["a", "b", "c"]),
        (where("title", "equals", "Jacket", scope=danish), ["b", "c"]),
        (where("title", "equals", "Jacket", scope=english), ["a", "b"]),
        (where("title", "equals", "Jacket", scope={}), ["a", "b"]),
        (where("title", "contains", "JAK", scope=danish), ["a"]),
        (where("title", "notEquals", "Jacket"), ["d"]),
        (where("title", "notEquals", "Jacket", scope=danish), ["a", "d"]),
        (where("title", "isEmpty", scope=english), ["c", "d"]),
        (where("title", "isEmpty"), ["d"]),
    ):
        assert await found(admin, criterion) == expected, criterion
    by_danish = {"attribute": "title", "scope": danish}
    assert await found(admin, sort=[by_danish]) == ["b", "c", "a", "d"]
    assert await found(admin, sort=[{"attribute": "title"}]) == ["a", "b", "c", "d"]


async def test_groups_fields_and_schemas(catalogue: RecordsWorkspace, admin: Caller):
    await made(catalogue, "a", price=1, sold=True)
    await made(catalogue, "b", price=2, sold=False)
    await made(catalogue, "c", price=3, sold=True)
    await catalogue.record("schema-bare", {"name": "z"}, id="ent-z")
    either = {
        "criteriaOperator": "or",
        "criteria": [where("price", "equals", 1), where("price", "equals", 2)],
    }
    assert await found(admin, either, where("sold", "equals", True)) == ["a"]
    assert await found(admin, *either["criteria"], criteriaOperator="or") == ["a", "b"]
    assert await found(admin, *either["criteria"]) == []
    assert await found(admin) == ["a", "b", "c", "z"]
    assert await found(admin, schemaId="bare") == ["z"]
    assert await found(admin, schemaId="schema-none") == []
    assert await found(admin, where("price", "notEquals", 1)) == ["b", "c", "z"]
    a, b = [(await admin.get(f"/records/ent-{name}")).body for name in "ab"]

    def field(name: str, operator: str, value: Any = None) -> dict[str, Any]:
        return {"field": name, "operator": operator, "value": value}

    for criterion, expected in (
        (field("id", "in", ["ent-a", "ent-z"]), ["a", "z"]),
        (field("id", "startsWith", "ENT-B"), ["b"]),
        (field("schemaId", "notEquals", "x"), ["z"]),
        (field("lifecycleStateId", "isEmpty"), ["a", "b", "c", "z"]),
        (field("lifecycleStateId", "notEquals", "draft"), ["a", "b", "c", "z"]),
        (
            field("createdAt", "lt", b["createdAt"]),
            ["a"] if a["createdAt"] < b["createdAt"] else [],
        ),
        (field("createdBy", "equals", a["createdBy"]), ["a", "b", "c", "z"]),
        (field("updatedBy", "notEquals", a["createdBy"]), []),
    ):
        assert await found(admin, criterion) == expected, criterion


async def test_pages_in_any_order_show_each_record_once_while_others_come_and_go(
    catalogue: RecordsWorkspace, admin: Caller
):
    prices = [3, 1, None, 3, 2, 1, None, 2, 3, 1]
    for place, price in enumerate(prices):
        await made(catalogue, f"{place}", price=price, sold=place % 2 == 0)
    for order in ("asc", "desc"):
        sort = [{"attribute": "price", "order": order}, {"attribute": "sold", "order": "desc"}]
        ranked = sorted(
            (str(n) for n in range(10)),
            key=lambda n: (
                prices[int(n)] is None,
                (prices[int(n)] or 0) * (1 if order == "asc" else -1),
                int(n) % 2,
                int(n),
            ),
        )
        seen: list[str] = []
        cursor = None
        while True:
            body = {"sort": sort, "limit": 3, **({"cursor": cursor} if cursor else {})}
            answer = (await admin.post("/search", body)).ok()
            assert answer["total"] >= 10
            seen += [item["id"].removeprefix("ent-") for item in answer["items"]]
            cursor = answer["nextCursor"]
            if cursor is None:
                break
            await made(catalogue, f"new-{order}-{len(seen)}", price=2, sold=True)
        assert [n for n in seen if not n.startswith("new")] == ranked
        assert len(set(seen)) == len(seen)
    page = (await admin.post("/search", {"sort": sort, "limit": 2, "offset": 1})).ok()
    assert [page["offset"], page["limit"], len(page["items"])] == [1, 2, 2]
    other = await admin.post("/search", {"limit": 3, "cursor": page["nextCursor"]})
    assert other.status == 400
    assert "total" not in (await admin.post("/search", {"total": "none"})).ok()


BIG = {"criteria": []}
for _ in range(5):
    BIG = {"criteria": [BIG]}


REFUSED: list[tuple[dict[str, Any], str | None]] = [
    (
        {"criteria": [where("price", "gt", "abc")]},
        "Field 'criteria.0.value' must be a number, or a string with one, got 'abc'",
    ),
    (
        {"criteria": [where("price", "gt", True)]},
        "Field 'criteria.0.value' must be a number, or a string with one, got boolean",
    ),
    (
        {"criteria": [where("price", "equals", "1e999999999")]},
        "Field 'criteria.0.value' must be a number, or a string with one, got '1e999999999'",
    ),
    (
        {"criteria": [where("price", "equals", "1e9999")]},
        "Field 'criteria.0.value' must be a number of at most 400 digits",
    ),
    (
        {"criteria": [where("name", "gt", "5")]},
        "Operator 'gt' cannot be used with 'name' of type 'text'",
    ),
    (
        {"criteria": [where("size", "equals", "5")]},
        (
            "Operator 'equals' cannot be used with 'size' of type 'complex': name one of its"
            " fields, such as 'size.width'"
        ),
    ),
    ({"criteria": [where("nope", "isEmpty")]}, "Unknown attribute 'nope'"),
    ({"criteria": [where("size.nope", "isEmpty")]}, "Unknown attribute 'size.nope'"),
    (
        {"criteria": [where("price", "equals")]},
        "Field 'criteria.0.value' is required for 'equals'",
    ),
    (
        {"criteria": [where("price", "in", 5)]},
        "Field 'criteria.0.value' must be an array for 'in', got number",
    ),
    (
        {"criteria": [where("price", "in", [1, "x"])]},
        "Field 'criteria.0.value.1' must be a number, or a string with one, got 'x'",
    ),
    (
        {"criteria": [where("color", "equals", "green")]},
        (
            "Field 'criteria.0.value' must be the id, the alias or the label of an option of"
            " 'ol-colors', got 'green'"
        ),
    ),
    (
        {"criteria": [where("made", "gt", "yesterday")]},
        "Field 'criteria.0.value' must be an ISO 8601 date and time, got 'yesterday'",
    ),
    (
        {"criteria": [where("name", "contains", "")]},
        (
            "Field 'criteria.0.value' must have a letter, a digit or another character that is"
            " compared"
        ),
    ),
    ({"criteria": ["x"]}, "Field 'criteria.0' must be an object, got string"),
    (
        {"criteria": [{"operator": "equals"}]},
        "Field 'criteria.0' must name an 'attribute' or a 'field', got none",
    ),
    (
        {"criteria": [{"field": "id", "attribute": "name", "operator": "isEmpty"}]},
        "Field 'criteria.0' must name an 'attribute' or a 'field', got 'attribute' and 'field'",
    ),
    (
        {"criteria": [{"criteria": [where("name", "equals", 5)]}]},
        "Field 'criteria.0.criteria.0.value' must be a string, got number",
    ),
    ({"criteriaOperator": "xor"}, "Field 'criteriaOperator' must be 'and' or 'or', got 'xor'"),
    (BIG, "Criteria may be at most 5 levels deep"),
    (
        {"criteria": [{"criteria": [where("name", "isEmpty")] * 60}] * 2},
        "A search has at most 100 criteria",
    ),
    (
        {"criteria": [where("title", "isEmpty", scope={"dim-none": "x"})]},
        "Field 'criteria.0.scope': unknown dimension 'dim-none'",
    ),
    (
        {"criteria": [where("title", "isEmpty", scope={"dim-language": "x"})]},
        "Field 'criteria.0.scope': Unknown segment 'x' of dimension 'dim-language'",
    ),
    (
        {"sort": [{"attribute": "size"}]},
        "Field 'sort.0' must name a field of 'size' to sort by",
    ),
    ({"sort": [{"field": "values"}]}, None),
    ({"sort": [{"field": "id", "order": "up"}]}, None),
    ({"sort": [{"field": "id"}] * 4}, None),
]


async def test_what_cannot_be_searched_is_refused_by_name(
    catalogue: RecordsWorkspace, admin: Caller
):
    for body, message in REFUSED:
        answer = await admin.post("/search", body)
        assert (answer.status, answer.body["error"]) == (400, "VALIDATION_ERROR"), body
        assert message in (None, answer.body["message"])


async def test_an_operator_is_required_and_known(catalogue: RecordsWorkspace, admin: Caller):
    for operator, told in ((None, "is required"), ("like", "got 'like'")):
        answer = await admin.post("/search", {"criteria": [where("name", operator, "x")]})
        assert answer.status == 400
        assert told in answer.body["message"]


async def test_hidden_attributes_take_no_part(catalogue: RecordsWorkspace, admin: Caller):
    await catalogue.workflow("flow", {"draft": {}, "secret": {"hidden": ["price"]}})
    await catalogue.schema("y", ["name", "price"], "wf-flow")
    await made(catalogue, "a", name="n", price=5)
    for name in ("b", "c"):
        await catalogue.record("schema-y", {"name": "n", "price": 5}, id=f"ent-{name}")
    (await admin.post("/records/ent-c/transition", {"toStateId": "state-secret"})).ok()
    nothing = await catalogue.user_with_role(
        {"*": {"*": "read", "attr-price": "hidden"}}, name="role-none"
    )
    unknown = error(400, "VALIDATION_ERROR", "Unknown attribute 'price'")
    for body in (
        {"criteria": [where("price", "equals", 5)]},
        {"criteria": [where("price", "isEmpty")]},
        {"sort": [{"attribute": "price"}]},
    ):
        assert (await nothing.post("/search", body)).outcome == unknown
    # Hidden in one schema: its records are neither found nor told apart.
    half = await catalogue.user_with_role(
        {"schema-x": {"*": "read", "attr-price": "hidden"}, "*": {"*": "read"}}, name="role-half"
    )
    assert await found(half, where("price", "equals", 5)) == ["b"]
    assert await found(half, where("price", "notEquals", 6)) == ["b"]
    assert await found(half, where("price", "notEquals", 5)) == []
    # A state hides it from every role but the administrator's.
    everything = await catalogue.user_with_role({"*": {"*": "read"}}, name="role-all")
    assert await found(everything, where("price", "equals", 5)) == ["a", "b"]
    assert await found(admin, where("price", "equals", 5)) == ["a", "b", "c"]
    (await admin.patch("/records/ent-c/values/price", {"value": 1})).ok()
    assert await found(everything, sort=[{"attribute": "price"}]) == ["a", "b", "c"]
    assert await found(admin, sort=[{"attribute": "price"}]) == ["c", "a", "b"]


async def test_what_a_schema_has_lost_is_not_found(catalogue: RecordsWorkspace, admin: Caller):
    await made(catalogue, "a", price=5)
    schema = (await admin.get("/schemas/schema-x")).body
    schema["attributeGroups"] = [{"name": "All", "attributeIds": ["attr-name"]}]
    (await admin.put("/schemas/schema-x", schema)).ok()
    assert await found(admin, where("price", "equals", 5)) == []
    assert await found(admin, where("price", "notEquals", 5)) == ["a"]


async def test_a_workspace_finds_its_own_records_only(
    catalogue: RecordsWorkspace, other_workspace: RecordsWorkspace, admin: Caller
):
    await made(catalogue, "a", name="x")
    assert await found(other_workspace.admin) == []
    assert (await admin.post("/search", {})).ok()["items"][0]["id"] == "ent-a"


async def test_what_was_written_is_found_by_the_next_search(
    catalogue: RecordsWorkspace, admin: Caller
):
    await made(catalogue, "a", price=5)
    assert await found(admin, where("price", "equals", 5)) == ["a"]
    (await admin.patch("/records/ent-a/values/price", {"value": 6})).ok()
    assert await found(admin, where("price", "equals", 5)) == []
    assert await found(admin, where("price", "equals", 6)) == ["a"]
    attribute = (await admin.get("/attributes/attr-price")).body
    (await admin.put("/attributes/attr-price", {**attribute, "alias": "cost"})).ok()
    assert await found(admin, where("cost", "equals", 6)) == ["a"]
    assert (await admin.post("/search", {"criteria": [where("price", "isEmpty")]})).status == 400
    (await admin.delete("/records/ent-a")).ok()
    assert await found(admin, where("cost", "equals", 6)) == []


async def test_a_page_shows_the_part_that_is_asked_for(catalogue: RecordsWorkspace, admin: Caller):
    await made(catalogue, "a", name="n", price=5)
    body = {"attributes": ["price"], "scope": {"language": "da"}}
    [item] = (await admin.post("/search", body)).ok()["items"]
    assert (set(item["values"]), item["resolved"], item["version"]) == ({"price"}, {"price": 5}, 1)
    for body, pointer in ((["none"], "attributes"), ({"none": "x"}, "scope")):
        assert (await admin.post("/search", {pointer: body})).status == 400


async def test_fields_of_fields_are_compared(catalogue: RecordsWorkspace, admin: Caller):
    width = {"alias": "width", "type": "number"}
    box = {"alias": "box", "type": "complex", "attributes": [width]}
    await catalogue.attribute("pack", "complex", attributes=[box])
    await catalogue.schema("packed", ["pack"])
    for name, number in (("a", 5), ("b", 50)):
        value = {"pack": {"box": {"width": number}}}
        await catalogue.record("schema-packed", value, id=f"ent-{name}")
    assert await found(admin, where("pack.box.width", "gt", 10)) == ["b"]
    by_width = [{"attribute": "pack.box.width", "order": "desc"}]
    assert await found(admin, schemaId="packed", sort=by_width) == ["b", "a"]
    refused = await admin.post("/search", {"criteria": [where("pack.box.depth", "gt", 10)]})
    assert refused.body["message"] == "Unknown attribute 'pack.box.depth'"
