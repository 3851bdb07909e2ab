"""Conditions of a search by the index that other tables answer."""

from __future__ import annotations

from records_service.search.criteria import Comparison, InCategory
from records_service.search.index_joins import Condition, Sql, Way
from records_service.search.index_sources import Stored
from records_service.search.sql import Arguments, ids_in_category, in_category, reserved


def claimed(comparison: Comparison, residual: Condition) -> Condition:
    """A value that is unique has been reserved by its record."""
    if comparison.negated or reserved(comparison, Arguments()) is None:
        return residual

    def ids(arguments: Arguments) -> str:
        found = reserved(comparison, arguments)
        assert found is not None
        return found

    return Condition(residual.sql, (Way(Stored(ids), residual.sql, checks=True),))


def of_category(criterion: InCategory) -> Condition:
    """The condition that a record is in a category, with the way to these."""

    def sql(arguments: Arguments) -> str:
        return in_category(criterion, arguments, "s.record_id")

    if criterion.negated or not criterion.category_ids:
        return Condition(sql)
    source = Stored(lambda arguments: ids_in_category(criterion, arguments))
    return Condition(sql, (Way(source, _always),))


def of_record(sql: Sql) -> Sql:
    """A condition over the row `r` of `records`."""

    def reading(arguments: Arguments) -> str:
        arguments.reads.add("records")
        return sql(arguments)

    return reading


def _always(_: Arguments) -> str:
    return "true"
