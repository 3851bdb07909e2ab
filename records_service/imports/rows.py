"""Makes drafts of rows: what each says about its record, or what is wrong with which cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from records_service.attributes.model import Attribute
from records_service.blueprint.blueprint import Blueprint
from records_service.blueprint.compiled_schema import compile_schema
from records_service.bulk.model import Draft
from records_service.imports.category_cells import (
    POINTER,
    NamedCategories,
    UnusableCategories,
    categories_in,
)
from records_service.imports.columns import Columns, Target
from records_service.imports.conversion import CLEARED, NOTHING, Conversion, UnusableCell
from records_service.option_lists.lookup import Options
from records_service.permissions.rules import Role
from records_service.tabular.cells import CLEAR, unescaped, unguarded
from records_service.tabular.columns import (
    CATEGORIES_COLUMN,
    ID_COLUMN,
    KEY_COLUMN,
    PARENT_COLUMN,
    SCHEMA_COLUMN,
    VARIANT_COLUMN,
)
from shared.errors import (
    ApiError,
    NotFound,
    PermissionDenied,
    ValidationError,
    Violation,
    truncated,
)
from shared.http.naming import EXTERNAL_KEY_LENGTH_MAX
from shared.ids import is_id


@dataclass(frozen=True, slots=True)
class CellError:
    """What is wrong with a row; `column` and `attribute` are None where that is no single cell."""

    message: str
    error: str
    column: str | None = None
    attribute: str | None = None
    pointer: str = ""


@dataclass(slots=True)
class ReadRow:
    """A row that was read: the values it sends by attribute alias, and what is wrong with it."""

    id: str | None = None
    schema_id: str | None = None
    variant_id: str | None = None
    parent_id: str | None = None
    is_variant: bool = False
    """Whether it is about a variant of the record with `id`."""
    external_key: str | None = None
    names_key: bool = False
    categories: NamedCategories | None = None
    """Those that the record is to be in; None leaves them as they are."""
    values: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    columns: dict[str, list[str]] = field(default_factory=dict)
    """Attribute alias -> the column of each of its entries."""
    errors: list[CellError] = field(default_factory=list)
    is_draft: bool = False
    """A whole record: what it sends of an attribute replaces all of its values."""

    def draft(self, *, must_exist: bool = False, size: int = 0) -> Draft | ApiError:
        """What is to be written, or why nothing is."""
        if self.errors:
            return ValidationError(self.errors[0].message)
        return Draft(
            id=self.id,
            schema_id=self.schema_id,
            values=self.values,
            external_key=self.external_key,
            names_key=self.names_key,
            size=size,
            by_scope=not self.is_draft,
            must_exist=must_exist,
        )

    def errors_of(self, error: ApiError) -> list[CellError]:
        """Which cells an error of this row's write is about."""
        violations = error.violations or (Violation("", error.message),)
        return [
            self._error_at(violation.pointer, violation.message or error.message, error.code)
            for violation in violations
        ]

    def _error_at(self, pointer: str, message: str, code: str) -> CellError:
        steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
        if pointer == POINTER and self.categories is not None:
            return CellError(message, code, self.categories.column, None, pointer)
        if steps[:1] == ["values"] and len(steps) > 1:
            columns = self.columns.get(steps[1], [])
            number = int(steps[2]) if len(steps) > 2 and steps[2].isdecimal() else 0  # noqa: PLR2004
            column = columns[number] if number < len(columns) else None
            return CellError(message, code, column, steps[1], pointer)
        return CellError(message, code, pointer=pointer)


class RowReader:
    """Reads the rows of one table, by its columns and the data model of one moment.

    `options` are those of large lists that the rows name.
    """

    def __init__(
        self,
        columns: Columns,
        schema_id: str | None,
        blueprint: Blueprint,
        role: Role | None,
        options: Options,
    ) -> None:
        self._columns = columns
        self._schema_id = schema_id
        self._blueprint = blueprint
        self._role = role
        self._options = options
        self._conversions: dict[str, Conversion] = {}
        self._schema_ids = {
            **{each.alias: each.id for each in blueprint.schemas.values()},
            **{each: each for each in blueprint.schemas},
        }

    def read(self, cells: Mapping[str, Any], *, typed: bool) -> ReadRow:
        """What a row says; `typed` is whether its members have JSON types."""
        row = ReadRow(schema_id=self._schema_id)
        said = {
            name: _text(cells[column])
            for name, column in self._columns.fixed.items()
            if column in cells and name != CATEGORIES_COLUMN
        }
        row.id = said.get(ID_COLUMN) or None
        row.variant_id = said.get(VARIANT_COLUMN) or None
        row.parent_id = said.get(PARENT_COLUMN) or None
        row.is_variant = (row.variant_id or row.parent_id) is not None
        for name in (ID_COLUMN, VARIANT_COLUMN):
            self._check_id(row, name, said.get(name, ""))
        self._schema(row, said.get(SCHEMA_COLUMN, ""))
        self._key(row, said.get(KEY_COLUMN, ""), typed=typed)
        column = self._columns.fixed.get(CATEGORIES_COLUMN)
        if column is not None:
            read_categories(row, column, cells.get(column), typed=typed)
        if row.schema_id is None and row.id is None and not (row.errors or row.is_variant):
            row.errors.append(
                CellError("Field 'schemaId' is required for a new record", ValidationError.code)
            )
        for column, cell in cells.items():
            target = self._columns.targets.get(column)
            if target is not None:
                self._value(row, column, cell, target, typed=typed)
        return row

    def _check_id(self, row: ReadRow, name: str, said: str) -> None:
        if said and not is_id(said):
            message = (
                f"Value for '{truncated(name)}' must be an id: 1 to 128 of a-z, 0-9, '.', '_' and"
                f" '-', got '{truncated(said)}'"
            )
            row.errors.append(CellError(message, ValidationError.code, self._columns.fixed[name]))

    def _key(self, row: ReadRow, cell: str, *, typed: bool) -> None:
        if not cell:
            return
        row.names_key = True
        if cell == CLEAR:
            return
        row.external_key = key = unescaped(cell) if typed else unguarded(cell)
        if len(key) > EXTERNAL_KEY_LENGTH_MAX or "\x00" in key:
            message = (
                f"Value for '{truncated(KEY_COLUMN)}' must have at most {EXTERNAL_KEY_LENGTH_MAX}"
                f" characters, none of them NUL, got '{truncated(key)}'"
            )
            column = self._columns.fixed[KEY_COLUMN]
            row.errors.append(CellError(message, ValidationError.code, column))
        elif row.is_variant:
            message = f"A variant has no external key, got '{truncated(key)}'"
            column = self._columns.fixed[KEY_COLUMN]
            row.errors.append(CellError(message, ValidationError.code, column))

    def _schema(self, row: ReadRow, name: str) -> None:
        if not name:
            return
        column = self._columns.fixed[SCHEMA_COLUMN]
        found = self._schema_ids.get(name)
        if found is None:
            row.errors.append(CellError(NotFound.of("Schema", name).message, NotFound.code, column))
        else:
            row.schema_id = found

    def _value(self, row: ReadRow, column: str, cell: Any, target: Target, *, typed: bool) -> None:
        alias = target.attribute.alias
        conversion = self._conversions.get(column)
        if conversion is None:
            conversion = Conversion(target.attribute, self._blueprint, self._options)
            self._conversions[column] = conversion
        try:
            value = conversion.json(cell) if typed else conversion.cell(_text(cell))
        except UnusableCell as fault:
            row.errors.append(self._fault(row, column, target.attribute, str(fault)))
            return
        if value is NOTHING:
            return
        entry = {"scope": target.scope, "value": None if value is CLEARED else value}
        row.values.setdefault(alias, []).append(entry)
        row.columns.setdefault(alias, []).append(column)

    def _fault(self, row: ReadRow, column: str, attribute: Attribute, message: str) -> CellError:
        """What is wrong with a cell; of an attribute that the role does not see, only that."""
        alias, code = attribute.alias, ValidationError.code
        if self._role is not None and not self._sees(self._role, row.schema_id, attribute):
            message = f"Attribute '{truncated(alias)}' may not be written"
            code = PermissionDenied.code
        return CellError(message, code, column, alias, _pointer(attribute))

    def _sees(self, role: Role, schema_id: str | None, attribute: Attribute) -> bool:
        if schema_id is None:
            return False
        schema = compile_schema(self._blueprint, schema_id)
        return attribute.id in schema.access(role, None).visible


def read_categories(row: ReadRow, column: str, cell: Any, *, typed: bool) -> None:
    """Note the categories that a cell names, or what is wrong with it."""
    try:
        row.categories = categories_in(column, cell, typed=typed)
        if row.categories is not None and row.is_variant:
            raise UnusableCategories(
                "A variant has no categories of its own: expected them in the row of its record,"
                f" got '{truncated(str(cell))}'"
            )
    except UnusableCategories as fault:
        row.errors.append(CellError(str(fault), ValidationError.code, column, None, POINTER))


def _text(cell: Any) -> str:
    """A cell as text; those of JSON rows may be numbers or booleans."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return str(cell)


def _pointer(attribute: Attribute) -> str:
    return f"/values/{attribute.alias.replace('~', '~0').replace('/', '~1')}"
