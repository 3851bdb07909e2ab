"""Is this a sound definition of an attribute?"""

from __future__ import annotations

from typing import Any

import re2

from records_service.attributes.model import (
    AttributeDraft,
    AttributeType,
    GuardOperator,
    SubAttributeDraft,
    ValidationDraft,
)
from shared.errors import ValidationError, Violation

_RULES_OF_TYPES = {
    "maxLength": (AttributeType.TEXT,),
    "pattern": (AttributeType.TEXT,),
    "min": (AttributeType.NUMBER,),
    "max": (AttributeType.NUMBER,),
    "unique": (AttributeType.TEXT, AttributeType.NUMBER),
}
_SEVERAL = (AttributeType.OPTION, AttributeType.RELATION, AttributeType.MEDIA)


def body_of(draft: AttributeDraft) -> dict[str, Any]:
    """The attribute as it is stored and answered.

    Raises `ValidationError` with everything that is wrong: a rule for another type (section 2.2),
    a pattern that RE2 does not take, a bound below the other, a reference of another type.
    """
    violations = [
        *_rule_faults(draft.validation, draft.type, "/validation"),
        *_reference_faults(draft, ""),
        *_guard_faults(draft),
    ]
    if draft.target_schema_id is not None and draft.type is not AttributeType.RELATION:
        violations.append(_misplaced("/targetSchemaId", "targetSchemaId", draft.type))
    if len(set(draft.dimension_ids)) != len(draft.dimension_ids):
        violations.append(Violation("/dimensionIds", "Field 'dimensionIds' names one thing twice"))
    violations += _sub_attribute_faults(draft)
    if violations:
        raise ValidationError.of(violations)
    body: dict[str, Any] = {
        "name": draft.name,
        "type": draft.type.value,
        "dimensionIds": draft.dimension_ids,
        "validation": draft.validation.stored() if draft.validation else {},
        "guards": [
            guard.model_dump(by_alias=True, mode="json", exclude_unset=True)
            for guard in draft.guards
        ],
        "inheritable": draft.inheritable,
        "multiple": draft.multiple,
    }
    if draft.description is not None:
        body["description"] = draft.description
    if draft.option_list_id is not None:
        body["optionListId"] = draft.option_list_id
    if draft.target_schema_id is not None:
        body["targetSchemaId"] = draft.target_schema_id
    if draft.type is AttributeType.COMPLEX:
        body["attributes"] = [_sub_body(sub) for sub in draft.attributes or ()]
    return body


def option_list_ids(body: dict[str, Any]) -> list[str]:
    """Every option list that the attribute or a field of it chooses from."""
    chosen = [
        body.get("optionListId"),
        *(s.get("optionListId") for s in body.get("attributes", ())),
    ]
    return [list_id for list_id in chosen if list_id is not None]


def _sub_body(sub: SubAttributeDraft) -> dict[str, Any]:
    body: dict[str, Any] = {
        "alias": sub.alias,
        "name": sub.name or sub.alias,
        "type": sub.type.value,
        "validation": sub.validation.stored(),
        "multiple": sub.multiple,
    }
    if sub.option_list_id is not None:
        body["optionListId"] = sub.option_list_id
    return body


def _rule_faults(
    rules: ValidationDraft | None, kind: AttributeType, pointer: str
) -> list[Violation]:
    if rules is None:
        return []
    said = rules.stored()
    faults = [
        _misplaced(f"{pointer}/{rule}", rule, kind)
        for rule, kinds in _RULES_OF_TYPES.items()
        if said.get(rule) not in (None, False) and kind not in kinds
    ]
    if rules.min is not None and rules.max is not None and rules.min > rules.max:
        faults.append(
            Violation(f"{pointer}/min", f"Rule 'min' is {rules.min:g}, above 'max' {rules.max:g}")
        )
    if rules.pattern is not None:
        reason = _pattern_fault(rules.pattern)
        if reason is not None:
            faults.append(
                Violation(f"{pointer}/pattern", f"Rule 'pattern' is not an RE2 pattern: {reason}")
            )
    return faults


def _pattern_fault(pattern: str) -> str | None:
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "unknown syntax"
        return reason.decode() if isinstance(reason, bytes) else str(reason)
    return None


def _reference_faults(draft: AttributeDraft | SubAttributeDraft, pointer: str) -> list[Violation]:
    faults = []
    if draft.type is AttributeType.OPTION:
        if draft.option_list_id is None:
            faults.append(
                Violation(f"{pointer}/optionListId", "Field 'optionListId' is required for options")
            )
    elif draft.option_list_id is not None:
        faults.append(_misplaced(f"{pointer}/optionListId", "optionListId", draft.type))
    if draft.multiple and draft.type not in _SEVERAL:
        faults.append(_misplaced(f"{pointer}/multiple", "multiple", draft.type))
    return faults


def _guard_faults(draft: AttributeDraft) -> list[Violation]:
    faults = []
    for index, guard in enumerate(draft.guards):
        pointer = f"/guards/{index}"
        if guard.attribute_id == draft.id:
            faults.append(Violation(f"{pointer}/attributeId", "An attribute cannot guard itself"))
        if guard.operator is GuardOperator.IN and not isinstance(guard.value, list):
            faults.append(
                Violation(f"{pointer}/value", "Field 'value' of a guard 'in' must be an array")
            )
        if guard.operator in (GuardOperator.EQUALS, GuardOperator.NOT_EQUALS) and (
            guard.value is None
        ):
            faults.append(
                Violation(
                    f"{pointer}/value", f"Field 'value' is required for '{guard.operator.value}'"
                )
            )
    return faults


def _sub_attribute_faults(draft: AttributeDraft) -> list[Violation]:
    if draft.attributes and draft.type is not AttributeType.COMPLEX:
        return [_misplaced("/attributes", "attributes", draft.type)]
    faults: list[Violation] = []
    aliases: set[str] = set()
    for index, sub in enumerate(draft.attributes or ()):
        pointer = f"/attributes/{index}"
        if sub.alias in aliases:
            faults.append(Violation(f"{pointer}/alias", f"Alias '{sub.alias}' is used twice"))
        aliases.add(sub.alias)
        if sub.type is AttributeType.COMPLEX:
            faults.append(
                Violation(f"{pointer}/type", "A field of a complex attribute cannot be complex")
            )
        if sub.validation.unique:
            faults.append(
                Violation(
                    f"{pointer}/validation/unique", "A field of a complex value cannot be unique"
                )
            )
        faults += _rule_faults(sub.validation, sub.type, f"{pointer}/validation")
        faults += _reference_faults(sub, pointer)
    return faults


def _misplaced(pointer: str, name: str, kind: AttributeType) -> Violation:
    return Violation(pointer, f"'{name}' does not belong to attributes of type '{kind.value}'")
