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
from typing import Any, NamedTuple

from records_service.search_index.changes import IndexChange
from records_service.search_index.terms import Indexed


class Held(NamedTuple):
    """The record of which the index holds something."""

    created_at: datetime
    id: str
    schema_id: str
    state_id: str | None


def entered(number: int, condition: str) -> str:
    """The parts that store what the index holds of records.

    What it holds already is replaced. The parameters from this number on are those of
    `entered_arguments`; nothing is written unless the condition holds.
    """
    rows = (
        "timestamptz[] text[] text[] text[] smallint[] int[] int[]",
        "timestamptz[] text[] text[] text[] smallint[] bigint[] int[] float8[]",
    )
    of_terms, of_numbers = (each.split() for each in rows)
    first = _parameters(number, of_terms)
    terms = f"${number + len(of_terms)}::bigint[]"
    second = _parameters(number + len(of_terms) + 1, of_numbers)
    return f"""
        termed AS (
            INSERT INTO search_records (workspace_id, created_at, record_id, schema_id, state_id,
                                        bucket, terms)
            SELECT $1, n.created_at, n.id, n.schema_id, n.state_id, n.bucket,
                   ({terms})[n.first:n.last]
              FROM unnest({first})
                   AS n (created_at, id, schema_id, state_id, bucket, first, last)
             WHERE {condition}
                ON CONFLICT (workspace_id, created_at, record_id)
                DO UPDATE SET schema_id = excluded.schema_id, state_id = excluded.state_id,
                              terms = excluded.terms
            RETURNING 1
        ), numbered AS (
            INSERT INTO search_numbers (workspace_id, created_at, record_id, schema_id, state_id,
                                        bucket, attribute_key, entry, number)
            SELECT $1, n.created_at, n.id, n.schema_id, n.state_id, n.bucket, n.key, n.entry,
                   n.number
              FROM unnest({second})
                   AS n (created_at, id, schema_id, state_id, bucket, key, entry, number)
             WHERE {condition}
                ON CONFLICT (workspace_id, created_at, record_id, attribute_key, entry)
                DO UPDATE SET schema_id = excluded.schema_id, state_id = excluded.state_id,
                              number = excluded.number
            RETURNING 1
        )"""  # noqa: S608 - constants and numbers of parameters


def entered_arguments(
    rows: Iterable[tuple[Held, Indexed | IndexChange]],
) -> tuple[Sequence[Any], ...]:
    """The arguments of `entered`: 16 of them."""
    terms: list[int] = []
    of_terms: list[tuple[Any, ...]] = []
    of_numbers: list[tuple[Any, ...]] = []
    for record, entry in rows:
        first = len(terms) + 1
        terms += entry.terms
        of_terms.append((*record, entry.bucket, first, len(terms)))
        of_numbers += [(*record, entry.bucket, *number) for number in entry.numbers]
    return *_columns(of_terms, 7), terms, *_columns(of_numbers, 8)


def changed(number: int, condition: str) -> str:
    """The parts that store changes of records; `changed_arguments` has their arguments.

    `noted` has to be among the parts, too, but for a slice of a build.
    """
    kinds = ["timestamptz[]", "text[]", "bigint[]", "int[]"]
    return f"""
        unnumbered AS (
            DELETE FROM search_numbers s
             USING unnest({_parameters(number, kinds)}) AS g (created_at, id, key, entry)
             WHERE s.workspace_id = $1 AND s.created_at = g.created_at AND s.record_id = g.id
               AND s.attribute_key = g.key AND s.entry = g.entry AND {condition}
        ), {entered(number + len(kinds), condition)}"""  # noqa: S608 - as above


def changed_arguments(rows: Sequence[tuple[Held, IndexChange]]) -> tuple[Sequence[Any], ...]:
    """The arguments of `changed`: 20 of them."""
    gone = [
        (record.created_at, record.id, *place) for record, change in rows for place in change.gone
    ]
    return *_columns(gone, 4), *entered_arguments(rows)


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


def _parameters(number: int, kinds: Iterable[str]) -> str:
    return ", ".join(f"${place}::{kind}" for place, kind in enumerate(kinds, number))


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> Sequence[Sequence[Any]]:
    return list(zip(*rows, strict=True)) or [()] * width
