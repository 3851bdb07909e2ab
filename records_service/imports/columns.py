"""Finds out what each column of a table means: an attribute in a scope, the id, the schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from records_service.attributes.model import Attribute
from records_service.blueprint.blueprint import Blueprint
from records_service.tabular.columns import (
    FIXED_COLUMNS,
    STATE_COLUMN,
    UnusableColumn,
    parse_column,
)
from records_service.values.entries import (
    Scope,
    UnknownDimension,
    UnusableScope,
    dimension_ids_by_name,
    scope_key,
    with_ids,
)
from shared.errors import ValidationError, Violation, truncated

LINE_COLUMN: Final = "_line"
ERROR_COLUMN: Final = "_error"
REPORT_COLUMNS: Final = (LINE_COLUMN, ERROR_COLUMN)
"""What a file of refused rows has besides; it can be sent again as it is."""
WARNINGS_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Target:
    """The attribute whose values a column has, and their scope, both by ids."""

    attribute: Attribute
    scope: Scope


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns of one table mean; those that are not named here are not imported.

    `fixed` has those that are no attribute: their own name -> the column of the table.
    """

    targets: Mapping[str, Target]
    fixed: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    unmapped: tuple[str, ...] = ()
    """The first of the columns that are not imported, though nobody said so."""


@dataclass(slots=True)
class _Found:
    targets: dict[str, Target] = field(default_factory=dict)
    fixed: list[tuple[str, str]] = field(default_factory=list)
    """(column of the table, own name)"""
    warnings: list[str] = field(default_factory=list)
    unmapped: list[str] = field(default_factory=list)
    faults: list[Violation] = field(default_factory=list)


def understand_columns(
    header: Iterable[str], mapping: Mapping[str, str | None], scope: Scope, blueprint: Blueprint
) -> Columns:
    """The meaning of each column: what it is mapped to, or else what its own name says.

    `scope` is where columns go that name none, as far as their attributes vary by it. Raises
    `ValidationError` for a mapping to nothing, for a scope that cannot be, and for two columns that
    mean the same.
    """
    found = _Found()
    attributes = _by_name(blueprint)
    for column in dict.fromkeys(header):
        if column in REPORT_COLUMNS and column not in mapping:
            continue
        name = mapping.get(column, column)
        if name is None:
            continue
        pointer = f"/columnMapping/{_escaped(column)}" if column in mapping else "/rows"
        if name in FIXED_COLUMNS:
            _fixed(column, name, found)
            continue
        try:
            alias, named_scope = parse_column(name)
            attribute = attributes.get(alias)
            if attribute is None:
                if column in mapping:
                    found.faults.append(
                        Violation(pointer, f"Unknown attribute '{truncated(alias)}'")
                    )
                else:
                    found.unmapped.append(column)
                    found.warnings.append(
                        f"Column '{truncated(column)}' is not imported: no attribute has this alias"
                    )
                continue
            found.targets[column] = Target(
                attribute,
                _default(scope, attribute)
                if named_scope is None
                else _named(named_scope, attribute, blueprint),
            )
        except (UnusableColumn, UnusableScope) as fault:
            message = f"Column '{truncated(column)}': {fault}"
            found.faults.append(Violation(pointer, message))
    found.faults += _same(found)
    ValidationError.check(found.faults)
    return Columns(
        targets=found.targets,
        fixed={name: column for column, name in found.fixed},
        warnings=tuple(found.warnings[:WARNINGS_MAX]),
        unmapped=tuple(truncated(column) for column in found.unmapped[:WARNINGS_MAX]),
    )


def check_mapped(header: Sequence[str], mapping: Mapping[str, str | None]) -> None:
    """Raise `ValidationError` for a mapped column that the file does not have."""
    columns = frozenset(header)
    ValidationError.check(
        Violation(
            f"/columnMapping/{_escaped(column)}", f"The file has no column '{truncated(column)}'"
        )
        for column, name in mapping.items()
        if name is not None and column not in columns
    )


def _fixed(column: str, name: str, found: _Found) -> None:
    if name != STATE_COLUMN:
        found.fixed.append((column, name))
    else:
        found.unmapped.append(column)
        found.warnings.append(
            f"Column '{truncated(column)}' is not imported: states change by transitions only"
        )


def _by_name(blueprint: Blueprint) -> dict[str, Attribute]:
    attributes = blueprint.attributes
    return {**attributes, **{each.alias: each for each in attributes.values()}}


def _default(scope: Scope, attribute: Attribute) -> Scope:
    return {name: scope[name] for name in attribute.dimension_ids if name in scope}


def _named(scope: Mapping[str, str], attribute: Attribute, blueprint: Blueprint) -> Scope:
    dimensions = blueprint.dimensions
    own = dimension_ids_by_name(dimensions, attribute.dimension_ids)
    try:
        found = with_ids(scope, own, dimensions)
    except UnknownDimension as unknown:
        raise UnusableScope(
            f"Attribute '{truncated(attribute.alias)}' does not vary by dimension"
            f" '{truncated(unknown)}'"
        ) from None
    return {name: found[name] for name in attribute.dimension_ids if name in found}


def _same(found: _Found) -> list[Violation]:
    """Two columns with one meaning: nobody could say which of them counts."""
    faults: list[Violation] = []
    first: dict[object, str] = {}
    meanings = [
        *(
            (column, (each.attribute.id, scope_key(each.scope)))
            for column, each in found.targets.items()
        ),
        *((column, (name, ())) for column, name in found.fixed),
    ]
    for column, meaning in meanings:
        other = first.setdefault(meaning, column)
        if other != column:
            faults.append(
                Violation(
                    "/columnMapping",
                    f"Columns '{truncated(other)}' and '{truncated(column)}' mean the same",
                )
            )
    return faults


def _escaped(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")
