"""Unpacks a spreadsheet into rows, slice by slice, before they are imported.

A compressed sheet cannot be read from its middle. So a process keeps the few spreadsheets open that
it is unpacking; one that comes to a job that another process began reads over what is stored, a
slice at a time as well.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from records_service.imports import store
from records_service.imports.reading import Malformed, unpacked
from records_service.imports.store import CHUNK_BYTES, UNPACKED, ImportJob
from records_service.imports.stored_file import stored_file
from records_service.tabular.sheet_texts import UnusableFile
from records_service.tabular.workbooks import SheetRow, Workbook, open_workbook, sheet_rows
from shared.database import Conn, Database
from shared.errors import ApiError
from shared.process.offload import in_thread

OPEN_MAX: Final = 4
"""Spreadsheets that a process has open; others wait."""
ABANDONED_AFTER_S: Final = 30.0
SLICE_S: Final = 0.5
SLICE_BYTES: Final = 4 << 20
ROWS_FROM_BYTES: Final = 256 << 20
ROWS_RATIO_MAX: Final = 100
"""How many times as large as the file its rows may be; many cells can refer to one text."""


@dataclass(slots=True)
class Open:
    """A spreadsheet that is being unpacked: its rows, and how many bytes of them have been read."""

    workbook: Workbook
    rows: Iterator[SheetRow]
    size: int
    count: int
    used_at: float
    size_max: int
    is_begun: bool = False

    def close(self) -> None:
        """Remove the files."""
        self.workbook.texts.close()
        self.workbook.archive.close()


class Spreadsheets:
    """Those that this process has open."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], Open] = {}

    def get(self, workspace_id: str, import_id: str) -> Open | None:
        """The open one, if it is."""
        found = self._open.get((workspace_id, import_id))
        if found is not None:
            found.used_at = time.monotonic()
        return found

    def has_place(self) -> bool:
        """Whether one more may be opened."""
        self.close_abandoned()
        return len(self._open) < OPEN_MAX

    def close_abandoned(self) -> None:
        """Close those of imports that were cancelled, or that another process goes on with."""
        now = time.monotonic()
        for key, each in tuple(self._open.items()):
            if now - each.used_at > ABANDONED_AFTER_S:
                self.forget(*key)

    def keep(self, workspace_id: str, import_id: str, opened: Open) -> None:
        """Keep it open for the next slices."""
        self._open[workspace_id, import_id] = opened

    def close(self) -> None:
        """Close all."""
        for key in tuple(self._open):
            self.forget(*key)

    def forget(self, workspace_id: str, import_id: str) -> None:
        """Close it, if it is open."""
        found = self._open.pop((workspace_id, import_id), None)
        if found is not None:
            found.close()


async def unpack_some(
    spreadsheets: Spreadsheets, db: Database, conn: Conn, job: ImportJob
) -> ImportJob:
    """The job after some more rows are unpacked; raises `Malformed`."""
    key = job.workspace_id, job.id
    opened = spreadsheets.get(*key)
    if opened is None or opened.size > job.position["unpacked"]:
        # What was read further than it is stored belongs to a slice that was rolled back.
        spreadsheets.forget(*key)
        if not spreadsheets.has_place():
            return job
        opened = await _opened(db, job)
        spreadsheets.keep(*key, opened)
    stored = job.position["unpacked"]
    try:
        lines, ended = await in_thread(_read, opened, stored)
    except UnusableFile as error:
        spreadsheets.forget(*key)
        raise Malformed(str(error)) from None
    except ApiError:
        # What was read by halves cannot be read on.
        spreadsheets.forget(*key)
        raise
    if lines:
        await _append(conn, job, stored, lines)
    if ended:
        spreadsheets.forget(*key)
    return replace(
        job,
        position={
            **job.position,
            "unpacked": stored + len(lines),
            "unpacked_all": ended,
        },
        total=opened.count if ended else job.total,
    )


async def _opened(db: Database, job: ImportJob) -> Open:
    file = stored_file(db, job.workspace_id, job.id, job.file_size)
    try:
        workbook = await in_thread(open_workbook, file)
    except UnusableFile as error:
        raise Malformed(str(error)) from None
    size_max = ROWS_FROM_BYTES + ROWS_RATIO_MAX * job.file_size
    return Open(workbook, all_rows(workbook), 0, 0, time.monotonic(), size_max)


def all_rows(workbook: Workbook) -> Iterator[SheetRow]:
    """The header and the rows of the first sheet, and the rows of others that have its header."""
    header: list[str] | None = None
    for _, part in workbook.sheets:
        rows = sheet_rows(workbook, part)
        first = next(rows, None)
        if first is None:
            continue
        if header is None:
            header = first.cells
            yield first
        elif first.cells != header:
            continue
        for row in rows:
            yield _within(row, len(header))


def _within(row: SheetRow, width: int) -> SheetRow:
    """The row as far as the header goes: no cell is left out without a word."""
    if len(row.cells) <= width:
        return row
    fault = f"The row has {len(row.cells)} cells, the header has {width}"
    return SheetRow(row.number, row.cells[:width], row.fault or fault)


def _read(opened: Open, stored: int) -> tuple[bytes, bool]:
    """Lines of rows that are not stored yet, as far as a slice comes, and whether all are read."""
    until = time.monotonic() + SLICE_S
    lines = bytearray()
    for row in opened.rows:
        if not opened.is_begun:
            opened.is_begun = True  # The header.
            continue
        line = unpacked(row.number, row.cells, row.fault)
        opened.count += 1
        if opened.size >= stored:
            lines += line
        opened.size += len(line)
        if opened.size > opened.size_max:
            raise UnusableFile(
                f"Row {row.number}: the rows so far have more than {opened.size_max} bytes: save it"
                " as CSV"
            )
        if len(lines) >= SLICE_BYTES or time.monotonic() >= until:
            return bytes(lines), False
    return bytes(lines), True


async def _append(conn: Conn, job: ImportJob, stored: int, lines: bytes) -> None:
    """Add lines to the unpacked rows, whose last piece may have room."""
    number, used = divmod(stored, CHUNK_BYTES)
    if used:
        lines = (
            await store.read(conn, job.workspace_id, job.id, UNPACKED, number * CHUNK_BYTES, used)
            + lines
        )
    for start in range(0, len(lines), CHUNK_BYTES):
        piece = lines[start : start + CHUNK_BYTES]
        await store.insert_chunk(conn, job.workspace_id, job.id, UNPACKED, number, piece)
        number += 1
