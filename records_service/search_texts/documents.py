"""What the index of texts holds of a record: words, options, parts of codes, and folded texts.

One index over `keys` finds them all. A key is a mark of the workspace, four characters, and what is
looked for: a word; `=` and a hash of attribute and option; `#` and three characters in a row of a
unique value; or `@` and a hash of an attribute that has a text. Of texts that are filterable, the
hashes of all three characters in a row are in `grams`.

A sixteenth of the records is the first sample, and a sixteenth of these the second. They have each
key a second and a third time, under marks of their samples: so a search learns from some hundred
records how many have a word, and never reads the whole list of a word that very many have.

What is found by a key is compared with `words`, `options` and `folded`, of which each attribute is
known: a record counts only by what its reader sees.
"""

from __future__ import annotations

import zlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b, md5
from typing import Any, Final

from records_service.attributes.model import Attribute, AttributeType
from records_service.dimensions.model import Dimension
from records_service.search_index.terms import bucket_of
from records_service.search_texts.folding import FIRST_FOLDING, folded
from records_service.search_texts.notes import INDEXED
from records_service.search_texts.words import configuration_of, separated

SAMPLES: Final = (1, 16, 256)
"""One of how many records each level has: all, the first sample, the second."""
GRAM: Final = 3
GRAMS_SOUGHT: Final = 3
"""Of a part of a code. The index reads the list of each, of which some may have all records."""
TEXT_MAX: Final = 100_000
"""Characters of one text in which is searched."""
BYTES_MAX: Final = 200_000
"""Of the words of a record; what is beyond it is not indexed."""
KEYS_BYTES_MAX: Final = 500_000
"""Of the keys of words. PostgreSQL bounds a `tsvector` by twice as many, or makes a wrong one."""
CODES_MAX: Final = 10_000
"""Characters of the codes of a record of which parts are found."""
MARK_BYTES: Final = 4
"""Of what a key begins with."""
KEYS_KNOWN: Final = 10_000
"""Marks, and keys of attributes, that are not made anew for each record."""
_SMALL: Final = 25_000
"""Characters of words of which the keys are never too many."""
OF_VARIANT: Final = "+"
"""Precedes the attribute of a folded text that a variant has of its own."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What the index holds of records, as their workspace's model wants it."""

    languages: Mapping[str, Mapping[str, str]]
    """Dimension -> segment -> the text search configuration of its language."""
    codes: frozenset[str]
    """The unique texts, of which parts are found."""
    filterable: frozenset[str]
    """The texts that have grams."""
    folding: int
    """The version of the rules by which texts are folded."""

    def as_json(self) -> dict[str, Any]:
        """As it is stored."""
        return {
            "languages": self.languages,
            "codes": sorted(self.codes),
            "filterable": sorted(self.filterable),
            "folding": self.folding,
        }

    def common(self, other: Layout) -> Layout | None:
        """What both hold, as this one has it folded; None where words are in other languages."""
        if self.languages != other.languages:
            return None
        return replace(
            self,
            codes=self.codes & other.codes,
            filterable=self.filterable & other.filterable,
        )

    @classmethod
    def parse(cls, stored: Mapping[str, Any]) -> Layout:
        """Read the stored form."""
        return cls(
            stored["languages"],
            frozenset(stored["codes"]),
            frozenset(stored["filterable"]),
            stored.get("folding", FIRST_FOLDING),
        )


@dataclass(frozen=True, slots=True)
class Parts:
    """What the index holds of the codes and filterable texts of one record."""

    keys: Sequence[str]
    """Those of parts of codes, with a mark for each level."""
    folded: Sequence[tuple[str, str]]
    """Attribute and folded text."""
    grams: Sequence[int]


@dataclass(frozen=True, slots=True)
class Document:
    """What the index holds of one record; words are made by PostgreSQL, of `texts`."""

    level: int
    """The last sample that the record is in; 0 for none."""
    texts: Sequence[tuple[str, str, str | None]]
    """Attribute, its separated words, and a configuration for other forms of them."""
    options: Sequence[str]
    """`attribute=option`."""
    keys: Sequence[str]
    """Those that are not made of words, with a mark for each level."""
    parts: Parts


def layout_of(
    attributes: Iterable[Attribute], dimensions: Iterable[Dimension], folding: int
) -> Layout:
    """What the index is to hold by this model and this version of the rules of folding."""
    texts = [each for each in attributes if each.type is AttributeType.TEXT]
    return Layout(
        languages_of(dimensions),
        frozenset(each.id for each in texts if each.validation.unique),
        frozenset(each.id for each in texts if each.filterable),
        folding,
    )


def languages_of(dimensions: Iterable[Dimension]) -> dict[str, dict[str, str]]:
    """Dimension -> segment -> the text search configuration, of the languages that have one."""
    found: dict[str, dict[str, str]] = {}
    for dimension in dimensions:
        for segment in dimension.segments:
            configuration = configuration_of(segment.locale)
            if configuration != "simple":
                found.setdefault(dimension.id, {})[segment.id] = configuration
    return found


def level_of(record_id: str) -> int:
    """The last sample that a record is in; `level_in_sql` says the same."""
    hashed = md5(record_id.encode(), usedforsecurity=False).hexdigest()
    return 2 if hashed.startswith("00") else int(hashed.startswith("0"))


def level_in_sql(record_id: str) -> str:
    """An expression with the last sample that the record with this id is in."""
    first = f"left(md5({record_id}), 2)"
    return f"CASE WHEN {first} = '00' THEN 2 WHEN {first} < '10' THEN 1 ELSE 0 END"


@lru_cache(KEYS_KNOWN)
def mark_of(workspace_id: str, level: int) -> str:
    """What the keys of a workspace begin with, in each of the samples."""
    hashed = blake2b(f"{level}\0{workspace_id}".encode(), digest_size=3)
    return b64encode(hashed.digest()).decode()


def option_key(mark: str, option: str) -> str:
    """The key of `attribute=option`."""
    hashed = blake2b(option.encode(), digest_size=6)
    return f"{mark}={b64encode(hashed.digest()).decode()}"


@lru_cache(KEYS_KNOWN)
def attribute_key(mark: str, attribute_id: str) -> str:
    """The key of the records that have a text of the attribute."""
    hashed = blake2b(attribute_id.encode(), digest_size=6)
    return f"{mark}@{b64encode(hashed.digest()).decode()}"


def part_keys(mark: str, part: str) -> list[str]:
    """The keys that a record has if one of its folded codes contains this."""
    return [f"{mark}#{gram}" for gram in grams_of(part)]


def keys_of_part(mark: str, part: str) -> list[str]:
    """A few of `part_keys` to look for a code, of its end, where codes differ the most.

    The folded code itself decides.
    """
    ends = range(len(part), GRAM - 1, -GRAM)[:GRAMS_SOUGHT]
    return [key for end in ends for key in part_keys(mark, part[end - GRAM : end])]


def gram_hashes(
    workspace_id: str, attribute_id: str, text: str, *, sampled: bool = False
) -> list[int]:
    """The hashes that a record has if the folded text of its attribute contains this.

    Or those that it has besides if it is in the first bucket of the search index.
    """
    begun = zlib.crc32(f"{int(sampled)}\0{workspace_id}\0{attribute_id}\0".encode())
    return sorted({_signed(zlib.crc32(gram.encode(), begun)) for gram in grams_of(text)})


def grams_of(text: str) -> set[str]:
    """All that stands in three characters in a row; nothing of a shorter text."""
    return {text[place : place + GRAM] for place in range(len(text) - GRAM + 1)}


def document_of(
    workspace_id: str,
    record_id: str,
    documents: Sequence[Mapping[str, Any]],
    types: Mapping[str, AttributeType],
    layout: Layout,
) -> Document:
    """What the index holds of a record.

    `documents` are the values that it has and those that each of its variants has; `types` those of
    all attributes.
    """
    texts: list[tuple[str, str, str | None]] = []
    options: set[str] = set()
    for document in documents:
        for attribute_id, entry, value in _values(document, types):
            if types[attribute_id] is AttributeType.OPTION:
                options.add(f"{attribute_id}={value}")
                continue
            language = _language(entry, layout.languages)
            texts.append((attribute_id, separated(value[:TEXT_MAX], layout.folding), language))
    level = level_of(record_id)
    present = {each for each, _, _ in texts}
    if sum(len(words) for _, words, _ in texts) > _SMALL:
        texts = _fitting(texts, level + 1)
    keys = {attribute_key(mark_of(workspace_id, 0), each) for each in present}
    for each in range(level + 1):
        mark = mark_of(workspace_id, each)
        keys.update(option_key(mark, option) for option in options)
    parts = parts_of(workspace_id, record_id, documents, types, layout)
    return Document(level, texts, sorted(options), sorted(keys), parts)


def parts_of(
    workspace_id: str,
    record_id: str,
    documents: Sequence[Mapping[str, Any]],
    types: Mapping[str, AttributeType],
    layout: Layout,
) -> Parts:
    """What the index holds of the codes and filterable texts of a record; as `document_of`."""
    wanted = {
        each: types[each]
        for each in layout.codes | layout.filterable
        if types.get(each) is AttributeType.TEXT
    }
    folds = {
        (
            f"{OF_VARIANT}{attribute_id}" if number else attribute_id,
            folded(value[:TEXT_MAX], layout.folding),
        )
        for number, document in enumerate(documents)
        for attribute_id, _, value in _values(document, wanted)
    }
    codes = [text for name, text in sorted(folds) if name.removeprefix(OF_VARIANT) in layout.codes]
    if sum(map(len, codes)) > CODES_MAX:
        codes = "\n".join(codes)[:CODES_MAX].split("\n")
    keys = {
        key
        for level in range(level_of(record_id) + 1)
        for code in codes
        for key in part_keys(mark_of(workspace_id, level), code)
    }
    filterable = [fold for fold in folds if fold[0] in layout.filterable]
    grams = {
        gram
        for sampled in ((False, True) if bucket_of(record_id) == 0 else (False,))
        for name, text in filterable
        for gram in gram_hashes(workspace_id, name, text, sampled=sampled)
    }
    return Parts(sorted(keys), sorted(folds), sorted(grams))


def _fitting(
    texts: Sequence[tuple[str, str, str | None]], times: int
) -> list[tuple[str, str, str | None]]:
    """The beginning of these texts, as far as their words and keys are not too many bytes.

    A word has a key so many times, and as many for another form.
    """
    fitting: list[tuple[str, str, str | None]] = []
    known: set[str] = set()
    room, room_of_keys = BYTES_MAX, KEYS_BYTES_MAX
    for attribute_id, words, language in texts:
        kept: list[str] = []
        for word in words.split():
            size = len(word.encode())
            room -= size + 1
            if word not in known:
                known.add(word)
                room_of_keys -= (size + MARK_BYTES) * times * (1 if language is None else 2)
            if min(room, room_of_keys) < 0:
                break
            kept.append(word)
        fitting.append((attribute_id, " ".join(kept), language))
    return fitting


def _values(
    document: Mapping[str, Any], types: Mapping[str, AttributeType]
) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Attribute, entry and value of what is indexed."""
    for attribute_id, entries in document.items():
        if types.get(attribute_id) in INDEXED:
            for entry in entries:
                for value in _items(entry.get("value")):
                    yield attribute_id, entry, value


def _items(value: Any) -> Iterator[str]:
    """The texts in a value, of which several may be in a list."""
    for each in value if isinstance(value, list) else (value,):
        if isinstance(each, str) and each:
            yield each


def _language(entry: Mapping[str, Any], languages: Mapping[str, Mapping[str, str]]) -> str | None:
    """The configuration of the first segment with a language, in the order of `jsonb`."""
    scope = entry.get("scope") or {}
    for dimension in sorted(scope, key=lambda each: (len(each.encode()), each.encode())):
        found = languages.get(dimension, {}).get(scope[dimension])
        if found is not None:
            return found
    return None


def _signed(hashed: int) -> int:
    return hashed - (1 << 32) if hashed >= 1 << 31 else hashed
