"""What a change set becomes: steps of rows, and the unique values that rows hand on."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple, TypeAlias

from records_service.proposals.model import Change, Operation

UniqueValue: TypeAlias = tuple[str, bytes]
"""Attribute id and hash of a unique value, whatever its scope."""


class Kind(IntEnum):
    """What is written in a step, in this order."""

    CREATE = 0
    UPDATE = 1
    CREATE_VARIANT = 2
    UPDATE_VARIANT = 3
    DELETE_VARIANT = 4
    DELETE = 5


class Slot(NamedTuple):
    """When something is written; slots compare by time."""

    step: int
    kind: Kind

    def later(self, kind: Kind) -> int:
        """The first step in which this kind is written after it."""
        return self.step if kind > self.kind else self.step + 1

    def beside(self, kind: Kind) -> int:
        """As `later`, or at the same time and behind it in the order of its kind."""
        return self.step if kind >= self.kind else self.step + 1


class Placed(NamedTuple):
    """An operation and its place in the change set, from 0."""

    place: int
    operation: Operation


@dataclass(slots=True)
class Row:
    """Operations that are written as one: several only for updates."""

    slot: Slot
    operations: list[Placed]
    number: int = 0
    """Rows of one slot are written in the order of their numbers."""
    changed: dict[str, set[Any]] = field(default_factory=dict)
    """Attribute -> the scopes that change, and None where a value is removed."""

    def takes(self, operation: Operation) -> bool:
        """Whether an update of the same thing changes other values than those of this row.

        That a required value is not removed is looked at for each attribute of a row as a whole.
        """
        return not any(
            change.new_value is None or None in known or _scope(change) in known
            for change in operation.changes
            if (known := self.changed.get(change.attribute)) is not None
        )

    def add(self, placed: Placed) -> None:
        """Write this operation, too."""
        self.operations.append(placed)
        self.note(placed.operation)

    def note(self, operation: Operation) -> None:
        """Take note of what the operation changes."""
        for change in operation.changes:
            known = self.changed.setdefault(change.attribute, set())
            known.add(_scope(change))
            if change.new_value is None:
                known.add(None)


Step: TypeAlias = dict[Kind, list[Row]]


@dataclass(slots=True)
class Held:
    """The unique values that a record has in one attribute, with those of records that share one.

    An operation that gives up some of them, nobody knows which, is one on all: it is noted here
    once, and not for each value.
    """

    used: Row | None = None
    """What takes or gives up any of them last."""
    given_up: Row | None = None
    """What may give up all of them last."""
    joined: Held | None = None
    """The values that these were joined to."""

    def all(self) -> Held:
        """The values with all that they were joined to."""
        one = self
        while one.joined is not None:
            if one.joined.joined is not None:
                one.joined = one.joined.joined
            one = one.joined
        return one

    def join(self, other: Held) -> None:
        """Treat the values of both as one from now on."""
        ours, theirs = self.all(), other.all()
        if ours is not theirs:
            theirs.joined = ours
            ours.used = last(ours.used, theirs.used)
            ours.given_up = last(ours.given_up, theirs.given_up)


def last(one: Row | None, other: Row | None) -> Row | None:
    """The one that is written later."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda row: (row.slot, row.number))


def _scope(change: Change) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(change.scope.items()))
