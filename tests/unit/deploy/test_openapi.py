"""The description says what the routes say, and nothing that others call."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
import pytest
from aiohttp import web
from pydantic import BaseModel, Field
from typing_extensions import TypeAliasType

from deploy.openapi.description import describe
from deploy.openapi.schemas import Examples
from shared.errors import BY_CODE, Conflict, LimitExceeded, PreconditionFailed
from shared.http import Page, Routes
from shared.http.shapes import DescribedAs, Shape
from shared.identity import Flag, Permission


class Part(BaseModel):
    name: str


Word = TypeAliasType("Word", Literal["yes", "no"])
Words = TypeAliasType("Words", dict[Annotated[str, Field(pattern="^w")], Word])


class Draft(Shape):
    schema_id: str = Field(alias="schemaId")
    parts: list[Part] = Field(default_factory=list)
    words: Words = Field(default={}, description="Word by word.")
    size: int | None = None
    """In metres."""
    is_new: bool = False
    anything: Annotated[dict[str, Any], DescribedAs(Words)] = Field(default={})


class ThingAnswer(Draft):
    """One thing. It is small."""

    id: str


class Filter(Page):
    colour: Annotated[str | None, Field(description="One of many")] = None
    need: Annotated[str, Field(pattern="^a")]


async def nothing(_request: web.Request) -> web.StreamResponse:
    """One sentence.

    And a second one.
    """
    raise AssertionError("described, never called")


def table(tag: str = "Things") -> Routes:
    return Routes(tag=tag, about="What there is.")


@pytest.fixture
def described() -> dict[str, Any]:
    things = table()
    things.get(
        "/api/v1/things",
        permission=Permission.READ,
        query=Filter,
        answers=list[ThingAnswer],
        summary="List things",
    )(_named("list_things"))
    things.post(
        "/api/v1/things",
        permission=Permission.UPDATE_DATA,
        flag=Flag.IMPORT,
        body=Draft,
        answers=ThingAnswer,
        status=201,
        errors=(Conflict, LimitExceeded),
    )(_named("create_thing"))
    things.put(
        "/api/v1/things/{id}/values/{attr}",
        permission=Permission.UPDATE_DATA,
        body=Draft,
        answers=ThingAnswer,
        errors=(PreconditionFailed,),
    )(_named("set_value"))
    things.get(
        "/api/v1/things/{id}",
        permission=Permission.READ,
        role="one that may see it",
        answers=ThingAnswer,
    )(_named("get_thing"))
    things.delete(
        "/api/v1/things/{id}", permission=Permission.DELETE_DATA, errors=(PreconditionFailed,)
    )(_named("delete_thing"))
    things.get("/api/v1/keys", user_only=True, answers=dict[str, str])(_named("list_keys"))
    things.get("/open", open=True, answers=dict[str, str])(_named("open_to_all"))
    things.internal_post("/internal/things", body=Draft)(_named("internal"))
    things.catch_all()(_named("everything"))
    thing = {"schemaId": "s", "parts": [{"name": "p"}]}
    examples = {"createThing": Examples(thing, {"id": "t", **thing})}
    return describe("Title", "1.2.3", [things], examples)


def _named(name: str) -> Any:
    async def handler(request: web.Request) -> web.StreamResponse:
        return await nothing(request)

    handler.__name__ = name
    handler.__doc__ = nothing.__doc__
    return handler


def resolve(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in node:
        return node
    found: Any = document
    for part in node["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(references, node.values())) if node else own
    return set().union(*map(references, node)) if isinstance(node, list) else set()


def test_it_holds_the_routes_for_clients_and_no_others(described: dict[str, Any]):
    assert {path: sorted(found) for path, found in described["paths"].items()} == {
        "/api/v1/things": ["get", "post"],
        "/api/v1/things/{id}": ["delete", "get"],
        "/api/v1/things/{id}/values/{attr}": ["put"],
        "/api/v1/keys": ["get"],
        "/open": ["get"],
    }
    assert described["openapi"] == "3.1.0"
    assert described["info"]["title"] == "Title"
    assert orjson.dumps(described)


def test_every_reference_leads_somewhere_and_nothing_is_left_over(described: dict[str, Any]):
    found = references(described)
    for reference in found:
        assert resolve(described, {"$ref": reference})
    for kind in ("schemas", "responses"):
        for name in described["components"][kind]:
            assert f"#/components/{kind}/{name}" in found
    assert "Filter" not in described["components"]["schemas"]


def test_a_query_becomes_parameters_that_are_never_null(described: dict[str, Any]):
    parameters = {p["name"]: p for p in described["paths"]["/api/v1/things"]["get"]["parameters"]}
    assert parameters == {
        "offset": {
            "name": "offset",
            "in": "query",
            "required": False,
            "description": "The number of items to skip. Default: `0`.",
            "schema": {"type": "integer", "minimum": 0, "maximum": 2**53 - 1},
        },
        "limit": {
            "name": "limit",
            "in": "query",
            "required": False,
            "description": "The maximum number of items to return. Default: `50`.",
            "schema": {"type": "integer", "minimum": 1, "maximum": 500},
        },
        "colour": {
            "name": "colour",
            "in": "query",
            "required": False,
            "description": "One of many",
            "schema": {"type": "string"},
        },
        "need": {
            "name": "need",
            "in": "query",
            "required": True,
            "schema": {"type": "string", "pattern": "^a"},
        },
    }


def test_path_parameters_have_the_form_of_ids(described: dict[str, Any]):
    operation = described["paths"]["/api/v1/things/{id}/values/{attr}"]["put"]
    parameters = [resolve(described, each) for each in operation["parameters"]]
    found = {p["name"]: p["schema"]["pattern"] for p in parameters if p["in"] == "path"}
    assert found == {
        "id": "^[a-z0-9][a-z0-9._-]{0,127}$",
        "attr": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$",
    }
    assert [p["name"] for p in parameters if p["in"] == "header"] == [
        *("If-Match", "Idempotency-Key", "Prefer")
    ]


def test_credentials_and_the_key_permission_are_told(described: dict[str, Any]):
    paths = described["paths"]
    create = paths["/api/v1/things"]["post"]
    assert create["security"] == [{"bearer": []}, {"apiKey": []}]
    assert create["x-api-key-permission"] == "update-data"
    assert paths["/api/v1/keys"]["get"]["security"] == [{"bearer": []}]
    assert "x-api-key-permission" not in paths["/api/v1/keys"]["get"]
    assert paths["/open"]["get"]["security"] == []
    assert "401" not in paths["/open"]["get"]["responses"]


def test_bodies_and_answers_are_the_models(described: dict[str, Any]):
    create = described["paths"]["/api/v1/things"]["post"]
    body = resolve(described, create["requestBody"]["content"]["application/json"]["schema"])
    assert list(body["properties"]) == [
        *("schemaId", "parts", "words", "size", "is_new", "anything")
    ]
    assert body["required"] == ["schemaId"]
    answer = create["responses"]["201"]["content"]["application/json"]["schema"]
    assert "id" in resolve(described, answer)["properties"]
    listed = described["paths"]["/api/v1/things"]["get"]["responses"]["200"]
    assert listed["content"]["application/json"]["schema"]["type"] == "array"
    deleted = described["paths"]["/api/v1/things/{id}"]["delete"]["responses"]["204"]
    assert "content" not in deleted


def test_generators_find_no_default_no_title_and_maps_as_they_know_them(described: dict[str, Any]):
    draft = described["components"]["schemas"]["Draft"]
    assert draft == {
        "type": "object",
        "required": ["schemaId"],
        "properties": {
            "schemaId": {"type": "string"},
            "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Part"}},
            "words": {
                "$ref": "#/components/schemas/Words",
                "description": "Word by word. Default: `{}`.",
            },
            "size": {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "In metres."},
            "is_new": {"type": "boolean", "description": "Default: `false`."},
            "anything": {"$ref": "#/components/schemas/Words", "description": "Default: `{}`."},
        },
    }
    assert described["components"]["schemas"]["Words"] == {
        "type": "object",
        "propertyNames": {"pattern": "^w"},
        "additionalProperties": {"$ref": "#/components/schemas/Word"},
    }
    assert described["components"]["schemas"]["Word"]["enum"] == ["yes", "no"]
    assert "Thing" in described["components"]["schemas"]


def test_two_components_are_never_named_alike():
    class PartAnswer(BaseModel):
        size: int

    things = table()
    things.post("/a", open=True, body=Part, answers=PartAnswer)(_named("make"))
    with pytest.raises(ValueError, match="two components are named alike: Part"):
        describe("T", "1", [things])


def test_a_success_tells_the_version_and_the_place_of_what_is_new(described: dict[str, Any]):
    def sent(path: str, method: str, status: str) -> list[str]:
        told = described["paths"][path][method]["responses"][status].get("headers", {})
        assert (method == "get") == ("Idempotency-Replayed" not in told)
        assert (method == "get") == ("Preference-Applied" not in told)
        return [name for name in told if name in ("ETag", "Location")]

    assert sent("/api/v1/things", "post", "201") == ["ETag", "Location"]
    assert sent("/api/v1/things", "get", "200") == []
    assert sent("/api/v1/things/{id}", "get", "200") == ["ETag"]
    assert sent("/api/v1/things/{id}", "delete", "204") == []
    assert sent("/api/v1/things/{id}/values/{attr}", "put", "200") == ["ETag"]


def test_each_operation_says_what_a_key_and_a_person_need(described: dict[str, Any]):
    def said(path: str, method: str) -> str:
        return str(described["paths"][path][method]["description"].rpartition("\n\n")[2])

    assert said("/api/v1/things", "post") == "API key permission: `update-data`. Role: `canImport`."
    assert said("/api/v1/things", "get") == "API key permission: `read`. Role: any."
    assert said("/api/v1/things/{id}", "get").endswith("Role: one that may see it.")
    assert said("/api/v1/keys", "get").startswith("Only users can do this, not API keys.")
    assert said("/open", "get") == "No credential is needed."
    success = described["paths"]["/open"]["get"]["responses"]["200"]
    assert success["description"] == "The answer."
    of_model = described["paths"]["/api/v1/things/{id}"]["get"]["responses"]["200"]
    assert of_model["description"] == "One thing."
    assert described["tags"] == [{"name": "Things", "description": "What there is."}]


def test_examples_stand_at_their_operation_and_an_answer_is_whole(described: dict[str, Any]):
    create = described["paths"]["/api/v1/things"]["post"]
    thing = {"schemaId": "s", "parts": [{"name": "p"}]}
    assert create["requestBody"]["content"]["application/json"]["example"] == thing
    answer = create["responses"]["201"]["content"]["application/json"]["example"]
    assert answer == {"id": "t", **thing}
    with pytest.raises(ValueError, match="examples of no operation: nothing"):
        describe("T", "1", [table()], {"nothing": Examples()})


def test_an_example_of_an_answer_has_null_where_the_field_is_required():
    class WholeAnswer(BaseModel):
        name: str
        size: int | None

    things = table()
    things.get("/a", open=True, answers=list[WholeAnswer])(_named("look"))
    found = describe("T", "1", [things], {"look": Examples(answered=[{"name": "n"}])})
    content = found["paths"]["/a"]["get"]["responses"]["200"]["content"]["application/json"]
    assert content["example"] == [{"name": "n", "size": None}]


def test_errors_are_responses_with_the_envelope(described: dict[str, Any]):
    create = described["paths"]["/api/v1/things"]["post"]["responses"]
    assert sorted(create) == [
        *("201", "400", "401", "403", "405", "409", "413", "415", "429", "500", "503", "504")
    ]
    denied = resolve(described, create["403"])["content"]["application/json"]
    assert denied["schema"] == {"$ref": "#/components/schemas/ApiError"}
    assert sorted(denied["examples"]) == ["LIMIT_EXCEEDED", "PERMISSION_DENIED"]
    assert denied["examples"]["LIMIT_EXCEEDED"]["value"] == {
        "error": "LIMIT_EXCEEDED",
        "message": "Entity limit of 500 reached",
    }
    away = resolve(described, create["503"])
    assert "Retry-After" in away["headers"]
    assert "application/problem+json" in away["content"]


def test_every_code_has_an_example():
    assert all(kind.example for kind in BY_CODE.values())


def test_two_features_may_name_a_handler_alike_and_one_may_not():
    one, two = table("Roles"), table("API keys")
    one.get("/a", open=True, answers=dict[str, str])(_named("list_all"))
    two.get("/b", open=True, answers=dict[str, str])(_named("list_all"))
    paths = describe("T", "1", [one, two])["paths"]
    assert paths["/a"]["get"]["operationId"] == "rolesListAll"
    assert paths["/b"]["get"]["operationId"] == "apiKeysListAll"
    two.get("/c", open=True, answers=dict[str, str])(_named("list_all"))
    with pytest.raises(ValueError, match="named alike"):
        describe("T", "1", [one, two])


def test_one_route_is_declared_once():
    twice = table()
    twice.get("/a", open=True)(_named("first"))
    twice.get("/a", open=True)(_named("second"))
    with pytest.raises(ValueError, match="GET /a is declared twice"):
        describe("T", "1", [twice])


def test_a_route_says_who_may_call_it():
    with pytest.raises(TypeError, match="GET /a does not say who may call it"):
        table().get("/a", answers=dict[str, str])(_named("forgotten"))
    with pytest.raises(TypeError, match="POST /a does not say who may call it"):
        table().post("/a", permission=None)(_named("forgotten"))
