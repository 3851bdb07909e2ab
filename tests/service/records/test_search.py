"""`POST /search`: the query language over real records."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio

from shared.database import paging
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller
from tests.service.records.searchable import found, made, searchable, where

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def catalogue(workspace: RecordsWorkspace) -> RecordsWorkspace:
    """Records `a`, `b`, ... in order of creation, each with what its test looks at."""
    return await searchable(workspace)


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


async def test_values_of_a_unique_attribute_are_found_by_their_reservation(
    catalogue: RecordsWorkspace, admin: Caller
):
    await catalogue.attribute("sku", validation={"unique": True})
    await catalogue.attribute("code", "number", validation={"unique": True})
    await catalogue.schema("coded", ["sku", "code"])
    for name, values in (
        ("a", {"sku": "AB-1", "code": 1}),
        ("b", {"sku": "ab-1", "code": 0.5}),
        ("c", {"sku": "", "code": 12345678901}),
    ):
        await catalogue.record("schema-coded", values, id=f"ent-{name}")
    for criterion, expected in (
        (where("sku", "equals", "AB-1"), ["a"]),
        (where("sku", "in", ["AB-1", "ab-1", "none"]), ["a", "b"]),
        (where("sku", "in", ["AB-1", ""]), ["a", "c"]),
        (where("sku", "notEquals", "AB-1"), ["b", "c"]),
        (where("sku", "equals", ""), ["c"]),
        (where("code", "equals", "1.0"), ["a"]),
        (where("code", "in", [0.5, "12345678901"]), ["b", "c"]),
    ):
        assert await found(admin, criterion, schemaId="coded") == expected, criterion
    (await admin.patch("/records/ent-a/values/sku", {"value": "CD-2"})).ok()
    assert await found(admin, where("sku", "equals", "AB-1")) == []
    assert await found(admin, where("sku", "equals", "CD-2")) == ["a"]


async def test_more_than_are_looked_for_at_once_are_paged_in_order(
    catalogue: RecordsWorkspace, admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(paging, "COUNTED_MAX", 3)
    for number in range(9):
        await made(catalogue, f"{number}", price=number % 4, sold=number < 3)
    body: dict[str, Any] = {"sort": [{"attribute": "price"}], "limit": 2}
    ids: list[str] = []
    while True:
        page = (await admin.post("/search", body)).ok()
        assert page["totalIsEstimate"]
        assert page["total"] > 3
        ids += [item["id"].removeprefix("ent-") for item in page["items"]]
        if page["nextCursor"] is None:
            break
        body["cursor"] = page["nextCursor"]
    assert ids == ["0", "4", "8", "1", "5", "2", "6", "3", "7"]
    assert await found(admin, where("sold", "equals", True)) == ["0", "1", "2"]
