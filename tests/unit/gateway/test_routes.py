"""Which service answers an address, what a key must hold, and which addresses are refused."""

from __future__ import annotations

import pytest

from gateway.routes import (
    PREFIXES,
    PermissionClass,
    Service,
    check_method,
    permission_for,
    prefix_of,
    split_target,
)
from shared.errors import MethodNotAllowed, ValidationError
from shared.identity import Permission

DATA = ("read", "update-data", "delete-data")
MODEL = ("read", "update-model", "delete-model")

CLASSES = {
    "schemas": ("records_service", MODEL),
    "attributes": ("records_service", MODEL),
    "dimensions": ("records_service", MODEL),
    "option-lists": ("records_service", MODEL),
    "records": ("records_service", DATA),
    "audit": ("records_service", DATA),
    "workflows": ("workflow_service", MODEL),
    "roles": ("auth_service", MODEL),
    "api-keys": ("auth_service", (None, None, None)),
    "auth": ("auth_service", (None, None, None)),
}


def test_only_what_this_version_has_is_routed():
    assert set(PREFIXES) == set(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_a_prefix_leads_to_its_service_and_asks_for_its_class(name: str):
    service, (reading, changing, deleting) = CLASSES[name]
    path = f"/api/v1/{name}/some-id"
    prefix = prefix_of(path)
    assert prefix is not None
    assert (prefix.name, prefix.service) == (f"/api/v1/{name}", Service(service))
    asked = {
        method: permission_for(method, path, prefix)
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
    prefix = prefix_of(path)
    assert prefix is not None
    assert permission_for(method, path, prefix) == permission


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
        "/api/v1/variants",
    ],
)
def test_any_other_address_belongs_to_nobody(path: str):
    assert prefix_of(path) is None


def test_open_is_auth_alone():
    assert [
        name for name, prefix in PREFIXES.items() if prefix.permission_class is PermissionClass.OPEN
    ] == ["auth"]


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
