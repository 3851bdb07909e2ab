"""What a search asks for, checked against the data model and the caller's role: a tree.

An attribute that is hidden from the role wherever it is is answered like one that does not exist.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

from records_service.attributes.model import Attribute, AttributeType, SubAttribute
from records_service.blueprint.blueprint import Blueprint
from records_service.dimensions.model import DIMENSIONS_NAMED_MAX
from records_service.option_lists.lookup import Options
from records_service.option_lists.model import OptionList
from records_service.permissions.rules import Role
from records_service.search.model import (
    CRITERIA_MAX,
    DEPTH_MAX,
    OPERANDS_MAX,
    OPERATORS,
    SORTS_MAX,
    Filter,
)
from records_service.search.naming import (
    NAMES_OF_ATTRIBUTE,
    alias_of,
    check_criteria_operator,
    check_options,
    fields_named,
    hint_of,
    object_at,
    place_name,
    readings,
    sort_order,
)
from records_service.search.operands import OPERATIONS, BadOperand, instant, operand_of
from records_service.search.scored import COMPLETENESS, Scored, scored
from records_service.search.sight import Sight, sight_of
from records_service.search_texts.folding import folding_in
from records_service.values.entries import (
    UnknownDimension,
    UnusableScope,
    completed,
    dimension_ids_by_name,
    with_ids,
)
from shared.errors import ValidationError, truncated
from shared.http.json_types import js_type

CATEGORY: Final = "categoryId"
FIELDS: Final[Mapping[str, tuple[str, frozenset[str]]]] = {
    name: (column, frozenset(operations))
    for name, column, operations in (
        ("id", "id", ("in", "contains", "startsWith", "endsWith")),
        ("schemaId", "schema_id", ("in",)),
        ("lifecycleStateId", "state_id", ("in", "filled")),
        ("createdAt", "created_at", ("in", "gt", "gte", "lt", "lte")),
        ("updatedAt", "updated_at", ("in", "gt", "gte", "lt", "lte")),
        ("createdBy", "created_by", ("in",)),
        ("updatedBy", "updated_by", ("in",)),
        (CATEGORY, "", ("in",)),
        (COMPLETENESS, "", ("in", "gt", "gte", "lt", "lte")),
    )
}
"""Name -> column of `records`, and what can be asked of it."""
_POSITIVE: Final = {"equals": "in", "notEquals": "in", "notIn": "in"}
_NEGATED: Final = frozenset({"notEquals", "notIn", "isEmpty"})
_TIMES: Final = frozenset({"createdAt", "updatedAt"})


@dataclass(frozen=True, slots=True)
class Searched:
    """An attribute, or a field of a complex one, that the caller may search."""

    attribute: Attribute
    fields: tuple[SubAttribute, ...]
    """From the outermost to the one that is searched; none for the attribute itself."""
    option_list: OptionList | None
    sight: Sight

    @property
    def definition(self) -> Attribute | SubAttribute:
        """What defines the values that are compared."""
        return self.fields[-1] if self.fields else self.attribute

    @property
    def path(self) -> list[str]:
        """The aliases of the fields that lead there."""
        return [each.alias for each in self.fields]

    @property
    def large_list(self) -> str | None:
        """The list from which the values are chosen, if its options are looked up."""
        chosen = self.option_list
        return chosen.id if chosen is not None and chosen.is_large else None

    @property
    def type(self) -> AttributeType:
        """The type of what is compared."""
        return self.definition.type


@dataclass(frozen=True, slots=True)
class Comparison:
    """One criterion: `operation` is positive, and `negated` turns it round.

    `target` is an attribute, completeness, or the name of a field of `FIELDS`. `operation` is `in`,
    `contains`, `startsWith`, `endsWith`, `gt`, `gte`, `lt`, `lte`, or `filled`. `scope` is
    completed; None stands for any.
    """

    target: Searched | Scored | str
    operation: str
    negated: bool
    operands: tuple[Any, ...]
    scope: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class InCategory:
    """A criterion on the categories that the role may view."""

    category_ids: tuple[str, ...]
    includes_subcategories: bool
    negated: bool
    role: Role | None


@dataclass(frozen=True, slots=True)
class Group:
    """Criteria of which all must be met, or one."""

    all_of: bool
    members: tuple[Criteria, ...]


Criteria: TypeAlias = Comparison | InCategory | Group


@dataclass(frozen=True, slots=True)
class SortKey:
    """By what to sort; `scope` is completed, and None for a field."""

    target: Searched | Scored | str
    descending: bool
    scope: Mapping[str, str] | None


class Reader:
    """Reads criteria as one caller may ask them of one version of the data model."""

    def __init__(
        self, blueprint: Blueprint, role: Role | None, options: Options | None = None
    ) -> None:
        self._blueprint = blueprint
        self._role = role
        self._read = partial(
            operand_of,
            options=Options() if options is None else options,
            folding=folding_in(blueprint),
        )
        self._count = 0
        self.digests: Mapping[str, str] = {}
        self.sorted: Mapping[str, str] = {}
        """Schema -> the digest of the views in which its records are sorted."""
        self._schema_ids: Sequence[str] = sorted(blueprint.schemas)
        self._dimension_ids = dimension_ids_by_name(blueprint.dimensions, blueprint.dimensions)
        self._defaults = {
            each.id: each.default_segment_id for each in blueprint.dimensions.values()
        }

    def filter(self, asked: Filter) -> Group:
        """The criteria of a body, with its schema. Raises `ValidationError`."""
        members: list[Criteria] = []
        if asked.schema_id is not None:
            schema_id = self.schema(asked.schema_id)
            self._schema_ids = [schema_id] if schema_id in self._blueprint.schemas else []
            members.append(Comparison("schemaId", "in", False, (schema_id,), None))
        members.append(self._group(asked.criteria_operator, asked.criteria, "", 1))
        return Group(True, tuple(members))

    def schema(self, name: str) -> str:
        """The id of the schema with this id or alias; a name that nothing has finds nothing."""
        return self._blueprint.schema_id_of(name)

    def states(self, name: str) -> list[str]:
        """The ids of all states with this id or alias, in every workflow."""
        workflows = self._blueprint.workflows.values()
        named = (workflow.state_named(name) for workflow in workflows)
        return sorted({name, *(state.id for state in named if state)})

    def sort(self, asked: Sequence[Any]) -> list[SortKey]:
        """By what to sort. Raises `ValidationError`."""
        if len(asked) > SORTS_MAX:
            raise ValidationError.at("/sort", f"Field 'sort' must have at most {SORTS_MAX} items")
        found: list[SortKey] = []
        for index, one in enumerate(asked):
            sent = object_at(one, at := f"/sort/{index}")
            order = sort_order(sent, at)
            target = self._target(sent, at)
            if target == CATEGORY:
                raise ValidationError.at(f"{at}/field", f"Records cannot be sorted by '{CATEGORY}'")
            asked_scope = sent.get("scope")
            scope = self.scope({} if asked_scope is None else asked_scope, f"{at}/scope")
            if isinstance(target, str):
                key = self._scored(sent, at, scope) if target == COMPLETENESS else target
                found.append(SortKey(key, order == "desc", None))
                continue
            if target.type is AttributeType.COMPLEX:
                name = alias_of(target.attribute, *target.fields)
                raise ValidationError.at(
                    at, f"Field '{place_name(at)}' must name a field of '{name}' to sort by"
                )
            found.append(SortKey(target, order == "desc", scope))
        return found

    def attribute(self, name: str, at: str) -> Searched:
        """The attribute of this alias or id, or field of one. Raises `ValidationError`."""
        for attribute_name, below in readings(name):
            attribute_id = self._blueprint.attribute_ids_by_name.get(attribute_name)
            if attribute_id is None:
                continue
            attribute = self._blueprint.attributes[attribute_id]
            fields = fields_named(attribute.attributes, below)
            if fields is None:
                continue
            sight = sight_of(self._blueprint, self._role, attribute_id)
            if self._role is not None and sight.is_hidden:
                continue
            lists = self._blueprint.option_lists
            option_list = lists.get((fields[-1] if fields else attribute).option_list_id or "")
            return Searched(attribute, fields, option_list, sight)
        raise ValidationError.at(at, f"Unknown attribute '{truncated(name)}'")

    def _group(self, operator: Any, criteria: Any, at: str, depth: int) -> Group:
        check_criteria_operator(operator, at)
        if not isinstance(criteria, list):
            at, got = f"{at}/criteria", js_type(criteria)
            raise ValidationError.at(at, f"Field '{place_name(at)}' must be an array, got {got}")
        if depth > DEPTH_MAX:
            raise ValidationError.at(
                f"{at}/criteria", f"Criteria may be at most {DEPTH_MAX} levels deep"
            )
        members = (
            self._criterion(one, f"{at}/criteria/{index}", depth)
            for index, one in enumerate(criteria)
        )
        return Group(operator == "and", tuple(members))

    def _criterion(self, one: Any, at: str, depth: int) -> Criteria:
        self._count += 1
        if self._count > CRITERIA_MAX:
            raise ValidationError.at(at, f"A search has at most {CRITERIA_MAX} criteria")
        sent = object_at(one, at)
        check_options(sent, at)
        # Also where it changes nothing: what is wrong is told.
        scope = self.scope(sent["scope"], f"{at}/scope") if sent.get("scope") is not None else None
        if sent.get("criteria") is not None:
            if any(sent.get(name) is not None for name in (*NAMES_OF_ATTRIBUTE, "field")):
                raise ValidationError.at(
                    at, f"Field '{place_name(at)}' must be a group or a comparison, got both"
                )
            joint = sent.get("criteriaOperator") or "and"
            return self._group(joint, sent["criteria"], at, depth + 1)
        target = self._target(sent, at)
        operator = sent.get("operator")
        if operator is None:
            raise ValidationError.at(
                f"{at}/operator",
                f"Field '{place_name(at)}.operator' is required: expected one of"
                f" {', '.join(OPERATORS)}",
            )
        operation = (
            "filled" if operator in ("isEmpty", "isNotEmpty") else _POSITIVE.get(operator, operator)
        )
        can = FIELDS[target][1] if isinstance(target, str) else OPERATIONS[target.type]
        if operation not in can:
            what = (
                f"field '{target}'"
                if isinstance(target, str)
                else (
                    f"'{alias_of(target.attribute, *target.fields)}' of type '{target.type.value}'"
                )
            )
            hint = "" if isinstance(target, str) else hint_of(target.attribute, *target.fields)
            raise ValidationError.at(
                f"{at}/operator", f"Operator '{operator}' cannot be used with {what}{hint}"
            )
        operands = (
            () if operation == "filled" else self._operands(sent, at, target, operator, operation)
        )
        negated = operator in _NEGATED
        if target == CATEGORY:
            below = sent.get("includeSubcategories") is True
            return InCategory(operands, below, negated, self._role)
        if target == COMPLETENESS:
            asked = self._scored(sent, at, self._defaults if scope is None else scope)
            return Comparison(asked, operation, negated, operands, None)
        return Comparison(
            target, operation, negated, operands, scope if isinstance(target, Searched) else None
        )

    def _scored(self, sent: Mapping[str, Any], at: str, scope: Mapping[str, str]) -> Scored:
        return scored(self._blueprint, self._role, self._schema_ids, sent, at, scope, self.digests)

    def _target(self, sent: Mapping[str, Any], at: str) -> Searched | str:
        named = {
            name: sent[name]
            for name in (*NAMES_OF_ATTRIBUTE, "field")
            if sent.get(name) is not None
        }
        if len(named) != 1:
            got = "none" if not named else " and ".join(f"'{name}'" for name in named)
            raise ValidationError.at(
                at, f"Field '{place_name(at)}' must name an 'attribute' or a 'field', got {got}"
            )
        [(key, name)] = named.items()
        if not isinstance(name, str):
            raise ValidationError.at(
                f"{at}/{key}",
                f"Field '{place_name(at)}.{key}' must be a string, got {js_type(name)}",
            )
        if key != "field":
            return self.attribute(name, f"{at}/{key}")
        if name not in FIELDS:
            raise ValidationError.at(
                f"{at}/field",
                f"Field '{place_name(at)}.field' must be one of {', '.join(FIELDS)},"
                f" got '{truncated(name)}'",
            )
        return name

    def scope(self, sent: Any, at: str) -> Mapping[str, str]:
        """The scope by ids, with the default segments of the dimensions that it does not name."""
        if not isinstance(sent, dict):
            raise ValidationError.at(
                at, f"Field '{place_name(at)}' must be an object, got {js_type(sent)}"
            )
        if len(sent) > DIMENSIONS_NAMED_MAX:
            raise ValidationError.at(
                at, f"Field '{place_name(at)}' must have at most {DIMENSIONS_NAMED_MAX} dimensions"
            )
        try:
            scope = with_ids(sent, self._dimension_ids, self._blueprint.dimensions)
        except UnknownDimension as error:
            raise ValidationError.at(
                at, f"Field '{place_name(at)}': unknown dimension '{truncated(error.args[0])}'"
            ) from None
        except UnusableScope as error:
            raise ValidationError.at(at, f"Field '{place_name(at)}': {error}") from None
        return completed(scope, self._defaults)

    def _operands(
        self,
        sent: Mapping[str, Any],
        at: str,
        target: Searched | str,
        operator: str,
        operation: str,
    ) -> tuple[Any, ...]:
        value, at = sent.get("value"), f"{at}/value"
        named = f"Field '{place_name(at)}'"
        if value is None:
            raise ValidationError.at(at, f"{named} is required for '{operator}'")
        several = operator in ("in", "notIn")
        if several and not isinstance(value, list):
            raise ValidationError.at(
                at, f"{named} must be an array for '{operator}', got {js_type(value)}"
            )
        if several and len(value) > OPERANDS_MAX:
            raise ValidationError.at(
                at, f"{named} must have at most {OPERANDS_MAX} items, got {len(value)}"
            )
        found: list[Any] = []
        for index, one in enumerate(value if several else [value]):
            place = f"{at}/{index}" if several else at
            try:
                operand = self._operand(target, operation, one)
            except BadOperand as fault:
                raise ValidationError.at(place, f"Field '{place_name(place)}' {fault}") from None
            if isinstance(operand, list):
                found += operand
            else:
                found.append(operand)
        return tuple(found)

    def _operand(self, target: Searched | str, operation: str, value: Any) -> Any:
        if not isinstance(target, str):
            return self._read(target.type, operation, value, target.option_list)
        if target in _TIMES:
            return instant(value)
        if target == COMPLETENESS:
            return self._read(AttributeType.NUMBER, operation, value, None)
        text = self._read(AttributeType.TEXT, operation, value, None)
        if target == "schemaId":
            return self.schema(text)
        return self.states(text) if target == "lifecycleStateId" else text
