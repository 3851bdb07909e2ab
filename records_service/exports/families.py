"""Puts variants behind their records, parents first; knows no database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from records_service.blueprint.compiled_schema import CompiledSchema
from records_service.exports.rows import Line
from records_service.values.entries import Values
from records_service.variants.store import listed
from records_service.writes.model import Variant


class Families:
    """The records of one part of an export, whose variants come piece by piece, in order."""

    def __init__(self, records: Sequence[Line]) -> None:
        self._records = records
        self._places = {line.record.id: place for place, line in enumerate(records)}
        self._done = 0
        self._above: list[Variant] = []
        """The variants above the next one, from the top down, as far as it is below them."""

    def up_to(self, rows: Sequence[Any], schemas: Mapping[str, CompiledSchema]) -> list[Line]:
        """These variants, each record before its first, and the records between."""
        lines: list[Line] = []
        for row in rows:
            place = self._places[row["record_id"]]
            if place >= self._done:
                lines += self._records[self._done : place + 1]
                self._done, self._above = place + 1, []
            of_record = self._records[place]
            schema = schemas.get(row["schema_id"])
            if schema is None:
                continue
            record = of_record.record
            variant = listed(record.workspace_id, row, orjson.loads(row["document"]))
            above = self._ancestors(variant)
            lines.append(Line(record, schema, variant, [record.values, *above]))
        return lines

    def rest(self) -> Sequence[Line]:
        """The records that no variant comes behind any more."""
        return self._records[self._done :]

    def _ancestors(self, variant: Variant) -> list[Values]:
        """The values of the variants above this one; parents come before what is below them."""
        path = set(variant.path)
        self._above = [each for each in self._above if each.id in path]
        values = [each.values for each in self._above]
        self._above.append(variant)
        return values
