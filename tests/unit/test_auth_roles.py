"""What a role allows, and what somebody may put into one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_service.roles.grants import check_grant, check_may_go, check_sound, check_still_built_in
from auth_service.roles.model import Role, RoleDraft, blank_role, built_in_admin
from auth_service.roles.resolution import Resolved, permissions
from shared.errors import ApiError, Conflict, PermissionDenied, ValidationError
from shared.identity import ALL_FLAGS

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def role(role_id: str = "role-x", **fields: Any) -> Role:
    draft = RoleDraft.model_validate({"name": "X", **fields}, strict=True)
    return blank_role("ws-x", role_id, NOW).revised(draft, version=1, now=NOW)


def on(schema_id: str, **attributes: str) -> dict[str, Any]:
    named = {key.replace("_", "-").replace("any", "*"): told for key, told in attributes.items()}
    return {"schemaId": schema_id, "attributePermissions": named}


def schemas(*entries: dict[str, Any], **more: Any) -> Role:
    return role(schemaPermissions=list(entries), **more)


def catalogs(*entries: dict[str, Any]) -> Role:
    return role(catalogPermissions=list(entries))


# --- resolution


def test_what_nothing_is_said_about_is_hidden():
    some = schemas(on("schema-a", attr_x="write"))
    assert permissions(some, "schema-a", {"attr-x": "x", "attr-y": "y"}) == {
        "attr-x": "write",
        "attr-y": "hidden",
    }
    assert permissions(role(), "schema-a", {"attr-x": "x"}) == {"attr-x": "hidden"}


def test_an_attribute_may_be_named_by_its_alias_and_the_stricter_word_holds():
    resolved = Resolved(schemas(on("schema-a", price="hidden", any="write")))
    assert resolved.permission("schema-a", "attr-price", "price") == "hidden"
    both = Resolved(schemas(on("schema-a", attr_price="write", price="read", any="write")))
    assert both.permission("schema-a", "attr-price", "price") == "read"
    either = Resolved(schemas(on("schema-a", attr_price="read", price="write")))
    assert either.permission("schema-a", "attr-price", "price") == "read"


def test_a_name_that_is_an_attributes_id_means_no_other_by_its_alias():
    some = schemas(on("schema-a", price="write", any="hidden"))
    assert permissions(some, "schema-a", {"price": "cost", "attr-2": "price"}) == {
        "price": "write",
        "attr-2": "hidden",
    }


def test_the_attribute_is_asked_before_the_rest_and_the_schema_before_all_schemas():
    resolved = Resolved(
        schemas(on("schema-a", attr_x="hidden", any="read"), on("*", attr_x="write", any="write"))
    )
    assert resolved.permission("schema-a", "attr-x") == "hidden"
    assert resolved.permission("schema-a", "attr-y") == "read"
    assert resolved.permission("schema-b", "attr-y") == "write"


def test_the_entry_for_all_schemas_adds_to_a_schemas_own():
    resolved = Resolved(schemas(on("schema-a", attr_x="read"), on("*", attr_y="write")))
    assert resolved.permission("schema-a", "attr-x") == "read"
    assert resolved.permission("schema-a", "attr-y") == "write"
    assert resolved.permission("schema-a", "attr-z") == "hidden"


def test_role_admin_may_write_everything_whatever_is_stored():
    stripped = blank_role("ws-x", "role-admin", NOW)
    assert permissions(stripped, "schema-a", {"attr-x": "x"}) == {"attr-x": "write"}
    assert Resolved(stripped).catalog("cat-a", "canAssign")


def test_a_catalogs_own_entry_decides_before_the_one_for_all():
    resolved = Resolved(
        catalogs(
            {"catalogId": "cat-a", "canView": False, "canAssign": False},
            {"catalogId": "*", "canView": True},
        )
    )
    assert not resolved.catalog("cat-a", "canView")
    assert resolved.catalog("cat-b", "canView")
    assert not resolved.catalog("cat-b", "canAssign")
    assert not Resolved(role()).catalog("cat-b", "canView")


# --- drafts


def test_what_is_left_out_is_false_or_empty():
    draft = RoleDraft.model_validate({"name": "X"})
    assert draft.flags == frozenset()
    assert (draft.schema_permissions, draft.catalog_permissions) == ([], [])
    assert draft.description is None


def test_each_flag_is_a_flag():
    for flag in ALL_FLAGS:
        assert RoleDraft.model_validate({"name": "X", flag.value: True}).flags == {flag}


def test_one_schema_or_catalog_twice_is_refused():
    draft = RoleDraft.model_validate(
        {
            "name": "X",
            "schemaPermissions": [on("schema-a"), on("schema-b"), on("schema-a")],
            "catalogPermissions": [{"catalogId": "cat-a"}, {"catalogId": "cat-a"}],
        }
    )
    with pytest.raises(ValidationError) as caught:
        check_sound(draft, "role-x")
    assert [(one.pointer, one.message) for one in caught.value.violations] == [
        ("/schemaPermissions/2", "Schema 'schema-a' is listed twice in 'schemaPermissions'"),
        ("/catalogPermissions/1", "Catalog 'cat-a' is listed twice in 'catalogPermissions'"),
    ]


def test_the_id_cannot_change():
    with pytest.raises(ValidationError) as caught:
        check_sound(RoleDraft.model_validate({"name": "X", "id": "role-y"}), "role-x")
    assert caught.value.message == "Field 'id' cannot change: expected 'role-x', got 'role-y'"


# --- the built-in role


def test_the_built_in_role_may_be_renamed_and_nothing_else():
    admin = built_in_admin("ws-x", NOW)
    full = {
        "name": "Boss",
        **{flag.value: True for flag in ALL_FLAGS},
        "schemaPermissions": admin.schema_permissions,
        "catalogPermissions": admin.catalog_permissions,
    }
    renamed = admin.revised(RoleDraft.model_validate(full), version=2, now=NOW)
    check_still_built_in(admin, renamed)
    for missing in ("canExport", "schemaPermissions", "catalogPermissions"):
        less = RoleDraft.model_validate({k: v for k, v in full.items() if k != missing})
        with pytest.raises(Conflict) as caught:
            check_still_built_in(admin, admin.revised(less, version=2, now=NOW))
        assert caught.value.message == (
            "Role 'role-admin' is built in and its permissions cannot be changed"
        )
    with pytest.raises(Conflict):
        check_may_go(admin)
    check_may_go(role())


# --- grants


def allowed(giver: Role, before: Role, after: Role) -> bool:
    try:
        check_grant(giver, before, after)
    except PermissionDenied:
        return False
    return True


def test_a_flag_that_one_does_not_have_cannot_be_given():
    giver = role(canManageRoles=True, canExport=True)
    assert allowed(giver, role(), role(canManageRoles=True, canExport=True))
    with pytest.raises(PermissionDenied) as caught:
        check_grant(giver, role(), role(canManageSchemas=True))
    assert caught.value.message == (
        "Your own role does not allow 'canManageSchemas', so you cannot grant it"
    )


def test_what_was_there_before_may_stay_and_may_go():
    giver, strong = role(canManageRoles=True), role(canImport=True, canManageSchemas=True)
    assert allowed(giver, strong, strong)
    assert allowed(giver, strong, role(canImport=True))
    assert allowed(giver, strong, role())


@pytest.mark.parametrize(
    ("has", "had", "gets", "may"),
    [
        ([on("schema-a", any="read")], [], [on("schema-a", any="read")], True),
        ([on("schema-a", any="read")], [], [on("schema-a", attr_x="read")], True),
        ([on("schema-a", any="read")], [], [on("schema-a", attr_x="write")], False),
        ([on("schema-a", any="write")], [], [on("*", any="read")], False),
        ([on("*", any="write")], [], [on("schema-a", any="write")], True),
        ([on("*", any="write"), on("schema-a", any="read")], [], [on("*", any="write")], False),
        (
            [on("*", any="write"), on("schema-a", any="read")],
            [],
            [on("*", any="write"), on("schema-a", any="read")],
            True,
        ),
        ([on("schema-a", any="write", attr_x="hidden")], [], [on("schema-a", any="write")], False),
        (
            [on("schema-a", any="write", attr_x="hidden")],
            [],
            [on("schema-a", any="write", attr_x="hidden")],
            True,
        ),
        ([], [on("schema-a", any="write")], [on("schema-a", any="read")], True),
        ([], [on("schema-a", any="read")], [on("schema-a", any="write")], False),
        # Taking an entry away can add: the entry for all schemas shows through.
        ([], [on("*", any="write"), on("schema-a", any="hidden")], [on("*", any="write")], False),
        ([], [on("schema-a", any="write", attr_x="read")], [on("schema-a", any="write")], False),
        (
            [],
            [on("*", attr_x="write"), on("schema-a", attr_x="read")],
            [on("*", attr_x="write")],
            False,
        ),
    ],
)
def test_a_permission_that_one_does_not_have_cannot_be_given(has, had, gets, may):
    assert allowed(schemas(*has), schemas(*had), schemas(*gets)) is may


def test_the_refusal_names_attribute_and_schema():
    with pytest.raises(PermissionDenied) as caught:
        check_grant(role(), role(), schemas(on("schema-a", attr_x="read")))
    assert caught.value.message == (
        "Your own role does not allow 'read' on attribute 'attr-x' of schema 'schema-a',"
        " so you cannot grant it"
    )


def test_a_catalog_right_that_one_does_not_have_cannot_be_given():
    viewer = catalogs({"catalogId": "*", "canView": True})
    assert allowed(viewer, role(), catalogs({"catalogId": "cat-a", "canView": True}))
    assert not allowed(viewer, role(), catalogs({"catalogId": "cat-a", "canAssign": True}))
    assert not allowed(role(), viewer, catalogs({"catalogId": "*", "canAssign": True}))
    hidden = catalogs({"catalogId": "cat-a"}, {"catalogId": "*", "canView": True})
    assert not allowed(role(), hidden, viewer)


_WORDS = st.sampled_from(["write", "read", "hidden"])
_ATTRIBUTES = st.dictionaries(st.sampled_from(["*", "attr-x", "attr-y"]), _WORDS)
_ROLES = st.dictionaries(st.sampled_from(["*", "schema-a", "schema-b"]), _ATTRIBUTES).map(
    lambda told: role(
        schemaPermissions=[
            {"schemaId": key, "attributePermissions": entry} for key, entry in told.items()
        ]
    )
)
_EVERYWHERE = [
    (schema, attribute)
    for schema in ("schema-a", "schema-b", "schema-other")
    for attribute in ("attr-x", "attr-y", "attr-other")
]
_RANK = {"hidden": 0, "read": 1, "write": 2}


@given(_ROLES, _ROLES, _ROLES)
def test_a_grant_is_allowed_exactly_when_nothing_anywhere_exceeds_before_and_giver(
    giver: Role, before: Role, after: Role
):
    def rank(one: Role, schema: str, attribute: str) -> int:
        return _RANK[Resolved(one).permission(schema, attribute)]

    fine = all(
        rank(after, *place) <= max(rank(before, *place), rank(giver, *place))
        for place in _EVERYWHERE
    )
    try:
        check_grant(giver, before, after)
    except ApiError:
        assert not fine
    else:
        assert fine
