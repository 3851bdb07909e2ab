"""What a role allows, and what somebody may put into one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_service.roles.grants import (
    check_grant,
    check_may_go,
    check_size,
    check_sound,
    check_still_built_in,
)
from auth_service.roles.model import (
    ATTRIBUTE_PERMISSIONS_MAX,
    ATTRIBUTES_NAMED_MAX,
    PERMISSIONS_MAX,
    Role,
    RoleDraft,
    RoleNames,
    blank_role,
    built_in_admin,
)
from auth_service.roles.renaming import attribute_named, schema_named
from auth_service.roles.resolution import Names, Resolved, permissions
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


def told(some: Role, schema_id: str, *attributes: Names) -> dict[str, str]:
    return permissions(some, Names(schema_id, (schema_id.removeprefix("schema-"),)), attributes)


PRICE = Names("attr-price", ("price", "once-price"))


def test_what_nothing_is_said_about_is_hidden():
    some = schemas(on("schema-a", attr_x="write"))
    assert told(some, "schema-a", Names("attr-x", ("x",)), Names("attr-y", ("y",))) == {
        "attr-x": "write",
        "attr-y": "hidden",
    }
    assert told(role(), "schema-a", Names("attr-x", ("x",))) == {"attr-x": "hidden"}


@pytest.mark.parametrize(
    ("entries", "word"),
    [
        ([on("schema-a", price="hidden", any="write")], "hidden"),
        ([on("schema-a", price="read", any="write")], "read"),
        (
            [
                {
                    "schemaId": "schema-a",
                    "attributePermissions": {"*": "write", "once-price": "read"},
                }
            ],
            "read",
        ),
        ([on("schema-a", price="write", any="hidden")], "hidden"),
        ([on("schema-a", price="write", any="read")], "read"),
        ([on("schema-a", price="write")], "hidden"),
        ([on("schema-a", attr_price="write", price="read", any="write")], "read"),
        ([on("schema-a", attr_price="read", price="write")], "read"),
        ([on("schema-a", price="hidden"), on("*", any="write")], "hidden"),
        ([on("schema-a", price="write"), on("*", any="read")], "read"),
        # The schema by its alias: it takes away as well, and gives nothing.
        ([on("a", any="write")], "hidden"),
        ([on("a", any="hidden"), on("*", any="write")], "hidden"),
        ([on("a", attr_price="read"), on("schema-a", any="write")], "read"),
    ],
)
def test_only_an_id_gives_and_an_alias_takes_away(entries, word):
    assert told(schemas(*entries), "schema-a", PRICE) == {"attr-price": word}


def test_the_attribute_is_asked_before_the_rest_and_the_schema_before_all_schemas():
    resolved = Resolved(
        schemas(on("schema-a", attr_x="hidden", any="read"), on("*", attr_x="write", any="write"))
    )
    assert resolved.by_id("schema-a", "attr-x") == "hidden"
    assert resolved.by_id("schema-a", "attr-y") == "read"
    assert resolved.by_id("schema-b", "attr-y") == "write"


def test_the_entry_for_all_schemas_adds_to_a_schemas_own():
    resolved = Resolved(schemas(on("schema-a", attr_x="read"), on("*", attr_y="write")))
    assert resolved.by_id("schema-a", "attr-x") == "read"
    assert resolved.by_id("schema-a", "attr-y") == "write"
    assert resolved.by_id("schema-a", "attr-z") == "hidden"


def test_role_admin_may_write_everything_whatever_is_stored():
    stripped = blank_role("ws-x", "role-admin", NOW)
    assert told(stripped, "schema-a", Names("attr-x", ("x",))) == {"attr-x": "write"}
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


# --- names that get a meaning


@pytest.mark.parametrize(
    ("entries", "new", "renamed"),
    [
        (
            [on("*", any="read", zz="hidden")],
            [on("*", any="read", attr_x="hidden")],
            [on("*", any="read", attr_x="hidden")],
        ),
        # Something new gets what was meant for it; a rename gives nothing.
        ([on("*", zz="write")], [on("*", attr_x="write")], [on("*", attr_x="hidden")]),
        (
            [on("*", any="read", zz="write")],
            [on("*", any="read", attr_x="write")],
            [on("*", any="read", attr_x="read")],
        ),
        # The stricter of two words.
        (
            [on("*", zz="write", attr_x="hidden")],
            [on("*", attr_x="hidden")],
            [on("*", attr_x="hidden")],
        ),
        (
            [on("*", zz="hidden", attr_x="write")],
            [on("*", attr_x="hidden")],
            [on("*", attr_x="hidden")],
        ),
        # What the entry for all schemas gives is not lost.
        (
            [on("schema-a", zz="read"), on("*", attr_x="write")],
            [on("schema-a", attr_x="read"), on("*", attr_x="write")],
            [on("schema-a", attr_x="read"), on("*", attr_x="write")],
        ),
    ],
)
def test_a_role_holds_the_id_when_an_attribute_gets_a_name_of_it(entries, new, renamed):
    for is_new, expected in ((True, new), (False, renamed)):
        assert attribute_named(entries, "zz", "attr-x", (), is_new=is_new) == expected


def test_what_had_the_name_before_stays_narrowed():
    entries = [on("*", any="write", zz="hidden", attr_o="read")]
    assert attribute_named(entries, "zz", "attr-x", ["attr-o", "attr-p"], is_new=True) == [
        on("*", any="write", attr_x="hidden", attr_o="hidden", attr_p="hidden")
    ]
    # A name that is another attribute's id stays that id.
    assert attribute_named(entries, "zz", "attr-x", ["zz"], is_new=True) == [
        on("*", any="write", attr_x="hidden", zz="hidden", attr_o="read")
    ]


def test_a_name_that_is_another_attributes_id_gives_nothing_to_what_gets_it_as_its_alias():
    entries = [on("*", any="read", zz="write")]
    assert attribute_named(entries, "zz", "attr-x", ["zz"], is_new=True) == [
        on("*", any="read", zz="write", attr_x="read")
    ]


def test_an_entry_that_would_grow_too_large_stays_as_it_is():
    others = [f"attr-{n}" for n in range(ATTRIBUTE_PERMISSIONS_MAX)]
    small, full = on("schema-a", zz="read"), on("*", zz="hidden")
    full["attributePermissions"] |= dict.fromkeys(others[1:], "read")
    after = attribute_named([small, full], "zz", "attr-x", others[:9], is_new=True)
    # Of the larger one eight are named already, so it has no room for one more beside the id.
    assert [len(entry["attributePermissions"]) for entry in after] == [
        10,
        ATTRIBUTE_PERMISSIONS_MAX,
    ]
    assert after[1] == full
    # All entries together are bounded as well, and so are the names in them.
    many = [on(f"schema-{n}", zz="read", attr_x="read") for n in range(PERMISSIONS_MAX // 4)]
    after = attribute_named(many, "zz", "attr-x", others[:9], is_new=True)
    assert sum(len(entry["attributePermissions"]) for entry in after) <= PERMISSIONS_MAX
    assert after[0] != many[0] and after[-1] == many[-1]
    wide = [on(f"schema-{n}", zz="read") for n in range(ATTRIBUTES_NAMED_MAX // 1_000)]
    for place, entry in enumerate(wide):
        entry["attributePermissions"] |= {f"attr-{place}-{n}": "read" for n in range(1_000)}
    assert attribute_named(wide, "zz", "attr-x", (), is_new=True) == wide


def test_a_role_holds_the_id_when_a_new_schema_gets_a_name_of_it():
    entries = [on("sx", any="read", attr_x="hidden"), on("*", any="write", attr_y="hidden")]
    assert schema_named(entries, "sx", "schema-x") == [
        on("schema-x", any="read", attr_x="hidden"),
        on("*", any="write", attr_y="hidden"),
    ]
    both = [on("sx", any="read"), on("schema-x", any="hidden", attr_x="write")]
    assert schema_named(both, "sx", "schema-x") == both


_NAMED = st.dictionaries(
    st.sampled_from(["*", "attr-x", "attr-y", "zz"]), st.sampled_from(["write", "read", "hidden"])
)
_WITH_ALIASES = st.dictionaries(st.sampled_from(["*", "schema-a", "zs"]), _NAMED).map(
    lambda told: [{"schemaId": key, "attributePermissions": entry} for key, entry in told.items()]
)


@given(_WITH_ALIASES)
def test_a_rename_widens_nothing_and_narrows_nothing(entries: list[dict[str, Any]]):
    """By its id a role says of the renamed what it said by its alias, and of all else the same."""
    schema, attribute = Names("schema-a", ("zs",)), Names("attr-x", ("zz",))
    before = schemas(*entries)
    after = schemas(*attribute_named(entries, "zz", attribute.id, (), is_new=False))
    # Where the entry is itself of an alias, what it gives may be given up.
    both = any(entry["schemaId"] == "zs" for entry in entries)
    for each in (attribute, Names("attr-y"), Names("attr-other")):
        for place in (schema, Names("schema-other")):
            is_now = _RANK[Resolved(after).permission(place, each)]
            was = _RANK[Resolved(before).permission(place, each)]
            assert is_now == was or (both and is_now < was), (place, each)


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
