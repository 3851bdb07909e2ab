"""Judges the rows of a bulk write of options in their order; knows no database."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from records_service.bulk.judging import failed
from records_service.bulk.model import BulkOutcome, OnMatch, OnMissing, Result
from records_service.model_objects.naming import LABELS
from records_service.option_bulk.model import OptionBulkQuery, OptionMatch, OptionRow
from records_service.option_lists.hierarchy import check_flat, own_ancestor, unknown_parent
from records_service.option_lists.model import (
    LIST_VALUES_MAX,
    VALUE_PREFIX,
    VALUE_TITLE,
    OptionValue,
)
from shared.errors import ApiError, Conflict, NotFound, ValidationError, truncated
from shared.ids import new_id


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a list: all that the rows name, and no more."""

    count: int
    last: float
    """The greatest place; -1 in an empty list."""
    values: Sequence[OptionValue]
    """Those that have an id, an alias or an external key of a row."""
    above: Mapping[str, str | None]
    """Option -> its parent, of the parents in the rows and all above them."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The options that differ, how many the list has then, and what became of each row."""

    changed: Sequence[OptionValue]
    count: int
    results: Sequence[Result]


class Judge:
    """The options of a list as they are after the rows so far."""

    def __init__(
        self,
        known: Known,
        *,
        hierarchical: bool,
        segments: Collection[str],
        options: OptionBulkQuery,
    ) -> None:
        self._before = set(known.values)
        self._values = {value.id: value for value in known.values}
        self._parents = dict(known.above)
        self._ids_by_alias = {value.alias: value.id for value in known.values}
        self._ids_by_key = {
            value.external_key: value.id for value in known.values if value.external_key
        }
        self._count = known.count
        self._last = known.last
        self._hierarchical = hierarchical
        self._segments = segments
        self._options = options

    def judge(self, rows: Sequence[OptionRow | ApiError]) -> Judged:
        """Take all rows; one that fails changes nothing."""
        results = [self._result(n, row) for n, row in enumerate(rows)]
        changed = [value for value in self._values.values() if value not in self._before]
        return Judged(changed, self._count, results)

    def _result(self, index: int, row: OptionRow | ApiError) -> Result:
        if isinstance(row, ApiError):
            return failed(index, row)
        try:
            outcome, value_id = self._take(row)
        except ApiError as error:
            return failed(index, error, row.id)
        return Result(index, outcome, id=value_id)

    def _take(self, row: OptionRow) -> tuple[BulkOutcome, str]:
        known = self._found(row)
        if known is None:
            if self._options.on_missing is OnMissing.FAIL:
                raise NotFound.of(VALUE_TITLE, self._sought(row) or "")
            created = self._new(row)
            self._put(None, created)
            return BulkOutcome.CREATED, created.id
        if self._options.on_match is OnMatch.SKIP:
            return BulkOutcome.SKIPPED, known.id
        if self._options.on_match is OnMatch.FAIL:
            raise Conflict.taken(VALUE_TITLE, known.id)
        if row.id not in (None, known.id):
            raise ValidationError.at(
                "/id",
                f"Field 'id' cannot change: expected '{truncated(known.id)}',"
                f" got '{truncated(row.id)}'",
            )
        value = self._changed(known, row)
        if value == known:
            return BulkOutcome.UNCHANGED, known.id
        self._put(known, value)
        return BulkOutcome.UPDATED, known.id

    def _sought(self, row: OptionRow) -> str | None:
        match self._options.match:
            case OptionMatch.ID:
                return row.id
            case OptionMatch.ALIAS:
                return row.alias
            case OptionMatch.EXTERNAL_KEY:
                return row.external_key

    def _found(self, row: OptionRow) -> OptionValue | None:
        sought = self._sought(row)
        if sought is None:
            if self._options.match is OptionMatch.ID:
                return None
            name = self._options.match.value
            raise ValidationError.at(f"/{name}", f"Field '{truncated(name)}' is required")
        match self._options.match:
            case OptionMatch.ID:
                value_id: str | None = sought
            case OptionMatch.ALIAS:
                value_id = self._ids_by_alias.get(sought)
            case OptionMatch.EXTERNAL_KEY:
                value_id = self._ids_by_key.get(sought)
        return self._values.get(value_id or "")

    def _new(self, row: OptionRow) -> OptionValue:
        for name in ("alias", "label"):
            if getattr(row, name) is None:
                raise ValidationError.at(f"/{name}", f"Field '{truncated(name)}' is required")
        if self._count >= LIST_VALUES_MAX:
            raise ValidationError(f"An option list has at most {LIST_VALUES_MAX} values")
        if row.id is not None and row.id in self._values:
            raise Conflict.taken(VALUE_TITLE, row.id)
        empty = OptionValue(row.id or new_id(VALUE_PREFIX), "", "", self._last + 1, None, None)
        return self._changed(empty, row)

    def _changed(self, known: OptionValue, row: OptionRow) -> OptionValue:
        said = row.said()
        if LABELS in said:
            self._check_segments(known, row)
            said[LABELS] = tuple(sorted(row.labels.items()))
        value = replace(known, **said)
        self._check(value)
        return value

    def _check_segments(self, known: OptionValue, row: OptionRow) -> None:
        had = dict(known.labels)
        for segment_id in row.labels:
            if segment_id not in self._segments and segment_id not in had:
                raise ValidationError.at(
                    f"/labels/{segment_id}",
                    f"Field 'labels': Segment '{truncated(segment_id)}' not found",
                )

    def _check(self, value: OptionValue) -> None:
        if self._ids_by_alias.get(value.alias, value.id) != value.id:
            raise Conflict(f"{VALUE_TITLE} with alias '{truncated(value.alias)}' already exists")
        key = value.external_key
        if key is not None and self._ids_by_key.get(key, value.id) != value.id:
            raise Conflict(f"{VALUE_TITLE} with external key '{truncated(key)}' already exists")
        known = self._values.get(value.id)
        if value.parent_id is None or (known is not None and value.parent_id == known.parent_id):
            return
        check_flat(value, hierarchical=self._hierarchical)
        if value.parent_id == value.id:
            raise own_ancestor(value)
        if value.parent_id not in self._parents:
            raise unknown_parent(value)
        above: str | None = value.parent_id
        while above is not None:
            if above == value.id:
                raise own_ancestor(value)
            above = self._parents[above]

    def _put(self, known: OptionValue | None, value: OptionValue) -> None:
        if known is None:
            self._count += 1
        else:
            del self._ids_by_alias[known.alias]
            if known.external_key is not None:
                del self._ids_by_key[known.external_key]
        self._values[value.id] = value
        self._parents[value.id] = value.parent_id
        self._ids_by_alias[value.alias] = value.id
        if value.external_key is not None:
            self._ids_by_key[value.external_key] = value.id
        self._last = max(self._last, value.sort_order)
