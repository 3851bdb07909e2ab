"""Validates the attribute groups of a schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from records_service.model_objects.naming import said, settled
from records_service.schemas.model import AttributeGroupDraft, SchemaDraft
from shared.errors import ValidationError, truncated
from shared.http.numbers import plain_number
from shared.ids import new_id

ATTRIBUTES_PER_SCHEMA_MAX = 1_000


def body_of(draft: SchemaDraft, old: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The schema as it is stored and answered, groups in order; raises `ValidationError`.

    A group that is sent without id is the one of `old` with that name, if there is one. Groups and
    workflow are those of `old` where the draft leaves them out.
    """
    if old is not None:
        draft = _completed(draft, old)
    known = {} if old is None else {one["name"]: one["id"] for one in old["attributeGroups"]}
    sent_ids = {group.id for group in draft.attribute_groups}
    groups = [
        _group(group, place, None if known.get(group.name) in sent_ids else known.get(group.name))
        for place, group in enumerate(draft.attribute_groups)
    ]
    _check_ids(groups)
    optional = {
        "description": draft.description,
        "icon": draft.icon,
        "workflowId": draft.workflow_id,
    }
    body = {
        "name": draft.name,
        **said(draft),
        "variantEnabled": draft.variant_enabled,
        "attributeGroups": sorted(groups, key=lambda group: group["sortOrder"]),
        **{name: value for name, value in optional.items() if value is not None},
    }
    return settled(body, old)


def attribute_names(body: Mapping[str, Any]) -> list[str]:
    """Every attribute of every group, as it is named there."""
    return [name for group in body["attributeGroups"] for name in group["attributeIds"]]


def with_ids(body: Mapping[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
    """The body with the names of attributes replaced by ids.

    Raises `ValidationError` for an attribute that does not exist, or stands in the schema twice.
    """
    seen: set[str] = set()
    groups = []
    for index, group in enumerate(body["attributeGroups"]):
        pointer = f"/attributeGroups/{index}/attributeIds"
        attribute_ids = []
        for name in group["attributeIds"]:
            if name not in ids:
                raise ValidationError.at(
                    pointer, f"Field 'attributeIds': Attribute '{truncated(name)}' not found"
                )
            if ids[name] in seen:
                raise ValidationError.at(
                    pointer, f"Attribute '{truncated(ids[name])}' is in the schema twice"
                )
            seen.add(ids[name])
            attribute_ids.append(ids[name])
        groups.append({**group, "attributeIds": attribute_ids})
    if len(seen) > ATTRIBUTES_PER_SCHEMA_MAX:
        raise ValidationError.at(
            "/attributeGroups",
            f"A schema has at most {ATTRIBUTES_PER_SCHEMA_MAX} attributes, got {len(seen)}",
        )
    return {**body, "attributeGroups": groups}


def _completed(draft: SchemaDraft, old: Mapping[str, Any]) -> SchemaDraft:
    kept: dict[str, Any] = {}
    if "workflow_id" not in draft.model_fields_set:
        kept["workflow_id"] = old.get("workflowId")
    if "attribute_groups" not in draft.model_fields_set:
        kept["attribute_groups"] = [
            AttributeGroupDraft.model_validate(group) for group in old["attributeGroups"]
        ]
    return draft.model_copy(update=kept)


def _group(group: AttributeGroupDraft, place: int, known_id: str | None) -> dict[str, Any]:
    return {
        "id": group.id or known_id or new_id("grp"),
        "name": group.name,
        **said(group),
        "sortOrder": plain_number(place if group.sort_order is None else group.sort_order),
        "attributeIds": group.attribute_ids,
    }


def _check_ids(groups: list[dict[str, Any]]) -> None:
    seen: set[str] = set()
    for index, group in enumerate(groups):
        if group["id"] in seen:
            raise ValidationError.at(
                f"/attributeGroups/{index}/id", f"Group id '{truncated(group['id'])}' is used twice"
            )
        seen.add(group["id"])
