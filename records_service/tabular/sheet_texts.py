"""The texts of a workbook, to which its cells refer by number, in a temporary file."""

from __future__ import annotations

import struct
import tempfile
from collections import OrderedDict
from typing import Final

TEXTS_MAX: Final = 256 << 20
"""Bytes."""
COUNT_MAX: Final = 10_000_000
IN_MEMORY_MAX: Final = 4 << 20
REMEMBERED_MAX: Final = 20_000
LONG: Final = 64 << 10
"""Texts of so many characters are not remembered."""


class UnusableFile(Exception):
    """The file is no spreadsheet that can be read; the text says why, and where."""


class Texts:
    """The texts that cells refer to by number, in a temporary file."""

    def __init__(self) -> None:
        self._texts = tempfile.SpooledTemporaryFile(IN_MEMORY_MAX)  # noqa: SIM115 - see `close`
        self._ends = tempfile.SpooledTemporaryFile(IN_MEMORY_MAX)  # noqa: SIM115
        self._size = self._count = 0
        self._known: OrderedDict[int, str] = OrderedDict()

    def add(self, text: str) -> None:
        """The next text."""
        raw = text.encode("utf-8", "surrogatepass")
        self._texts.write(raw)
        self._size += len(raw)
        if self._count == COUNT_MAX:
            raise UnusableFile(f"The workbook has more than {COUNT_MAX} texts: save it as CSV")
        if self._size > TEXTS_MAX:
            raise UnusableFile(
                f"The workbook has more than {TEXTS_MAX} bytes of texts: save it as CSV"
            )
        self._count += 1
        self._ends.write(struct.pack("<Q", self._size))

    def get(self, number: int) -> str:
        """The text with this number; `UnusableFile` if there is none."""
        known = self._known.get(number)
        if known is not None:
            return known
        if not 0 <= number < self._count:
            raise UnusableFile(f"A cell refers to text {number} of {self._count}")
        self._ends.seek(8 * max(0, number - 1))
        ends = self._ends.read(8 if number == 0 else 16)
        start, end = (0, *struct.unpack("<Q", ends)) if number == 0 else struct.unpack("<QQ", ends)
        self._texts.seek(start)
        text = self._texts.read(end - start).decode("utf-8", "surrogatepass")
        self._known[number] = text
        if len(self._known) > REMEMBERED_MAX or len(text) > LONG:
            self._known.popitem(last=False)
        return text

    def close(self) -> None:
        """Remove the files."""
        self._texts.close()
        self._ends.close()
