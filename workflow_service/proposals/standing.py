"""What the operations of a change set make of what there is, in their order; knows no database.

A set is a sequence: an operation is based on what those before it leave. So the value that it finds
is that of now, unless one before it changes it; and what one of them creates is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from shared.errors import NotFound, Violation, truncated
from workflow_service.proposals.model import Made, StoredChange

_Value: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
"""Attribute id and scope of one value."""


class Named(Protocol):
    """What an operation is about, as drafts and stored operations have it."""

    @property
    def type(self) -> str:
        """`create`, `update` or `delete`."""
        ...

    @property
    def schema_id(self) -> str | None:
        """The schema of a record to create."""
        ...

    @property
    def entity_id(self) -> str | None:
        """The record; None for a new one that gets its id when it is created."""
        ...

    @property
    def variant_id(self) -> str | None:
        """The variant, for an operation on one."""
        ...

    @property
    def parent_id(self) -> str | None:
        """What a new variant is below."""
        ...


def creates_record(one: Named) -> bool:
    """Whether a record is created, and not a variant of one."""
    return one.type == "create" and one.variant_id is None and one.parent_id is None


@dataclass(slots=True)
class _Left:
    """A record or variant as the operations so far leave it.

    `is_there` is None for one that none of them has created or deleted: it is as it is now, but for
    these values.
    """

    is_there: bool | None = None
    schema_id: str | None = None
    values: dict[_Value, Any] = field(default_factory=dict)
    variants: dict[str, _Left] = field(default_factory=dict)


class Standing:
    """What there is behind the operations so far; `add` goes on by one."""

    def __init__(self) -> None:
        self._records: dict[str, _Left] = {}

    def made(self, one: Named) -> Made | None:
        """Which part of what this operation is about is one that those before it create."""
        record = self._records.get(one.entity_id or "")
        if record is None or creates_record(one):
            return None
        if record.is_there:
            return "record"
        variant = record.variants.get(one.variant_id or "")
        is_made = one.type != "create" and variant is not None and variant.is_there
        return "variant" if is_made else None

    def schema_id(self, one: Named) -> str | None:
        """The schema of the record that those before this operation create, None for no such."""
        record = self._records.get(one.entity_id or "")
        return record.schema_id if record is not None and record.is_there else None

    def check_there(self, place: int, operation_id: str, one: Named) -> None:
        """Raise `NotFound` if those before this operation delete what it is about."""
        record = self._records.get(one.entity_id or "")
        if record is None or creates_record(one):
            return
        missing = None
        if record.is_there is False:
            missing = NotFound.of("Entity", one.entity_id or "")
        elif one.variant_id is not None and one.type != "create":
            variant = record.variants.get(one.variant_id)
            # A record that is new has those variants alone that are created by then.
            is_missing = record.is_there if variant is None else variant.is_there is False
            if is_missing:
                missing = NotFound.of("Variant", one.variant_id)
        if missing is not None:
            message = f"Operation '{truncated(operation_id)}': {missing.message}"
            raise NotFound(message, violations=[Violation(f"/operations/{place}", message)])

    def value(self, one: Named, attribute_id: str, scope: Mapping[str, str], now: Any) -> Any:
        """The value that this operation finds; `now` is the one that is stored."""
        record = self._records.get(one.entity_id or "")
        if record is None:
            return now
        subject: _Left | None = record
        if one.variant_id is not None:
            subject = record.variants.get(one.variant_id)
        if subject is not None:
            place = _value(attribute_id, scope)
            if place in subject.values:
                return subject.values[place]
            if subject.is_there is not None:
                return None
        return now if record.is_there is None else None

    def add(self, one: Named, changes: Iterable[StoredChange] = ()) -> None:
        """Go on behind this operation and what it changes."""
        if one.entity_id is None:
            return
        if creates_record(one):
            subject = self._records[one.entity_id] = _Left(is_there=True, schema_id=one.schema_id)
        else:
            subject = self._records.setdefault(one.entity_id, _Left())
            if one.variant_id is not None:
                subject = _after(one, subject.variants, one.variant_id)
            elif one.parent_id is not None:
                return  # A variant that nobody can name yet.
            else:
                subject = _after(one, self._records, one.entity_id)
        for change in changes:
            subject.values[_value(change.attribute_id, change.scope)] = change.new_value


def _after(one: Named, known: dict[str, _Left], subject_id: str) -> _Left:
    """What the operation is about, as it leaves it but for its values."""
    if one.type == "update":
        return known.setdefault(subject_id, _Left())
    left = known[subject_id] = _Left(is_there=one.type == "create")
    return left


def _value(attribute_id: str, scope: Mapping[str, str]) -> _Value:
    return attribute_id, tuple(sorted(scope.items()))
