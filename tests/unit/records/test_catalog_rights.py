"""What a role may do with catalogs; the same as auth_service says of it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from auth_service.permissions.model import blank_role
from auth_service.permissions.rules import Resolved
from records_service.catalogs.categories.tree import CODES_MAX, code
from records_service.catalogs.store import in_view
from records_service.permissions.rules import Role, catalog_access, catalogs_in_view

RIGHTS = [(view, assign) for view in (False, True) for assign in (False, True)]
NAMES = ("cat-a", "cat-b", "*")


def roles():
    """Every role that says something, or nothing, of two catalogs and of all."""
    for said in itertools.product([None, *RIGHTS], repeat=len(NAMES)):
        yield [
            {"catalogId": name, "canView": rights[0], "canAssign": rights[1]}
            for name, rights in zip(NAMES, said, strict=True)
            if rights is not None
        ]


@pytest.mark.parametrize("manages", [False, True])
def test_a_role_says_of_each_catalog_what_auth_service_says(manages):
    blank = blank_role("ws-test", "role-test", datetime.now(UTC))
    for entries in roles():
        document = {"id": "role-test", "version": 1, "catalogPermissions": entries}
        role = Role.parse(document | {"canManageSchemas": manages})
        resolved = Resolved(replace(blank, catalog_permissions=entries))
        seen = catalogs_in_view(role)
        for catalog_id in ("cat-a", "cat-b", "cat-c"):
            access = catalog_access(role, catalog_id)
            view = resolved.catalog(catalog_id, "canView")
            assert access.can_view == (view or manages)
            assert access.can_assign == (view and resolved.catalog(catalog_id, "canAssign"))
            assert (catalog_id in seen) == access.can_view


def test_who_is_not_restricted_may_everything():
    assert catalog_access(None, "cat-a") == (True, True)
    assert "cat-a" in catalogs_in_view(None)


def test_the_condition_of_a_statement_names_few_catalogs():
    def condition(**said):
        entries = [
            {"catalogId": name.replace("all", "*"), "canView": view, "canAssign": False}
            for name, view in said.items()
        ]
        role = Role.parse({"id": "r", "version": 1, "catalogPermissions": entries})
        arguments = ["ws-test"]
        return in_view("c.id", role, arguments), arguments[1:]

    assert condition() == ("false", [])
    assert condition(all=True) == ("true", [])
    assert condition(a=True, b=False) == ("c.id = ANY($2::text[])", [["a"]])
    assert condition(all=True, a=True, b=False) == ("c.id <> ALL($2::text[])", [["b"]])


def test_labels_are_different_and_sort_like_their_numbers():
    numbers = [0, 1, 31, 32, 33, 1_023, 1_024, 99_999, CODES_MAX - 1]
    codes = [code(number) for number in numbers]
    assert codes == sorted(codes)
    assert {len(one) for one in codes} == {5}
    assert len(set(codes)) == len(numbers)
