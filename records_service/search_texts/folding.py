"""Folds texts, so that they are compared without regard to case and accents, in every script.

Python and PostgreSQL fold in the same steps: full upper case, then lower case (`ß` is `ss` then, as
case folding has it), one sigma, compatibility decomposition (NFKD), no combining marks. Then what
was decomposed into capitals becomes small (`™` is `tm`), and letters that have no accent to take
off become those that stand for them: `œ` is `oe`, and `ø` is `o` (docs/adr/0101). Lower case alone
would depend on the locale of the database, so PostgreSQL is told to use that of ICU.

What is stored of texts is folded, so the rules have a version. A workspace folds by one of them, in
what is stored and in what is asked, until the job of texts has begun to store all anew
(`search_texts/refolding.py`). The last step is new in the second version.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator
from typing import Final

from records_service.blueprint.blueprint import Blueprint


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


FOLDING: Final = 2
"""The version of the rules by which texts are folded, once all that is stored is."""
FIRST_FOLDING: Final = 1
"""The version before letters were replaced."""
_MARKS: Final = f"[{''.join(_marks())}]"
_SIGMA: Final = {0x3C2: 0x3C3}
"""The final one to the usual one."""
_MARK: Final = re.compile(_MARKS)
_LETTERS: Final = {
    "ð": "d",
    "đ": "d",
    "ħ": "h",
    "ĸ": "q",
    "ł": "l",
    "ŋ": "n",
    "ø": "o",
    "ŧ": "t",
    "\u03c2": "\u03c3",
}
_LIGATURES: Final = {"æ": "ae", "œ": "oe", "þ": "th"}
_REPLACED: Final = str.maketrans(_LETTERS | _LIGATURES)


def folding_in(blueprint: Blueprint) -> int:
    """The version of the rules by which texts are folded in the workspace of a data model."""
    return blueprint.text_folding or FOLDING


def folded(text: str, version: int) -> str:
    """The text as it is compared, by a version of the rules."""
    lower = text.upper().lower().translate(_SIGMA)
    if lower.isascii():
        return lower
    plain = _MARK.sub("", unicodedata.normalize("NFKD", lower))
    return plain if version == FIRST_FOLDING else plain.lower().translate(_REPLACED)


def folded_in_sql(expression: str, version: int) -> str:
    """An expression with the folded text of this one, by a version of the rules.

    A text of ASCII alone is only put into lower case, which takes a tenth of the time.
    """
    icu = 'COLLATE "und-x-icu"'
    lower = f"lower(upper(f.f {icu}) {icu})"
    if version == FIRST_FOLDING:
        lower = f"translate({lower}, '\u03c2', '\u03c3')"
    plain = f"regexp_replace(normalize({lower}, NFKD), '{_MARKS}', '', 'g')"
    if version != FIRST_FOLDING:
        letters, others = "".join(_LETTERS), "".join(_LETTERS.values())
        plain = f"translate(lower({plain} {icu}), '{letters}', '{others}')"
        for ligature, of_two in _LIGATURES.items():
            plain = f"replace({plain}, '{ligature}', '{of_two}')"
    return (
        '(SELECT CASE WHEN octet_length(f.f) = length(f.f) THEN lower(f.f COLLATE "C")'  # noqa: S608
        f' ELSE {plain} COLLATE "C" END'
        f' FROM (SELECT {expression} AS f OFFSET 0) AS f) COLLATE "C"'
    )
