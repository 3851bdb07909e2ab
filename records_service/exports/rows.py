"""Rows of an export: which columns there are, and a record in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from records_service.blueprint.compiled_schema import Access, CompiledSchema
from records_service.tabular.cells import Cell, cell_of, escaped
from records_service.tabular.columns import FIXED_COLUMNS, column_name
from records_service.values.entries import Scope, Values, resolve, scope_key
from records_service.writes.model import Record

ScopeKey = tuple[tuple[str, str], ...]
EVERYWHERE: ScopeKey = ()


class UnexpectedScope(Exception):
    """A value has a scope that no record had when the columns were laid out."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a table; `scope` is completed, None stands for one column per scope."""

    scope: Scope | None
    header: tuple[str, ...] = FIXED_COLUMNS
    places: Mapping[tuple[str, ScopeKey], int] = field(default_factory=dict)
    """(attribute id, scope) -> the index of its column; resolved values stand at `{}`."""


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
    names: Mapping[str, str],
    scope: Scope | None,
    scopes: Mapping[str, Iterable[ScopeKey]] | None = None,
) -> Layout:
    """The table of these attributes; `scopes` are those of attributes that vary."""
    header = list(FIXED_COLUMNS)
    places: dict[tuple[str, ScopeKey], int] = {}
    for attribute_id, name in names.items():
        for key in sorted({EVERYWHERE, *(scopes or {}).get(attribute_id, ())}):
            places[attribute_id, key] = len(header)
            header.append(column_name(name, dict(key)))
    return Layout(scope, tuple(header), places)


def table_row(
    record: Record, values: Values, schema: CompiledSchema, access: Access, layout: Layout
) -> list[Cell]:
    """The cells of a record; raises `UnexpectedScope`."""
    row: list[Cell] = [""] * len(layout.header)
    row[0], row[1], row[2] = record.id, record.schema_id, record.state_id or ""
    for attribute_id in access.visible.keys() & values.keys():
        entries = values[attribute_id]
        if layout.scope is not None:
            place = layout.places.get((attribute_id, EVERYWHERE))
            if place is not None:
                dimension_ids = schema.attributes[attribute_id].dimension_ids
                row[place] = cell_of(resolve(entries, layout.scope, dimension_ids))
            continue
        for entry in entries:
            place = layout.places.get((attribute_id, scope_key(entry["scope"])))
            if place is None:
                raise UnexpectedScope
            row[place] = cell_of(entry["value"])
    return row


def json_row(
    record: Record, values: Values, schema: CompiledSchema, access: Access, scope: Scope | None
) -> dict[str, Any]:
    """The flat object of a record: all that is seen of it resolved, or what it has per scope."""
    row: dict[str, Any] = dict(
        zip(FIXED_COLUMNS, (record.id, record.schema_id, record.state_id), strict=True)
    )
    for attribute_id, alias in access.visible.items():
        entries: Sequence[Any] = values.get(attribute_id, ())
        name = name_of(attribute_id, alias)
        if scope is not None:
            dimension_ids = schema.attributes[attribute_id].dimension_ids
            row[name] = resolve(entries, scope, dimension_ids)
            continue
        for entry in sorted(entries, key=lambda each: scope_key(each["scope"])):
            if entry["value"] != "":
                value = entry["value"]
                row[column_name(name, dict(sorted(entry["scope"].items())))] = (
                    escaped(value) if isinstance(value, str) else value
                )
    return row
