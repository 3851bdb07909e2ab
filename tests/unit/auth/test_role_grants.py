"""What somebody may grant: nothing that they do not hold."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_service.permissions.grants import check_grant
from auth_service.permissions.model import Role, RoleDraft, RoleNames
from auth_service.permissions.rules import Resolved
from auth_service.permissions.validation import check_size
from shared.errors import ApiError, PermissionDenied, ValidationError
from tests.unit.auth.roles import _RANK, catalogs, on, role, schemas

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


def unknown(*attributes: str, schemas: tuple[str, ...] = ()) -> RoleNames:
    return RoleNames(frozenset(schemas), frozenset(attributes))


@pytest.mark.parametrize(
    ("has", "had", "gets", "may"),
    [
        # A name that nothing has yet gives nothing ...
        ([on("*", any="write")], [], [on("*", zz="write")], False),
        ([on("*", any="write")], [], [on("*", zz="read")], False),
        ([on("*", any="write")], [], [on("*", zz="read", any="read")], True),
        ([on("*", any="write")], [], [on("*", zz="hidden", any="write")], True),
        # ... but what was there stays.
        ([], [on("*", zz="write")], [on("*", zz="write")], True),
        # What the giver is denied by such a name, they must deny.
        ([on("*", any="write", zz="hidden")], [], [on("*", any="read")], False),
        ([on("*", any="write", zz="hidden")], [], [on("*", attr_x="read")], False),
        ([on("*", any="write", zz="hidden")], [], [on("*", attr_x="read", zz="hidden")], True),
        ([on("*", any="write", zz="read")], [], [on("*", attr_x="read")], True),
        ([on("*", any="write", zz="read")], [], [on("*", attr_x="write")], False),
        ([on("*", any="write", zz="hidden")], [], [on("schema-a", attr_x="read")], False),
        (
            [on("*", any="write", zz="hidden")],
            [],
            [on("schema-a", attr_x="read", zz="hidden")],
            True,
        ),
        (
            [on("*", any="write", zz="hidden")],
            [],
            [on("schema-a", attr_x="read"), on("*", zz="hidden")],
            True,
        ),
        (
            [on("*", any="write", zz="hidden")],
            [],
            [on("schema-a", any="read"), on("*", zz="hidden")],
            False,
        ),
        # What was denied by such a name stays denied.
        (
            [on("*", any="read")],
            [on("*", attr_x="write", zz="hidden")],
            [on("*", attr_x="write")],
            False,
        ),
        (
            [on("*", any="write")],
            [on("*", attr_x="write", zz="hidden")],
            [on("*", attr_x="write")],
            True,
        ),
        # The same of schemas.
        ([on("*", any="write")], [], [on("no", any="read")], False),
        ([on("*", any="write")], [], [on("no", any="hidden")], True),
        ([on("*", any="write"), on("no", any="hidden")], [], [on("schema-a", any="read")], False),
        (
            [on("*", any="write"), on("no", any="hidden")],
            [],
            [on("schema-a", any="read"), on("no", any="hidden")],
            True,
        ),
    ],
)
def test_by_a_name_that_nothing_has_yet_nothing_is_gained(has, had, gets, may):
    try:
        check_grant(schemas(*has), schemas(*had), schemas(*gets), unknown("zz", schemas=("no",)))
    except PermissionDenied as denied:
        assert not may, denied.message
    else:
        assert may


def test_too_many_permissions_are_refused_with_the_bound_and_the_count():
    def draft(names: int, entries: int, different: bool) -> RoleDraft:
        return RoleDraft.model_validate(
            {
                "name": "X",
                "schemaPermissions": [
                    {
                        "schemaId": f"schema-{n}",
                        "attributePermissions": {
                            f"a{n if different else 0}-{i}": "read" for i in range(names)
                        },
                    }
                    for n in range(entries)
                ],
            }
        )

    check_size(draft(2_000, 10, different=False))
    check_size(draft(2_000, 5, different=True))
    with pytest.raises(ValidationError) as caught:
        check_size(draft(1_000, 21, different=False))
    assert caught.value.message == (
        "Field 'schemaPermissions' holds at most 20000 attribute permissions in all entries"
        " together, got 21000"
    )
    with pytest.raises(ValidationError) as caught:
        check_size(draft(2_000, 6, different=True))
    assert caught.value.message == (
        "Field 'schemaPermissions' holds at most 10000 different attributes in all entries"
        " together, got 12000"
    )


def test_comparing_takes_time_in_proportion_to_what_the_roles_say():
    """Counted in words looked up, not in seconds: schemas times names would be millions."""
    wide = {f"attr-{i}": "read" for i in range(2_000)}
    many = [{"schemaId": f"schema-{i}", "attributePermissions": {"x": "read"}} for i in range(998)]
    large = schemas({"schemaId": "*", "attributePermissions": wide}, *many)
    looked_up = 0
    by_id = Resolved.by_id

    def counting(self: Resolved, schema_id: str, attribute_id: str) -> Any:
        nonlocal looked_up
        looked_up += 1
        return by_id(self, schema_id, attribute_id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Resolved, "by_id", counting)
        check_grant(large, large, large, unknown(*wide))
    assert looked_up < 30_000


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


@given(_ROLES, _ROLES, _ROLES)
def test_a_grant_is_allowed_exactly_when_nothing_anywhere_exceeds_before_and_giver(
    giver: Role, before: Role, after: Role
):
    def rank(one: Role, schema: str, attribute: str) -> int:
        return _RANK[Resolved(one).by_id(schema, attribute)]

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
