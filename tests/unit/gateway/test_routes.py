"""Which service answers an address, what a key must hold, and which addresses are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.operations import Access, Operation, Policy
from gateway.routes import (
    RouteTable,
    Service,
    check_method,
    split_target,
)
from shared.errors import MethodNotAllowed, ValidationError
from shared.http import NAMES_BODY, SMALL_BODY
from shared.identity import Permission

POLICY = Policy(body_bytes_max=10 << 20, deadline_s=30.0)
ROUTES = RouteTable.shipped(POLICY)

DATA = ("read", "update-data", "delete-data")
MODEL = ("read", "update-model", "delete-model")

CLASSES = {
    "schemas": ("records_service", MODEL),
    "attributes": ("records_service", MODEL),
    "dimensions": ("records_service", MODEL),
    "option-lists": ("records_service", MODEL),
    "records": ("records_service", DATA),
    "variants": ("records_service", DATA),
    "audit": ("records_service", DATA),
    "import": ("records_service", DATA),
    "imports": ("records_service", DATA),
    "export": ("records_service", DATA),
    "changes": ("records_service", DATA),
    "jobs": ("records_service", MODEL),
    "catalogs": ("records_service", MODEL),
    "categories": ("records_service", MODEL),
    "search": ("records_service", DATA),
    "saved-queries": ("records_service", DATA),
    "workflows": ("workflow_service", MODEL),
    "change-sets": ("workflow_service", DATA),
    "webhooks": ("workflow_service", MODEL),
    "channels": ("workflow_service", MODEL),
    "export-jobs": ("workflow_service", MODEL),
    "roles": ("auth_service", MODEL),
    "api-keys": ("auth_service", (None, None, None)),
    "auth": ("auth_service", (None, None, None)),
    "permissions": ("records_service", DATA),
    "me": ("auth_service", DATA),
}


def test_only_what_this_version_has_is_routed():
    assert set(ROUTES.prefixes) == set(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_a_prefix_leads_to_its_service_and_asks_for_its_class(name: str):
    service, (reading, changing, deleting) = CLASSES[name]
    path = f"/api/v1/{name}/some-id"
    prefix = ROUTES.prefix_of(path)
    assert prefix is not None
    assert (prefix.name, prefix.service) == (f"/api/v1/{name}", Service(service))
    asked = {
        method: prefix.operation(method, path).access.permission
        for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
    }
    assert asked == {
        **dict.fromkeys(("GET", "HEAD", "OPTIONS"), reading),
        **dict.fromkeys(("POST", "PUT", "PATCH"), changing),
        "DELETE": deleting,
    }


@pytest.mark.parametrize(
    ("method", "path", "permission"),
    [
        ("POST", "/api/v1/dimensions/scope-matrix", Permission.READ),
        ("PUT", "/api/v1/dimensions/scope-matrix", Permission.UPDATE_MODEL),
        ("POST", "/api/v1/dimensions/scope-matrix/", Permission.UPDATE_MODEL),
        ("POST", "/api/v1/dimensions/scope%2Dmatrix", Permission.UPDATE_MODEL),
        ("POST", "/api/v1/roles/role-editor/resolve", Permission.READ),
        ("POST", "/api/v1/roles/role-editor/more/resolve", Permission.UPDATE_MODEL),
        ("DELETE", "/api/v1/roles/role-editor/resolve", Permission.DELETE_MODEL),
        ("POST", "/api/v1/records/ent-1/transition", Permission.UPDATE_DATA),
        ("PATCH", "/api/v1/records/ent-1/values/sku", Permission.UPDATE_DATA),
    ],
)
def test_a_post_that_only_computes_needs_to_read(method: str, path: str, permission: Permission):
    prefix = ROUTES.prefix_of(path)
    assert prefix is not None
    assert prefix.operation(method, path).access.permission == permission


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1",
        "/api/v1/",
        "/api/v1/recordsx",
        "/api/v1/Records",
        "/api/v1/%72ecords",
        "/api/v2/records",
        "/records",
        "/",
        "/internal/identities",
        "/api/v1/internal/identities",
        "/api/v1/products",
    ],
)
def test_any_other_address_belongs_to_nobody(path: str):
    assert ROUTES.prefix_of(path) is None


def operation(method: str, path: str, routes: RouteTable = ROUTES) -> Operation:
    prefix = routes.prefix_of(path)
    assert prefix is not None
    return prefix.operation(method, path)


def access(method: str, path: str, routes: RouteTable = ROUTES) -> Access:
    return operation(method, path, routes).access


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "TRACE"])
def test_open_is_auth_alone(method: str):
    def below(name: str) -> Access:
        return access(method, f"/api/v1/{name}/not-described")

    assert [name for name in ROUTES.prefixes if below(name).open] == ["auth"]
    assert [name for name in ROUTES.prefixes if below(name).user_only] == ["api-keys"]


OPEN: dict[str, Any] = {"security": []}
USERS_ONLY: dict[str, Any] = {"security": [{"bearer": []}]}


def needs(permission: str) -> dict[str, Any]:
    return {
        "security": [{"bearer": []}, {"apiKey": []}],
        "x-api-key-permission": permission,
    }


DESCRIPTION: dict[str, Any] = {
    "paths": {
        "/healthz": {"get": OPEN},
        "/api/v1/records": {"get": needs("read"), "post": needs("update-data")},
        "/api/v1/records/{id}": {
            "get": needs("delete-model"),
            "post": needs("update-model"),
            "delete": OPEN,
        },
        "/api/v1/records/search": {"post": needs("read")},
        "/api/v1/records/{id}/approve": {"post": USERS_ONLY},
        "/api/v1/records/{id}/values.v2/{name}": {"post": needs("read")},
        "/api/v1/api-keys/{id}": {"get": needs("read")},
    }
}


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "records", Access(Permission.READ)),
        ("POST", "records", Access(Permission.UPDATE_DATA)),
        # What is described counts, whatever the class says.
        ("GET", "records/ent-1", Access(Permission.DELETE_MODEL)),
        ("HEAD", "records/ent-1", Access(Permission.DELETE_MODEL)),
        ("POST", "records/ent-1", Access(Permission.UPDATE_MODEL)),
        ("DELETE", "records/ent-1", Access(open=True)),
        ("GET", "api-keys/apikey-1", Access(Permission.READ)),
        # A literal segment goes before a parameter.
        ("POST", "records/search", Access(Permission.READ)),
        ("GET", "records/search", Access(Permission.DELETE_MODEL)),
        ("POST", "records/ent-1/approve", Access(user_only=True)),
        ("POST", "records/ent-1/values.v2/sku", Access(Permission.READ)),
        # What is not described requires what the class of the prefix says.
        ("POST", "records/ent-1/reject", Access(Permission.UPDATE_DATA)),
        ("POST", "records/ent-1/valuesxv2/sku", Access(Permission.UPDATE_DATA)),
        ("POST", "records/search/", Access(Permission.UPDATE_DATA)),
        ("POST", "records/%73earch", Access(Permission.UPDATE_MODEL)),
        ("POST", "records/a/b/c/d/e/f", Access(Permission.UPDATE_DATA)),
        ("PUT", "records/ent-1", Access(Permission.UPDATE_DATA)),
        ("DELETE", "records/ent-1/approve", Access(Permission.DELETE_DATA)),
        ("OPTIONS", "records/ent-1", Access(Permission.READ)),
        ("GET", "api-keys", Access(user_only=True)),
        ("POST", "api-keys/apikey-1", Access(user_only=True)),
        ("GET", "auth/anything", Access(open=True)),
    ],
)
def test_the_description_says_what_an_operation_requires(method: str, path: str, expected: Access):
    assert access(method, f"/api/v1/{path}", RouteTable(DESCRIPTION, POLICY)) == expected


@pytest.mark.parametrize(
    "said",
    [
        {},
        needs("everything"),
        needs("read") | {"x-body-bytes-max": 0},
        needs("read") | {"x-deadline-seconds": 0},
        needs("read") | {"x-deadline-seconds": 601},
    ],
)
def test_a_description_that_does_not_say_it_clearly_is_not_served(said: dict[str, Any]):
    with pytest.raises((KeyError, ValueError)):
        RouteTable({"paths": {"/api/v1/records": {"get": said}}}, POLICY)


@pytest.mark.parametrize("word", CLASSES)
def test_what_is_not_described_takes_no_more_than_what_is(word: str):
    small = dict.fromkeys(("audit", "auth", "api-keys", "permissions", "webhooks"), SMALL_BODY)
    largest = (small | {"channels": NAMES_BODY}).get(word, POLICY.body_bytes_max)
    for method in ("GET", "POST", "DELETE", "TRACE"):
        policy = operation(method, f"/api/v1/{word}/not-described").policy
        assert policy == replace(POLICY, body_bytes_max=largest)


@pytest.mark.parametrize("word", CLASSES)
def test_a_policy_takes_no_more_than_the_configuration(word: str):
    narrow = RouteTable.shipped(Policy(body_bytes_max=100, deadline_s=1.0))
    # Larger bodies belong to the operations that are made for them, and so declare it.
    assert narrow.body_bytes_max == (2 << 30) + (1 << 20)
    for path in (word, f"{word}/x", f"{word}/x/transition", f"{word}/x/resolve", f"{word}/login"):
        for method in ("GET", "POST", "PUT"):
            # A long poll takes longer.
            if (method, path) not in (("POST", "imports"), ("GET", "changes")):
                assert operation(method, f"/api/v1/{path}", narrow).policy == Policy(100, 1.0)


BODY: dict[str, Any] = {"requestBody": {}}
LIMITED: dict[str, Any] = {
    "paths": {
        "/api/v1/records": {
            "get": needs("read") | {"x-deadline-seconds": 90},
            "post": needs("update-data") | BODY,
        },
        "/api/v1/records/{id}": {"put": needs("update-data") | BODY | {"x-body-bytes-max": 1_000}},
        "/api/v1/records/import": {
            "put": needs("update-data") | BODY | {"x-body-bytes-max": 1 << 30}
        },
        "/api/v1/roles/{id}": {"put": needs("update-model") | BODY | {"x-body-bytes-max": 500}},
    }
}


@pytest.mark.parametrize(
    ("method", "path", "body_bytes_max", "deadline_s"),
    [
        ("POST", "records", 10 << 20, 30.0),
        ("PUT", "records/ent-1", 1_000, 30.0),
        ("PUT", "records/import", 1 << 30, 30.0),
        ("GET", "records", 10 << 20, 90),
        ("HEAD", "records", 10 << 20, 90),
        ("PATCH", "records/ent-1", 10 << 20, 30.0),
        ("PUT", "roles/role-a", 500, 30.0),
        ("POST", "roles", 500, 30.0),
        ("POST", "schemas", 10 << 20, 30.0),
    ],
)
def test_an_operation_has_the_limits_that_it_declares(
    method: str, path: str, body_bytes_max: int, deadline_s: float
):
    routes = RouteTable(LIMITED, POLICY)
    assert routes.body_bytes_max == 1 << 30
    found = operation(method, f"/api/v1/{path}", routes).policy
    assert found == Policy(body_bytes_max, deadline_s)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/api/v1/records", ("/api/v1/records", "")),
        ("/api/v1/records/", ("/api/v1/records/", "")),
        ("/api/v1/records?limit=5&x=%2F..", ("/api/v1/records", "?limit=5&x=%2F..")),
        ("/a?", ("/a", "?")),
        ("/a??b", ("/a", "??b")),
        ("/a/%41%C3%A6~!$&'()*+,=:@", ("/a/%41%C3%A6~!$&'()*+,=:@", "")),
        ("/a/æ", ("/a/æ", "")),
        ("/a/...", ("/a/...", "")),
        ("/a/.well-known", ("/a/.well-known", "")),
        ("/a/b..c", ("/a/b..c", "")),
        ("/a/%2ehidden", ("/a/%2ehidden", "")),
        ("http://host:80/api/v1/records?x", ("/api/v1/records", "?x")),
        ("HTTPS://host", ("/", "")),
        ("/", ("/", "")),
    ],
)
def test_an_address_comes_back_as_it_came(target: str, expected: tuple[str, str]):
    assert split_target(target) == expected


@pytest.mark.parametrize(
    "target",
    [
        "",
        "*",
        "api/v1/records",
        "host:443",
        "ftp://host/api",
        "//api/v1/records",
        "/api//v1",
        "/api/v1/dimensions/../api-keys",
        "/api/v1/dimensions/..",
        "/api/v1/dimensions/./x",
        "/api/v1/dimensions/.",
        "/api/v1/dimensions/%2e%2e/api-keys",
        "/api/v1/dimensions/.%2E/api-keys",
        "/api/v1/dimensions/%2e",
        "/api/v1/dimensions/..%2fapi-keys",
        "/api/v1/dimensions/..%2Fapi-keys",
        "/api/v1/dimensions/%5c..%5capi-keys",
        "/api/v1/dimensions/\\..\\api-keys",
        "/api/v1/dimensions/%252e%252e",
        "/api/v1/dimensions/..;/api-keys",
        "/api/v1/dimensions/..%3b/api-keys",
        "/api/v1/dimensions/%00",
        "/api/v1/dimensions/%1f",
        "/api/v1/dimensions/%7f",
        "/api/v1/dimensions/%zz",
        "/api/v1/dimensions/%2",
        "/api/v1/dimensions/%",
        "/api/v1/dimensions/a b",
        "/api/v1/dimensions/a#b",
        "/api/v1/dimensions?a#b",
        "/api/v1/dimensions?a\tb",
    ],
)
def test_an_address_that_can_be_read_in_two_ways_is_refused(target: str):
    with pytest.raises(ValidationError):
        split_target(target)


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "get", "X" * 900])
def test_a_method_that_nobody_has_is_refused(method: str):
    with pytest.raises(MethodNotAllowed) as caught:
        check_method(method)
    assert caught.value.headers["Allow"] == "GET, HEAD, OPTIONS, PATCH, POST, PUT, DELETE"
    assert len(caught.value.message) < 100
