"""The parts of statements that write records, by which the index changes with them.

A row of the index is written only by a statement that has locked its record, or creates or deletes
it, so its rows need no order of their own. Two such statements meet only where the first is a slice
of a build, because all others change the version of the record. A statement that has waited for a
slice goes on without seeing the rows that the slice inserted. So while a schema is being built,
what changes or deletes its records takes note of them, and the build ends with these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias

from records_service.search_index.changes import IndexChange
from records_service.search_index.terms import Indexed, number_lists


class Held(NamedTuple):
    """The record of which the index holds something."""

    created_at: datetime
    id: str
    schema_id: str
    state_id: str | None


Rows: TypeAlias = Sequence[tuple[Held, Indexed | IndexChange]]
_RECORD: Final = ("timestamptz[]", "text[]", "text[]", "text[]", "smallint[]")
_TERMS: Final = (*_RECORD, "int[]", "int[]", "int[]", "int[]")
_LISTS: Final = ("bigint[]", "bigint[]", "float8[]")
"""The terms of all records, and the keys and numbers of all; each row has a slice of them."""
_NUMBERS: Final = (*_RECORD, "bigint[]", "int[]", "float8[]")
_NEW: Final = "RETURNING 1"
_REPLACING_TERMS: Final = """
                ON CONFLICT (workspace_id, created_at, record_id)
                DO UPDATE SET schema_id = excluded.schema_id, state_id = excluded.state_id,
                              terms = excluded.terms, number_keys = excluded.number_keys,
                              numbers = excluded.numbers
            RETURNING 1"""
_REPLACING_NUMBERS: Final = """
                ON CONFLICT (workspace_id, created_at, record_id, attribute_key, entry)
                DO UPDATE SET schema_id = excluded.schema_id, state_id = excluded.state_id,
                              number = excluded.number
            RETURNING 1"""


def created(number: int, rows: Rows, condition: str) -> str:
    """The parts that store what the index holds of new records.

    The parameters from this number on are those of `created_arguments`. Nothing is written unless
    the condition holds.
    """
    parts = [_terms(number, condition, _NEW)]
    if any(entry.numbers for _, entry in rows):
        parts.append(_numbers(number + len(_TERMS) + len(_LISTS), condition, _NEW))
    return ", ".join(parts)


def _terms(number: int, condition: str, end: str) -> str:
    terms, keys, numbers = _parameters(number + len(_TERMS), _LISTS)
    return f"""
        termed AS (
            INSERT INTO search_records (workspace_id, created_at, record_id, schema_id, state_id,
                                        bucket, terms, number_keys, numbers)
            SELECT $1, n.created_at, n.id, n.schema_id, n.state_id, n.bucket,
                   ({terms})[n.first:n.last], ({keys})[n.first_number:n.last_number],
                   ({numbers})[n.first_number:n.last_number]
              FROM unnest({", ".join(_parameters(number, _TERMS))})
                   AS n (created_at, id, schema_id, state_id, bucket, first, last, first_number,
                         last_number)
             WHERE {condition}
            {end}
        )"""  # noqa: S608 - constants and numbers of parameters


def _numbers(number: int, condition: str, end: str) -> str:
    return f"""
        numbered AS (
            INSERT INTO search_numbers (workspace_id, created_at, record_id, schema_id, state_id,
                                        bucket, attribute_key, entry, number)
            SELECT $1, n.created_at, n.id, n.schema_id, n.state_id, n.bucket, n.key, n.entry,
                   n.number
              FROM unnest({", ".join(_parameters(number, _NUMBERS))})
                   AS n (created_at, id, schema_id, state_id, bucket, key, entry, number)
             WHERE {condition}
            {end}
        )"""  # noqa: S608 - constants and numbers of parameters


def created_arguments(rows: Rows) -> tuple[Sequence[Any], ...]:
    """The arguments of `created`."""
    arguments = _arguments(rows)
    return arguments if arguments[-1] else arguments[: len(_TERMS) + len(_LISTS)]


def _arguments(rows: Rows) -> tuple[Sequence[Any], ...]:
    terms: list[int] = []
    keys: list[int] = []
    numbers: list[float | None] = []
    of_terms: list[tuple[Any, ...]] = []
    of_numbers: list[tuple[Any, ...]] = []
    for record, entry in rows:
        first, first_number = len(terms) + 1, len(keys) + 1
        terms += entry.terms
        own_keys, own_numbers = number_lists(entry.every_number)
        keys += own_keys
        numbers += own_numbers
        of_terms.append((*record, entry.bucket, first, len(terms), first_number, len(keys)))
        of_numbers += [(*record, entry.bucket, *number) for number in entry.numbers]
    return (
        *_columns(of_terms, len(_TERMS)),
        terms,
        keys,
        numbers,
        *_columns(of_numbers, len(_NUMBERS)),
    )


def changed(number: int, condition: str) -> str:
    """The parts that store changes of records; `changed_arguments` has their arguments.

    `noted` has to be among the parts, too, but for a slice of a build.
    """
    kinds = ["timestamptz[]", "text[]", "bigint[]", "int[]"]
    of_terms = number + len(kinds)
    of_numbers = of_terms + len(_TERMS) + len(_LISTS)
    return f"""
        unnumbered AS (
            DELETE FROM search_numbers s
             USING unnest({", ".join(_parameters(number, kinds))}) AS g (created_at, id, key, entry)
             WHERE s.workspace_id = $1 AND s.created_at = g.created_at AND s.record_id = g.id
               AND s.attribute_key = g.key AND s.entry = g.entry AND {condition}
        ), {_terms(of_terms, condition, _REPLACING_TERMS)},
        {_numbers(of_numbers, condition, _REPLACING_NUMBERS)}"""  # noqa: S608 - constants


def changed_arguments(rows: Sequence[tuple[Held, IndexChange]]) -> tuple[Sequence[Any], ...]:
    """The arguments of `changed`."""
    gone = [
        (record.created_at, record.id, *place) for record, change in rows for place in change.gone
    ]
    return *_columns(gone, 4), *_arguments(rows)


def moved(source: str) -> str:
    """The parts that follow records to their states; `source` has state_id beside what `noted` has.

    `noted` has to be among the parts, too.
    """
    return f"""
        searched AS (
            UPDATE search_records s SET state_id = m.state_id
              FROM {source} m
             WHERE s.workspace_id = $1 AND s.created_at = m.created_at AND s.record_id = m.id
        ), compared AS (
            UPDATE search_numbers s SET state_id = m.state_id
              FROM {source} m
             WHERE s.workspace_id = $1 AND s.created_at = m.created_at AND s.record_id = m.id
        )"""  # noqa: S608 - constants


def noted(source: str) -> str:
    """The part that notes records whose schema is being built; `source` has them.

    Its columns are created_at, id and schema_id.
    """
    return f"""
        noted AS (
            INSERT INTO search_written (workspace_id, schema_id, created_at, record_id)
            SELECT $1, w.schema_id, w.created_at, w.id
              FROM {source} w
             WHERE EXISTS (SELECT FROM search_builds b
                            WHERE b.workspace_id = $1 AND b.schema_id = w.schema_id)
                ON CONFLICT DO NOTHING
        )"""  # noqa: S608 - constants


def removed(source: str) -> str:
    """The parts that remove records from the index; `source` as in `noted`, which is among them."""
    return f"{noted(source)}, {unindexed(source)}"


def unindexed(source: str) -> str:
    """The parts that remove records from the index; `source` has created_at and id."""
    return f"""
        untermed AS (
            DELETE FROM search_records s
             USING {source} r
             WHERE s.workspace_id = $1 AND s.created_at = r.created_at AND s.record_id = r.id
        ), unnumbered AS (
            DELETE FROM search_numbers s
             USING {source} r
             WHERE s.workspace_id = $1 AND s.created_at = r.created_at AND s.record_id = r.id
        )"""  # noqa: S608 - constants


def _parameters(number: int, kinds: Iterable[str]) -> list[str]:
    return [f"${place}::{kind}" for place, kind in enumerate(kinds, number)]


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> Sequence[Sequence[Any]]:
    return list(zip(*rows, strict=True)) or [()] * width
