"""Judges what a change of the data model would do to single records of one schema.

Only what the caller sees is judged: a figure must not tell of a value that is hidden from a role.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from records_service.attributes.model import ATTRIBUTE, Attribute
from records_service.blueprint.compiled_schema import CompiledSchema, names_in
from records_service.option_lists.lookup import Options
from records_service.permissions.rules import AttributePermission, Role, allows, permission
from records_service.previews.change import Change
from records_service.previews.model import Figure
from records_service.values.completeness import Resolution, completeness
from records_service.values.entries import Entries, Values
from records_service.values.relations import NOTHING_LOOKED_FOR, Related, named
from records_service.values.validation import EntriesCheck, Faults
from shared.errors import ValidationError, truncated

Affected = tuple[Figure, str]
"""What a record counts as, and why."""
NO_VALUES: Final[Values] = {}


class _StoredOptions(Options):
    """The options of large lists that records have: all of them exist, or they could not have gone.

    Which of them a change of their list takes away is judged without their check.
    """

    def id_of(self, list_id: str, name: str) -> str:
        """What is stored is the id."""
        del list_id
        return name


_STORED: Final = _StoredOptions()


class Row(NamedTuple):
    """A record, or a variant of it, with those of its values that are looked at."""

    record_id: str
    variant_id: str | None
    stored_state: str | None
    values: Values


@dataclass(frozen=True, slots=True)
class _Counting:
    """What completeness counts in one state, and what it looks at for that."""

    attributes: tuple[Attribute, ...]
    looked_at: tuple[tuple[Any, ...], ...]

    @classmethod
    def of(cls, schema: CompiledSchema, state_id: str | None) -> _Counting:
        """What counts in a state, which is one of the schema's workflow or None."""
        state = schema.workflow.states.get(state_id or "") if schema.workflow else None
        counted = schema.required_in(state)
        seen = {
            each: schema.attributes[each].dimension_ids
            for one in counted
            for each in (one.id, *(guard.attribute_id for guard in one.guards))
            if each in schema.attributes
        }
        return cls(tuple(counted), (*((one.id, one.guards) for one in counted), *seen.items()))

    @property
    def attribute_ids(self) -> set[str]:
        """The attributes whose values decide."""
        return {one.id for one in self.attributes}.union(
            guard.attribute_id for one in self.attributes for guard in one.guards
        )


class Judge:
    """Judges the records of one schema, in a thread; made in a thread, too."""

    def __init__(
        self, change: Change, before: CompiledSchema, after: CompiledSchema, role: Role | None
    ) -> None:
        self.change = change
        self._before = before
        self._after = after
        self._role = role
        self._seen: dict[tuple[str, str | None], bool] = {}
        self._told: dict[str | None, tuple[frozenset[str], frozenset[str]]] = {}
        self._was = _all_counting(before)
        self._will_be = _all_counting(after)
        every = (*self._was.values(), *self._will_be.values())
        self.counted = set[str]().union(*(each.attribute_ids for each in every))
        """The attributes whose values decide about completeness."""
        self._lost = Related(change.gone, {})
        self.scores = any(
            counting.looked_at != self._will_be_in(self._will_be_state(state_id)).looked_at
            for state_id, counting in self._was.items()
        ) or not self.counted.isdisjoint((*change.unkept, *change.choosing))
        self.is_idle = (
            change.states is None and not change.without_variants and not self.attribute_ids
        )

    @property
    def attribute_ids(self) -> list[str]:
        """The attributes whose values are looked at."""
        looked_at = {*self.of_variants, *(self.counted if self.scores else ())}
        return sorted(looked_at)

    @property
    def of_variants(self) -> list[str]:
        """The attributes whose values are looked at in variants."""
        change = self.change
        unique = set[str]() if change.unique is None else {change.unique.id}
        return sorted({*change.checked, *change.unkept, *change.choosing, *unique})

    def related_to(self, rows: list[Row]) -> frozenset[str]:
        """The records that relations name which completeness counts."""
        if not self.scores:
            return frozenset()
        places = {
            one: (*self._before.relations.get(one, ()), *self._after.relations.get(one, ()))
            for one in self.counted
            if one in self._before.relations or one in self._after.relations
        }
        return frozenset(each for row in rows for each in named(row.values, places))

    def judge(self, row: Row, related: Related = NOTHING_LOOKED_FOR) -> Iterator[Affected]:
        """What the change would do to a record or a variant of it, each kind once."""
        now = self._before.state_id_of(row.stored_state)
        if row.variant_id is not None and self.change.without_variants:
            yield Figure.LOSING, "Has variants, and records of the schema could not have any"
        lost = self._lost_of(row)
        if lost is not None:
            yield Figure.LOSING, lost
        fault = self._fault_of(row)
        if fault is not None:
            yield Figure.FAILING, fault
        if row.variant_id is not None:
            return
        will_be = self._will_be_state(now)
        if will_be != now:
            yield (
                Figure.MOVING,
                f"Would go from {_label(self._before, now)} to {_label(self._after, will_be)}",
            )
        if self.scores:
            yield from self._shift_of(row, now, will_be, related)

    def shows(self, row: Row, attribute_id: str) -> bool:
        """Whether the caller sees the values of this attribute in a record.

        A record may have values of attributes that its schema lost. Those count as seen if the
        role would see them were the attribute in the schema, now and after the change.
        """
        key = attribute_id, row.stored_state
        known = self._seen.get(key)
        if known is None:
            known = self._seen[key] = self._sees(*key)
        return known

    def _sees(self, attribute_id: str, stored_state: str | None) -> bool:
        if attribute_id in self._before.attributes:
            return attribute_id in self._before.access(self._role, stored_state).visible
        if not self._would_see(attribute_id, stored_state):
            return False
        if attribute_id not in self._after.attributes:
            return True
        will_be = self._will_be_state(self._before.state_id_of(stored_state))
        return attribute_id in self._after.access(self._role, will_be).visible

    def _would_see(self, attribute_id: str, stored_state: str | None) -> bool:
        """Whether the role would see an attribute that the schema does not have."""
        if self._role is None:
            return True
        attribute = self.change.before.attributes.get(attribute_id)
        if attribute is None:
            return False
        names = names_in(self.change.before, ATTRIBUTE, attribute)
        state = self._before.state_of(stored_state)
        if state is not None and not state.hidden.isdisjoint((names.id, *names.aliases)):
            return False
        word = permission(self._role, self._before.names, names)
        return allows(word, AttributePermission.READ)

    def _lost_of(self, row: Row) -> str | None:
        values = row.values
        for attribute_id, reason in self.change.unkept.items():
            if values.get(attribute_id) and self.shows(row, attribute_id):
                return reason
        for attribute_id, places in self.change.choosing.items():
            if attribute_id in values and self.shows(row, attribute_id):
                chosen = named({attribute_id: values[attribute_id]}, {attribute_id: places})
                gone = sorted(chosen & self.change.gone)
                if gone:
                    return f"Has option '{truncated(gone[0])}' in '{truncated(places[0].name)}'"
        return None

    def _fault_of(self, row: Row) -> str | None:
        values = row.values
        for attribute_id in self.change.checked:
            entries = values.get(attribute_id)
            if not entries or attribute_id not in self._after.checks:
                continue
            if not self.shows(row, attribute_id):
                continue
            fault = _new_fault(
                entries, self._before.checks.get(attribute_id), self._after.checks[attribute_id]
            )
            if fault is not None:
                return fault
        for attribute_id, places in self.change.choosing.items():
            if attribute_id not in values or attribute_id not in self._before.attributes:
                continue
            if self.shows(row, attribute_id):
                chosen = named({attribute_id: values[attribute_id]}, {attribute_id: places})
                if chosen & self.change.gone:
                    return (
                        f"A value of '{truncated(places[0].name)}' would be no option of its list"
                    )
        return None

    def _shift_of(
        self, row: Row, now: str | None, will_be: str | None, related: Related
    ) -> Iterator[Affected]:
        values = row.values
        was, is_then = self._was_in(now), self._will_be_in(will_be)
        kept = self._kept(values)
        if kept is values and was.looked_at == is_then.looked_at:
            return
        told, told_then = self._told_of(row)
        before = _score(self._before, was, related.living(values, self._before.relations), told)
        after = _score(self._after, is_then, related.living(kept, self._after.relations), told_then)
        if before != after:
            figure = Figure.RISING if after > before else Figure.FALLING
            word = "rise" if figure is Figure.RISING else "fall"
            yield figure, f"Completeness would {word} from {before} to {after}"

    def _told_of(self, row: Row) -> tuple[frozenset[str], frozenset[str]]:
        """The attributes about which completeness tells nothing hidden: now, and afterwards."""
        known = self._told.get(row.stored_state)
        if known is None:
            judged = self._before.access(self._role, row.stored_state).judged
            hidden = self._before.attributes.keys() - judged
            will_be = self._will_be_state(self._before.state_id_of(row.stored_state))
            then = self._after.access(self._role, will_be).judged - hidden
            told_then = frozenset(each for each in then if self._tells_nothing_hidden(row, each))
            known = self._told[row.stored_state] = judged, told_then
        return known

    def _tells_nothing_hidden(self, row: Row, attribute_id: str) -> bool:
        attributes = self._after.attributes
        guards = (guard.attribute_id for guard in attributes[attribute_id].guards)
        looked_at = (attribute_id, *(each for each in guards if each in attributes))
        return all(self.shows(row, each) for each in looked_at)

    def _kept(self, values: Values) -> Values:
        """The values without those that would have to go."""
        if not any(one in values for one in (*self.change.unkept, *self.change.choosing)):
            return values
        left = {one: each for one, each in values.items() if one not in self.change.unkept}
        return self._lost.living(left, self.change.choosing)

    def _will_be_state(self, state_id: str | None) -> str | None:
        return state_id if self.change.states is None else self.change.states.of(state_id)

    def _was_in(self, state_id: str | None) -> _Counting:
        return self._was.get(state_id) or self._was[None]

    def _will_be_in(self, state_id: str | None) -> _Counting:
        return self._will_be.get(state_id) or self._will_be[None]


def _all_counting(schema: CompiledSchema) -> Mapping[str | None, _Counting]:
    """What counts in each state, and where a record is in none."""
    states = schema.workflow.states if schema.workflow else {}
    return {state_id: _Counting.of(schema, state_id) for state_id in (None, *states)}


def _score(
    schema: CompiledSchema, counting: _Counting, values: Values, told: frozenset[str]
) -> int:
    required = [each for each in counting.attributes if each.id in told]
    found = Resolution(schema.attributes, values, schema.default_scope)
    return completeness(required, found).score


def _new_fault(entries: Entries, before: EntriesCheck | None, after: EntriesCheck) -> str | None:
    """What is wrong with stored entries then, at a place where nothing is wrong now."""
    faults = _faults(entries, after)
    if not faults:
        return None
    known = {} if before is None else _faults(entries, before)
    return next((message for place, message in faults.items() if place not in known), None)


def _faults(entries: Entries, check: EntriesCheck) -> dict[str, str]:
    """Place -> what is wrong there."""
    faults = Faults(_STORED)
    # Raised where there are so many that the check gives up; it has taken note of them.
    with suppress(ValidationError):
        check(entries, "", faults)
    return {violation.pointer: violation.message for violation in faults.found}


def _label(schema: CompiledSchema, state_id: str | None) -> str:
    if state_id is None:
        return "no state"
    state = schema.workflow.states.get(state_id) if schema.workflow else None
    return f"state '{truncated(state.label if state else state_id)}'"
