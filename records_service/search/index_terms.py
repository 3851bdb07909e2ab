"""The terms of a record in its row `s` of the search index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from records_service.search.criteria import Searched
from records_service.search.index_joins import Sql
from records_service.search.sql import Arguments

_TERMS_COMPARED_MAX: Final = 16
"""Up to so many terms are compared one by one."""


def has_any(terms: Sequence[int]) -> Sql:
    """The condition that the record of a row `s` has one of these terms."""

    def sql(arguments: Arguments) -> str:
        arguments.reads.add("terms")
        if len(terms) <= _TERMS_COMPARED_MAX:
            sign = "@>" if len(terms) == 1 else "&&"
            here = (f"{arguments.name(each, 'bigint')} + s.bucket" for each in terms)
            return f"s.terms {sign} ARRAY[{', '.join(here)}]"
        named = arguments.name(list(terms), "bigint[]")
        return f"EXISTS (SELECT FROM unnest(s.terms) AS t (t) WHERE t.t - s.bucket = ANY({named}))"

    return sql


def is_single(target: Searched) -> bool:
    """Whether a record has one value at most."""
    attribute = target.attribute
    return not (attribute.multiple or target.fields or attribute.dimension_ids)
