"""What a role may do with an attribute: only an id gives, an alias takes away."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from records_service.permissions.rules import Names, Role, permission

SCHEMA = Names("schema-x", ("x", "old-x"))
COST = Names("attr-cost", ("cost", "old-cost"))
WORDS = ("hidden", "read", "write")
STRICTNESS = {word: place for place, word in enumerate(WORDS)}


def role(entries: dict[str, dict[str, str]]) -> Role:
    told: dict[str, Any] = {
        "id": "role-r",
        "version": 1,
        "schemaPermissions": [
            {"schemaId": schema_id, "attributePermissions": words}
            for schema_id, words in entries.items()
        ],
    }
    return Role.parse(told)


@pytest.mark.parametrize("alias", COST.aliases)
@pytest.mark.parametrize("without", [{}, {"*": {"*": "hidden"}}, {"schema-x": {"*": "read"}}])
def test_an_alias_gives_nothing(without, alias):
    held = permission(role(without), SCHEMA, COST)
    for key in ("schema-x", "x", "old-x", "*"):
        words = {**without.get(key, {}), alias: "write"}
        assert permission(role({**without, key: words}), SCHEMA, COST) == held


@pytest.mark.parametrize("alias", COST.aliases)
@pytest.mark.parametrize(("by_id", "by_alias"), list(product(WORDS, WORDS)))
def test_the_stricter_of_an_alias_and_of_what_holds_without_it_counts(by_id, by_alias, alias):
    expected = min(by_id, by_alias, key=lambda word: STRICTNESS[word])
    for given in (
        {"schema-x": {"attr-cost": by_id, alias: by_alias}},
        {"schema-x": {"*": by_id, alias: by_alias}},
        {"*": {"*": by_id, alias: by_alias}},
        {"*": {"*": by_id}, "schema-x": {alias: by_alias}},
        {"schema-x": {"*": by_id}, "old-x": {"attr-cost": by_alias}},
        {"schema-x": {"*": by_id}, "x": {"*": by_alias}},
    ):
        assert permission(role(given), SCHEMA, COST) == expected, given


def test_an_entry_of_the_schema_that_decides_is_the_last_that_is_asked():
    assert permission(role({"*": {"cost": "hidden"}, "schema-x": {"*": "read"}}), SCHEMA, COST) == (
        "read"
    )
