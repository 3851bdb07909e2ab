"""Puts the operations of a change set into steps of few statements each; knows no database.

A set is a sequence: an operation meets what those before it leave. Most of them have nothing to do
with each other, so many records are written at once, by the order of this module:

    step    operations of each kind, written kind by kind in the order of `Kind`
    after   whoever is about the same record or variant, names the same unique value, or names a
            record that an earlier operation creates or deletes, is in a later step, or is of a
            later kind in the same one
    row     updates of one record or variant that change different values are written as one, so
            they are one version, one entry of the history and one event
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from records_service.attributes.model import Attribute
from records_service.attributes.unique_keys import unique_keys_of
from records_service.proposals.model import Action, Change, Operation
from records_service.proposals.steps import (
    Held,
    Kind,
    Placed,
    Row,
    Slot,
    Step,
    UniqueValue,
    last,
)

_PLACES: Final[UniqueValue] = ("", b"places")
_OF_RECORD: Final = {
    Action.CREATE: Kind.CREATE,
    Action.UPDATE: Kind.UPDATE,
    Action.DELETE: Kind.DELETE,
}
_OF_VARIANT: Final = {
    Action.CREATE: Kind.CREATE_VARIANT,
    Action.UPDATE: Kind.UPDATE_VARIANT,
    Action.DELETE: Kind.DELETE_VARIANT,
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What tells that operations have to do with each other."""

    unique: Mapping[str, Attribute] = field(default_factory=dict)
    """The unique attributes, by id and by alias."""
    held: Mapping[str, Collection[UniqueValue]] = field(default_factory=dict)
    """Record id -> the unique values that it and its variants hold before the set is applied."""
    required: Collection[str] = ()
    """The attributes whose last value cannot be removed, by id and by alias."""
    apart: bool = False
    """Whether creations and deletions of records are written in their order, each kind apart."""


@dataclass(slots=True)
class _Thing:
    """A record or a variant: when it is written last, and the row that takes more updates."""

    last: Slot | None = None
    row: Row | None = None


@dataclass(slots=True)
class _Record(_Thing):
    """What the operations so far do about one record and its variants."""

    made: Slot | None = None
    """When it is created or deleted last."""
    deleted_variant: Slot | None = None
    """When a variant of it is deleted last, perhaps with others below it."""
    any_variant: Slot | None = None
    reader: Slot | None = None
    """When a variant is written last that is judged by what it inherits."""
    named: Slot | None = None
    """When something is written last that names the record."""
    held: dict[str, Held] = field(default_factory=lambda: defaultdict(Held))
    """Attribute id -> the unique values that the record and its variants have had."""
    variants: dict[str, _Thing] = field(default_factory=lambda: defaultdict(_Thing))


def steps_of(operations: Sequence[Operation], rules: Rules) -> list[Step]:
    """The steps that carry out these operations, in their order."""
    schedule = _Schedule(operations, rules)
    for place, operation in enumerate(operations):
        schedule.add(Placed(place, operation))
    return schedule.steps


def unique_values(change_of: Mapping[str, Attribute], change: Change) -> set[UniqueValue]:
    """The unique values that a change takes, and that it gives up as far as it says."""
    attribute = change_of.get(change.attribute)
    if attribute is None:
        return set()
    entries = [
        {"scope": {}, "value": value}
        for value in (change.old_value, change.new_value)
        # What is not of the form of the attribute is refused when it is written.
        if value is not None and isinstance(value, list) == bool(attribute.multiple)
    ]
    return {(key.attribute_id, key.value_hash) for key in unique_keys_of(attribute, entries)}


class _Schedule:
    def __init__(self, operations: Sequence[Operation], rules: Rules) -> None:
        self.steps: list[Step] = []
        self._rules = rules
        self._records: dict[str, _Record] = defaultdict(_Record)
        self._users: dict[UniqueValue, Row] = {}
        self._held: dict[UniqueValue, Held] = {}
        self._rows = 0
        self._changing = {
            one.entity_id
            for one in operations
            if not one.is_of_variant and one.type is not Action.UPDATE and one.entity_id is not None
        }
        """The records that are created or deleted."""
        for record_id, values in rules.held.items():
            self._hold(self._records[record_id], values)

    def add(self, placed: Placed) -> None:
        """Put the operation into its step."""
        one = placed.operation
        record = _Record() if one.entity_id is None else self._records[one.entity_id]
        kind = (_OF_VARIANT if one.is_of_variant else _OF_RECORD)[one.type]
        values = self._values(one, kind)
        self._hold(record, values)
        given_up = self._given_up(one, record)
        named = self._named(one)
        thing: _Thing = record
        reads = False
        if one.is_of_variant:
            thing = record.variants[one.variant_id] if one.variant_id is not None else _Thing()
            reads = kind is Kind.UPDATE_VARIANT and self._reads(one)
            step = _step_of_variant(one, kind, record, thing, reads=reads)
        else:
            step = _step_of_record(kind, record)
        for other in (self._records[name] for name in named):
            step = _latest(step, kind, beside=[other.made])
        users = self._users_of(values, given_up)
        row = _open_row(placed, kind, thing, step, users)
        if row is None:
            step = _latest(step, kind, beside=[user.slot for user in users])
            if thing.row is not None and thing.last is not None:
                step = _latest(step, kind, later=[thing.last])
            row = self._new_row(placed, kind, step)
        self._use(values, given_up, row)
        for name in named:
            self._records[name].named = _max(self._records[name].named, row.slot)
        _note(one, record, thing, row, reads=reads)

    def _reads(self, one: Operation) -> bool:
        """Whether the update of a variant is judged by what the variant inherits."""
        required = self._rules.required
        return any(
            change.new_value is None and change.attribute in required for change in one.changes
        )

    def _values(self, one: Operation, kind: Kind) -> set[UniqueValue]:
        """The unique values that the operation takes, or says that it gives up."""
        values = {
            value for each in one.changes for value in unique_values(self._rules.unique, each)
        }
        if self._rules.apart and kind in (Kind.CREATE, Kind.DELETE):
            values.add(_PLACES)
        return values

    def _given_up(self, one: Operation, record: _Record) -> list[Held]:
        """The unique values of which the operation may give up some."""
        if one.type is Action.CREATE:
            return []
        names: Iterable[str] = record.held
        if one.type is Action.UPDATE:
            unique = self._rules.unique
            names = {unique[each.attribute].id for each in one.changes if each.attribute in unique}
        return [record.held[name].all() for name in names]

    def _hold(self, record: _Record, values: Iterable[UniqueValue]) -> None:
        """Take note that the record has, or has had, these values."""
        for value in values:
            if value != _PLACES:
                held = record.held[value[0]]
                held.join(self._held.setdefault(value, held))

    def _users_of(self, values: Iterable[UniqueValue], given_up: Iterable[Held]) -> list[Row]:
        """The rows so far that take or give up one of these values."""
        users = [self._users.get(value) for value in values]
        users += [held.all().given_up for value in values if (held := self._held.get(value))]
        users += [held.used for held in given_up]
        return [user for user in users if user is not None]

    def _use(self, values: Iterable[UniqueValue], given_up: Iterable[Held], row: Row) -> None:
        for value in values:
            self._users[value] = row
            if value in self._held:
                held = self._held[value].all()
                held.used = last(held.used, row)
        for held in given_up:
            held.used = last(held.used, row)
            held.given_up = last(held.given_up, row)

    def _named(self, one: Operation) -> set[str]:
        """The records that it names, of those that the set creates or deletes."""
        if not self._changing or not one.changes:
            return set()
        texts = (text for each in one.changes for text in _texts(each.new_value))
        return {text for text in texts if text in self._changing and text != one.entity_id}

    def _new_row(self, placed: Placed, kind: Kind, step: int) -> Row:
        while len(self.steps) <= step:
            self.steps.append({})
        self._rows += 1
        row = Row(Slot(step, kind), [placed], self._rows)
        row.note(placed.operation)
        self.steps[step].setdefault(kind, []).append(row)
        return row


def _open_row(
    placed: Placed, kind: Kind, thing: _Thing, step: int, users: Iterable[Row]
) -> Row | None:
    """The row of earlier updates that takes this one, if there is one."""
    row = thing.row
    if row is None or row.slot.kind is not kind or row.slot.step < step:
        return None
    if any(user is not row and user.slot >= row.slot for user in users):
        return None
    if not row.takes(placed.operation):
        return None
    row.add(placed)
    return row


def _step_of_record(kind: Kind, record: _Record) -> int:
    if kind is Kind.UPDATE:
        return _latest(0, kind, later=[record.made], beside=[record.reader])
    after = [record.last, record.made, record.any_variant, record.named]
    return _latest(0, kind, later=after)


def _step_of_variant(
    one: Operation, kind: Kind, record: _Record, thing: _Thing, *, reads: bool
) -> int:
    after = [record.made, record.deleted_variant]
    beside = []
    if kind is Kind.CREATE_VARIANT:
        after.append(thing.last)
        if one.parent_id in record.variants:
            after.append(record.variants[one.parent_id].last)
    elif kind is Kind.DELETE_VARIANT:
        after = [record.made]
        beside.append(record.any_variant)
    elif reads:
        after += [record.last, record.any_variant]
    else:
        beside.append(record.reader)
        if thing.row is None:
            after.append(thing.last)
    return _latest(0, kind, later=after, beside=beside)


def _note(one: Operation, record: _Record, thing: _Thing, row: Row, *, reads: bool) -> None:
    """Take note of when the operation is carried out."""
    is_update = one.type is Action.UPDATE
    thing.last = _max(thing.last, row.slot)
    thing.row = row if is_update else None
    if not one.is_of_variant:
        if not is_update:
            record.made = row.slot
            record.variants.clear()
        return
    record.any_variant = _max(record.any_variant, row.slot)
    if one.type is Action.DELETE:
        record.deleted_variant = _max(record.deleted_variant, row.slot)
        record.variants.clear()
    elif reads:
        record.reader = _max(record.reader, row.slot)


def _latest(
    step: int, kind: Kind, *, later: Iterable[Slot | None] = (), beside: Iterable[Slot | None] = ()
) -> int:
    """The first step from this one on that is late enough."""
    steps: list[tuple[Callable[[Slot, Kind], int], Iterable[Slot | None]]]
    steps = [(Slot.later, later), (Slot.beside, beside)]
    return max(
        (step, *(of(slot, kind) for of, slots in steps for slot in slots if slot is not None))
    )


def _max(one: Slot | None, other: Slot) -> Slot:
    return other if one is None else max(one, other)


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value, which may name records."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
