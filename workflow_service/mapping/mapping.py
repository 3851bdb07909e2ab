"""The mapping of a channel: from a record to an object of the target, and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from shared.errors import truncated
from workflow_service.mapping import paths
from workflow_service.mapping.fingerprints import (
    Fingerprints,
    UnusableTree,
    fingerprint,
    told_apart,
)
from workflow_service.mapping.paths import ABSENT, VARIANTS, Path
from workflow_service.mapping.transforms import UnusableValue, transformed

LABEL: Final = "label"
ID: Final = "id"

OptionNames: TypeAlias = Mapping[str, Mapping[str, Mapping[str, str]]]
"""Attribute id -> option id -> what else it is called: `label`, `alias`."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field mapping."""

    attribute: str
    """The id of the attribute."""
    target: str
    """The path at the target, as it was sent."""
    path: Path
    transform: str | None = None
    option_as: str = LABEL
    """What stands for an option at the target: `label`, `alias` or `id`."""


@dataclass(frozen=True, slots=True)
class Source:
    """A record as the caller may see it: attribute id -> value; what is hidden is absent."""

    id: str
    values: Mapping[str, Any]
    variants: Sequence[tuple[str, Mapping[str, Any]]] = ()
    """(id, what holds for the variant), in order."""
    options: OptionNames = field(default_factory=dict)
    """What the options in the values are called."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a record is at the target: target field -> value. A field without a value has None.

    What stands at `variants[0]` is a list with one value for each variant of the record, if it has
    any.
    """

    values: Mapping[str, Any]
    variant_ids: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Changed:
    """What an object of the target has that is not known yet: target field -> value."""

    values: Mapping[str, Any]
    own: frozenset[str] = frozenset()
    """Those of them that stand at the only variant of the object: they are the record's own if the
    record has no variants, and nobody's otherwise."""
    of_several: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """What stands at several variants of the object. Which of the record each is, is not known."""


class Unmappable(ValueError):
    """A record cannot be mapped; the message names the mapping, and no value."""


@dataclass(frozen=True, slots=True)
class ChannelMapping:
    """The field mappings of one channel, and the key of its fingerprints."""

    fields: Sequence[Field]
    key: bytes = field(repr=False)

    @property
    def repeats(self) -> bool:
        """Whether `variants[0]` stands for each variant: no other index is named."""
        named = {path.path[1] for path in self.fields if _is_of_variants(path.path)}
        return named == {0}

    def mapped(self, record: Source) -> Mapped:
        """The record at the target; raises `Unmappable`. Hidden attributes have no field."""
        repeats = bool(record.variants) and self.repeats
        values: dict[str, Any] = {}
        for each in self.fields:
            names = record.options.get(each.attribute, {})
            if repeats and _is_of_variants(each.path):
                of_each = [held for _, held in record.variants]
                if all(each.attribute in held for held in of_each):
                    values[each.target] = [
                        _sent(each, held[each.attribute], names) for held in of_each
                    ]
            elif each.attribute in record.values:
                values[each.target] = _sent(each, record.values[each.attribute], names)
        return Mapped(values, [each for each, _ in record.variants] if repeats else ())

    def fingerprints(self, mapped: Mapped) -> dict[str, str]:
        """Of each field that has a value; of a field of variants, of all of them in order."""
        return {
            target: fingerprint(
                self.key, [mapped.variant_ids, value] if self._repeated(target, mapped) else value
            )
            for target, value in mapped.values.items()
            if not _is_empty(value)
        }

    def differs(self, mapped: Mapped, sent: Fingerprints) -> bool:
        """Whether the target lacks something of this: fields that are hidden do not count."""
        fresh = self.fingerprints(mapped)
        return any(fresh.get(target) != sent.get(target) for target in mapped.values)

    def sent_after(self, mapped: Mapped, sent: Fingerprints) -> dict[str, str]:
        """The fingerprints of what the target has once it was sent this."""
        kept = {target: each for target, each in sent.items() if target not in mapped.values}
        return {**kept, **self.fingerprints(mapped)}

    def to_send(self, mapped: Mapped, sent: Fingerprints) -> dict[str, Any]:
        """The object for the target: without what never had a value, null for what lost it."""
        made: dict[str, Any] = {}
        for each in self.fields:
            if each.target not in mapped.values:
                continue
            value, was_sent = mapped.values[each.target], each.target in sent
            if self._repeated(each.target, mapped):
                for place, one in enumerate(value):
                    if one is not None or was_sent:
                        paths.put(made, (VARIANTS, place, *each.path[2:]), one)
            elif value is not None or was_sent:
                paths.put(made, each.path, value)
        return made

    def seen_after(self, mapped: Mapped, seen: Fingerprints | None) -> Fingerprints | None:
        """The fingerprints of what the target shows once it was sent this; of variants alone.

        Their own fingerprints have the ids of variants here, which the target does not show.
        """
        fresh = {
            each.target: told_apart(self.key, mapped.values[each.target])
            for each in self.fields
            if each.target in mapped.values and self._repeated(each.target, mapped)
        }
        return {**(seen or {}), **fresh} if fresh else seen

    def changed(self, of_target: Any, known: Sequence[Fingerprints]) -> Changed:
        """What an object of the target has at the mapped fields, without what is known already.

        A field that the object does not have is absent; null is a value that was removed there.
        Raises `Unmappable` for a value that no attribute can have.
        """
        values: dict[str, Any] = {}
        own: set[str] = set()
        of_several: dict[str, Sequence[Any]] = {}
        for each in self.fields:
            try:
                if self.repeats and _is_of_variants(each.path):
                    of_each = _of_each_variant(of_target, each.path)
                    if self._is_known(each.target, of_each, known):
                        continue
                    if len(of_each) > 1:
                        of_several[each.target] = of_each
                        continue
                value = paths.get(of_target, each.path)
                if value is ABSENT:
                    continue
                if value is None:
                    is_news = not known or any(each.target in one for one in known)
                else:
                    seen = fingerprint(self.key, value)
                    is_news = all(one.get(each.target) != seen for one in known)
            except UnusableTree as fault:
                raise Unmappable(f"Field '{truncated(each.target)}': {fault}") from None
            if is_news:
                values[each.target] = value
                if self.repeats and _is_of_variants(each.path):
                    own.add(each.target)
        return Changed(values, frozenset(own), of_several)

    def shown_by(self, changed: Changed, left: Collection[str] = ()) -> dict[str, str]:
        """The fingerprints of what is new at the target; of `left`, which went to no record, too.

        All of that is known from now on, so that it is told of once.
        """
        fresh = {
            target: fingerprint(self.key, value)
            for target, value in changed.values.items()
            if target not in left and not _is_empty(value)
        }
        nobodys = {target: [changed.values[target]] for target in left}
        return fresh | {
            target: told_apart(self.key, of_each)
            for target, of_each in {**nobodys, **changed.of_several}.items()
        }

    def comparable(self, sent: Fingerprints) -> Fingerprints:
        """Those fingerprints of what was sent by which its object is known again: no variants."""
        return {
            each.target: sent[each.target]
            for each in self.fields
            if each.target in sent and not _is_of_variants(each.path)
        }

    def shown(self, of_target: Any) -> Fingerprints:
        """The fingerprints of what an object of the target has; variants aside."""
        found: dict[str, str] = {}
        for each in self.fields:
            if not _is_of_variants(each.path):
                value = paths.get(of_target, each.path)
                if value is not ABSENT:
                    # What no attribute can have was not sent from here.
                    with suppress(UnusableTree):
                        found[each.target] = fingerprint(self.key, value)
        return found

    def values_for(self, changed: Changed, targets: Collection[str]) -> dict[str, Any]:
        """Attribute id -> value to be written, of these target fields.

        The first of several fields of one attribute.
        """
        values: dict[str, Any] = {}
        for each in self.fields:
            if each.target in targets and each.target in changed.values:
                values.setdefault(each.attribute, _taken(each, changed.values[each.target]))
        return values

    @property
    def by_label(self) -> Sequence[str]:
        """The attributes whose options the target has as labels."""
        return list(
            dict.fromkeys(each.attribute for each in self.fields if each.option_as == LABEL)
        )

    def _is_known(self, target: str, of_each: Sequence[Any], known: Sequence[Fingerprints]) -> bool:
        seen = told_apart(self.key, of_each)
        return any(one.get(target) == seen for one in known)

    def _repeated(self, target: str, mapped: Mapped) -> bool:
        return bool(mapped.variant_ids) and _is_of_variants(paths.parse(target))


def _of_each_variant(of_target: Any, path: Path) -> list[Any]:
    """What each variant of an object has at a path; null where it has nothing."""
    variants = paths.get(of_target, path[:1])
    if not isinstance(variants, list):
        return []
    found = [paths.get(each, path[2:]) for each in variants]
    return [None if each is ABSENT else each for each in found]


def _is_of_variants(path: Path) -> bool:
    return len(path) > 1 and path[0] == VARIANTS and isinstance(path[1], int)


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(each is None for each in value))


def _sent(mapping: Field, value: Any, names: Mapping[str, Mapping[str, str]]) -> Any:
    try:
        return transformed(mapping.transform, _called(value, mapping.option_as, names))
    except UnusableValue as fault:
        raise Unmappable(
            f"Transform '{truncated(str(mapping.transform))}' for '{truncated(mapping.target)}':"
            f" {fault}"
        ) from None


def _called(value: Any, option_as: str, names: Mapping[str, Mapping[str, str]]) -> Any:
    """Options as they are called at the target; what is none stays as it is."""
    if isinstance(value, list):
        return [_called(each, option_as, names) for each in value]
    if option_as == ID or not isinstance(value, str):
        return value
    return names.get(value, {}).get(option_as, value)


def _taken(mapping: Field, value: Any) -> Any:
    """The value for the attribute: what was made a number of a text is a text again.

    All else is understood by the type of the attribute, as in an import.
    """
    return transformed("string", value) if mapping.transform == "number" else value
