"""Folds texts, so that they are compared without regard to case and accents, in every script.

Python and PostgreSQL fold in the same steps: full upper case, then lower case (`ß` is `ss` then, as
case folding has it), one sigma, compatibility decomposition (NFKD), no combining marks. Lower case
alone would depend on the locale of the database, so PostgreSQL is told to use that of ICU.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator
from typing import Final


def _marks() -> Iterator[str]:
    """The ranges of combining marks, for a class of a regular expression."""
    first: int | None = None
    for point in range(0x300, sys.maxunicode + 2):
        is_mark = point <= sys.maxunicode and unicodedata.category(chr(point)) == "Mn"
        if is_mark and first is None:
            first = point
        elif not is_mark and first is not None:
            yield f"{chr(first)}-{chr(point - 1)}"
            first = None


_MARKS: Final = f"[{''.join(_marks())}]"
_SIGMA: Final = {0x3C2: 0x3C3}
"""The final one to the usual one."""
_MARK: Final = re.compile(_MARKS)


def folded(text: str) -> str:
    """The text as it is compared."""
    lower = text.upper().lower().translate(_SIGMA)
    if lower.isascii():
        return lower
    return _MARK.sub("", unicodedata.normalize("NFKD", lower))


def folded_in_sql(expression: str) -> str:
    """An expression with the folded text of this one.

    A text of ASCII alone is only put into lower case, which takes a tenth of the time.
    """
    icu = 'COLLATE "und-x-icu"'
    lower = f"lower(upper(f.f {icu}) {icu})"
    return (
        '(SELECT CASE WHEN octet_length(f.f) = length(f.f) THEN lower(f.f COLLATE "C")'  # noqa: S608
        f" ELSE regexp_replace(normalize(translate({lower}, '\u03c2', '\u03c3'), NFKD),"
        f" '{_MARKS}', '', 'g') COLLATE \"C\" END"
        f' FROM (SELECT {expression} AS f OFFSET 0) AS f) COLLATE "C"'
    )
