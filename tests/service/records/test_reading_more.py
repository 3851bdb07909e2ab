"""Lists and single records: sorted, by id, since a time, and only a part of each record."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from records_service.records import counts, store
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error

pytestmark = pytest.mark.asyncio(loop_scope="module")


def entry(value: Any, **scope: str) -> dict[str, Any]:
    return {"scope": {f"dim-{k}": f"seg-{v}" for k, v in scope.items()}, "value": value}


async def seeded(workspace: RecordsWorkspace) -> None:
    """Three records; `secret` is hidden from the role, `locked` in the second state."""
    await workspace.dimension("language", ["en", "da"])
    await workspace.dimension("market", ["dk", "se"])
    await workspace.attribute("name", dimensionIds=["dim-language", "dim-market"])
    await workspace.attribute("price", "number", dimensionIds=["dim-market"])
    await workspace.attribute("secret")
    await workspace.attribute("apart")
    await workspace.schema("plain", ["name", "price", "secret"])
    await workspace.schema("other", ["apart"])
    for number in range(3):
        await put(
            workspace.admin,
            f"ent-{number}",
            name=[entry("N"), entry("Nd", language="da"), entry("Nds", language="da", market="se")],
            price=[entry(10 + number), entry(20 + number, market="se")],
            secret=[entry("s")],
        )


async def put(caller: Caller, record_id: str, **values: Any) -> None:
    body = {"id": record_id, "schemaId": "schema-plain", "values": values}
    (await caller.post("/records", body)).ok()


def ids(page: dict[str, Any]) -> list[str]:
    return [item["id"] for item in page["items"]]


async def test_a_list_is_sorted_either_way_and_read_on_by_cursor(workspace, admin):
    await seeded(workspace)
    (await admin.patch("/records/ent-1/values/secret", {"value": "t"})).ok()
    for sort, expected in (
        ("createdAt", [0, 1, 2]),
        ("-createdAt", [2, 1, 0]),
        ("updatedAt", [0, 2, 1]),
        ("-updatedAt", [1, 2, 0]),
        ("id", [0, 1, 2]),
        ("-id", [2, 1, 0]),
    ):
        for filters in ("", "&schemaId=plain"):
            path = f"/records?sort={sort}{filters}"
            whole = (await admin.get(path)).ok()
            assert ids(whole) == [f"ent-{number}" for number in expected], path
            walked, cursor = [], ""
            while cursor is not None:
                page = (await admin.get(f"{path}&limit=1{cursor and f'&cursor={cursor}'}")).ok()
                walked += page["items"]
                cursor = page["nextCursor"]
            assert walked == whole["items"]
            for offset in range(3):
                page = (await admin.get(f"{path}&limit=1&offset={offset}")).ok()
                assert page["items"] == whole["items"][offset : offset + 1]
    sorts = "'createdAt', '-createdAt', 'updatedAt', '-updatedAt', 'id' or '-id'"
    assert (await admin.get("/records?sort=price")).outcome == error(
        400, "VALIDATION_ERROR", f"Field 'sort' must be one of {sorts}, got 'price'"
    )
    cursor = (await admin.get("/records?sort=id&limit=1")).ok()["nextCursor"]
    assert (await admin.get(f"/records?sort=-id&limit=1&cursor={cursor}")).status == 400


async def test_a_list_has_the_records_that_are_named(workspace, admin):
    await seeded(workspace)
    page = (await admin.get("/records?ids=ent-2,ent-none,ent-0,ent-2,")).ok()
    assert (ids(page), page["total"], page["nextCursor"]) == (["ent-0", "ent-2"], 2, None)
    assert ids((await admin.get("/records?ids=ent-2,ent-0&sort=-id&schemaId=plain")).ok()) == [
        "ent-2",
        "ent-0",
    ]
    assert (await admin.get("/records?ids=")).ok()["items"] == []
    many = ",".join(f"e{number}" for number in range(501))
    assert (await admin.get(f"/records?ids={many}")).outcome == error(
        400, "VALIDATION_ERROR", "Field 'ids' must have at most 500 items, got 501"
    )


async def test_a_list_has_what_was_changed_since(workspace, admin):
    await seeded(workspace)
    last = (await admin.get("/records/ent-2")).ok()
    since = f"/records?updatedAfter={quote(last['updatedAt'])}"
    assert (await admin.get(since)).ok()["items"] == []
    (await admin.patch("/records/ent-0/values/secret", {"value": "t"})).ok()
    page = (await admin.get(f"{since}&sort=updatedAt")).ok()
    assert (ids(page), page["total"]) == (["ent-0"], 1)
    all_of_them = "/records?updatedAfter=2026-01-01T00:00:00Z"
    # In the order of the changes, if no other is asked for.
    assert ids((await admin.get(all_of_them)).ok()) == ["ent-1", "ent-2", "ent-0"]
    in_order = (await admin.get(f"{all_of_them}&sort=createdAt")).ok()
    assert ids(in_order) == ["ent-0", "ent-1", "ent-2"]
    for sent in ("yesterday", "2026-01-01T00:00:00", "1767225600", "0.5", "-1e3"):
        answer = await admin.get(f"/records?updatedAfter={sent}")
        assert (answer.status, "'updatedAfter'" in answer.body["message"]) == (400, True)


async def test_a_record_has_only_the_attributes_that_are_asked_for(workspace, admin):
    await seeded(workspace)
    whole = (await admin.get("/records/ent-0")).ok()
    for path in ("/records/ent-0?", "/records?ids=ent-0&"):

        async def shown(query: str, _path: str = path) -> dict[str, Any]:
            body = (await admin.get(_path + query)).ok()
            return body["items"][0] if "items" in body else body

        for names in ("price,secret", "attr-price,secret", "secret,price,price,"):
            for _ in range(2):
                part = await shown(f"attributes={names}")
                values = {name: whole["values"][name] for name in ("price", "secret")}
                assert part == {**whole, "values": values}
        assert (await shown("attributes="))["values"] == {}
        assert (await shown("attributes=apart"))["values"] == {}
        assert await shown("") == whole
        scope = quote(json.dumps({"dim-language": "seg-da", "market": "se"}))
        resolved = await shown(f"scope={scope}")
        assert resolved == {
            **whole,
            "resolved": {"name": "Nds", "price": 20, "secret": "s"},
        }
        both = await shown(f"scope={quote('{}')}&attributes=name,price")
        assert both["resolved"] == {"name": "N", "price": 10}
        assert both["values"].keys() == {"name", "price"}
        for query, message in (
            ("attributes=price,nmae", "Unknown attribute 'nmae'"),
            ("scope=" + quote('{"dim-x": "y"}'), "Unknown dimension 'dim-x'"),
            ("scope=da", "Field 'scope' expects a JSON object such as"),
        ):
            answer = await admin.get(path + query)
            assert answer.status == 400
            assert answer.body["message"].startswith(message)


async def test_a_hidden_attribute_is_asked_for_like_one_that_there_is_not(workspace, admin):
    await seeded(workspace)
    caller = await workspace.user_with_role({"*": {"*": "read", "attr-secret": "hidden"}})
    for path in ("/records/ent-0?attributes=", "/records?attributes="):
        unknown = (await caller.get(f"{path}nothing")).outcome
        hidden = (await caller.get(f"{path}secret")).outcome
        assert unknown == error(400, "VALIDATION_ERROR", "Unknown attribute 'nothing'")
        assert hidden == error(400, "VALIDATION_ERROR", "Unknown attribute 'secret'")
    scope = quote("{}")
    assert (await caller.get(f"/records/ent-0?scope={scope}")).ok()["resolved"] == {
        "name": "N",
        "price": 10,
    }


async def test_a_record_that_the_caller_knows_is_not_sent_again(workspace, admin):
    await seeded(workspace)
    first = await admin.get("/records/ent-0")
    assert first.ok()["version"] == 1
    tag = first.headers["ETag"]
    for sent in (tag, f"W/{tag}", f'"7", {tag}', "*"):
        known = await admin.get("/records/ent-0", headers={"If-None-Match": sent})
        assert (known.status, known.body, known.headers["ETag"]) == (304, None, tag)
    (await admin.patch("/records/ent-0/values/secret", {"value": "t"})).ok()
    changed = await admin.get("/records/ent-0", headers={"If-None-Match": tag})
    assert changed.ok()["version"] == 2
    assert (await admin.get("/records/ent-0", headers={"If-None-Match": "1"})).status == 400
    assert (await admin.get("/records/ent-x", headers={"If-None-Match": "*"})).status == 404


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How each page is read: whole, or only whether it has changed."""
    kinds: list[str] = []

    def note(name: str) -> None:
        original = getattr(store, name)

        async def noting(conn: Any, **more: Any) -> Any:
            kinds.append(name)
            return await original(conn, **more)

        monkeypatch.setattr(store, name, noting)

    note("page")
    note("unchanged")
    return kinds


async def test_a_page_that_is_asked_for_again_is_read_without_its_documents(workspace, admin, read):
    await seeded(workspace)
    path = "/records?schemaId=plain&limit=2"
    first = (await admin.get(path)).ok()
    assert read == ["page"]
    assert (await admin.get(path)).ok() == first
    assert read == ["page", "unchanged"]
    # Something changed: the documents are needed once more.
    (await admin.patch("/records/ent-0/values/secret", {"value": "t"})).ok()
    changed = (await admin.get(path)).ok()
    assert changed["items"] == [
        (await admin.get(f"/records/{one}")).ok() for one in ("ent-0", "ent-1")
    ]
    assert read == ["page", "unchanged", "unchanged", "page"]
    (await admin.delete("/records/ent-0")).ok()
    await put(admin, "ent-0", secret=[entry("u")])
    for _ in range(2):
        again = (await admin.get("/records?schemaId=plain")).ok()
        assert again["items"] == [
            (await admin.get(f"/records/{one}")).ok() for one in ("ent-1", "ent-2", "ent-0")
        ]
    # Other callers and other parts of the records have renderings of their own.
    caller = await workspace.user_with_role({"*": {"*": "read", "attr-secret": "hidden"}})
    for _ in range(2):
        seen = (await caller.get(path)).ok()
        assert all("secret" not in item["values"] for item in seen["items"])
        part = (await admin.get(f"{path}&attributes=price")).ok()
        assert all(item["values"].keys() <= {"price"} for item in part["items"])
    # A page has changed also if only the model, or what follows it, has.
    (await admin.get(path)).ok()
    attribute = (await admin.get("/attributes/attr-price")).ok()
    (await admin.put("/attributes/attr-price", {**attribute, "alias": "net"})).ok()
    assert (await admin.get(path)).ok()["items"][0]["values"].keys() == {"name", "net", "secret"}
    (await admin.delete("/records/ent-0")).ok()
    last = (await admin.get(path)).ok()
    assert (len(last["items"]), last["total"], last["nextCursor"]) == (2, 2, None)


@pytest.mark.parametrize("kept_s", [pytest.param(60, id="kept"), pytest.param(0, id="made anew")])
async def test_the_total_of_a_schema_is_that_of_the_moment(workspace, admin, monkeypatch, kept_s):
    """Also where it was counted a moment ago, in this process, and others come and go."""
    monkeypatch.setattr(counts, "KEPT_S", kept_s)
    await seeded(workspace)
    path = "/records?schemaId=plain&limit=1"
    for step in range(3):
        assert (await admin.get(path)).ok()["total"] == 3
        (await admin.delete(f"/records/ent-{step}")).ok()
        assert (await admin.get(path)).ok()["total"] == 2
        await put(admin, f"ent-{step}", secret=[entry("s")])
    monkeypatch.setattr("shared.database.paging.COUNTED_MAX", 2)
    for _ in range(2):
        many = (await admin.get(path)).ok()
        assert (many["total"] >= 3, many["totalIsEstimate"]) == (True, True)
    (await admin.delete("/records/ent-1")).ok()
    few = (await admin.get(path)).ok()
    assert (few["total"], "totalIsEstimate" in few) == (2, False)


async def test_what_was_counted_a_moment_ago_is_not_counted_again(workspace, admin, monkeypatch):
    await seeded(workspace)
    found: list[Any] = []
    original = store.page

    async def noting(conn: Any, **more: Any) -> Any:
        found.append(await original(conn, **more))
        return found[-1]

    monkeypatch.setattr(store, "page", noting)
    monkeypatch.setattr(counts, "KEPT_S", 60)
    for offset in range(2):
        path = f"/records?schemaId=plain&limit=1&offset={offset}"
        assert (await admin.get(path)).ok()["total"] == 3
    assert [each.count is None for each in found] == [False, True]


async def test_a_page_with_relations_is_read_whole_each_time(workspace, admin, read):
    """A related record may have been deleted, which changes no row of the page."""
    await workspace.attribute("kin", "relation")
    await workspace.schema("bound", ["kin"])
    first = (await workspace.post_record("bound")).ok()["id"]
    (await workspace.post_record("bound", kin=first)).ok()
    path = "/records?schemaId=bound&sort=-createdAt&limit=1"
    for _ in range(2):
        assert (await admin.get(path)).ok()["items"][0]["values"]["kin"][0]["value"] == first
    (await admin.delete(f"/records/{first}")).ok()
    assert (await admin.get(path)).ok()["items"][0]["values"] == {}
    assert set(read) == {"page"}
