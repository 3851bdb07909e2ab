"""The mapping of a channel: from a record to an object of the target, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from shared.errors import truncated
from workflow_service.mapping import paths
from workflow_service.mapping.fingerprints import Fingerprints, UnusableTree, fingerprint
from workflow_service.mapping.paths import ABSENT, VARIANTS, Path
from workflow_service.mapping.transforms import UnusableValue, transformed


@dataclass(frozen=True, slots=True)
class Field:
    """One field mapping."""

    attribute: str
    """The id of the attribute."""
    target: str
    """The path at the target, as it was sent."""
    path: Path
    transform: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A record as the caller may see it: attribute id -> value; what is hidden is absent."""

    id: str
    values: Mapping[str, Any]
    variants: Sequence[tuple[str, Mapping[str, Any]]] = ()
    """(id, what holds for the variant), in order."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a record is at the target: target field -> value. A field without a value has None.

    What stands at `variants[0]` is a list with one value for each variant of the record, if it has
    any.
    """

    values: Mapping[str, Any]
    variant_ids: Sequence[str] = ()


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
            if repeats and _is_of_variants(each.path):
                of_each = [held for _, held in record.variants]
                if all(each.attribute in held for held in of_each):
                    values[each.target] = [_sent(each, held[each.attribute]) for held in of_each]
            elif each.attribute in record.values:
                values[each.target] = _sent(each, record.values[each.attribute])
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

    def changed(self, of_target: Mapping[str, Any], known: Sequence[Fingerprints]) -> Mapped:
        """What an object of the target has at the mapped fields, without what is known already.

        A field that the object does not have is absent; null is a value that was removed there.
        Raises `Unmappable` for a value that no attribute can have.
        """
        values: dict[str, Any] = {}
        for each in self.fields:
            value = paths.get(of_target, each.path)
            if value is ABSENT:
                continue
            if value is None:
                if not known or any(each.target in one for one in known):
                    values[each.target] = None
                continue
            try:
                seen = fingerprint(self.key, value)
            except UnusableTree as fault:
                raise Unmappable(f"Field '{truncated(each.target)}': {fault}") from None
            if all(one.get(each.target) != seen for one in known):
                values[each.target] = value
        return Mapped(values)

    def without_variants(self, changed: Mapped) -> Mapped:
        """The same without what stands at `variants`."""
        return Mapped(
            {
                each.target: changed.values[each.target]
                for each in self.fields
                if each.target in changed.values and not _is_of_variants(each.path)
            }
        )

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

    def values_for(self, changed: Mapped) -> dict[str, Any]:
        """Attribute id -> value to be written: the first of several fields of one attribute."""
        values: dict[str, Any] = {}
        for each in self.fields:
            if each.target in changed.values:
                values.setdefault(each.attribute, _taken(each, changed.values[each.target]))
        return values

    def _repeated(self, target: str, mapped: Mapped) -> bool:
        return bool(mapped.variant_ids) and _is_of_variants(paths.parse(target))


def _is_of_variants(path: Path) -> bool:
    return len(path) > 1 and path[0] == VARIANTS and isinstance(path[1], int)


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(each is None for each in value))


def _sent(mapping: Field, value: Any) -> Any:
    try:
        return transformed(mapping.transform, value)
    except UnusableValue as fault:
        raise Unmappable(
            f"Transform '{truncated(str(mapping.transform))}' for '{truncated(mapping.target)}':"
            f" {fault}"
        ) from None


def _taken(mapping: Field, value: Any) -> Any:
    """The value for the attribute: what was made a number of a text is a text again.

    All else is understood by the type of the attribute, as in an import.
    """
    return transformed("string", value) if mapping.transform == "number" else value
