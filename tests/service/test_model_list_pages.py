"""Pages of the lists that are arrays, and what narrows them, in all services that have some."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.described import DOCUMENT
from tests.kit.direct import DirectServices
from tests.kit.sigma import Answer, Caller, error

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATHS = (
    "/schemas",
    "/attributes",
    "/option-lists",
    "/dimensions",
    "/workflows",
    "/catalogs",
    "/roles",
)


async def made(workspace: Any, count: int = 5) -> None:
    for n in range(count):
        key = f"K/{n}"
        await workspace.attribute(f"a{n}", externalKey=key)
        await workspace.schema(f"s{n}", [f"a{n}"], externalKey=key)
        await workspace.option_list(f"o{n}", ["x"], externalKey=key)
        await workspace.dimension(f"d{n}", [f"e{n}"], externalKey=key)
        await workspace.workflow(f"w{n}", externalKey=key)
        body = {"id": f"cat-c{n}", "alias": f"c{n}", "name": f"c{n}", "externalKey": key}
        (await workspace.admin.post("/catalogs", body)).ok()
        await workspace.role(f"role-r{n}")


async def pages(admin: Caller, path: str, **params: str) -> list[list[str]]:
    """The ids of each page, by following the links."""
    found = []
    answer = await admin.get(path, params=params)
    while True:
        assert isinstance(answer.ok(), list)
        found.append([one["id"] for one in answer.ok()])
        link = answer.headers.get("Link")
        if link is None:
            return found
        address, relation = link.split("; ")
        assert relation == 'rel="next"'
        answer = await admin.get(address.strip("<>").removeprefix("/api/v1"))


async def test_a_list_is_read_in_pages(direct: DirectServices):
    workspace = await direct.workspace()
    await made(workspace)
    for path in PATHS:
        whole = [one["id"] for one in (await workspace.admin.get(path)).ok()]
        assert "Link" not in (await workspace.admin.get(path)).headers
        for limit in (1, 2, len(whole) - 1, len(whole), 500):
            found = await pages(workspace.admin, path, limit=str(limit))
            assert [one for page in found for one in page] == whole, (path, limit)
            assert [len(page) for page in found[:-1]] == [limit] * (len(found) - 1)
            assert 0 < len(found[-1]) <= limit


async def test_what_is_added_and_removed_meanwhile_repeats_nothing(direct: DirectServices):
    workspace = await direct.workspace()
    await made(workspace, 3)
    admin = workspace.admin
    first = await admin.get("/attributes", params={"limit": "2"})
    (await admin.delete("/schemas/schema-s1")).ok()
    (await admin.delete("/attributes/attr-a1")).ok()
    await workspace.attribute("a9")
    following = first.headers["Link"].partition(">")[0].removeprefix("</api/v1")
    rest = (await admin.get(following)).ok()
    assert [one["id"] for one in first.ok()] == ["attr-a0", "attr-a1"]
    assert [one["id"] for one in rest] == ["attr-a2", "attr-a9"]


async def test_lists_are_narrowed(direct: DirectServices):
    workspace = await direct.workspace()
    await made(workspace)
    admin = workspace.admin

    async def ids(path: str, **params: str) -> list[str]:
        return [one["id"] for one in (await admin.get(path, params=params)).ok()]

    prefixes = {"schemas": "schema-s", "attributes": "attr-a", "option-lists": "ol-o"}
    prefixes |= {"dimensions": "dim-d", "workflows": "wf-w", "catalogs": "cat-c"}
    prefixes |= {"roles": "role-r"}
    for name, prefix in prefixes.items():
        path = f"/{name}"
        assert await ids(path, ids=f"{prefix}3,{prefix}1,none") == [f"{prefix}1", f"{prefix}3"]
        assert await ids(path, ids=f"{prefix}3,{prefix}1", limit="1") == [f"{prefix}1"]
        if name == "roles":
            continue
        letter = prefix[-1]
        assert await ids(path, aliases=f"{letter}4,{letter}2") == [f"{prefix}2", f"{prefix}4"]
        assert await ids(path, aliases=f"{letter}4", ids=f"{prefix}2") == []
        assert await ids(path, externalKey="K/2") == [f"{prefix}2"]
        assert await ids(path, externalKey="k/2") == []
    assert await ids("/attributes", schemaId="schema-s3") == ["attr-a3"]
    assert await ids("/attributes", schemaId="s3") == ["attr-a3"]
    assert await ids("/attributes", schemaId="none") == []
    found = await pages(admin, "/attributes", ids="attr-a1,attr-a3,attr-a4", limit="2")
    assert found == [["attr-a1", "attr-a3"], ["attr-a4"]]


async def test_every_list_finds_what_another_system_calls_so(direct: DirectServices):
    """Each list whose items have external keys, as the description has them."""
    workspace = await direct.workspace()
    await made(workspace, 3)
    admin = workspace.admin
    attributes = [f"a{n}" for n in range(3)]
    await workspace.schema("all", attributes)
    values = "/option-lists/ol-o0/values"
    for n in range(3):
        key = {"externalKey": f"K/{n}"}
        (await admin.post(values, {"alias": f"v{n}", "label": "v", **key})).ok()
        category = {"id": f"ctg-{n}", "alias": f"g{n}", "name": "g", **key}
        (await admin.post("/catalogs/cat-c0/categories", category)).ok()
        (await admin.post("/records", {"schemaId": "schema-all", **key})).ok()
    below = {"id": "ctg-below", "alias": "below", "name": "below", "parentId": "ctg-1"}
    (await admin.post("/catalogs/cat-c0/categories", below)).ok()
    objects = {"schemas": "schema-all", "option-lists": "ol-o0", "catalogs": "cat-c0"}
    asked = 0
    for path in lists_of_what_has("externalKey"):
        address = path.replace("{id}", objects.get(path.split("/")[1], ""))
        assert len(items(await admin.get(address))) > 1, path
        (one,) = items(await admin.get(address, params={"externalKey": "K/1"}))
        assert one["externalKey"] == "K/1", path
        if path.endswith("/tree"):
            assert [each["id"] for each in one["children"]] == ["ctg-below"]
        assert items(await admin.get(address, params={"externalKey": "k/1"})) == [], path
        asked += 1
    assert asked > len(PATHS)


async def test_every_list_of_model_objects_takes_the_same_parameters():
    for path in lists_of_what_has("labels"):
        taken = {"ids", "aliases", "externalKey", "limit", "cursor"}
        if path.count("/") == 1:
            assert parameters(path) >= taken, path


# Neither is a list of its own: the one tells what a text matches, the other what is in a category.
NOT_BY_KEY = {"/search/text", "/categories/{id}/entities"}


def lists_of_what_has(field: str) -> list[str]:
    """The paths of the lists whose items have this field."""
    found = []
    for path, operations in DOCUMENT["paths"].items():
        answer = operations.get("get", {}).get("responses", {}).get("200", {})
        schema = resolved(answer.get("content", {}).get("application/json", {}).get("schema", {}))
        if schema.get("type") != "array":
            schema = resolved(schema.get("properties", {}).get("items", {}))
        short = path.removeprefix("/api/v1")
        if short not in NOT_BY_KEY and field in resolved(schema.get("items", {})).get(
            "properties", {}
        ):
            found.append(short)
    return found


def parameters(path: str) -> set[str]:
    return {
        resolved(one)["name"] for one in DOCUMENT["paths"][f"/api/v1{path}"]["get"]["parameters"]
    }


def resolved(schema: Any) -> Any:
    while "$ref" in schema:
        named = DOCUMENT
        for part in schema["$ref"].removeprefix("#/").split("/"):
            named = named[part]
        schema = named
    return schema


def items(answer: Answer) -> list[Any]:
    found = answer.ok()
    return found if isinstance(found, list) else found["items"]


async def test_a_cursor_is_good_for_its_list_alone(direct: DirectServices):
    workspace, other = await direct.workspace(), await direct.workspace()
    await made(workspace, 3)
    await made(other, 3)
    for path in PATHS:
        answer = await workspace.admin.get(path, params={"limit": "1"})
        cursor = answer.headers["Link"].partition("cursor=")[2].partition(">")[0]
        elsewhere = PATHS[(PATHS.index(path) + 1) % len(PATHS)]
        for refused in (
            await workspace.admin.get(elsewhere, params={"cursor": cursor}),
            await workspace.admin.get(path, params={"cursor": cursor, "ids": "x"}),
            await other.admin.get(path, params={"cursor": cursor}),
            await workspace.admin.get(path, params={"cursor": cursor[::-1]}),
        ):
            assert (refused.status, refused.body["error"]) == (400, "VALIDATION_ERROR"), path
            assert "Field 'cursor' must be that of the 'Link'" in refused.body["message"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"limit": "0"}, "Field 'limit' must be at least 1, got '0'"),
        ({"limit": "501"}, "Field 'limit' must be at most 500, got '501'"),
        ({"limit": "x"}, "Field 'limit' expects a whole number, got 'x'"),
        ({"ids": ",".join("x" * 501)}, "Field 'ids' must have at most 500 items, got 501"),
    ],
)
async def test_parameters_have_bounds(direct: DirectServices, params: dict[str, str], message: str):
    workspace = await direct.workspace()
    for path in PATHS:
        answer = await workspace.admin.get(path, params=params)
        assert answer.outcome == error(400, "VALIDATION_ERROR", message), path
