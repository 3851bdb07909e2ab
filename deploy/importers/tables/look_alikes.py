"""Finds options that may mean the same although their texts differ.

Case and spaces are no matter here: they are one option already.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping

_MARKS = re.compile(r"[^\w+./]|_")
_WORD = re.compile(r"[\w+.]+")
_WORD_LENGTH_MIN = 4


def look_alikes(uses: Mapping[str, int]) -> dict[str, tuple[str, str]]:
    """Option -> the more frequent one that it resembles, and how; `uses` counts each option."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for label in uses:
        for form in _forms(label):
            groups[form].append(label)
    found: dict[str, tuple[str, str]] = {}
    for (how, _), labels in groups.items():
        if len(labels) > 1:
            best = max(sorted(labels), key=lambda label: uses[label])
            for label in labels:
                if label != best:
                    found.setdefault(label, (best, how))
    return found


def _forms(label: str) -> Iterator[tuple[str, str]]:
    """What is equal for two labels that resemble each other, each with how."""
    plain = unicodedata.normalize("NFKD", label.casefold())
    plain = "".join(one for one in plain if not unicodedata.combining(one))
    yield "the letters are the same", _MARKS.sub("", plain)
    words = _WORD.findall(plain)
    if len(words) > 1:
        yield "the words are the same in another order", " ".join(sorted(words))
    for place, word in enumerate(words):
        if len(word) >= _WORD_LENGTH_MIN and word.isalpha():
            for form in {word, *(word[:cut] + word[cut + 1 :] for cut in range(1, len(word)))}:
                near = [*words[:place], f"{form}~", *words[place + 1 :]]
                yield "one letter differs", " ".join(near)
