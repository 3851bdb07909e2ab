"""Criteria as conditions that the search index answers, with the sources that find their records.

A condition is over the row `s` of a source: a record's schema, state and terms. What the index does
not tell is asked of `r`, the row of `records`: an attribute that is not filterable or not ready, a
value in one scope, a part of a text, whether a related record is alive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from records_service.attributes.model import AttributeType
from records_service.blueprint.blueprint import Blueprint
from records_service.search.criteria import Comparison, Criteria, Group, InCategory, Searched
from records_service.search.index_joins import Condition, Sql, Way, all_of, any_of, both
from records_service.search.index_numbers import number_met
from records_service.search.index_others import claimed, of_category, of_record
from records_service.search.index_sources import (
    Everything,
    InRecords,
    Numbers,
    Source,
    Stored,
    Terms,
)
from records_service.search.index_terms import has_any, is_single
from records_service.search.operands import is_same_number
from records_service.search.score_sources import by_score
from records_service.search.scored import Scored
from records_service.search.sort_sources import beginning, view_of
from records_service.search.sql import (
    SIGNS,
    Arguments,
    condition,
    of_field,
    seen,
)
from records_service.search.text_sources import parts_of_texts
from records_service.search_index.terms import (
    key_of,
    none_term,
    number_of,
    schema_term,
    value_term,
)

OTHERS_MAX: Final = 8
"""Up to so many other options are looked for to find the records that do not have some."""
_EXACT_BELOW: Final = float(1 << 53)
_BY_SIZE: Final = (AttributeType.NUMBER, AttributeType.DATETIME)
_IN_ROW: Final = frozenset({"id", "schemaId", "lifecycleStateId", "createdAt"})


def _always(_: Arguments) -> str:
    return "true"


class Index:
    """Makes conditions of criteria in one version of the data model."""

    def __init__(self, blueprint: Blueprint, sorted_schemas: Mapping[str, str]) -> None:
        self._blueprint = blueprint
        self._sorted = sorted_schemas
        self._workspace_id = blueprint.workspace_id
        self._ready = blueprint.filterable_since

    @property
    def is_ready(self) -> bool:
        """Whether all records of the workspace are in the index."""
        return bool(self._ready)

    def has(self, target: Searched) -> bool:
        """Whether the index has the values of what is searched."""
        return target.attribute.id in self._ready

    def number_key(self, target: Searched | Scored) -> int | None:
        """The key of the numbers by which records are sorted; None if they are not in the index.

        A record with values in several scopes is sorted by the one that holds, which the index does
        not tell.
        """
        if (
            isinstance(target, Scored)
            or target.type not in _BY_SIZE
            or not self.has(target)
            or target.attribute.dimension_ids
        ):
            return None
        return self._key(target)

    def sort_view(self, target: Searched | Scored, scope: Mapping[str, str] | None) -> int | None:
        """The key of the order of an attribute in a completed scope, if its rows are stored."""
        if isinstance(target, Scored) or not self.has(target):
            return None
        return view_of(self._blueprint, self._sorted, target, scope)

    def everything(self, condition: Sql = _always) -> Everything:
        """All records, or those that meet a condition over their rows of the index."""
        return Everything(condition)

    def lacking(self, target: Searched) -> Terms:
        """Where the records without a value are found, and those that do not show it."""
        return Terms(((self._none(target), *self.others(target).groups[0]),))

    def others(self, target: Searched) -> Terms:
        """Where the records are found that do not show the attribute, with others."""
        others = self._blueprint.schemas.keys() - target.sight.seen
        return Terms((tuple(schema_term(self._workspace_id, each) for each in sorted(others)),))

    def showing(self, target: Searched) -> Terms:
        """Where the records are found that may show the attribute."""
        shown = self._blueprint.schemas.keys() & target.sight.seen
        return Terms((tuple(schema_term(self._workspace_id, each) for each in sorted(shown)),))

    def option_terms(self, target: Searched) -> dict[int, str] | None:
        """Term -> the value that it stands for, of all options of an attribute; None if unknown."""
        if not self.has(target):
            return None
        if target.type is AttributeType.BOOLEAN:
            return {self._value(target, each): each for each in ("true", "false")}
        options = target.option_list
        if target.type is not AttributeType.OPTION or options is None or options.is_large:
            return None
        return {self._value(target, each.id): each.id for each in options.values}

    def positions(self, target: Searched | Scored) -> list[tuple[Any, int]] | None:
        """By what records are sorted, in ascending order, with the terms; None if unknown.

        That is the position of an option in its list, from 1 on, or false and true.
        """
        if isinstance(target, Scored) or target.attribute.dimension_ids:
            return None
        terms = self.option_terms(target)
        if terms is None:
            return None
        if target.type is AttributeType.BOOLEAN:
            return sorted((each == "true", term) for term, each in terms.items())
        return list(enumerate(terms, 1))

    def is_by_options(self, target: Searched | Scored) -> bool:
        """Whether records are sorted by terms: of options, or of true and false."""
        if isinstance(target, Scored) or target.attribute.dimension_ids or not self.has(target):
            return False
        return target.type is AttributeType.BOOLEAN or (
            target.type is AttributeType.OPTION and target.option_list is not None
        )

    def option_term(self, target: Searched, option_id: str) -> int:
        """The term of the records that have an option."""
        return self._value(target, option_id)

    def lacks(self, target: Searched) -> Sql:
        """The condition that the record of a row `s` has no value."""
        return has_any((self._none(target),))

    def condition(self, criteria: Criteria) -> Condition:
        """The condition that a record meets the criteria, and that the caller may know it."""
        if isinstance(criteria, Group):
            members = [self.condition(each) for each in criteria.members]
            if criteria.all_of or len(members) == 1:
                return all_of(members)
            return any_of(members) if members else Condition(_always)
        if isinstance(criteria, InCategory):
            return of_category(criteria)
        if isinstance(criteria.target, str):
            return self._of_field(criteria, criteria.target)
        if isinstance(criteria.target, Scored):
            return by_score(criteria, criteria.target)
        return self._of_attribute(criteria, criteria.target)

    def _of_field(self, comparison: Comparison, name: str) -> Condition:
        def in_row(arguments: Arguments) -> str:
            return of_field(comparison, name, arguments, "s.")

        def in_record(arguments: Arguments) -> str:
            return of_field(comparison, name, arguments)

        sql = in_row if name in _IN_ROW else of_record(in_record)
        if comparison.negated or comparison.operation == "filled":
            return Condition(sql)
        operands = comparison.operands
        source: Source | None = None
        is_equality = comparison.operation == "in"
        if name == "schemaId":
            source = Terms((tuple(schema_term(self._workspace_id, each) for each in operands),))
        elif name == "createdAt":
            source = self.everything(in_row)
        elif name == "id" and is_equality:
            ids = list(operands)
            source = Stored(lambda a: f"SELECT unnest({a.name(ids, 'text[]')}) AS record_id")
        elif name == "updatedAt" or (
            name == "lifecycleStateId" and is_equality and not self._blueprint.state_moves
        ):
            source = InRecords(in_record)
        return Condition(sql, () if source is None else (Way(source, _always),))

    def _of_attribute(self, comparison: Comparison, target: Searched) -> Condition:
        def in_record(arguments: Arguments) -> str:
            return condition(comparison, arguments)

        residual = Condition(of_record(in_record))
        if not self.has(target):
            return claimed(comparison, residual)
        is_filled = comparison.operation == "filled"
        is_text = target.type is not AttributeType.OPTION or target.large_list is not None
        is_part = is_text and comparison.operation in ("contains", "startsWith", "endsWith")
        # The index has values of any scope, and of relations to records that were deleted.
        is_wide = target.type is AttributeType.RELATION or (
            comparison.scope is not None and bool(target.attribute.dimension_ids)
        )
        if is_part or (is_wide and (comparison.negated or is_filled)):
            return self._of_part(comparison, target, residual) if is_part else residual
        if is_filled:
            return self._of_filled(comparison, target)
        if not comparison.operands:
            return _none_equals(comparison, target)
        if target.type in _BY_SIZE:
            found, is_exact = self._of_numbers(comparison, target)
        else:
            found, is_exact = self._of_terms(comparison, target), True
        if is_exact and not is_wide:
            return found
        return residual if comparison.negated else both(found, residual)

    def _of_part(self, comparison: Comparison, target: Searched, residual: Condition) -> Condition:
        # What has a part in one scope has it in any, and is found by that.
        if comparison.operation == "startsWith":
            begins = beginning(self.sort_view(target, comparison.scope), comparison, target)
            if begins is not None:
                return _positive(target, begins.met, begins)
        parts = parts_of_texts(self._blueprint, replace(comparison, scope=None), target)
        if parts is None:
            return residual
        found = _positive(target, parts.met, parts)
        found = found if parts.has_grams else Condition(found.sql)
        is_scoped = comparison.scope is not None and target.attribute.dimension_ids
        return both(found, residual) if is_scoped else found

    def _of_terms(self, comparison: Comparison, target: Searched) -> Condition:
        texts = [
            str(each).lower() if isinstance(each, bool) else each for each in comparison.operands
        ]
        terms = tuple(sorted({self._value(target, each) for each in texts}))
        met = has_any(terms)
        if not comparison.negated:
            return _positive(target, met, Terms((terms,)))
        sql = _negation(target, met)
        known = self.option_terms(target) if target.type is not AttributeType.TEXT else None
        others = sorted((known or {}).keys() - set(terms))
        if not known or len(others) > OTHERS_MAX:
            return Condition(sql)
        source = Terms(((self._none(target), *self._without(target), *others),))
        return Condition(sql, (Way(source, sql, checks=True),))

    def _of_filled(self, comparison: Comparison, target: Searched) -> Condition:
        none = self._none(target)
        is_none = has_any((none,))
        if comparison.negated:

            def empty(arguments: Arguments) -> str:
                without, visible = _without(target, arguments), _seen(target, arguments)
                return f"({without} OR ({visible} AND {is_none(arguments)}))"

            source = Terms(((none, *self._without(target)),))
            return Condition(
                empty,
                (
                    Way(
                        source,
                        _always if target.sight.is_whole else empty,
                        not target.sight.is_whole,
                    ),
                ),
            )

        def filled(arguments: Arguments) -> str:
            return f"({_seen(target, arguments)} AND NOT {is_none(arguments)})"

        if target.type in _BY_SIZE:
            numbers = Numbers(self._key(target), _always, is_single(target))
            return Condition(filled, (Way(numbers, _sight_of(target)),))
        known = self.option_terms(target)
        if not known or len(known) > OTHERS_MAX:
            return Condition(filled)
        return Condition(filled, (Way(Terms((tuple(sorted(known)),)), filled, checks=True),))

    def _of_numbers(self, comparison: Comparison, target: Searched) -> tuple[Condition, bool]:
        """The condition, and whether it is exact: a number of the index has 53 bits."""
        key, operation, single = self._key(target), comparison.operation, is_single(target)
        pairs = [(each, _number(target, each)) for each in comparison.operands]
        if operation == "in":
            pairs = [
                pair for pair in pairs if abs(pair[1]) >= _EXACT_BELOW or is_same_number(*pair)
            ]
            if not pairs:
                return _none_equals(comparison, target), True
            is_exact = all(abs(number) < _EXACT_BELOW for _, number in pairs)
            wanted = [number for _, number in pairs]

            def compares(number: str, arguments: Arguments) -> str:
                return f"{number} = ANY({arguments.name(wanted, 'float8[]')})"
        else:
            [(operand, bound)] = pairs
            is_exact = abs(bound) < _EXACT_BELOW and is_same_number(operand, bound)
            sign = SIGNS[operation] if is_exact else f"{SIGNS[operation][0]}="

            def compares(number: str, arguments: Arguments) -> str:
                return f"{number} {sign} {arguments.name(bound, 'float8')}"

        def compared(arguments: Arguments) -> str:
            return compares("n.number", arguments)

        def met(arguments: Arguments) -> str:
            return number_met(key, compares, arguments, is_single=single)

        if comparison.negated:
            return Condition(_negation(target, met)), is_exact

        return _positive(target, met, Numbers(key, compared, single)), is_exact

    def _value(self, target: Searched, value: str) -> int:
        return value_term(self._workspace_id, target.attribute.id, target.path, value)

    def _none(self, target: Searched) -> int:
        return none_term(self._workspace_id, target.attribute.id, target.path)

    def _key(self, target: Searched) -> int:
        return key_of(target.attribute.id, target.path)

    def _without(self, target: Searched) -> Iterator[int]:
        """The terms of the schemas that do not have the attribute."""
        for each in sorted(self._blueprint.schemas.keys() - target.sight.having):
            yield schema_term(self._workspace_id, each)


def _positive(target: Searched, met: Sql, source: Source) -> Condition:
    def sql(arguments: Arguments) -> str:
        return f"({_seen(target, arguments)} AND {met(arguments)})"

    return Condition(sql, (Way(source, _sight_of(target)),))


def _negation(target: Searched, met: Sql) -> Sql:
    def sql(arguments: Arguments) -> str:
        without, visible = _without(target, arguments), _seen(target, arguments)
        return f"({without} OR ({visible} AND NOT {met(arguments)}))"

    return sql


def _none_equals(comparison: Comparison, target: Searched) -> Condition:
    """A comparison with nothing that a record can have."""
    return Condition(_negation(target, _never) if comparison.negated else _never)


def _never(_: Arguments) -> str:
    return "false"


def _sight_of(target: Searched) -> Sql:
    return lambda arguments: _seen(target, arguments)


def _seen(target: Searched, arguments: Arguments) -> str:
    return seen(target.sight, arguments, "s.")


def _without(target: Searched, arguments: Arguments) -> str:
    return f"s.schema_id <> ALL({arguments.name(sorted(target.sight.having), 'text[]')})"


def _number(target: Searched, operand: Any) -> float:
    found = number_of(target.type, operand)
    assert found is not None
    return found
