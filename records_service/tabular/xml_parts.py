"""Reads the XML parts of a workbook piece by piece, within bounds (ECMA-376, SpreadsheetML).

What could fill the memory is refused before it does: archives that unpack to far more than they
are, tags of megabytes, elements in elements without end, document types, and thus entities.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, Final
from xml.parsers import expat

from records_service.tabular.sheet_texts import UnusableFile

MEMBERS_MAX: Final = 10_000
RATIO_MAX: Final = 300
"""How many times as large as it is a part may unpack to; spreadsheets reach a hundred."""
RATIO_FROM_BYTES: Final = 64 << 20
UNPACKED_MAX: Final = 16 << 30
SMALL_PART_MAX: Final = 16 << 20
"""Parts that are held in memory: the list of sheets and the formats."""
ELEMENTS_MAX: Final = 200_000
"""Of a small part, of those that are wanted; a workbook has at most some 130,000 formats."""
DEPTH_MAX: Final = 100
TAG_MAX: Final = 4 << 20
READ_BYTES: Final = 64 << 10
_CLOSED: Final = frozenset({"cellXfs"})


class Handler:
    """Takes what a parser finds."""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        raise NotImplementedError

    def end(self, name: str) -> None:
        """An element ends."""
        raise NotImplementedError

    def text(self, text: str) -> None:
        """A text, or a part of one."""
        raise NotImplementedError


@dataclass(slots=True)
class _Collector(Handler):
    """The wanted elements of a small part, with their attributes."""

    wanted: frozenset[str]
    found: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name in self.wanted:
            if len(self.found) == ELEMENTS_MAX:
                raise UnusableFile(f"A part of the workbook has more than {ELEMENTS_MAX} elements")
            self.found.append((name, attributes))

    def end(self, name: str) -> None:
        if name in self.wanted and name in _CLOSED:
            self.found.append((f"/{name}", {}))

    def text(self, text: str) -> None:
        """Texts are not wanted."""


def parsed(source: IO[bytes], handler: Handler) -> Iterator[None]:
    """Parse a part piece by piece; the handler has taken all of a piece when this yields."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEPTH_MAX:
            raise UnusableFile(f"The workbook has elements in more than {DEPTH_MAX} others")
        handler.start(_local(name), attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        handler.end(_local(name))

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = handler.text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    since_tag = 0
    while data := source.read(READ_BYTES):
        last = data.rfind(b"<")
        since_tag = since_tag + len(data) if last < 0 else len(data) - last
        if since_tag > TAG_MAX:
            raise UnusableFile(f"A cell or a tag has more than {TAG_MAX} bytes")
        parser.Parse(data, False)
        yield
    parser.Parse(b"", True)
    yield


def _refuse_doctype(*_: Any) -> None:
    raise UnusableFile("The workbook declares a document type, which no spreadsheet needs")


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


def check_size(archive: zipfile.ZipFile) -> None:
    """Refuse an archive that unpacks to far more than it is.

    What a part says of its size is kept: reading ends there, and must then be its checksum.
    """
    members = archive.infolist()
    if len(members) > MEMBERS_MAX:
        raise UnusableFile(f"The workbook has more than {MEMBERS_MAX} parts")
    for member in members:
        if member.flag_bits & 1:
            raise UnusableFile("The workbook is encrypted")
        if member.file_size > RATIO_FROM_BYTES + RATIO_MAX * member.compress_size:
            raise UnusableFile(f"The workbook unpacks to more than {RATIO_MAX} times its size")
    if sum(member.file_size for member in members) > UNPACKED_MAX:
        raise UnusableFile(f"The workbook unpacks to more than {UNPACKED_MAX} bytes")


def elements(archive: zipfile.ZipFile, part: str, *wanted: str) -> list[tuple[str, dict[str, str]]]:
    """The elements of these names, and where some of them end."""
    if archive.getinfo(part).file_size > SMALL_PART_MAX:
        raise UnusableFile(f"A part of the workbook has more than {SMALL_PART_MAX} bytes")
    collector = _Collector(frozenset(wanted))
    with archive.open(part) as source:
        for _ in parsed(source, collector):
            pass
    return collector.found
