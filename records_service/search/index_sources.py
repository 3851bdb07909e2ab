"""Where a search looks for records that may meet a criterion: SELECTs over the search index.

Each source makes a SELECT of `record_id, created_at, schema_id, state_id, bucket, terms,
number_keys, numbers`, of each record once. All after `state_id` is there if terms are asked for. A
sample of a source has the records of one of the buckets, into which a hash of their ids puts them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from records_service.search.sql import Arguments
from records_service.search_index.terms import BUCKETS

_COLUMNS: Final = "record_id, created_at, schema_id, state_id"
_NO_TERMS: Final = (
    "NULL::smallint AS bucket, NULL::bigint[] AS terms, NULL::bigint[] AS number_keys,"
    " NULL::float8[] AS numbers"
)
TERMS: Final = "s.bucket, s.terms, s.number_keys, s.numbers"
"""Columns of a row `s` of `search_records`."""

REPEATED: Final = 3
"""How often a condition on terms is said that PostgreSQL does not know before it executes: each
time, it expects a two-hundredth of the records. It would read the whole workspace, otherwise."""


def _of(row: str) -> str:
    return ", ".join(f"{row}.{each}" for each in _COLUMNS.split(", "))


class Source(ABC):
    """A set of records."""

    can_be_sampled: bool = True
    is_counted: bool = False
    """Whether an index has the rows of the first bucket, so that some thousand are counted fast."""

    @abstractmethod
    def rows(self, arguments: Arguments, *, with_terms: bool, sampled: bool = False) -> str:
        """The SELECT, whose arguments are appended."""

    def short(self) -> Source:
        """The same source, which is known to have few rows."""
        return self


@dataclass(frozen=True, slots=True)
class Everything(Source):
    """All records, or those that meet a condition over a row `s` of `search_records`."""

    condition: Callable[[Arguments], str] = lambda _: "true"

    def rows(self, arguments: Arguments, *, with_terms: bool, sampled: bool = False) -> str:
        """See `Source`."""
        del with_terms  # they are there
        sample = " AND s.bucket = 0" if sampled else ""
        return (
            f"SELECT {_of('s')}, {TERMS} FROM search_records s"  # noqa: S608
            f" WHERE s.workspace_id = $1 AND {self.condition(arguments)}{sample} OFFSET 0"
        )


@dataclass(frozen=True, slots=True)
class Terms(Source):
    """The records that have at least one term of each group; they are named as in the first bucket.

    They are looked up bucket by bucket, so that the lists of terms that are compared are short,
    and then read in the order in which they are stored.
    """

    groups: tuple[tuple[int, ...], ...]
    buckets: range = range(BUCKETS)
    """Of which records are found; a sample has those of the first."""
    is_short: bool = False

    def short(self) -> Source:
        """See `Source`."""
        return replace(self, is_short=True)

    def rows(self, arguments: Arguments, *, with_terms: bool, sampled: bool = False) -> str:
        """See `Source`."""
        del with_terms  # they are there
        # OFFSET 0: PostgreSQL would add the index of all records of the workspace to that of terms.
        source = (
            f"SELECT {_of('s')}, {TERMS} FROM search_records s"  # noqa: S608
            " WHERE s.workspace_id = $1 AND {} OFFSET 0"
        )
        if sampled:
            return source.format(
                " AND ".join(
                    f"s.terms {sign} {arguments.name(list(group), 'bigint[]')}"
                    for sign, group in self._parts()
                )
            )
        parts = [
            (sign, len(group), self._in_all_buckets(group, arguments))
            for sign, group in self._parts()
        ]
        if self.is_short:
            return self._one_by_one(source, parts)
        # The terms of a bucket are one slice of the argument.
        buckets = (
            " AND ".join(
                f"s.terms {sign} ({named})[{number * size + 1}:{number * size + size}]"
                for sign, size, named in parts
            )
            for number in range(len(self.buckets))
        )
        return source.format(f"({' OR '.join(f'({each})' for each in buckets)})")

    def _one_by_one(self, source: str, parts: Sequence[tuple[str, int, str]]) -> str:
        """A SELECT that looks up one bucket after the other.

        Planning 64 conditions takes longer than finding a few rows by them, and rows that hardly
        share pages need no order.

        PostgreSQL takes terms that it does not know before it executes for those of many records,
        and would read the whole workspace for each bucket. Each time that a condition is repeated,
        it expects a two-hundredth of them.
        """
        found = [
            f"s.terms {sign} ({named})[b.number * {size} + 1 : b.number * {size} + {size}]"
            for sign, size, named in parts
        ]
        condition = " AND ".join(found * REPEATED)
        return (
            f"SELECT s.* FROM generate_series(0, {len(self.buckets) - 1}) AS b (number)"  # noqa: S608
            f" CROSS JOIN LATERAL ({source.format(condition)}) AS s OFFSET 0"
        )

    def _parts(self) -> list[tuple[str, tuple[int, ...]]]:
        """Operators and their terms."""
        alone = tuple(sorted({group[0] for group in self.groups if len(group) == 1}))
        several = sorted({group for group in self.groups if len(group) != 1})
        return [*([("@>", alone)] if alone else []), *(("&&", group) for group in several)]

    def _in_all_buckets(self, group: tuple[int, ...], arguments: Arguments) -> str:
        terms = [term + bucket for bucket in self.buckets for term in group]
        return arguments.name(terms, "bigint[]")


@dataclass(frozen=True, slots=True)
class Numbers(Source):
    """The records with a number for which a condition over `n.number` holds."""

    key: int
    condition: Callable[[Arguments], str]
    is_single: bool
    """Whether a record has one number at most."""
    is_counted: bool = True

    def rows(self, arguments: Arguments, *, with_terms: bool, sampled: bool = False) -> str:
        """See `Source`."""
        sample = " AND n.bucket = 0" if sampled else ""
        only = " AND n.entry = 0" if self.is_single else ""
        found = (
            f"SELECT {'' if self.is_single else 'DISTINCT '}{_of('n')}"  # noqa: S608
            f" FROM search_numbers n WHERE n.workspace_id = $1"
            f" AND n.attribute_key = {arguments.name(self.key, 'bigint')}"
            f"{only} AND {self.condition(arguments)}{sample}"
        )
        return rows_with_terms(found, with_terms, sampled)


@dataclass(frozen=True, slots=True)
class Stored(Source):
    """The records of which `records` or another table knows that they meet a criterion.

    `ids` is a SELECT of `record_id`, of each record any number of times.
    """

    ids: Callable[[Arguments], str]
    can_be_sampled: bool = False

    def rows(self, arguments: Arguments, *, with_terms: bool, sampled: bool = False) -> str:
        """See `Source`."""
        assert not sampled
        found = (
            "SELECT r.id AS record_id, r.created_at, r.schema_id, r.state_id"  # noqa: S608
            f" FROM (SELECT DISTINCT i.record_id FROM ({self.ids(arguments)}) AS i) AS i"
            " CROSS JOIN LATERAL (SELECT r.id, r.created_at, r.schema_id, r.state_id"
            " FROM records r WHERE r.workspace_id = $1 AND r.id = i.record_id OFFSET 0) AS r"
        )
        return rows_with_terms(found, with_terms, sampled)


@dataclass(frozen=True, slots=True)
class InRecords(Source):
    """The records that an index of `records` finds by a condition over its row `r`."""

    condition: Callable[[Arguments], str]
    can_be_sampled: bool = False

    def rows(self, arguments: Arguments, *, with_terms: bool, sampled: bool = False) -> str:
        """See `Source`."""
        assert not sampled
        found = (
            "SELECT r.id AS record_id, r.created_at, r.schema_id, r.state_id"  # noqa: S608
            f" FROM records r WHERE r.workspace_id = $1 AND {self.condition(arguments)}"
        )
        return rows_with_terms(found, with_terms, sampled)


@dataclass(frozen=True, slots=True)
class Union(Source):
    """The records of several sources."""

    parts: tuple[Source, ...]

    def short(self) -> Source:
        """See `Source`."""
        return Union(tuple(part.short() for part in self.parts))

    @property
    def can_be_sampled(self) -> bool:  # type: ignore[override]
        """Whether all parts can."""
        return all(part.can_be_sampled for part in self.parts)

    def rows(self, arguments: Arguments, *, with_terms: bool, sampled: bool = False) -> str:
        """See `Source`."""
        parts = (
            f"(SELECT {_COLUMNS} FROM"  # noqa: S608
            f" ({part.rows(arguments, with_terms=False, sampled=sampled)}) AS part)"
            for part in self.parts
        )
        found = (
            "SELECT * FROM ("  # noqa: S608
            f"SELECT DISTINCT ON (created_at, record_id) {_COLUMNS}"
            f" FROM ({' UNION ALL '.join(parts)}) AS every) AS every"
        )
        return rows_with_terms(found, with_terms, sampled)


def rows_with_terms(found: str, with_terms: bool, sampled: bool = False) -> str:
    """What was found, with the terms of each record if they are asked for."""
    if not with_terms:
        return f"SELECT {_of('f')}, {_NO_TERMS} FROM ({found}) AS f"  # noqa: S608
    # In the order of the rows, one after the other on the same pages; a sample stops early. Not a
    # whole row as a value: its type is that of the table, on Citus another one in each shard.
    order = "" if sampled else "ORDER BY f.created_at, f.record_id "
    sample = " AND s.bucket = 0" if sampled else ""
    return (
        f"SELECT {_of('f')}, {TERMS} FROM (SELECT * FROM ({found}) AS f {order}OFFSET 0) AS f"  # noqa: S608
        f" CROSS JOIN LATERAL (SELECT {TERMS} FROM search_records s WHERE s.workspace_id = $1"
        f" AND s.created_at = f.created_at AND s.record_id = f.record_id{sample} OFFSET 0) AS s"
    )
