"""What a role allows, and what somebody may put into one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_service.names.replacement import attribute_named, schema_named
from auth_service.permissions.model import (
    ATTRIBUTE_PERMISSIONS_MAX,
    ATTRIBUTES_NAMED_MAX,
    PERMISSIONS_MAX,
    RoleDraft,
    blank_role,
    built_in_admin,
)
from auth_service.permissions.rules import Names, Resolved
from auth_service.permissions.validation import check_deletable, check_draft, check_still_built_in
from shared.errors import Conflict, ValidationError
from shared.identity import ALL_FLAGS
from tests.unit.auth.roles import _RANK, NOW, catalogs, on, permissions_in, role, schemas

PRICE = Names("attr-price", ("price", "once-price"))


def test_what_nothing_is_said_about_is_hidden():
    some = schemas(on("schema-a", attr_x="write"))
    assert permissions_in(some, "schema-a", Names("attr-x", ("x",)), Names("attr-y", ("y",))) == {
        "attr-x": "write",
        "attr-y": "hidden",
    }
    assert permissions_in(role(), "schema-a", Names("attr-x", ("x",))) == {"attr-x": "hidden"}


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
    assert permissions_in(schemas(*entries), "schema-a", PRICE) == {"attr-price": word}


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
    assert permissions_in(stripped, "schema-a", Names("attr-x", ("x",))) == {"attr-x": "write"}
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
        check_draft(draft, "role-x")
    assert [(one.pointer, one.message) for one in caught.value.violations] == [
        ("/schemaPermissions/2", "Schema 'schema-a' is listed twice in 'schemaPermissions'"),
        ("/catalogPermissions/1", "Catalog 'cat-a' is listed twice in 'catalogPermissions'"),
    ]


def test_the_id_cannot_change():
    with pytest.raises(ValidationError) as caught:
        check_draft(RoleDraft.model_validate({"name": "X", "id": "role-y"}), "role-x")
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
        check_deletable(admin)
    check_deletable(role())


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
