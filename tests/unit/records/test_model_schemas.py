from __future__ import annotations

from typing import Any

import pytest

from records_service.schemas.groups import attribute_names, body_of, with_ids
from records_service.schemas.model import SchemaDraft
from shared.errors import ValidationError


def draft(*groups: dict[str, Any], **more: Any) -> SchemaDraft:
    return SchemaDraft.model_validate(
        {
            "alias": "apparel",
            "name": "Apparel",
            "variantEnabled": False,
            "attributeGroups": list(groups),
            **more,
        }
    )


def group(name: str, *attribute_ids: str, **more: Any) -> dict[str, Any]:
    return {"id": f"grp-{name}", "name": name, "attributeIds": list(attribute_ids), **more}


def test_groups_are_kept_in_their_order():
    body = body_of(
        draft(group("b", "attr-2", sortOrder=2), group("a", "attr-1", sortOrder=1), group("c"))
    )
    assert [(one["id"], one["sortOrder"]) for one in body["attributeGroups"]] == [
        ("grp-a", 1),
        ("grp-b", 2),
        ("grp-c", 2),
    ]
    assert attribute_names(body) == ["attr-1", "attr-2"]


def test_what_is_not_said_is_not_stored():
    assert body_of(draft()) == {"name": "Apparel", "variantEnabled": False, "attributeGroups": []}
    more = {"description": "d", "icon": "shirt", "workflowId": "wf-x"}
    assert body_of(draft(**more)).items() >= more.items()


def test_group_ids_differ():
    with pytest.raises(ValidationError, match="Group id 'grp-a' is used twice"):
        body_of(draft(group("a"), group("b", id="grp-a")))


def test_a_group_without_id_gets_one_or_keeps_its_own():
    old = body_of(draft({"name": "General"}))
    assert old["attributeGroups"][0]["id"].startswith("grp-")
    assert body_of(draft({"name": "General"}), old) == old


def test_names_of_attributes_become_ids():
    body = with_ids(
        body_of(draft(group("a", "sku", "attr-name"))),
        {"sku": "attr-sku", "attr-name": "attr-name"},
    )
    assert attribute_names(body) == ["attr-sku", "attr-name"]


def test_an_attribute_that_does_not_exist_is_refused():
    with pytest.raises(ValidationError, match="Field 'attributeIds': Attribute 'sku' not found"):
        with_ids(body_of(draft(group("a", "sku"))), {})


def test_an_attribute_is_in_a_schema_once():
    body = body_of(draft(group("a", "attr-sku"), group("b", "sku")))
    with pytest.raises(ValidationError, match="Attribute 'attr-sku' is in the schema twice"):
        with_ids(body, {"sku": "attr-sku", "attr-sku": "attr-sku"})


def test_a_schema_has_at_most_a_thousand_attributes():
    ids = [f"attr-{number}" for number in range(1_001)]
    known = dict(zip(ids, ids, strict=True))
    with_ids(body_of(draft(group("a", *ids[:500]), group("b", *ids[500:1_000]))), known)
    with pytest.raises(ValidationError, match="A schema has at most 1000 attributes, got 1001"):
        with_ids(body_of(draft(group("a", *ids[:500]), group("b", *ids[500:]))), known)
