"""Rows of an export: which columns there are, and a record in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from records_service.blueprint.compiled_schema import Access, CompiledSchema
from records_service.tabular.cells import Cell, cell_of, escaped
from records_service.tabular.columns import (
    CATEGORIES_COLUMN,
    FIXED_COLUMNS,
    ID_COLUMN,
    KEY_COLUMN,
    PARENT_COLUMN,
    SCHEMA_COLUMN,
    STATE_COLUMN,
    VARIANT_COLUMN,
    column_name,
)
from records_service.values.entries import Scope, Values, resolve, scope_key
from records_service.values.relations import Related
from records_service.variants.inheritance import inherited_values
from records_service.writes.model import Record, Variant

ScopeKey = tuple[tuple[str, str], ...]
EVERYWHERE: ScopeKey = ()
_GUARDED: Final = frozenset({KEY_COLUMN, CATEGORIES_COLUMN})
"""What an import takes an apostrophe off."""


class UnexpectedScope(Exception):
    """A value has a scope that no record had when the columns were laid out."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a row is about: a record, or a variant of it.

    `above` are the values that a variant may inherit, from the record down; `categories` are those
    of a record that the caller may view.
    """

    record: Record
    schema: CompiledSchema
    variant: Variant | None = None
    above: Sequence[Values] = ()
    categories: Sequence[str] = ()

    @property
    def own(self) -> Values:
        """The values that are stored."""
        return self.record.values if self.variant is None else self.variant.values

    def effective(self, related: Related) -> Values:
        """The values that hold; a relation to a deleted record is no value."""
        relations = self.schema.relations
        own = related.living(self.own, relations)
        if self.variant is None:
            return own
        living = (related.living(values, relations) for values in self.above)
        return {**inherited_values(living, self.schema.attributes), **own}


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of flat rows; `scope` is completed, None stands for one column per scope."""

    scope: Scope | None
    fixed: tuple[str, ...] = (ID_COLUMN, SCHEMA_COLUMN, STATE_COLUMN)
    """What each row begins with."""
    header: tuple[str, ...] = ()
    places: Mapping[tuple[str, ScopeKey], int] = field(default_factory=dict)
    """(attribute id, scope) -> the index of its column; resolved values stand at `{}`."""


def fixed_columns(*, variants: bool, per_scope: bool) -> tuple[str, ...]:
    """What each row begins with; only what can be imported again has the key and categories."""
    left_out = set() if variants else {VARIANT_COLUMN, PARENT_COLUMN}
    if not per_scope:
        left_out |= {KEY_COLUMN, CATEGORIES_COLUMN}
    return tuple(column for column in FIXED_COLUMNS if column not in left_out)


def names_of(schemas: Iterable[CompiledSchema], accesses: Iterable[Access]) -> dict[str, str]:
    """Attribute id -> the name of its column, in the order of the schemas and attributes.

    An attribute whose alias is the name of a fixed column goes by its id.
    """
    names: dict[str, str] = {}
    for schema, access in zip(schemas, accesses, strict=True):
        for attribute_id in schema.attributes:
            if attribute_id in access.visible and attribute_id not in names:
                names[attribute_id] = name_of(attribute_id, access.visible[attribute_id])
    return names


def name_of(attribute_id: str, alias: str) -> str:
    """What columns of an attribute are called."""
    return attribute_id if alias in FIXED_COLUMNS else alias


def laid_out(
    fixed: tuple[str, ...],
    names: Mapping[str, str],
    scope: Scope | None,
    scopes: Mapping[str, Iterable[ScopeKey]] | None = None,
) -> Layout:
    """The table of these attributes; `scopes` are those of attributes that vary."""
    header = list(fixed)
    places: dict[tuple[str, ScopeKey], int] = {}
    for attribute_id, name in names.items():
        for key in sorted({EVERYWHERE, *(scopes or {}).get(attribute_id, ())}):
            places[attribute_id, key] = len(header)
            header.append(column_name(name, dict(key)))
    return Layout(scope, fixed, tuple(header), places)


def table_row(line: Line, values: Values, access: Access, layout: Layout) -> list[Cell]:
    """The cells of a record or variant; raises `UnexpectedScope`."""
    row: list[Cell] = [""] * len(layout.header)
    head = _head(line)
    row[: len(layout.fixed)] = [
        cell_of(head[column]) if column in _GUARDED else head[column] or ""
        for column in layout.fixed
    ]
    for attribute_id in access.visible.keys() & values.keys():
        entries = values[attribute_id]
        if layout.scope is not None:
            place = layout.places.get((attribute_id, EVERYWHERE))
            if place is not None:
                dimension_ids = line.schema.attributes[attribute_id].dimension_ids
                row[place] = cell_of(resolve(entries, layout.scope, dimension_ids))
            continue
        for entry in entries:
            place = layout.places.get((attribute_id, scope_key(entry["scope"])))
            if place is None:
                raise UnexpectedScope
            row[place] = cell_of(entry["value"])
    return row


def json_row(line: Line, values: Values, access: Access, layout: Layout) -> dict[str, Any]:
    """The flat object of a record: all that is seen of it resolved, or what it has per scope."""
    head = _head(line)
    row: dict[str, Any] = {
        column: head[column]
        for column in layout.fixed
        if head[column] is not None or column in (SCHEMA_COLUMN, STATE_COLUMN)
    }
    if KEY_COLUMN in row:
        row[KEY_COLUMN] = escaped(row[KEY_COLUMN])
    for attribute_id, alias in access.visible.items():
        entries: Sequence[Any] = values.get(attribute_id, ())
        name = name_of(attribute_id, alias)
        if layout.scope is not None:
            dimension_ids = line.schema.attributes[attribute_id].dimension_ids
            row[name] = resolve(entries, layout.scope, dimension_ids)
            continue
        for entry in sorted(entries, key=lambda each: scope_key(each["scope"])):
            if entry["value"] != "":
                value = entry["value"]
                row[column_name(name, dict(sorted(entry["scope"].items())))] = (
                    escaped(value) if isinstance(value, str) else value
                )
    return row


def _head(line: Line) -> dict[str, Any]:
    """What is no attribute. A variant has the schema and the state of its record."""
    record, variant = line.record, line.variant
    return {
        ID_COLUMN: record.id,
        VARIANT_COLUMN: None if variant is None else variant.id,
        PARENT_COLUMN: None if variant is None else variant.parent_id or record.id,
        SCHEMA_COLUMN: record.schema_id,
        STATE_COLUMN: record.state_id,
        KEY_COLUMN: record.external_key if variant is None else None,
        CATEGORIES_COLUMN: line.categories or None,
    }
