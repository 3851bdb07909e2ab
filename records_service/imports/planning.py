"""Finds out how the file of an import is to be read, before its job begins."""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

import orjson

from records_service.blueprint.blueprint import Blueprint
from records_service.bulk.finding import matching_attribute
from records_service.bulk.model import Options
from records_service.imports import detection
from records_service.imports.columns import check_mapped
from records_service.imports.detection import FileFormat
from records_service.imports.file_rows import columns_of
from records_service.imports.job_model import ImportQuery
from records_service.imports.reading import COLUMNS_MAX, Malformed, take_csv
from records_service.imports.receiving import Received
from records_service.imports.unpacking import all_rows
from records_service.tabular.sheet_texts import UnusableFile
from records_service.tabular.workbooks import open_workbook
from records_service.values.entries import scope_named
from shared.errors import NotFound, ValidationError, truncated
from shared.http.json_types import js_type


@dataclass(frozen=True, slots=True)
class Plan:
    """How a file will be read."""

    kind: FileFormat
    settings: dict[str, Any]
    position: dict[str, Any]
    total: int | None
    warnings: Sequence[str]


def plan_of(
    name: str, query: ImportQuery, received: Received, file: IO[bytes], blueprint: Blueprint
) -> Plan:
    """How a file that was received will be read; to be called in a thread.

    Raises `ValidationError` for a file that is not what it says, for settings that do not fit it
    and for columns that cannot be understood, `NotFound` for the schema.
    """
    if received.size == 0:
        raise ValidationError.at("/file", "The file is empty")
    kind = detection.format_of(name, received.head)
    settings: dict[str, Any] = {
        "schemaId": _schema_id(query.schema_id, blueprint),
        "mapping": _mapping(query.column_mapping),
        "match": query.match,
        "onMatch": str(query.on_match),
        "onMissing": str(query.on_missing),
        "scope": _scope(query.scope, blueprint),
    }
    matching_attribute(blueprint, Options(match=query.match))
    position: dict[str, Any] = {"offset": 0, "row": 0, "line": 0}
    total: int | None = None
    header: Sequence[str] | None = None
    warnings: list[str] = []
    if kind in (FileFormat.CSV, FileFormat.TSV):
        header = _csv(kind, query, received, settings, position)
        if settings["encoding"] != "utf-8" and query.encoding is None:
            warnings.append(
                f"The file is not UTF-8: it is read as '{truncated(settings['encoding'])}'"
            )
        total = max(0, received.lines - position["line"] + _has_last_line(received))
    elif kind is FileFormat.XLSX:
        header = _xlsx(file, warnings)
        position["unpacked"] = 0
    elif not received.is_utf_8:
        raise ValidationError.at("/file", "The file is not UTF-8, as JSON must be")
    elif kind is FileFormat.JSON:
        position["offset"] = received.head.index(b"[") + 1
        position["line"] = received.head.count(b"\n", 0, position["offset"])
    else:
        total = received.all_lines + _has_last_line(received)
    if header is not None:
        settings["header"] = header
        check_mapped(header, settings["mapping"])
        columns = columns_of(header, settings, blueprint)
        if not columns.targets and not columns.fixed:
            raise ValidationError.at("/columnMapping", _none_of(header))
        warnings += columns.warnings
    return Plan(kind, settings, position, total, warnings)


def _none_of(header: Sequence[str]) -> str:
    """What is said of a file of which nothing can be imported."""
    return (
        f"No column of the file can be imported: none is the alias of an attribute or mapped to"
        f" one, got '{truncated(', '.join(header))}'"
    )


def _has_last_line(received: Received) -> int:
    """1 where the last line does not end; it is in the head of a small file only."""
    is_whole = received.stored == len(received.head)
    return int(is_whole and not received.head.endswith(b"\n"))


def _csv(
    kind: FileFormat,
    query: ImportQuery,
    received: Received,
    settings: dict[str, Any],
    position: dict[str, Any],
) -> list[str]:
    """The header; how the cells are told apart is added to the settings."""
    encoding = _encoding(query, received)
    is_whole = received.stored == len(received.head)
    head = codecs.getincrementaldecoder(encoding)("surrogateescape").decode(received.head, is_whole)
    separator = detection.separator_line(head)
    if separator is not None:
        skipped = head[: separator[1]]
        head = head[separator[1] :]
        position["offset"], position["line"] = len(skipped.encode(encoding)), 1
    if query.delimiter is not None:
        delimiter = "\t" if query.delimiter in ("tab", "\\t") else query.delimiter
        if len(delimiter) != 1 or delimiter in '"\r\n':
            raise ValidationError.at(
                "/delimiter",
                f"Field 'delimiter' must be one character or 'tab', got '{truncated(delimiter)}'",
            )
    elif separator is not None:
        delimiter = separator[0]
    elif kind is FileFormat.TSV:
        delimiter = "\t"
    else:
        delimiter = detection.delimiter_of(head)
    settings["encoding"], settings["delimiter"] = encoding, delimiter
    try:
        taken = take_csv(encoding, delimiter, None)(
            received.head[position["offset"] :], is_whole, 1
        )
    except Malformed as error:
        raise ValidationError.at("/file", f"The file is no CSV: {error}") from None
    if not taken.rows:
        raise ValidationError.at(
            "/file", f"The file has no header in its first {len(received.head)} bytes"
        )
    header = _checked(list(taken.rows[0].cells), taken.rows[0].fault)
    position["offset"] += taken.size
    position["line"] += taken.lines
    return header


def _encoding(query: ImportQuery, received: Received) -> str:
    if received.was_utf_16:
        return "utf-8"
    if query.encoding is not None:
        named = detection.encoding_named(query.encoding)
        if named.startswith("utf-16"):
            raise ValidationError.at("/encoding", "The file is not UTF-16")
        return named
    # A few bytes of another encoding in a text of UTF-8 belong to rows that are refused.
    if received.is_utf_8 or received.has_utf_8:
        return "utf-8"
    return detection.encoding_of(received.sample)


def _xlsx(file: IO[bytes], warnings: list[str]) -> list[str]:
    try:
        workbook = open_workbook(file)
        with contextlib.closing(workbook.texts):
            first = next(all_rows(workbook), None)
            if first is None:
                raise UnusableFile("The workbook has no row")
            if len(workbook.sheets) > 1:
                warnings.append(
                    "Of the sheets behind the first, only those with the same header are imported"
                )
            return _checked(first.cells, first.fault)
    except UnusableFile as error:
        raise ValidationError.at("/file", str(error)) from None


def _checked(header: list[str], fault: str | None) -> list[str]:
    if len(header) > COLUMNS_MAX:
        raise ValidationError.at("/file", f"The header has more than {COLUMNS_MAX} columns")
    if fault is not None:
        raise ValidationError.at("/file", f"The header: {fault}")
    if any("\x00" in column for column in header):
        raise ValidationError.at("/file", "The header contains a NUL character")
    named = [column for column in header if column]
    if len(set(named)) != len(named):
        twice = next(column for column in named if named.count(column) > 1)
        raise ValidationError.at("/file", f"The header has the column '{truncated(twice)}' twice")
    if not named:
        raise ValidationError.at("/file", "The header has no name of a column")
    return header


def _schema_id(name: str | None, blueprint: Blueprint) -> str | None:
    schema_id = None if name is None else blueprint.schema_id_of(name)
    if schema_id is not None and schema_id not in blueprint.schemas:
        raise NotFound.of("Schema", schema_id)
    return schema_id


def _json_object(field: str, sent: str | None) -> dict[str, Any]:
    if sent is None:
        return {}
    try:
        found = orjson.loads(sent)
    except orjson.JSONDecodeError:
        raise ValidationError.at(
            f"/{field}",
            f"Field '{truncated(field)}' must be a JSON object, got '{truncated(sent)}'",
        ) from None
    if not isinstance(found, dict):
        raise ValidationError.at(
            f"/{field}", f"Field '{truncated(field)}' must be a JSON object, got {js_type(found)}"
        )
    return found


def _mapping(sent: str | None) -> dict[str, str | None]:
    mapping = _json_object("columnMapping", sent)
    for column, name in mapping.items():
        if name is not None and not isinstance(name, str):
            raise ValidationError.at(
                "/columnMapping",
                f"Field 'columnMapping' must map '{truncated(column)}' to a string or null,"
                f" got"
                f" {js_type(name)}",
            )
    return mapping


def _scope(sent: str | None, blueprint: Blueprint) -> dict[str, str]:
    scope = _json_object("scope", sent)
    return scope_named(scope, blueprint.dimensions, "/scope")
