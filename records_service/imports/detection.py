"""Finds out what a file is: its format, encoding and delimiter, by its name and its beginning."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from charset_normalizer import from_bytes

from records_service.imports.reading import csv_rows
from shared.errors import ValidationError, truncated


class FileFormat(StrEnum):
    """The format of a file to import."""

    CSV = "csv"
    TSV = "tsv"
    XLSX = "xlsx"
    JSON = "json"
    NDJSON = "ndjson"


ZIP: Final = b"PK\x03\x04"
_BY_ENDING: Final = {
    "csv": FileFormat.CSV,
    "txt": FileFormat.CSV,
    "tsv": FileFormat.TSV,
    "tab": FileFormat.TSV,
    "xlsx": FileFormat.XLSX,
    "xlsm": FileFormat.XLSX,
    "json": FileFormat.JSON,
    "ndjson": FileFormat.NDJSON,
    "jsonl": FileFormat.NDJSON,
}
_OTHER_FORMATS: Final = {
    b"\x1f\x8b": "is a gzip archive: unpack it first",
    b"BZh": "is a bzip2 archive: unpack it first",
    b"\xfd7zXZ": "is an xz archive: unpack it first",
    b"7z\xbc\xaf": "is a 7-Zip archive: unpack it first",
    b"\xd0\xcf\x11\xe0": "is a workbook of Excel 97 to 2003: save it as XLSX",
    b"%PDF": "is a PDF",
    b"<?xml": "is XML",
    b"<!DOCTYPE html": "is a web page",
    b"<html": "is a web page",
}
"""By their first bytes: what people send, too."""
_OTHER_ENDINGS: Final = {"yaml": "YAML", "yml": "YAML"}
DELIMITERS: Final = (";", ",", "\t", "|")
ENCODINGS: Final = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258"),
    *("cp850", "cp852", "cp866", "cp874", "cp932", "cp949", "gb18030", "big5", "mac_roman"),
)
"""What Excel writes in different countries, besides UTF-8 and UTF-16."""
FALLBACK_ENCODING: Final = "cp1252"
_LINE_BY_LINE: Final = re.compile(
    r"utf-8(-sig)?|utf-16(-[lb]e)?|ascii|latin-1|iso8859-\d+|cp\d+|koi8-[ru]|gb18030|gbk|gb2312|big5"
    r"|euc_kr|euc_jp|shift_jis|mac[-_]\w+"
)
_COHERENCE_SLACK: Final = 0.1
"""How much less like a language the more common encoding may look: one letter tells little."""
_ROWS_LOOKED_AT: Final = 20
_UTF_16_SHARE: Final = 0.3
_SEPARATOR_LINE: Final = re.compile(r"\ufeff?sep=(.)\r?\n", re.IGNORECASE)


def format_of(name: str, head: bytes) -> FileFormat:
    """The format; raises `ValidationError` if the name says another one than the content."""
    ending = name.rpartition(".")[2].lower() if "." in name else ""
    named = _BY_ENDING.get(ending)
    begins = head.lstrip()[:1]
    _refuse_others(ending, head)
    if head.startswith(ZIP):
        if named not in (None, FileFormat.XLSX):
            raise _not_what_it_says(named, "its content is a ZIP archive")
        return FileFormat.XLSX
    if named is FileFormat.XLSX:
        raise _not_what_it_says(named, "its content is no ZIP archive")
    if named is FileFormat.JSON:
        # One object a line is often called JSON, too; one object over many lines is no list.
        if begins == b"{" and head.lstrip()[1:2] in (b"\r", b"\n"):
            raise _not_what_it_says(named, "it is a single object: a list of rows is expected")
        if begins not in (b"[", b"{"):
            raise _not_what_it_says(named, "it does not begin with a bracket")
        return FileFormat.JSON if begins == b"[" else FileFormat.NDJSON
    if named is None:
        return {b"[": FileFormat.JSON, b"{": FileFormat.NDJSON}.get(begins, FileFormat.CSV)
    return named


def _refuse_others(ending: str, head: bytes) -> None:
    """Raise `ValidationError` for a format that is no table, or one that is not read."""
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    why = next(
        (why for first, why in _OTHER_FORMATS.items() if text.startswith(first)),
        f"is named as {_OTHER_ENDINGS[ending]}" if ending in _OTHER_ENDINGS else None,
    )
    if why is None and ending == "zip" and head.startswith(ZIP):
        why = "is a ZIP archive: unpack it first"
    if why is not None:
        raise ValidationError.at(
            "/file", f"The file {why}; CSV, TSV, XLSX, JSON and NDJSON can be imported"
        )


def _not_what_it_says(named: FileFormat | None, why: str) -> ValidationError:
    return ValidationError.at("/file", f"Field 'file' is named as '{truncated(named)}', but {why}")


def utf_16_of(head: bytes) -> str | None:
    """The variant of UTF-16 that a file begins with, None if it is none."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    sample = head[: 1 << 10]
    if len(sample) < 4 or head.startswith(ZIP):  # noqa: PLR2004 - less tells nothing
        return None
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    half = len(sample) / 2
    if odd > _UTF_16_SHARE * half and even == 0:
        return "utf-16-le"
    if even > _UTF_16_SHARE * half and odd == 0:
        return "utf-16-be"
    return None


def encoding_named(name: str) -> str:
    """The encoding that a client names; raises `ValidationError` for what is none of texts."""
    try:
        found = codecs.lookup(name).name
        "".encode(found)
    except (LookupError, TypeError, ValueError, UnicodeError):
        found = ""
    # Others are no superset of ASCII, or keep a state from one line to the next.
    if _LINE_BY_LINE.fullmatch(found) is None:
        raise ValidationError.at(
            "/encoding", f"Field 'encoding' is not known, got '{truncated(name)}'"
        )
    return "utf-8" if found == "utf-8-sig" else found


def encoding_of(sample: bytes) -> str:
    """The most likely encoding of a text that is not UTF-8; of several, the most common one."""
    matches = from_bytes(sample, cp_isolation=list(ENCODINGS), enable_fallback=False)
    best = matches.best()
    if best is None:
        return FALLBACK_ENCODING
    likely = {
        name
        for match in matches
        if match.chaos <= best.chaos and match.coherence >= best.coherence - _COHERENCE_SLACK
        for name in match.could_be_from_charset
    }
    return next((name for name in ENCODINGS if name in likely), best.encoding)


def separator_line(text: str) -> tuple[str, int] | None:
    """The delimiter that Excel's first line `sep=;` names, and the length of that line."""
    found = _SEPARATOR_LINE.match(text)
    return None if found is None else (found[1], found.end())


def delimiter_of(text: str) -> str:
    """The delimiter by which the first rows have most columns, and all the same number of them."""

    def score(delimiter: str) -> tuple[float, int]:
        widths = _widths(text, delimiter)
        if not widths or widths[0] < 2:  # noqa: PLR2004 - one column is none
            return 0.0, 0
        return sum(width == widths[0] for width in widths) / len(widths), widths[0]

    best = max(DELIMITERS, key=score)
    return best if score(best)[1] else ","


def _widths(text: str, delimiter: str) -> Sequence[int]:
    widths: list[int] = []
    try:
        for cells in csv_rows(io.StringIO(text, newline=""), delimiter):
            if cells:
                widths.append(len(cells))
            if len(widths) == _ROWS_LOOKED_AT + 1:
                break
    except csv.Error:
        return ()
    # The last row of a sample may be cut.
    return widths[:-1] if len(widths) > 1 else widths
