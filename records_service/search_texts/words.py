"""What a full-text query asks for: words, "phrases", -exclusions; the last word may be unfinished.

A text is folded, and all that is no letter or digit separates words. Characters of scripts that put
no spaces between words (Han, kana, Thai and the like) are words of one character each, so that a
word of several is found inside a sentence: as a phrase.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from records_service.search_texts.folding import folded, folded_in_sql

QUERY_MAX: Final = 500
"""Characters of a query."""
TERMS_MAX: Final = 20
PART_MIN: Final = 3
"""Characters of a word that is also looked for inside the values of unique attributes."""

_UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_ONE_UNSPACED: Final = re.compile(f"([{_UNSPACED}])")
_TERM: Final = re.compile(r'(-?)(?:"([^"]*)(?:"|$)|(\S+))')
_BREAK: Final = re.compile(r"[\W_]+")
_ASCII_BREAKS: Final = {point: " " for point in range(128) if _BREAK.match(chr(point))}
"""The same, in a third of the time where nothing else can be in the text."""
_BY_LANGUAGE: Final = (
    "ar:arabic hy:armenian eu:basque ca:catalan da:danish nl:dutch en:english fi:finnish fr:french"
    " de:german el:greek hi:hindi hu:hungarian id:indonesian ga:irish it:italian lt:lithuanian"
    " ne:nepali no:norwegian nb:norwegian nn:norwegian pt:portuguese ro:romanian ru:russian"
    " sr:serbian es:spanish sv:swedish ta:tamil tr:turkish yi:yiddish"
)
_CONFIGURATIONS: Final[Mapping[str, str]] = dict(
    each.split(":") for each in _BY_LANGUAGE.split(" ")
)
"""Language -> text search configuration, those of PostgreSQL 15."""


@dataclass(frozen=True, slots=True)
class Term:
    """A word or a phrase, folded, its words separated by spaces."""

    text: str
    part: str
    """The term as it was written, only folded, to be found inside a SKU."""
    excluded: bool = False
    is_prefix: bool = False

    @property
    def words(self) -> list[str]:
        """Its words, in order."""
        return self.text.split()


def configuration_of(locale: str | None) -> str:
    """The text search configuration of PostgreSQL for a language (BCP 47)."""
    language = (locale or "").partition("-")[0].lower()
    return _CONFIGURATIONS.get(language, "simple")


def terms_of(query: str, folding: int) -> list[Term]:
    """The terms of a query; the last word that is not excluded or quoted is a prefix.

    `folding`, here and below, is the version of the rules by which texts are folded.
    """
    found: list[Term] = []
    unquoted: int | None = None
    for minus, phrase, word in _TERM.findall(query):
        sent = phrase or word
        text = separated(sent, folding)
        if not text:
            continue
        unquoted = len(found) if word and not minus else None
        found.append(Term(text, folded(sent, folding), excluded=bool(minus)))
    if unquoted is not None:
        last = found[unquoted]
        found[unquoted] = Term(last.text, last.part, is_prefix=True)
    return found


def separated(text: str, folding: int) -> str:
    """The folded words of a text, separated by spaces."""
    text = folded(text, folding)
    if text.isascii():
        return " ".join(text.translate(_ASCII_BREAKS).split())
    return " ".join(_BREAK.sub(" ", _ONE_UNSPACED.sub(r" \1 ", text)).split())


def separated_in_sql(expression: str, folding: int) -> str:
    """An expression with the folded words of this one."""
    text = f"SELECT {folded_in_sql(expression, folding)} AS w OFFSET 0"
    return f"(SELECT {spaced_in_sql('w.w')} FROM ({text}) AS w)"  # noqa: S608


def spaced_in_sql(column: str) -> str:
    """An expression with the words of a folded text, which is a column: it is named twice."""
    spaced = f"regexp_replace({column}, '([{_UNSPACED}])', ' \\1 ', 'g')"
    return (
        f"regexp_replace((CASE WHEN octet_length({column}) = length({column}) THEN {column}"
        f" ELSE {spaced} END) COLLATE \"und-x-icu\", '[^[:alnum:]]+', ' ', 'g')"
    )


def tsquery(term: Term, configurations: Iterable[str], name: str) -> str:
    """An expression with the term as a query in each configuration; `name` is its argument."""
    queries = [f"phraseto_tsquery('{each}'::regconfig, {name})" for each in configurations]
    if term.is_prefix:
        queries.append(f"({tsquery_prefix(name)})")
    return f"({' || '.join(queries)})"


def tsquery_prefix(name: str) -> str:
    """An expression with a phrase whose last word is a prefix; words have no special characters."""
    return f"to_tsquery('simple'::regconfig, replace({name}, ' ', ' <-> ') || ':*')"
