"""The rows that a job refused, as a CSV file that can be mended and sent again."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import orjson

from records_service.context import Context
from records_service.imports import refused_store
from records_service.imports.columns import REPORT_COLUMNS
from records_service.imports.reading import COLUMNS_MAX
from records_service.imports.store import ImportJob
from records_service.tabular.cells import text_of
from shared.errors import ValidationError

ROWS_AT_ONCE: Final = 500


async def lines(context: Context, job: ImportJob) -> AsyncIterator[bytes]:
    """The file, piece by piece: the header, then the rows as they were sent.

    Of a file without a header, all rows are read before the first piece. Raises `ValidationError`
    with it if they have more members than a file may have columns.
    """
    header: Sequence[str] | None = job.settings.get("header")
    delimiter = job.settings.get("delimiter", ",")
    columns = list(header) if header is not None else await _columns(context, job)
    columns = [column for column in columns if column not in REPORT_COLUMNS]
    yield _written([[*columns, *REPORT_COLUMNS]], delimiter)
    async for rows in _rows(context, job):
        yield _written(
            [
                [*_cells(row["sent"], header, columns), str(row["line"]), row["message"] or ""]
                for row in rows
            ],
            delimiter,
        )


async def _rows(context: Context, job: ImportJob) -> AsyncIterator[Sequence[Any]]:
    after = 0
    while True:
        async with context.database.acquire() as conn:
            rows = await refused_store.refused_after(
                conn, job.workspace_id, job.id, after, rows_max=ROWS_AT_ONCE
            )
        if not rows:
            return
        yield rows
        after = rows[-1]["row_number"]


async def _columns(context: Context, job: ImportJob) -> list[str]:
    """All members of the rows of a file that has no header, in the order in which they come."""
    found: dict[str, None] = {}
    async for rows in _rows(context, job):
        for row in rows:
            found.update(dict.fromkeys(_object(row["sent"])))
        if len(found) > COLUMNS_MAX:
            raise ValidationError(
                f"The rows that failed have more than {COLUMNS_MAX} different members, which no"
                " file with columns can have: expected 'Accept' to be 'application/json'"
            )
    return list(found)


def _cells(sent: str, header: Sequence[str] | None, columns: Sequence[str]) -> list[str]:
    said = _object(sent)
    if header is not None:
        said = dict(zip(header, orjson.loads(sent), strict=False))
    return [_text(said.get(column)) for column in columns]


def _object(sent: str) -> dict[str, Any]:
    try:
        found = orjson.loads(sent)
    except orjson.JSONDecodeError:
        return {"_row": sent}
    return found if isinstance(found, dict) else {"_row": sent}


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (str, int, float)):
        return text_of(value)
    return orjson.dumps(value).decode()


def _written(rows: Sequence[Sequence[str]], delimiter: str) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode("utf-8", "replace")
