"""Which formats and compressions an export job has, and what a file of them is called."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Protocol

STEM_LENGTH_MAX: Final = 80
_BETWEEN_WORDS: Final = re.compile(r"[^a-z0-9]+")


class Format(StrEnum):
    """The format of the file."""

    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    XML = "xml"

    @property
    def source(self) -> str:
        """The `format` to ask of `GET /export`.

        CSV comes whole from there: its header, and what is guarded against formulas, are the same.
        """
        return "csv" if self is Format.CSV else "ndjson"


class Compression(StrEnum):
    """How the file is compressed."""

    NONE = "none"
    GZIP = "gzip"


class CutOff(Exception):
    """What was exported ends within a record."""


class Writer(Protocol):
    """Makes one file; the pieces are fed in order, from any thread.

    A piece is any part of the body of the export, as it comes: lines may be cut anywhere.
    """

    @property
    def records(self) -> int:
        """How many records have been written."""
        ...

    @property
    def replaced(self) -> int:
        """How many characters have been replaced by U+FFFD because XML forbids them."""
        ...

    def feed(self, piece: bytes) -> bytes:
        """The next bytes of the file, often none."""
        ...

    def finish(self) -> bytes:
        """The last bytes of the file; raises `CutOff`."""
        ...


_MEDIA_TYPES: Final = {
    Format.CSV: "text/csv; charset=utf-8",
    Format.JSON: "application/json",
    Format.JSONL: "application/x-ndjson",
    Format.XML: "application/xml",
}


def media_type(made: Format, compression: Compression) -> str:
    """The media type of the file; compression is a part of the file and not of its transfer."""
    return "application/gzip" if compression is Compression.GZIP else _MEDIA_TYPES[made]


def file_name(stem: str, at: datetime, made: Format, compression: Compression) -> str:
    """Such as `all-products-20260204T173000Z.csv.gz`; `stem` is any text."""
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode().lower()
    words = _BETWEEN_WORDS.sub("-", plain)[:STEM_LENGTH_MAX].strip("-") or "export"
    end = ".gz" if compression is Compression.GZIP else ""
    return f"{words}-{at.astimezone(UTC):%Y%m%dT%H%M%SZ}.{made}{end}"
