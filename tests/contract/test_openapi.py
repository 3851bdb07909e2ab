"""The shipped description, the routers, the gateway's table and the documented endpoints agree."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import orjson
import pytest
from aiohttp import web
from pydantic import BaseModel

import auth_service.app
import auth_service.config
import gateway.app
import records_service.app
import records_service.config
import workflow_service.app
import workflow_service.config
from deploy.openapi import document
from gateway.config import GatewayConfig
from gateway.description import OPENAPI_FILE
from gateway.operations import Policy
from gateway.routes import RouteTable, split_target
from shared.http import ROUTES, SMALL_BODY, Route
from shared.process.config import load
from tests.contract.documented import DOCUMENTED
from tests.kit.identities import Keyring

SHIPPED: dict[str, Any] = orjson.loads(OPENAPI_FILE.read_bytes())


POLICY = Policy(body_bytes_max=10 << 20, deadline_s=30.0)
GATEWAY_ROUTES = RouteTable.shipped(POLICY)


def test_the_shipped_description_is_the_one_that_the_code_gives():
    assert OPENAPI_FILE.read_bytes() == document.written(document.document()), "run `make openapi`"


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in SHIPPED["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def access_of(operation: dict[str, Any]) -> str:
    if operation["security"] == []:
        return "open"
    if operation["security"] == [{"bearer": []}]:
        return "people"
    assert operation["security"] == [{"bearer": []}, {"apiKey": []}]
    return str(operation["x-api-key-permission"])


def test_it_is_what_the_documentation_says():
    documented = {
        (method, path): (access, int(status))
        for method, path, access, status in (
            line.split() for line in DOCUMENTED.split("\n") if line
        )
    }
    described = {
        (method, path): (
            access_of(operation),
            # A dry run of an import answers 200, the import 202.
            max(int(status) for status in operation["responses"] if status < "300"),
        )
        for method, path, operation in operations()
    }
    assert described == documented


def apps() -> dict[str, web.Application]:
    """The four services as they are put together, not started."""
    keyring = Keyring("auth_service", "workflow_service")
    database_url = "postgresql://nobody@127.0.0.1:9/nothing"
    filled: dict[str, Any] = {
        "port": 0,
        "internal_port": 0,
        "amqp_url": "amqp://nobody@127.0.0.1:9/",
        "identity_keys": keyring.public,
        "database_url": database_url,
        "token_keys": "k=" + "A" * 43 + "=",
        **dict.fromkeys(("auth_url", "records_url", "workflow_url"), "http://127.0.0.1:9"),
        "secret_keys": f"test={base64.b64encode(bytes(32)).decode()}",
    }
    made: dict[str, web.Application] = {}
    services: list[tuple[str, Any, Any]] = [
        ("gateway", gateway.app.create_app, GatewayConfig),
        ("auth_service", auth_service.app.create_app, auth_service.config.Config),
        ("records_service", records_service.app.create_app, records_service.config.Config),
        ("workflow_service", workflow_service.app.create_app, workflow_service.config.Config),
    ]
    for service, create_app, kind in services:
        settings = {name: value for name, value in filled.items() if name in kind.model_fields}
        if "identity_signing_key" in kind.model_fields:
            settings["identity_signing_key"] = keyring.signing_key(service)
        made[service] = create_app(load(kind, **settings), "api")
    return made


APPS = apps()


def routed(app: web.Application) -> set[tuple[str, str]]:
    return {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None
    }


def test_routers_and_description_hold_the_same_endpoints():
    found = {
        (method, path)
        for app in APPS.values()
        for method, path in routed(app)
        if method not in ("HEAD", "*")
        and path != "/"
        and not path.startswith(("/internal/", "/docs"))
    }
    assert found == {(method, path) for method, path, _ in operations()}


def public_routes() -> Iterator[tuple[str, Route]]:
    for service in ("auth_service", "records_service", "workflow_service"):
        for route in APPS[service][ROUTES]:
            if not route.internal:
                yield service, route


@pytest.mark.parametrize(
    ("service", "route"),
    [pytest.param(*one, id=f"{one[1].method} {one[1].path}") for one in public_routes()],
)
def test_the_gateway_leads_to_the_service_and_asks_for_what_the_route_asks(
    service: str, route: Route
):
    path, _ = split_target(re.sub(r"\{\w+\}", "some-id", route.path))
    prefix = GATEWAY_ROUTES.prefix_of(path)
    assert prefix is not None
    assert prefix.service == service
    operation = prefix.operation(route.method, path)
    access = operation.access
    assert access.open == route.open
    assert access.user_only == route.user_only
    if not route.user_only:
        assert access.permission == route.permission
    if route.body is not None:
        assert operation.policy.body_bytes_max == (route.body_bytes_max or POLICY.body_bytes_max)
    assert operation.policy.deadline_s == (route.deadline_s or POLICY.deadline_s)


def test_without_a_credential_only_small_bodies_are_taken():
    for _, route in public_routes():
        if route.body is not None and route.open:
            assert route.body_bytes_max == SMALL_BODY, route.path


def bodies() -> Iterator[type[BaseModel]]:
    for app in APPS.values():
        for route in app[ROUTES]:
            if route.body is not None:
                yield route.body


@pytest.mark.parametrize("model", sorted(set(bodies()), key=lambda model: model.__name__))
def test_every_list_and_object_in_a_body_has_a_bound_that_is_counted_first(model: type[BaseModel]):
    """Pydantic counts after it has looked at every member; `AtMost` counts first."""

    def check(schema: Any, inside: str = "") -> None:
        if isinstance(schema, dict):
            if schema.get("type") in ("list", "dict"):
                assert inside == "function-wrap", f"{model.__name__}: give it AtMost"
                assert schema.get("max_length") is not None
            for part in schema.values():
                check(part, schema.get("type", inside))
        elif isinstance(schema, list):
            for part in schema:
                check(part, inside)

    check(model.__pydantic_core_schema__)


def test_every_prefix_of_the_gateway_has_an_endpoint():
    used = {
        GATEWAY_ROUTES.prefix_of(route.path.replace("{", "").replace("}", ""))
        for _, route in public_routes()
    }
    assert used == set(GATEWAY_ROUTES.prefixes.values())


def test_nothing_internal_is_described():
    text = OPENAPI_FILE.read_text()
    assert "/internal/" not in text
    assert "127.0.0.1" not in text
    assert "localhost" not in text


def test_it_is_openapi_3_1_and_every_reference_leads_somewhere():
    assert SHIPPED["openapi"].startswith("3.1.")
    for schema in SHIPPED["components"]["schemas"].values():
        jsonschema_rs.meta.validate(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        )
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', OPENAPI_FILE.read_text()):
        found: Any = SHIPPED
        for step in reference.split("/"):
            found = found[step.replace("~1", "/").replace("~0", "~")]
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))


def test_every_part_is_described():
    undescribed = [
        *(tag["name"] for tag in SHIPPED["tags"] if not tag.get("description")),
        *(
            f"{method} {path} {parameter['name']}"
            for method, path, operation in operations()
            for parameter in operation["parameters"]
            if "$ref" not in parameter and not parameter.get("description")
        ),
        *(
            name
            for name, schema in SHIPPED["components"]["schemas"].items()
            if not schema.get("description")
        ),
        *(
            f"{name}.{field}"
            for name, schema in SHIPPED["components"]["schemas"].items()
            for field, part in schema.get("properties", {}).items()
            if not part.get("description")
        ),
    ]
    assert undescribed == []


def test_every_operation_says_what_a_key_and_a_role_need():
    for method, path, operation in operations():
        said = operation["description"].rpartition("\n\n")[2]
        if operation["security"] == []:
            assert said == "No credential is needed."
            continue
        permission = operation.get("x-api-key-permission")
        for_users_only = "Only users can do this, not API keys."
        needed = f"API key permission: `{permission}`." if permission else for_users_only
        assert said.startswith(needed), f"{method} {path}"
        assert "Role: " in said


ID_WITHOUT_READ = 'An API key without the permission `read` gets only the `id`, `{"id": "..."}`'
WITHOUT_READ = f"{ID_WITHOUT_READ}, and the version as `ETag`."


NOTHING_WITHOUT_READ = "An API key without the permission `read` gets only `{}`."


def test_every_write_says_what_a_key_without_read_is_answered():
    """Schemas show what everybody else gets; tests/e2e/test_permissions.py asks every write."""
    writes = 0
    for method, path, operation in operations():
        # The last one: a dry run of an import answers 200, the import 202.
        *_, success = (told for status, told in operation["responses"].items() if status < "300")
        permission = operation.get("x-api-key-permission", "read")
        # Bulk calls, imports and jobs tell everybody how many rows or records there were of which
        # kind, and nothing of records.
        is_write = permission != "read" and "content" in success
        is_write = is_write and not re.search("/bulk|/import|/jobs|/convert", path)
        said = success["description"]
        assert (ID_WITHOUT_READ in said or NOTHING_WITHOUT_READ in said) == is_write, (
            f"{method} {path}"
        )
        if is_write:
            writes += 1
            schema = success["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            fields = SHIPPED["components"]["schemas"][schema]["properties"]
            assert ("id" in fields) == (ID_WITHOUT_READ in said), f"{method} {path}"
            assert ("ETag" in success.get("headers", ())) == (WITHOUT_READ in said)
    assert writes > 10
    introduced = " ".join(SHIPPED["info"]["description"].split())
    said = 'gets only `{"id": "..."}`, and the version as `ETag`, in answer to a write'
    assert f"An API key without the permission `read` {said}" in introduced


def _parts(node: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema below this one, with its place; examples are no schemas."""
    if isinstance(node, list):
        for index, each in enumerate(node):
            yield from _parts(each, f"{place}/{index}")
    elif isinstance(node, dict):
        yield place, node
        for name, each in node.items():
            if name not in ("example", "examples"):
                yield from _parts(each, f"{place}/{name}")


def test_generators_find_names_for_every_object_and_enumeration_and_no_defaults():
    inline: list[str] = []
    for name, schema in SHIPPED["components"]["schemas"].items():
        assert "title" not in schema
        for keyword, below in schema.items():
            if keyword not in ("example", "examples"):
                inline += _unnamed(below, f"{name}/{keyword}")
    inline += _unnamed(SHIPPED["paths"], "paths")
    inline += _unnamed(SHIPPED["components"]["responses"], "responses")
    assert inline == []
    names = set(SHIPPED["components"]["schemas"])
    assert not [name for name in names if name.endswith(("Answer", "-Input", "-Output"))]


def _unnamed(node: Any, place: str) -> list[str]:
    return [
        where
        for where, schema in _parts(node, place)
        # What is called so is a field when it stands among the fields.
        if not where.endswith("/properties")
        and not {
            "enum",
            "default",
            "properties",
            "additionalProperties",
            "patternProperties",
        }.isdisjoint(schema)
    ]


def _bodies() -> Iterator[tuple[str, dict[str, Any]]]:
    for method, path, operation in operations():
        contents = {"sent": operation.get("requestBody", {}).get("content", {})}
        for status, response in operation["responses"].items():
            if status < "300":
                contents[status] = response.get("content", {})
        for part, content in contents.items():
            if content:
                yield f"{method} {path} {part}", next(iter(content.values()))
    for name, response in SHIPPED["components"]["responses"].items():
        for media_type, content in response["content"].items():
            for code, example in content["examples"].items():
                yield f"{name} {media_type} {code}", {**content, "example": example["value"]}


@pytest.mark.parametrize("content", [pytest.param(body, id=name) for name, body in _bodies()])
def test_every_body_and_answer_has_an_example_that_is_valid(content: dict[str, Any]):
    schema = {**content["schema"], "components": SHIPPED["components"]}
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    assert [error.message for error in validator.iter_errors(content["example"])] == []


def test_examples_of_requests_hold_no_null():
    for method, path, operation in operations():
        content = operation.get("requestBody", {}).get("content", {})
        if content:
            example = next(iter(content.values()))["example"]
            assert "null" not in orjson.dumps(example).decode(), f"{method} {path}"
