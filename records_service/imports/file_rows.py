"""Reads the rows of a file into drafts: from bytes to what is written, by the settings of a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import ConfigDict

from records_service.blueprint.blueprint import Blueprint
from records_service.bulk.model import BulkRow
from records_service.imports.columns import Columns, understand_columns
from records_service.imports.detection import FileFormat
from records_service.imports.reading import (
    FileRow,
    Take,
    Taken,
    take_array,
    take_csv,
    take_lines,
    take_unpacked,
)
from records_service.imports.rows import CellError, ReadRow, RowReader, read_categories
from records_service.imports.store import AS_SENT, UNPACKED
from records_service.imports.variant_rows import VariantRow
from records_service.option_lists.lookup import Options
from records_service.permissions.rules import Role
from records_service.tabular.columns import CATEGORIES_COLUMN, ID_COLUMN
from shared.errors import ApiError, ValidationError
from shared.http.requests import parse_body
from shared.http.shapes import Shape


class _Flat(Shape):
    """A flat row: column -> value."""

    model_config = ConfigDict(populate_by_name=True)

    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReadFileRow:
    """A row of the file with what it says; `sent` is as it was sent, as JSON."""

    number: int
    line: int
    read: ReadRow
    sent: str
    size: int


class Reading:
    """How the rows of one file are read, with the data model of one moment.

    `options` are those of large lists that its rows name; rows are taken again once they are known.
    """

    def __init__(
        self,
        take: Take,
        part: int,
        header: Sequence[str] | None,
        reader: RowReader | None,
        settings: Mapping[str, Any],
        blueprint: Blueprint,
        role: Role | None,
        options: Options,
    ) -> None:
        self.options = options
        self.part = part
        self._take = take
        self._header = header
        self._reader = reader
        self._settings = settings
        self._blueprint = blueprint
        self._role = role
        self._readers: dict[tuple[str, ...], RowReader] = {}

    @classmethod
    def of(
        cls, settings: Mapping[str, Any], kind: str, blueprint: Blueprint, role: Role | None
    ) -> Reading:
        """By the settings of a job; raises `ValidationError` where a column cannot be any more."""
        header = settings.get("header")
        options = Options()
        reader = None
        if header is not None:
            columns = columns_of(header, settings, blueprint)
            reader = RowReader(columns, settings["schemaId"], blueprint, role, options)
        part = UNPACKED if kind == FileFormat.XLSX else AS_SENT
        take = _take_of(kind, settings)
        return cls(take, part, header, reader, settings, blueprint, role, options)

    def take(
        self, data: bytes, at_end: bool, rows_max: int, row: int, line: int
    ) -> tuple[list[ReadFileRow], Taken]:
        """The next rows of the file, behind this row and line."""
        taken = self._take(data, at_end, rows_max)
        rows = [self._read(found, row + number, line) for number, found in enumerate(taken.rows, 1)]
        return rows, taken

    def _read(self, found: FileRow, number: int, line: int) -> ReadFileRow:
        sent = found.sent
        try:
            read = self._understood(found)
        except ApiError as error:
            read = ReadRow()
            read.errors = read.errors_of(error)
        if found.fault is not None:
            read = ReadRow(errors=[CellError(found.fault, ValidationError.code)])
        at = found.line if self.part == UNPACKED else line + found.line
        return ReadFileRow(number, at, read, sent, len(sent))

    def _understood(self, found: FileRow) -> ReadRow:
        if found.json is None:
            assert self._reader is not None
            assert self._header is not None
            return self._reader.read(
                dict(zip(self._header, found.cells, strict=False)), typed=False
            )
        try:
            sent = orjson.loads(found.json)
        except orjson.JSONDecodeError as error:
            raise ValidationError(f"Malformed JSON: {error}") from None
        if not isinstance(sent, dict):
            raise ValidationError("A row must be an object")
        if isinstance(sent.get("values"), dict) and ID_COLUMN not in sent:
            read = _variant(found.json) if "entityId" in sent else self._draft(found.json)
            read_categories(read, CATEGORIES_COLUMN, sent.get(CATEGORIES_COLUMN), typed=True)
            return read
        row = parse_body(b'{"row":%b}' % found.json, _Flat).row
        return self._reader_of(tuple(row)).read(row, typed=True)

    def _draft(self, raw: bytes) -> ReadRow:
        """A record as bulk writes take it."""
        draft = parse_body(raw, BulkRow)
        read = ReadRow(id=draft.id, schema_id=draft.schema_id or self._settings["schemaId"])
        read.values = draft.values
        read.external_key = draft.external_key
        read.names_key = "external_key" in draft.model_fields_set
        read.is_draft = True
        return read

    def _reader_of(self, columns: tuple[str, ...]) -> RowReader:
        known = self._readers.get(columns)
        if known is None:
            understood = columns_of(columns, self._settings, self._blueprint)
            schema_id = self._settings["schemaId"]
            known = RowReader(understood, schema_id, self._blueprint, self._role, self.options)
            self._readers[columns] = known
        return known


def _variant(raw: bytes) -> ReadRow:
    """A variant as `GET /variants` shows it."""
    sent = parse_body(raw, VariantRow)
    read = ReadRow(id=sent.entity_id, variant_id=sent.id, parent_id=sent.parent_id)
    read.is_variant = read.is_draft = True
    read.values = sent.values
    return read


def columns_of(header: Sequence[str], settings: Mapping[str, Any], blueprint: Blueprint) -> Columns:
    """What the columns of this file mean; raises `ValidationError`."""
    return understand_columns(header, settings["mapping"], settings["scope"], blueprint)


def _take_of(kind: str, settings: Mapping[str, Any]) -> Take:
    match kind:
        case FileFormat.JSON:
            return take_array
        case FileFormat.NDJSON:
            return take_lines
        case FileFormat.XLSX:
            return take_unpacked
    return take_csv(settings["encoding"], settings["delimiter"], len(settings["header"]))
