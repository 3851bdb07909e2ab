"""Counts what a change would do to the records that were looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from records_service.attributes.unique_keys import unique_keys_of
from records_service.previews.duplicates import Duplicates
from records_service.previews.judging import Judge, Row
from records_service.previews.model import SAMPLES_PER_FIGURE, Figure
from records_service.values.entries import Values
from records_service.values.relations import Related

KNOWN_MAX: Final = 200_000
"""Records that are remembered where variants may affect the same record once more."""


class Tally:
    """The figures of one preview; all of its methods are called in a thread, one at a time."""

    def __init__(self, *, names_records: bool) -> None:
        """`names_records`: whether the caller may be told who holds what another record has."""
        self._names_records = names_records
        self._records = 0
        self._counts = dict.fromkeys(Figure, 0)
        self._samples: dict[Figure, list[dict[str, str]]] = {figure: [] for figure in Figure}
        self._known: dict[Figure, set[str]] = {figure: set() for figure in Figure}
        self._duplicates = Duplicates()

    @property
    def is_full(self) -> bool:
        """Whether it cannot take note of more: what is counted so far is all that is told."""
        return self._duplicates.is_full or any(
            len(known) >= KNOWN_MAX for known in self._known.values()
        )

    def add(
        self, judge: Judge, rows: Sequence[Row], related: Related, *, has_variants: bool
    ) -> None:
        """Count records, or variants of records that were counted before.

        With `has_variants`, records are remembered, so that each counts once for a figure.
        """
        if judge.is_idle:
            self._records += len(rows)
            return
        for row in rows:
            self._records += row.variant_id is None
            affected: dict[Figure, str] = {}
            for figure, reason in judge.judge(row, related):
                affected.setdefault(figure, reason)
            for figure, reason in affected.items():
                if has_variants:
                    if row.record_id in self._known[figure]:
                        continue
                    self._known[figure].add(row.record_id)
                self._count(figure, row.record_id, reason)
            unique = judge.change.unique
            if unique is not None and unique.id in row.values and judge.shows(row, unique.id):
                self._duplicates.add(row.record_id, unique_keys_of(unique, row.values[unique.id]))

    def settle(self) -> dict[str, Any]:
        """The figures as they are answered, without `complete`."""
        for record_id in sorted(self._duplicates.records()):
            self._count(
                Figure.CONFLICTING, record_id, "Has a value that another record has as well"
            )
        counts = self._counts
        return {
            "records": self._records,
            "losingValues": counts[Figure.LOSING],
            "failingValidation": counts[Figure.FAILING],
            "uniqueConflicts": counts[Figure.CONFLICTING],
            "changingState": counts[Figure.MOVING],
            "completeness": {
                "rising": counts[Figure.RISING],
                "falling": counts[Figure.FALLING],
            },
            "samples": [one for samples in self._samples.values() for one in samples],
        }

    def _count(self, figure: Figure, record_id: str, reason: str) -> None:
        self._counts[figure] += 1
        if figure is Figure.CONFLICTING and not self._names_records:
            return
        if len(self._samples[figure]) < SAMPLES_PER_FIGURE:
            self._samples[figure].append({"entityId": record_id, "reason": reason})


def rows_of(attribute_ids: Sequence[str], text: str) -> list[Row]:
    """What `store.records_after` has read of these attributes."""
    return [
        Row(record_id, variant_id, state_id, values_of(attribute_ids, held))
        for record_id, variant_id, state_id, held in orjson.loads(text)
    ]


def values_of(attribute_ids: Sequence[str], held: Any) -> Values:
    """The values of a row: all that it has, or those that were asked for, in their order."""
    if isinstance(held, dict):
        return held
    return {
        attribute_id: entries
        for attribute_id, entries in zip(attribute_ids, held or (), strict=False)
        if entries is not None
    }
