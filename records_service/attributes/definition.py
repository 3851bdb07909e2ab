"""Validates the definition of an attribute and builds its stored form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import orjson

from records_service.attributes import patterns
from records_service.attributes.model import (
    COMPLEX_DEPTH_MAX,
    GUARD_VALUE_BYTES_MAX,
    GUARD_VALUES_MAX,
    SUB_ATTRIBUTES_MAX,
    AttributeDraft,
    AttributeType,
    GuardOperator,
    SubAttributeDraft,
    ValidationDraft,
)
from records_service.model_objects.naming import said
from shared.errors import ValidationError, Violation, truncated
from shared.http.numbers import plain_number

_RULES_OF_TYPES = {
    "maxLength": (AttributeType.TEXT,),
    "pattern": (AttributeType.TEXT,),
    "min": (AttributeType.NUMBER,),
    "max": (AttributeType.NUMBER,),
    "unique": (AttributeType.TEXT, AttributeType.NUMBER),
}
_NEVER_SEVERAL = (AttributeType.BOOLEAN, AttributeType.COMPLEX)
"""A complex value may be a list in any case."""


def body_of(draft: AttributeDraft) -> dict[str, Any]:
    """The attribute as it is stored and answered.

    Raises `ValidationError` with everything that is wrong: a rule for another type,
    a pattern that RE2 does not take or that is too large, a bound below the other, a reference of
    another type.
    """
    programs = _Programs()
    ValidationError.check(
        chain(
            _rule_faults(draft.validation, draft.type, "/validation", programs),
            _reference_faults(draft, ""),
            _guard_faults(draft),
            _field_faults(draft, programs),
        )
    )
    body: dict[str, Any] = {
        "name": draft.name,
        **said(draft),
        "type": draft.type.value,
        "dimensionIds": draft.dimension_ids,
        "validation": draft.validation.stored() if draft.validation else {},
        "guards": [
            guard.model_dump(by_alias=True, mode="json", exclude_none=True)
            for guard in draft.guards
        ],
        "inheritable": draft.inheritable,
        "multiple": draft.multiple,
    }
    if draft.filterable is not None:
        body["filterable"] = draft.filterable
    if draft.description is not None:
        body["description"] = draft.description
    if draft.option_list_id is not None:
        body["optionListId"] = draft.option_list_id
    if draft.target_schema_id is not None:
        body["targetSchemaId"] = draft.target_schema_id
    if draft.type is AttributeType.COMPLEX:
        body["attributes"] = [_sub_body(sub) for sub in draft.attributes or ()]
    return body


def names_in(
    body: Mapping[str, Any], reference: str, pointer: str = ""
) -> Iterator[tuple[str, str]]:
    """Where the attribute, or a field of it, names something (`optionListId`), and the name."""
    if reference in body:
        yield f"{pointer}/{reference}", body[reference]
    for index, field in enumerate(body.get("attributes", ())):
        yield from names_in(field, reference, f"{pointer}/attributes/{index}")


def with_ids(body: Mapping[str, Any], ids: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The body with the id for each name; `ids` is table -> name -> id.

    Raises `ValidationError` when two names turn out to mean one dimension.
    """
    dimension_ids = [ids["dimensions"][name] for name in body["dimensionIds"]]
    for dimension_id in dimension_ids:
        if dimension_ids.count(dimension_id) > 1:
            raise ValidationError.at(
                "/dimensionIds", f"Field 'dimensionIds' names '{truncated(dimension_id)}' twice"
            )
    found = {
        **body,
        "dimensionIds": dimension_ids,
        "guards": [
            {**guard, "attributeId": ids["attributes"][guard["attributeId"]]}
            for guard in body["guards"]
        ],
    }
    return _with_reference_ids(found, ids)


def _with_reference_ids(
    body: Mapping[str, Any], ids: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    found = dict(body)
    for reference, table in (("targetSchemaId", "schemas"), ("optionListId", "option_lists")):
        if reference in body:
            found[reference] = ids[table][body[reference]]
    if "attributes" in body:
        found["attributes"] = [_with_reference_ids(field, ids) for field in body["attributes"]]
    return found


def check_no_self_guard(attribute_id: str, body: Mapping[str, Any]) -> None:
    """Raise `ValidationError` when a guard looks at its own attribute."""
    for index, guard in enumerate(body["guards"]):
        if guard["attributeId"] == attribute_id:
            raise ValidationError.at(
                f"/guards/{index}/attributeId", "An attribute cannot guard itself"
            )


def with_filterable(body: dict[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a PUT, filterable as before where it does not say that."""
    if "filterable" in body or "filterable" not in old:
        return body
    return {**body, "filterable": old["filterable"]}


def changes_of_form(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The fields that decide how values are stored, and that differ.

    The order of dimensions is not among them, nor is a new field of a complex attribute.
    """
    changed = [
        name
        for name in ("type", "multiple", "optionListId", "targetSchemaId")
        if old.get(name) != new.get(name)
    ]
    if set(old["dimensionIds"]) != set(new["dimensionIds"]):
        changed.append("dimensionIds")
    if not _keeps_fields(old, new):
        changed.append("attributes")
    return changed


def turned_on(old: Mapping[str, Any], new: Mapping[str, Any], rule: str) -> bool:
    """Whether a rule of the validation that was off is on now."""
    return bool(new["validation"].get(rule)) and not old["validation"].get(rule)


def _keeps_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether all fields are still there in the form that they had, on every level."""
    fields = {field["alias"]: field for field in new.get("attributes", ())}
    return all(
        field["alias"] in fields
        and _form(fields[field["alias"]]) == _form(field)
        and _keeps_fields(field, fields[field["alias"]])
        for field in old.get("attributes", ())
    )


def _form(field: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        field["type"],
        field["multiple"],
        field.get("optionListId"),
        field.get("targetSchemaId"),
        # Without fields any object is stored: with the first field, others are unknown.
        bool(field.get("attributes")),
    )


def _sub_body(sub: SubAttributeDraft) -> dict[str, Any]:
    body: dict[str, Any] = {
        "alias": sub.alias,
        "name": sub.name or sub.alias,
        **said(sub),
        "type": sub.type.value,
        "validation": sub.validation.stored(),
        "multiple": sub.multiple,
    }
    if sub.option_list_id is not None:
        body["optionListId"] = sub.option_list_id
    if sub.target_schema_id is not None:
        body["targetSchemaId"] = sub.target_schema_id
    if sub.type is AttributeType.COMPLEX:
        body["attributes"] = [_sub_body(inner) for inner in sub.attributes or ()]
    return body


class _Programs:
    """The patterns of one attribute, of which all together have a bound as each of them has."""

    def __init__(self) -> None:
        self._size = 0

    def fault(self, pattern: str, pointer: str) -> str | None:
        """What is wrong with one more pattern; where there are too many none is compiled any more.

        So the work is bounded whatever is sent.
        """
        field = pointer.removeprefix("/").replace("/", ".")
        if self._size > patterns.PROGRAM_SIZES_MAX:
            return None
        try:
            size = patterns.checked_size(pattern)
        except patterns.BadPattern as error:
            return f"Rule 'pattern' is not an RE2 pattern: {error}"
        except patterns.LargePattern as error:
            # To find out took as long as several patterns that are as large as one may be.
            self._size += error.size or 5 * patterns.PROGRAM_SIZE_MAX
            came = "many more" if error.size is None else error.size
            return (
                f"Field '{field}' must compile to at most"
                f" {patterns.PROGRAM_SIZE_MAX} instructions of RE2, got {came}"
            )
        self._size += size
        if self._size > patterns.PROGRAM_SIZES_MAX:
            return (
                f"Field '{field}' and the patterns before it in this attribute must compile to"
                f" at most {patterns.PROGRAM_SIZES_MAX} instructions of RE2, got {self._size}"
            )
        return None


def _rule_faults(
    rules: ValidationDraft | None, kind: AttributeType, pointer: str, programs: _Programs
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
            Violation(
                f"{pointer}/min",
                f"Rule 'min' is {plain_number(rules.min)}, above 'max' {plain_number(rules.max)}",
            )
        )
    if rules.pattern is not None:
        fault = programs.fault(rules.pattern, f"{pointer}/pattern")
        if fault is not None:
            faults.append(Violation(f"{pointer}/pattern", fault))
    return faults


def _reference_faults(draft: AttributeDraft | SubAttributeDraft, pointer: str) -> list[Violation]:
    faults = []
    if draft.type is AttributeType.OPTION:
        if draft.option_list_id is None:
            faults.append(
                Violation(
                    f"{pointer}/optionListId", "Field 'optionListId' is required for type 'option'"
                )
            )
    elif draft.option_list_id is not None:
        faults.append(_misplaced(f"{pointer}/optionListId", "optionListId", draft.type))
    if draft.target_schema_id is not None and draft.type is not AttributeType.RELATION:
        faults.append(_misplaced(f"{pointer}/targetSchemaId", "targetSchemaId", draft.type))
    if draft.multiple and draft.type in _NEVER_SEVERAL:
        faults.append(_misplaced(f"{pointer}/multiple", "multiple", draft.type))
    return faults


def _guard_faults(draft: AttributeDraft) -> list[Violation]:
    faults = []
    for index, guard in enumerate(draft.guards):
        pointer = f"/guards/{index}"
        if guard.attribute_id in (draft.id, draft.alias):
            faults.append(Violation(f"{pointer}/attributeId", "An attribute cannot guard itself"))
        if len(orjson.dumps(guard.value)) > GUARD_VALUE_BYTES_MAX:
            faults.append(
                Violation(
                    f"{pointer}/value",
                    f"Field 'value' of a guard must have at most {GUARD_VALUE_BYTES_MAX} bytes",
                )
            )
        if isinstance(guard.value, list) and len(guard.value) > GUARD_VALUES_MAX:
            faults.append(
                Violation(
                    f"{pointer}/value",
                    f"Field 'value' of a guard must have at most {GUARD_VALUES_MAX} items,"
                    f" got {len(guard.value)}",
                )
            )
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


def _field_faults(draft: AttributeDraft, programs: _Programs) -> list[Violation]:
    """What is wrong with the fields; those of all levels are counted first."""
    count = _count(draft)
    if count > SUB_ATTRIBUTES_MAX:
        return [
            Violation(
                "/attributes",
                f"An attribute has at most {SUB_ATTRIBUTES_MAX} fields on all levels together,"
                f" got {count}",
            )
        ]
    return list(_faults_in(draft, "", 1, programs))


def _count(draft: AttributeDraft | SubAttributeDraft) -> int:
    return sum(1 + _count(sub) for sub in draft.attributes or ())


def _faults_in(
    draft: AttributeDraft | SubAttributeDraft, pointer: str, depth: int, programs: _Programs
) -> Iterator[Violation]:
    if not draft.attributes:
        return
    if draft.type is not AttributeType.COMPLEX:
        yield _misplaced(f"{pointer}/attributes", "attributes", draft.type)
        return
    if depth > COMPLEX_DEPTH_MAX:
        yield Violation(
            f"{pointer}/attributes", f"Fields may have at most {COMPLEX_DEPTH_MAX} levels"
        )
        return
    aliases: set[str] = set()
    for index, sub in enumerate(draft.attributes):
        place = f"{pointer}/attributes/{index}"
        if sub.alias in aliases:
            yield Violation(f"{place}/alias", f"Alias '{truncated(sub.alias)}' is used twice")
        aliases.add(sub.alias)
        if sub.validation.unique:
            yield Violation(
                f"{place}/validation/unique", "A field of a complex value cannot be unique"
            )
        yield from _rule_faults(sub.validation, sub.type, f"{place}/validation", programs)
        yield from _reference_faults(sub, place)
        yield from _faults_in(sub, place, depth + 1, programs)


def _misplaced(pointer: str, name: str, kind: AttributeType) -> Violation:
    return Violation(pointer, f"'{name}' does not belong to attributes of type '{kind.value}'")
