"""Imports of rows over HTTP."""

from __future__ import annotations

from collections import Counter
from typing import Any

from aiohttp import web

from records_service.bulk.model import BulkOutcome as Outcome
from records_service.context import context_of
from records_service.imports import commands
from records_service.imports.model import ImportPreview, ImportRows, ImportSummary
from records_service.imports.rows import CellError
from records_service.whole_answer import whole_answer
from shared.errors import NotFound
from shared.http import Routes, read_body
from shared.identity import Flag, Permission

routes = Routes(tag="Import and export")

DEADLINE_S = 120.0


@routes.post(
    "/api/v1/import/preview",
    permission=Permission.UPDATE_DATA,
    flag=Flag.IMPORT,
    body=ImportRows,
    answers=ImportPreview,
    deadline_s=DEADLINE_S,
    streams=True,
    summary="Preview an import",
    errors=(NotFound,),
)
async def preview_import(request: web.Request) -> web.StreamResponse:
    """What an import of these rows would do, by the same rules; nothing is stored."""
    sent = await read_body(request, ImportRows)
    commands.check_cells(sent)
    imported = await commands.preview(await context_of(request), sent)
    rows = imported.rows
    valid = sum(row.outcome is not Outcome.FAILED for row in rows)
    answer = {
        "total": len(rows),
        "valid": valid,
        "invalid": len(rows) - valid,
        "rows": [
            {
                "row": number,
                "valid": row.outcome is not Outcome.FAILED,
                "action": "update" if row.is_update else "create",
                "errors": [_shown(error) for error in row.errors],
            }
            for number, row in enumerate(rows, start=1)
        ],
        "unmappedColumns": imported.unmapped_columns,
    }
    return await whole_answer(request, answer)


@routes.post(
    "/api/v1/import/execute",
    permission=Permission.UPDATE_DATA,
    flag=Flag.IMPORT,
    body=ImportRows,
    answers=ImportSummary,
    deadline_s=DEADLINE_S,
    streams=True,
    summary="Import rows",
    errors=(NotFound,),
)
async def execute_import(request: web.Request) -> web.StreamResponse:
    """Creates and updates records. Each row is imported as a whole or fails; good rows stay.

    A row with `_id` updates that record: only the scopes that its columns name are changed. Rows
    are judged in their order, as single writes would be. The role needs `write` on each attribute
    with a cell that is not empty.
    """
    sent = await read_body(request, ImportRows)
    commands.check_cells(sent)
    imported = await commands.execute(await context_of(request), sent)
    rows = imported.rows
    counts = Counter(row.outcome for row in rows)
    answer = {
        "created": counts[Outcome.CREATED],
        "updated": counts[Outcome.UPDATED],
        "unchanged": counts[Outcome.UNCHANGED],
        "failed": counts[Outcome.FAILED],
        "errors": [
            {"row": number, **_shown(error)}
            for number, row in enumerate(rows, start=1)
            for error in row.errors
        ],
        "ids": [row.id for row in rows if row.outcome is not Outcome.FAILED],
        "unmappedColumns": imported.unmapped_columns,
    }
    return await whole_answer(request, answer)


def _shown(error: CellError) -> dict[str, Any]:
    return {"column": error.column, "attribute": error.attribute, "message": error.message}
