"""What decides how the values of an attribute are stored, as it is and as it is asked for."""

from __future__ import annotations

from typing import Any, Final

from records_service.attributes.model import AttributeType
from records_service.conversions.model import ConversionDraft
from records_service.conversions.rules import POSSIBLE
from records_service.model_objects import store as model_objects
from records_service.model_objects.model import ModelObject
from records_service.option_lists.model import OPTION_LIST
from shared.database import Conn
from shared.errors import ValidationError, truncated

STORED_BY: Final = (
    *("type", "multiple", "optionListId", "targetSchemaId", "attributes", "dimensionIds"),
)


def form_of(attribute: ModelObject) -> dict[str, Any]:
    """The fields that decide how values are stored."""
    return {name: attribute.body.get(name) for name in STORED_BY}


def is_unique(attribute: ModelObject) -> bool:
    """Whether no two records may have one of its values."""
    return bool(attribute.body["validation"].get("unique"))


async def asked_form(
    conn: Conn, workspace_id: str, old: ModelObject, draft: ConversionDraft
) -> dict[str, Any]:
    """The fields of the body that the attribute gets; `ValidationError` for what cannot be."""
    before = AttributeType(old.body["type"])
    if draft.type not in POSSIBLE[before]:
        raise ValidationError.at("/type", _impossible(before, draft.type))
    several = draft.multiple
    if several is None:
        several = bool(old.body["multiple"]) and draft.type is not AttributeType.BOOLEAN
    if several and draft.type is AttributeType.BOOLEAN:
        raise ValidationError.at(
            "/multiple", "'multiple' does not belong to attributes of type 'boolean'"
        )
    form: dict[str, Any] = {"type": draft.type.value, "multiple": several}
    if draft.type is AttributeType.OPTION:
        name = draft.option_list_id or old.body.get("optionListId")
        if name is None:
            raise ValidationError.at(
                "/optionListId", "Field 'optionListId' is required for type 'option'"
            )
        found = await model_objects.ids_of(conn, OPTION_LIST, workspace_id, [name])
        if name not in found:
            raise ValidationError.at(
                "/optionListId",
                f"Field 'optionListId': {OPTION_LIST.title} '{truncated(name)}' not found",
            )
        form["optionListId"] = found[name]
    elif draft.option_list_id is not None:
        raise ValidationError.at(
            "/optionListId",
            f"'optionListId' does not belong to attributes of type '{truncated(draft.type)}'",
        )
    if all(old.body.get(name) == value for name, value in form.items()):
        raise ValidationError.at(
            "/type", f"Attribute '{truncated(old.alias)}' has this type already"
        )
    return form


def _impossible(before: AttributeType, asked: AttributeType) -> str:
    possible = POSSIBLE[before]
    if not possible:
        return f"Attributes of type '{truncated(before)}' cannot be converted"
    names = ", ".join(f"'{truncated(one)}'" for one in possible)
    return (
        f"Attributes of type '{truncated(before)}' can be converted to one of {names}, got"
        f" '{truncated(asked)}'"
    )
