"""Previews and executes an import of rows by the engine of bulk writes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from records_service.blueprint.blueprint import BLUEPRINTS
from records_service.bulk.model import BulkOutcome as Outcome
from records_service.bulk.model import Options, Result
from records_service.context import Context
from records_service.imports.columns import understand_columns
from records_service.imports.model import ImportRows
from records_service.imports.rows import CellError, ReadRow, RowReader
from records_service.imports.writing import until_current, write_rows
from records_service.option_lists.lookup import Options as ChosenOptions
from records_service.option_lists.lookup_store import look_up
from records_service.writes.create_batching import WRITE_SLOTS
from shared.errors import NotFound, ValidationError

PAUSE_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """A row and what became of it; `id` is that of its record, `errors` say why it failed."""

    is_update: bool
    outcome: Outcome
    id: str | None
    errors: Sequence[CellError]


@dataclass(frozen=True, slots=True)
class Imported:
    """The rows in their order, and the first 100 columns that were not imported."""

    rows: Sequence[ImportedRow]
    unmapped_columns: Sequence[str]


class _NothingStays(Exception):
    """Ends the transaction of a preview."""


async def execute(context: Context, sent: ImportRows) -> Imported:
    """Create and update records, one for each row; good rows stay whatever the others are.

    Raises `NotFound` for the schema, `ValidationError` for columns that cannot be understood.
    """
    rows, unmapped = await _read(context, sent)
    results = await write_rows(context, _sized(rows), Options(), must_exist=True)
    return Imported(_told(rows, results), unmapped)


async def preview(context: Context, sent: ImportRows) -> Imported:
    """What `execute` would do: the same, in a transaction that is rolled back."""
    rows, unmapped = await _read(context, sent)

    async def attempt() -> Imported:
        results: list[Result] = []
        with suppress(_NothingStays):
            async with (
                context.app[WRITE_SLOTS].of(context.workspace_id),
                context.database.transaction() as conn,
            ):
                results = await write_rows(context, _sized(rows), Options(), conn, must_exist=True)
                raise _NothingStays
        return Imported(_told(rows, results), unmapped)

    return await until_current(context, attempt, PAUSE_S)


async def _read(context: Context, sent: ImportRows) -> tuple[list[ReadRow], Sequence[str]]:
    blueprint = await context.app[BLUEPRINTS].get(context.database, context.workspace_id)
    schema_id = blueprint.schema_id_of(sent.schema_id)
    if schema_id not in blueprint.schemas:
        raise NotFound.of("Schema", sent.schema_id)

    options = ChosenOptions()

    def read() -> tuple[list[ReadRow], Sequence[str]]:
        header = dict.fromkeys(column for row in sent.rows for column in row)
        columns = understand_columns(header, sent.column_mapping, {}, blueprint)
        reader = RowReader(columns, schema_id, blueprint, context.role, options)
        return [reader.read(row, typed=False) for row in sent.rows], columns.unmapped

    found = await context.run(context.has_large_body, read)
    if options.wanted:
        async with context.database.acquire() as conn:
            await look_up(conn, context.workspace_id, options)
        found = await context.run(context.has_large_body, read)
    return found


def _sized(rows: Sequence[ReadRow]) -> list[tuple[ReadRow, int]]:
    """All of them came in one body, whose size is bounded."""
    return [(row, 0) for row in rows]


def _told(rows: Sequence[ReadRow], results: Sequence[Result]) -> list[ImportedRow]:
    return [
        ImportedRow(
            is_update=(row.variant_id if row.is_variant else row.id) is not None,
            outcome=result.outcome,
            id=result.id,
            errors=row.errors or ([] if result.error is None else row.errors_of(result.error)),
        )
        for row, result in zip(rows, results, strict=True)
    ]


def check_cells(sent: ImportRows) -> None:
    """Raise `ValidationError` for a cell that is an object or an array."""
    for index, row in enumerate(sent.rows):
        for column, cell in row.items():
            if isinstance(cell, (dict, list)):
                raise ValidationError.at(
                    f"/rows/{index}/{column.replace('~', '~0').replace('/', '~1')}",
                    f"Field 'rows.{index}' has a cell that is no text:"
                    f" expected a string, got {'object' if isinstance(cell, dict) else 'array'}",
                )
