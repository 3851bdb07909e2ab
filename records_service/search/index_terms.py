"""The terms of a record in its row `s` of the search index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from records_service.search.criteria import Searched
from records_service.search.index_joins import Sql
from records_service.search.sql import Arguments
from records_service.search_index.terms import in_buckets

_TERMS_COMPARED_MAX: Final = 4
"""Up to so many terms are compared one by one."""


def has_any(terms: Sequence[int]) -> Sql:
    """The condition that the record of a row `s` has one of these terms."""

    def sql(arguments: Arguments) -> str:
        arguments.reads.add("terms")
        if len(terms) == 1:
            return f"s.terms @> ARRAY[{arguments.name(terms[0], 'bigint')} + s.bucket]"
        if len(terms) <= _TERMS_COMPARED_MAX:
            every = [each for term in terms for each in in_buckets(term)]
            return f"s.terms && {arguments.name(every, 'bigint[]')}"
        named = arguments.name(list(terms), "bigint[]")
        return f"EXISTS (SELECT FROM unnest(s.terms) AS t (t) WHERE t.t - s.bucket = ANY({named}))"

    return sql


def is_single(target: Searched) -> bool:
    """Whether a record has one value at most."""
    attribute = target.attribute
    return not (attribute.multiple or target.fields or attribute.dimension_ids)
